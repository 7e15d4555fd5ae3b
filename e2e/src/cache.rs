//! What is slow to make and the same every time, kept outside the tree: `$XDG_CACHE_HOME/berth`, else
//! `~/.cache/berth`. An entry is a folder whose name ends in a hash of everything it is made from, so
//! that it never goes stale; it is whole or absent.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder of all entries.
pub fn root() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    Ok(base.join("berth"))
}

/// The entry of `kind` made from `inputs`; `make` fills the folder it is given when there is none yet.
///
/// Of several processes that want the same entry one makes it and the others wait. A `make` that fails or
/// is killed leaves no entry.
pub fn entry(kind: &str, inputs: &[&[u8]], make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = root()?.join(kind);
    let entry = folder.join(hash(inputs));
    if entry.is_dir() {
        return Ok(entry);
    }
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the cache folder {}", folder.display()))?;
    let lock = File::create(entry.with_extension("lock"))?;
    lock.lock()?;
    if entry.is_dir() {
        return Ok(entry);
    }
    let unfinished = entry.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir(&unfinished)?;
    make(&unfinished)?;
    fs::rename(&unfinished, &entry)?;
    Ok(entry)
}

/// 64-bit FNV-1a over the inputs and their lengths: names an entry, protects nothing.
fn hash(inputs: &[&[u8]]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for input in inputs {
        eat(&(input.len() as u64).to_le_bytes());
        eat(input);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn the_border_between_two_inputs_counts() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b"a"]), hash(&[b"a", b""]));
    }
}
