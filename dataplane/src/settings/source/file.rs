//! Resources from a file or a folder of manifests, looked at every second.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::secrets::{Secret, SecretStore};
use crate::settings::bundle::Bundle;
use crate::settings::follow::Update;

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(1);
/// Most files in a folder.
const MAX_FILES: usize = 256;
/// Most bytes of all files together.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Secret name, then key.
type Secrets = BTreeMap<String, BTreeMap<String, Secret>>;

/// What the files hold.
#[derive(Debug)]
struct Manifests {
    bundle: Bundle,
    secrets: Secrets,
}

/// Reads `path` and gives the task that follows it. The error says what is wrong with which file.
pub async fn follow_manifests(
    path: PathBuf,
    secrets: SecretStore,
) -> Result<(watch::Receiver<Update>, impl Future<Output = ()> + Send), String> {
    let mut texts = read(path.clone()).await?;
    let manifests = parse(&texts)?;
    secrets.set_documents(manifests.secrets);
    let (sender, receiver) = watch::channel(Update::Bundle(manifests.bundle));
    let task = async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = sender.closed() => return,
            }
            let read = read(path.clone()).await;
            if read.as_ref().is_ok_and(|new| *new == texts) {
                continue;
            }
            let update = match read.and_then(|new| {
                texts = new;
                parse(&texts)
            }) {
                Ok(manifests) => {
                    secrets.set_documents(manifests.secrets);
                    Update::Bundle(manifests.bundle)
                }
                Err(reason) => Update::Broken(reason),
            };
            // The same state again (comments changed, the file is still missing) is no new version.
            sender.send_if_modified(|last| {
                let new = *last != update;
                *last = update;
                new
            });
        }
    };
    Ok((receiver, task))
}

/// Manifests that a program carries in itself. `name` stands for the file in errors.
pub fn read_manifests(name: &str, text: &str, secrets: &SecretStore) -> Result<Bundle, String> {
    let manifests = parse(&BTreeMap::from([(name.into(), text.to_owned())]))?;
    secrets.set_documents(manifests.secrets);
    Ok(manifests.bundle)
}

async fn read(path: PathBuf) -> Result<BTreeMap<PathBuf, String>, String> {
    tokio::task::spawn_blocking(move || read_files(&path))
        .await
        .unwrap_or_else(|error| Err(error.to_string()))
}

/// Contents of the file, or of the manifests in the folder (not of its folders).
fn read_files(path: &Path) -> Result<BTreeMap<PathBuf, String>, String> {
    let error = |path: &Path, what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let files = if path.is_dir() {
        let entries = fs::read_dir(path).map_err(|cause| error(path, &cause))?;
        let files: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| is_manifest(path))
            .collect();
        if files.len() > MAX_FILES {
            return Err(error(path, &format_args!("more than {MAX_FILES} manifests")));
        }
        files
    } else {
        vec![path.to_owned()]
    };
    let mut left = MAX_BYTES;
    let mut texts = BTreeMap::new();
    for file in files {
        let mut text = String::new();
        let opened = fs::File::open(&file).map_err(|cause| error(&file, &cause))?;
        let read = opened
            .take(left + 1)
            .read_to_string(&mut text)
            .map_err(|cause| error(&file, &cause))?;
        left = left
            .checked_sub(u64::try_from(read).unwrap_or(u64::MAX))
            .ok_or_else(|| error(&file, &format_args!("more than {MAX_BYTES} bytes of manifests")))?;
        texts.insert(file, text);
    }
    Ok(texts)
}

/// Files that a mounted folder holds for kubelet start with a dot.
fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let hidden = path
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.is_file() && matches!(extension, Some("yaml" | "yml" | "json"))
}

fn parse(texts: &BTreeMap<PathBuf, String>) -> Result<Manifests, String> {
    let mut manifests = Manifests {
        bundle: Bundle::default(),
        secrets: Secrets::new(),
    };
    for (path, text) in texts {
        let error = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
        for document in serde_yaml::Deserializer::from_str(text) {
            let document = Value::deserialize(document).map_err(|cause| error(&cause))?;
            let items = match document.get("items").and_then(Value::as_array) {
                Some(items) if document["kind"] == "List" => items.as_slice(),
                _ => std::slice::from_ref(&document),
            };
            for item in items {
                manifests
                    .bundle
                    .add(item, "default")
                    .map_err(|cause| error(&cause))?;
                if item["kind"] == "Secret" && item["apiVersion"] == "v1" {
                    let (name, keys) = secret(item).map_err(|cause| error(&cause))?;
                    manifests.secrets.insert(name, keys);
                }
            }
        }
        manifests.bundle.unknown_fields().map_err(|cause| error(&cause))?;
    }
    Ok(manifests)
}

/// A `kind: Secret` document: `stringData`, and `data` in base64. Messages never hold a value.
fn secret(manifest: &Value) -> Result<(String, BTreeMap<String, Secret>), String> {
    let name = manifest.pointer("/metadata/name").and_then(Value::as_str);
    let name = name.ok_or("Secret: metadata.name must be set")?.to_owned();
    let mut keys = BTreeMap::new();
    for (field, encoded) in [("data", true), ("stringData", false)] {
        let entries = manifest
            .get(field)
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        for (key, value) in entries {
            let wrong = |what: &str| format!("Secret {name}: {field}.{key}: {what}");
            let text = value.as_str().ok_or_else(|| wrong("must be a text"))?;
            let bytes = if encoded {
                STANDARD
                    .decode(text.trim())
                    .map_err(|_| wrong("must be base64"))?
            } else {
                text.as_bytes().to_vec()
            };
            let secret = Secret::new(bytes).map_err(|cause| wrong(&format!("must not be {cause}")))?;
            keys.insert(key.clone(), secret);
        }
    }
    Ok((name, keys))
}

#[cfg(test)]
mod tests;
