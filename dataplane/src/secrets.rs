//! Secrets: files under one directory, re-read when they change, and values that never print themselves.
//!
//! A Secret that a resource references as `{name, key}` is the file `DIR/<name>/<key>`. The directory is a mounted
//! volume: kubelet replaces the files behind a symbolic link, so contents are compared, not events awaited.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use berth_crds::settings::{SecretPair, SecretRef};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use crate::telemetry::Throttle;

/// Largest secret, bytes.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;
/// Most secrets in one store: a service mounts a handful.
const MAX_SECRETS: usize = 1024;
/// How often the files are compared.
const POLL: Duration = Duration::from_secs(2);

/// Bytes that never print themselves: no `Display`, and `Debug` shows `Secret(***)`. At most 64 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

/// A secret that is being rotated: both values are accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RotatingSecret {
    /// What is used to sign and send.
    pub current: Option<Secret>,
    /// What is still accepted.
    pub previous: Option<Secret>,
}

/// Why a secret cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Larger than [`MAX_SECRET_BYTES`].
    #[error("larger than {MAX_SECRET_BYTES} bytes")]
    TooLarge,
    /// The file holds nothing.
    #[error("empty")]
    Empty,
    /// The file cannot be read.
    #[error("unreadable")]
    Io(#[from] io::Error),
}

/// Secret name, then key.
type Table = HashMap<String, HashMap<String, Secret>>;

/// All secrets that this process may use. Clones share them. Reading is lock-free and never touches the disk.
#[derive(Clone)]
pub struct SecretStore {
    shared: Arc<Shared>,
    /// Ends the re-reading with the last clone; the polling task holds only `shared`.
    follower: Arc<Mutex<Option<DropGuard>>>,
}

struct Shared {
    directory: Option<PathBuf>,
    layers: Mutex<Layers>,
    /// The union of the layers, which is what is read.
    table: ArcSwap<Table>,
    version: watch::Sender<u64>,
}

/// What the table is made of; a later one wins.
#[derive(Default)]
struct Layers {
    /// Documents of file settings.
    documents: Table,
    /// Environment variables, tests.
    put: Table,
    /// The directory as it was read last.
    files: Table,
}

// === impl Secret ===

impl Secret {
    /// Takes bytes as they are.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        let bytes = bytes.as_ref();
        if bytes.len() > MAX_SECRET_BYTES {
            return Err(SecretError::TooLarge);
        }
        if bytes.is_empty() {
            return Err(SecretError::Empty);
        }
        Ok(Self(bytes.into()))
    }

    /// Takes the content of a file: line breaks at its end are an editor's, not the secret's.
    fn from_file_content(bytes: &[u8]) -> Result<Self, SecretError> {
        let end = bytes
            .iter()
            .rposition(|byte| !matches!(byte, b'\n' | b'\r'))
            .map_or(0, |last| last + 1);
        Self::new(bytes.get(..end).unwrap_or_default())
    }

    /// The bytes, for a computation. Never for a log.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// As text, if it is UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Compares in a time that depends on neither content nor length of the secret.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        let (own, other) = (digest(&SHA256, &self.0), digest(&SHA256, candidate));
        verify_slices_are_equal(own.as_ref(), other.as_ref()).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

// === impl RotatingSecret ===

impl RotatingSecret {
    /// Whether `candidate` is one of the two. `false` when there is none.
    pub fn accepts(&self, candidate: &[u8]) -> bool {
        let current = self
            .current
            .as_ref()
            .is_some_and(|secret| secret.matches(candidate));
        let previous = self
            .previous
            .as_ref()
            .is_some_and(|secret| secret.matches(candidate));
        current | previous
    }

    /// Whether there is no secret at all.
    pub fn is_empty(&self) -> bool {
        self.current.is_none() && self.previous.is_none()
    }
}

// === impl SecretStore ===

impl SecretStore {
    /// Reads `directory/<secret name>/<key>`. A missing directory is an empty store that fills when it appears.
    pub fn open(directory: &Path) -> Self {
        let store = Self::new(Some(directory.to_owned()));
        store.shared.rebuild();
        store
    }

    /// A store without a directory (tests, embedding).
    pub fn in_memory() -> Self {
        Self::new(None)
    }

    fn new(directory: Option<PathBuf>) -> Self {
        let shared = Shared {
            directory,
            layers: Mutex::default(),
            table: ArcSwap::default(),
            version: watch::Sender::new(0),
        };
        Self {
            shared: Arc::new(shared),
            follower: Arc::default(),
        }
    }

    /// Starts re-reading the files every 2 s until the last clone is dropped. Runs inside a tokio runtime.
    pub fn follow(&self) {
        let mut follower = self.follower.lock();
        if self.shared.directory.is_none() || follower.is_some() {
            return;
        }
        let stop = CancellationToken::new();
        *follower = Some(stop.clone().drop_guard());
        let shared = Arc::clone(&self.shared);
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                tokio::time::sleep(POLL).await;
                let shared = Arc::clone(&shared);
                // A panic in the blocking task would only skip one round.
                let _ = tokio::task::spawn_blocking(move || shared.rebuild()).await;
            }
        }));
    }

    /// One secret.
    pub fn get(&self, reference: &SecretRef) -> Option<Secret> {
        read(&self.shared.table.load(), reference)
    }

    /// Both values of a secret under rotation.
    pub fn rotating(&self, references: &SecretPair) -> RotatingSecret {
        let table = self.shared.table.load();
        RotatingSecret {
            current: read(&table, &references.current),
            previous: read(&table, &references.previous),
        }
    }

    /// Puts one secret in memory (environment variables, tests). A file of the same name and key wins.
    pub fn put(&self, reference: &SecretRef, secret: Secret) {
        let SecretRef { name, key } = reference;
        self.shared
            .layers
            .lock()
            .put
            .entry(name.clone())
            .or_default()
            .insert(key.clone(), secret);
        self.shared.rebuild();
    }

    /// Replaces what came from `kind: Secret` documents: secret name, then key. A file of the same name and key
    /// wins.
    pub fn set_documents(&self, documents: BTreeMap<String, BTreeMap<String, Secret>>) {
        let documents = documents
            .into_iter()
            .map(|(name, keys)| (name, keys.into_iter().collect()))
            .collect();
        self.shared.layers.lock().documents = documents;
        self.shared.rebuild();
    }

    /// Changes whenever any secret changed; the value is only a counter.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }
}

impl fmt::Debug for SecretStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretStore")
            .field("directory", &self.shared.directory)
            .finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    /// Reads everything again and replaces the table if anything differs.
    fn rebuild(&self) {
        // The lock is held while the table is replaced: two rebuilds must not overtake each other.
        let mut layers = self.layers.lock();
        if let Some(directory) = &self.directory {
            layers.files = read_directory(directory, &layers.files);
        }
        let mut table = Table::new();
        for layer in [&layers.documents, &layers.put, &layers.files] {
            for (name, keys) in layer {
                let entry = table.entry(name.clone()).or_default();
                entry.extend(keys.iter().map(|(key, secret)| (key.clone(), secret.clone())));
            }
        }
        if **self.table.load() != table {
            self.table.store(Arc::new(table));
            self.version.send_modify(|version| *version += 1);
        }
    }
}

fn read(table: &Table, reference: &SecretRef) -> Option<Secret> {
    table.get(&reference.name)?.get(&reference.key).cloned()
}

/// Reads a directory of mounted Secrets. Only what is not there any more is gone: what cannot be read just now (no file
/// descriptor left, a disk that fails) stays as it was in `before`, or a moment's trouble would take away every key.
fn read_directory(directory: &Path, before: &Table) -> Table {
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
        let keys = read_folder(&folder, before.get(&name), MAX_SECRETS - count);
        count += keys.len();
        if !keys.is_empty() {
            table.insert(name, keys);
        }
    }
    table
}

/// Reads at most `most` keys of one Secret. A value that is no secret (empty, too large) is left out: who needs it says
/// that it is missing.
fn read_folder(
    folder: &Path,
    before: Option<&HashMap<String, Secret>>,
    most: usize,
) -> HashMap<String, Secret> {
    let files = match visible_entries(folder) {
        Ok(files) => files,
        Err(error) => {
            warn_unreadable(folder, &error);
            let kept = before.into_iter().flatten().take(most);
            return kept.map(|(key, secret)| (key.clone(), secret.clone())).collect();
        }
    };
    let mut keys = HashMap::new();
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

/// Entries of a folder by name; none if it is not there. Names that start with a dot are kubelet's own (`..data`).
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
mod tests;
