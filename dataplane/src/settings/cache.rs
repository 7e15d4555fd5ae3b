//! The last good settings on disk, for a start while the API server is away.

use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::bundle::Bundle;

/// Largest cache file that is read, bytes: three resources have a few kilobytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The cache file. It holds resources and therefore no secrets.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    path: PathBuf,
}

impl Cache {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// What was kept; `None` if there is nothing.
    pub(super) async fn load(&self) -> io::Result<Option<Bundle>> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.read()).await?
    }

    /// Replaces the file in one step: whoever reads sees the old one or the new one.
    pub(super) async fn store(&self, bundle: Bundle) -> io::Result<()> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.write(&bundle)).await?
    }

    fn read(&self) -> io::Result<Option<Bundle>> {
        let file = match fs::File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text)?;
        Ok(Some(serde_json::from_str(&text)?))
    }

    fn write(&self, bundle: &Bundle) -> io::Result<()> {
        let temporary = self.path.with_extension("new");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(bundle)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)
    }
}
