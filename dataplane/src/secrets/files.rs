//! Secrets as files: `DIR/<name>/<key>`, each Secret as it was at one time.
//!
//! While a secret rotates, its two keys must be of one version: `current` of the new one beside `previous` of the old one
//! would refuse whoever still has the old secret. Kubelet keeps each version of a Secret in a folder of its own, which never
//! changes, and lets the link `..data` lead to the one in force: so that folder is read, and the link is looked at before and
//! after. Files that somebody writes by hand are read until two readings agree.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use tracing::warn;

use super::{MAX_SECRET_BYTES, MAX_SECRETS, Secret, SecretError, Table};
use crate::telemetry::Throttle;

/// Kubelet's link to the version in force.
const IN_FORCE: &str = "..data";
/// Most readings of one Secret in a row. One that never stands still stays as it was.
const READINGS: u32 = 8;
/// Between two readings of files that somebody may be writing just now.
const STANDSTILL: Duration = Duration::from_millis(25);

/// Keys of one Secret.
type Keys = HashMap<String, Secret>;

/// Reads a directory of Secrets. Only what is not there any more is gone: what cannot be read just now (no file descriptor
/// left, a disk that fails) stays as it was in `before`, or a moment's trouble would take away every key.
pub(super) fn read_directory(directory: &Path, before: &Table) -> Table {
    let folders = match visible_entries(directory) {
        Ok(folders) => folders,
        Err(error) => {
            warn_unreadable(directory, &error);
            return before.clone();
        }
    };
    let mut table = Table::new();
    let mut count = 0;
    for (name, folder) in folders {
        let keys = read_at_one_time(&folder, before.get(&name), MAX_SECRETS - count);
        count += keys.len();
        if !keys.is_empty() {
            table.insert(name, keys);
        }
    }
    table
}

/// Reads at most `most` keys of one Secret, all of one time.
fn read_at_one_time(folder: &Path, before: Option<&Keys>, most: usize) -> Keys {
    for _ in 0..READINGS {
        let Some(version) = version(folder) else {
            return standing_still(before, || read_folder(folder, before, most), || sleep(STANDSTILL));
        };
        let keys = read_folder(&folder.join(&version), before, most);
        if self::version(folder) == Some(version) {
            return keys;
        }
    }
    before.cloned().unwrap_or_default()
}

/// Reads until two readings agree, with pauses. What is as before, or was not there before, is taken at once.
fn standing_still(before: Option<&Keys>, mut read: impl FnMut() -> Keys, mut pause: impl FnMut()) -> Keys {
    let mut last = read();
    let Some(before) = before else {
        return last;
    };
    for _ in 1..READINGS {
        if last == *before {
            return last;
        }
        pause();
        let keys = read();
        if keys == last {
            return keys;
        }
        last = keys;
    }
    before.clone()
}

/// The version in force, where kubelet keeps the folder.
fn version(folder: &Path) -> Option<PathBuf> {
    std::fs::read_link(folder.join(IN_FORCE)).ok()
}

/// Reads at most `most` keys in a folder. A value that is no secret (empty, too large) is left out: who needs it says that
/// it is missing.
fn read_folder(folder: &Path, before: Option<&Keys>, most: usize) -> Keys {
    let files = match visible_entries(folder) {
        Ok(files) => files,
        Err(error) => {
            warn_unreadable(folder, &error);
            let kept = before.into_iter().flatten().take(most);
            return kept.map(|(key, secret)| (key.clone(), secret.clone())).collect();
        }
    };
    let mut keys = Keys::new();
    for (key, file) in files {
        if keys.len() >= most {
            break;
        }
        let secret = match read_secret_file(&file) {
            Ok(secret) => Some(secret),
            Err(SecretError::Io(error)) if !is_absence(&error) => {
                warn_unreadable(&file, &error);
                before.and_then(|before| before.get(&key)).cloned()
            }
            Err(_) => None,
        };
        keys.extend(secret.map(|secret| (key, secret)));
    }
    keys
}

/// Entries of a folder by name; none if it is not there. Names that start with a dot are kubelet's own.
fn visible_entries(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if is_absence(&error) => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut visible = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
            && visible.len() < MAX_SECRETS
        {
            visible.push((name, entry.path()));
        }
    }
    Ok(visible)
}

/// Whether an error says that there is no such secret, rather than that it cannot be read now.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

fn warn_unreadable(path: &Path, error: &io::Error) {
    static UNREADABLE: Throttle = Throttle::new(Duration::from_mins(1));
    if let Some(suppressed) = UNREADABLE.pass() {
        warn!(path = %path.display(), %error, suppressed, "cannot read secrets: the values read before stay in force");
    }
}

/// Reads one secret from a file; line breaks at its end do not belong to it.
pub(crate) fn read_secret_file(path: &Path) -> Result<Secret, SecretError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_SECRET_BYTES).unwrap_or(u64::MAX) + 1;
    std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Secret::from_file_content(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(pairs: &[(&str, &str)]) -> Keys {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), Secret::new(value).unwrap()))
            .collect()
    }

    /// What comes of readings, and how many of them there were.
    fn settled(before: Option<&Keys>, readings: &[Keys]) -> (Keys, usize) {
        let mut read = 0;
        let next = || {
            let keys = readings[read.min(readings.len() - 1)].clone();
            read += 1;
            keys
        };
        (standing_still(before, next, || ()), read)
    }

    #[test]
    fn files_that_are_being_written_are_read_again() {
        let (old, half) = (keys(&[("current", "a")]), keys(&[("previous", "a")]));
        let new = keys(&[("current", "b"), ("previous", "a")]);
        assert_eq!(settled(Some(&old), std::slice::from_ref(&old)), (old.clone(), 1));
        assert_eq!(settled(None, std::slice::from_ref(&new)), (new.clone(), 1));
        let readings = [half.clone(), new.clone()];
        assert_eq!(settled(Some(&old), &readings), (new.clone(), 3));
        assert_eq!(
            settled(Some(&old), &[half.clone(), old.clone()]),
            (old.clone(), 2),
            "nothing came of it"
        );
        let restless: Vec<Keys> = (0..20)
            .map(|number| keys(&[("current", &format!("{number}"))]))
            .collect();
        let (kept, readings) = settled(Some(&old), &restless);
        assert_eq!((kept, readings), (old, 8), "it never stood still");
    }
}
