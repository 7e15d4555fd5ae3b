//! Secrets that resources name: which exist, and which keys have a value. Values are looked at once and dropped.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use berth_crds::settings::{ObjectName, RedisUrl, is_placeholder};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use parking_lot::RwLock;
use tokio::sync::OnceCell;

use crate::client::call;
use crate::error::CallError;
use crate::resolve::{KeyFact, SecretNeed, SecretView};

type Keys = Arc<BTreeMap<String, KeyFact>>;

/// Keys of a Secret at one version. Whoever needs them first reads them, and all others wait for that.
#[derive(Clone, Debug)]
struct Read {
    version: String,
    keys: Arc<OnceCell<Keys>>,
}

/// Why keys were not read.
enum Unread {
    /// The Secret is gone.
    Gone,
    /// The call failed.
    Failed(CallError),
}

/// What is known of Secrets: the version of each, and the keys of those that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    versions: RwLock<HashMap<ObjectName, String>>,
    read: RwLock<HashMap<ObjectName, Read>>,
}

impl Secrets {
    /// The watch saw a Secret; says whether it is another version.
    pub(crate) fn put(&self, name: &ObjectName, version: &str) -> bool {
        let before = self.versions.write().insert(name.clone(), version.to_owned());
        if before.as_deref() == Some(version) {
            return false;
        }
        let mut read = self.read.write();
        if read.get(name).is_some_and(|read| read.version != version) {
            read.remove(name);
        }
        true
    }

    /// The watch saw a Secret disappear.
    pub(crate) fn remove(&self, name: &ObjectName) {
        self.versions.write().remove(name);
        self.read.write().remove(name);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.versions.read().len()
    }

    /// Looks at what `needs` name. Keys are read from the server once per version of a Secret.
    pub(crate) async fn look(
        &self,
        client: &Client,
        namespace: &str,
        needs: &[SecretNeed],
    ) -> Result<BTreeMap<String, SecretView>, CallError> {
        let mut seen = BTreeMap::new();
        for need in needs {
            let name = ObjectName::new(namespace, &need.secret);
            let version = self.versions.read().get(&name).cloned();
            let view = match version {
                None => SecretView::Absent,
                Some(_) if need.keys.is_empty() => SecretView::Exists,
                Some(version) => self.keys(client, &name, version).await?,
            };
            match seen.get(&need.secret) {
                // Two needs of one Secret: the one that looks at keys says more.
                Some(SecretView::Keys(_)) => {}
                _ => {
                    seen.insert(need.secret.clone(), view);
                }
            }
        }
        Ok(seen)
    }

    async fn keys(
        &self,
        client: &Client,
        name: &ObjectName,
        version: String,
    ) -> Result<SecretView, CallError> {
        let cell = self.cell(name, version);
        match cell.get_or_try_init(|| fetch(client, name)).await {
            Ok(keys) => Ok(SecretView::Keys(Arc::clone(keys))),
            Err(Unread::Gone) => Ok(SecretView::Absent),
            Err(Unread::Failed(error)) => Err(error),
        }
    }

    fn cell(&self, name: &ObjectName, version: String) -> Arc<OnceCell<Keys>> {
        let mut read = self.read.write();
        match read.get(name) {
            Some(read) if read.version == version => Arc::clone(&read.keys),
            _ => {
                let keys = Arc::<OnceCell<Keys>>::default();
                let new = Read {
                    version,
                    keys: Arc::clone(&keys),
                };
                read.insert(name.clone(), new);
                keys
            }
        }
    }
}

async fn fetch(client: &Client, name: &ObjectName) -> Result<Keys, Unread> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &name.namespace);
    let action = format!("read the keys of Secret {}", name.name);
    let secret = call(action, api.get_opt(&name.name))
        .await
        .map_err(Unread::Failed)?
        .ok_or(Unread::Gone)?;
    let values = secret.data.into_iter().flatten();
    Ok(Arc::new(values.map(|(key, value)| (key, fact(&value))).collect()))
}

fn fact(value: &ByteString) -> KeyFact {
    KeyFact {
        empty: value.0.is_empty(),
        placeholder: is_placeholder(&value.0),
        redis_endpoint: std::str::from_utf8(&value.0).ok().and_then(redis_endpoint),
    }
}

/// Hosts and ports of the URL of a Redis, without users and passwords.
fn redis_endpoint(text: &str) -> Option<String> {
    let url: RedisUrl = text.parse().ok()?;
    Some(url.authority())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_no_credentials() {
        assert_eq!(
            redis_endpoint("rediss://user:secret@redis.example:6380/0\n").as_deref(),
            Some("redis.example:6380")
        );
        assert_eq!(
            redis_endpoint("redis://10.0.0.1").as_deref(),
            Some("10.0.0.1:6379")
        );
        assert_eq!(
            redis_endpoint("rediss+sentinel://user:secret@a,b:7000/main?sentinel_password=secret").as_deref(),
            Some("a:26379,b:7000")
        );
        assert_eq!(
            redis_endpoint("redis+cluster://:secret@a:7000,b").as_deref(),
            Some("a:7000,b:6379")
        );
        for wrong in ["", "secret", "https://redis.example", "redis://"] {
            assert_eq!(redis_endpoint(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_placeholder_is_known_and_its_value_is_not_kept() {
        let fact = |text: &str| fact(&ByteString(text.into()));
        for (text, placeholder) in [
            ("HELLO-MFS", true),
            ("to-change-in-prod\n", true),
            ("own", false),
            ("", false),
        ] {
            let fact = fact(text);
            assert_eq!(
                (fact.placeholder, fact.empty),
                (placeholder, text.is_empty()),
                "{text}"
            );
        }
        assert!(!format!("{:?}", fact("HELLO-MFS")).contains("HELLO"));
    }

    #[test]
    fn a_new_version_forgets_the_keys_of_the_old() {
        let secrets = Secrets::default();
        let name = ObjectName::new("ns", "a");
        assert!(secrets.put(&name, "1"));
        let read = secrets.cell(&name, "1".into());
        assert!(!secrets.put(&name, "1"));
        assert!(Arc::ptr_eq(&read, &secrets.cell(&name, "1".into())));
        assert!(secrets.put(&name, "2"));
        assert!(secrets.read.read().is_empty());
    }
}
