//! Settings of ICE servers.

use std::time::Duration;

use kube::ResourceExt;

use super::check::{Checker, FieldErrors};
use super::values::{ObjectName, SecretRef};
use crate::api::{TurnConfig, TurnProvider};

/// Settings of ICE servers, from a [`TurnConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnSettings {
    /// The resource.
    pub name: ObjectName,
    /// `metadata.generation` of the resource; 0 outside a cluster.
    pub generation: i64,
    /// STUN servers.
    pub stun_urls: Vec<String>,
    /// Sources of TURN servers, in the order in which they are handed out.
    pub providers: Vec<ProviderSettings>,
    /// How long issued credentials are valid.
    pub credential_ttl: Duration,
}

/// One source of TURN servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderSettings {
    /// Time-limited credentials by a shared secret (draft-uberti-behave-turn-rest-00).
    SharedSecret {
        /// TURN servers.
        urls: Vec<String>,
        /// The shared secret.
        secret: SecretRef,
    },
    /// One fixed user.
    Static {
        /// TURN servers.
        urls: Vec<String>,
        /// The user name.
        username: SecretRef,
        /// The credential.
        credential: SecretRef,
    },
}

impl TryFrom<&TurnConfig> for TurnSettings {
    type Error = FieldErrors;

    fn try_from(resource: &TurnConfig) -> Result<Self, FieldErrors> {
        let spec = &resource.spec;
        let mut check = Checker::default();
        check.require(
            !spec.stun_urls.is_empty() || !spec.providers.is_empty(),
            "spec",
            "at least one of stunUrls and providers must have an entry",
        );
        urls(&mut check, "spec.stunUrls", &spec.stun_urls, &["stun:", "stuns:"]);
        let mut providers = Vec::with_capacity(spec.providers.len());
        for (index, entry) in spec.providers.iter().enumerate() {
            let path = format!("spec.providers[{index}]");
            let unique = spec
                .providers
                .iter()
                .take(index)
                .all(|earlier| earlier.name != entry.name);
            check.require(unique, &format!("{path}.name"), "must be unique in the list");
            providers.extend(provider(&mut check, &path, entry));
        }
        let ttl = check.number::<u32>(
            "spec.credentialTtlSeconds",
            spec.credential_ttl_seconds,
            300..=86_400,
        );
        let settings = Self {
            name: ObjectName::new(
                resource.namespace().unwrap_or_else(|| "default".into()),
                resource.name_any(),
            ),
            generation: resource.metadata.generation.unwrap_or_default(),
            stun_urls: spec.stun_urls.clone(),
            providers,
            credential_ttl: Duration::from_secs(ttl.into()),
        };
        check.finish(Some(settings))
    }
}

fn provider(check: &mut Checker, path: &str, entry: &TurnProvider) -> Option<ProviderSettings> {
    let key = |name: &str, key: &Option<String>, usual: &str| SecretRef {
        name: name.to_owned(),
        key: key.clone().unwrap_or_else(|| usual.to_owned()),
    };
    match (&entry.shared_secret, &entry.fixed) {
        (Some(shared), None) => {
            urls(
                check,
                &format!("{path}.sharedSecret.urls"),
                &shared.urls,
                &["turn:", "turns:"],
            );
            let reference = &shared.secret_ref;
            Some(ProviderSettings::SharedSecret {
                urls: shared.urls.clone(),
                secret: key(&reference.name, &reference.key, "secret"),
            })
        }
        (None, Some(fixed)) => {
            urls(
                check,
                &format!("{path}.static.urls"),
                &fixed.urls,
                &["turn:", "turns:"],
            );
            let reference = &fixed.secret_ref;
            Some(ProviderSettings::Static {
                urls: fixed.urls.clone(),
                username: key(&reference.name, &reference.username_key, "username"),
                credential: key(&reference.name, &reference.credential_key, "credential"),
            })
        }
        _ => {
            check.refuse(path, "exactly one of sharedSecret and static must be set");
            None
        }
    }
}

fn urls(check: &mut Checker, path: &str, urls: &[String], schemes: &[&str]) {
    for (index, url) in urls.iter().enumerate() {
        let known = schemes
            .iter()
            .any(|scheme| url.len() > scheme.len() && url.starts_with(scheme));
        let allowed = known && !url.contains(char::is_whitespace);
        check.require(
            allowed,
            &format!("{path}[{index}]"),
            &format!("must start with {}", schemes.join(" or ")),
        );
    }
}
