//! Secrets: files under one directory, re-read when they change, and values that never print themselves.
//!
//! A Secret that a resource references as `{name, key}` is the file `DIR/<name>/<key>`. Contents are compared, not events
//! awaited.

mod files;
mod placeholders;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use berth_crds::api::ClusterEnvironment;
use berth_crds::settings::{SecretPair, SecretRef, is_placeholder};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use files::read_secret_file;
pub use placeholders::warn_of_placeholders;

/// Largest secret, bytes.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;
/// Most secrets in one store: a service mounts a handful.
const MAX_SECRETS: usize = 1024;
/// How often the files are compared.
const POLL: Duration = Duration::from_secs(2);

/// Bytes that never print themselves: no `Display`, and `Debug` shows `Secret(***)`. At most 64 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    bytes: Arc<[u8]>,
    digest: Digest,
    placeholder: bool,
}

type Digest = [u8; SHA256_OUTPUT_LEN];

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
        Ok(Self {
            bytes: bytes.into(),
            digest: sha256(bytes),
            placeholder: is_placeholder(bytes),
        })
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
        &self.bytes
    }

    /// As text, if it is UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// Compares in a time that depends on neither content nor length of the secret.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.has_digest(&sha256(candidate))
    }

    /// Whether it is one that everybody knows.
    pub fn is_placeholder(&self) -> bool {
        self.placeholder
    }

    fn has_digest(&self, candidate: &Digest) -> bool {
        verify_slices_are_equal(&self.digest, candidate).is_ok()
    }
}

fn sha256(bytes: &[u8]) -> Digest {
    let mut result = Digest::default();
    // A digest of SHA-256 has this length.
    result.copy_from_slice(digest(&SHA256, bytes).as_ref());
    result
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
        let candidate = sha256(candidate);
        let is = |secret: &Option<Secret>| {
            secret
                .as_ref()
                .is_some_and(|secret| secret.has_digest(&candidate))
        };
        // Both are compared, whichever fits.
        is(&self.current) | is(&self.previous)
    }

    /// What of it counts in `environment`: in production, a secret that everybody knows is none.
    #[must_use]
    pub fn counting_in(self, environment: ClusterEnvironment) -> Self {
        let counts = |secret: &Secret| match environment {
            ClusterEnvironment::Production => !secret.is_placeholder(),
            ClusterEnvironment::Development => true,
        };
        Self {
            current: self.current.filter(counts),
            previous: self.previous.filter(counts),
        }
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
        store.shared.reread();
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
                let _ = tokio::task::spawn_blocking(move || shared.reread()).await;
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
        self.shared.change(|layers| {
            let keys = layers.put.entry(name.clone()).or_default();
            keys.insert(key.clone(), secret);
        });
    }

    /// Replaces what came from `kind: Secret` documents: secret name, then key. A file of the same name and key
    /// wins.
    pub fn set_documents(&self, documents: BTreeMap<String, BTreeMap<String, Secret>>) {
        let documents = documents
            .into_iter()
            .map(|(name, keys)| (name, keys.into_iter().collect()))
            .collect();
        self.shared.change(|layers| layers.documents = documents);
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
    /// Reads the directory again, which may take a moment.
    fn reread(&self) {
        let Some(directory) = &self.directory else {
            return;
        };
        let before = self.layers.lock().files.clone();
        let files = files::read_directory(directory, &before);
        self.change(|layers| layers.files = files);
    }

    /// Changes a layer, and replaces the table if anything differs.
    fn change(&self, change: impl FnOnce(&mut Layers)) {
        // The lock is held while the table is replaced: two changes must not overtake each other.
        let mut layers = self.layers.lock();
        change(&mut layers);
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

#[cfg(test)]
mod tests;
