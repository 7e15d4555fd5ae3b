//! Settings of ICE servers.

use std::time::Duration;

use kube::ResourceExt;

use super::check::{Checker, FieldErrors};
use super::managed_turn::{self, MANAGED_PROVIDER, turn_secret};
use super::values::{ObjectName, SecretRef};
use crate::api::{FailurePolicy, TurnConfig, TurnProvider};

/// Domain of the applications at Metered.
const METERED: &str = "metered.live";
/// Most characters of a name in DNS.
const MAX_DOMAIN: usize = 253;

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
    /// What a match gets while a provider fails.
    pub failure_policy: FailurePolicy,
}

/// One source of TURN servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderSettings {
    /// Servers that Berth runs: time-limited credentials by a secret that it generates.
    Managed {
        /// URLs of each server; empty while no address is known.
        servers: Vec<Vec<String>>,
        /// The shared secret.
        secret: SecretRef,
    },
    /// Time-limited credentials by a shared secret (draft-uberti-behave-turn-rest-00).
    SharedSecret {
        /// Name of the entry.
        name: String,
        /// TURN servers.
        urls: Vec<String>,
        /// The shared secret.
        secret: SecretRef,
    },
    /// One fixed user.
    Static {
        /// Name of the entry.
        name: String,
        /// TURN servers.
        urls: Vec<String>,
        /// The user name.
        username: SecretRef,
        /// The credential.
        credential: SecretRef,
    },
    /// A credential that Metered issues.
    Metered {
        /// Name of the entry.
        name: String,
        /// Host name of the application's API, in full.
        domain: String,
        /// The application's secret key.
        api_key: SecretRef,
    },
}

impl ProviderSettings {
    /// Name of the entry, unique among the providers of a TurnConfig.
    pub fn name(&self) -> &str {
        match self {
            Self::Managed { .. } => MANAGED_PROVIDER,
            Self::SharedSecret { name, .. } | Self::Static { name, .. } | Self::Metered { name, .. } => name,
        }
    }
}

impl TryFrom<&TurnConfig> for TurnSettings {
    type Error = FieldErrors;

    fn try_from(resource: &TurnConfig) -> Result<Self, FieldErrors> {
        let spec = &resource.spec;
        let mut check = Checker::default();
        check.require(
            !spec.stun_urls.is_empty() || !spec.providers.is_empty() || spec.managed.is_some(),
            "spec",
            "stunUrls or providers must have an entry, or managed must be set",
        );
        check.own_name(&resource.name_any());
        check.entries("spec.stunUrls", spec.stun_urls.len(), 0..=16);
        urls(&mut check, "spec.stunUrls", &spec.stun_urls, &["stun:", "stuns:"]);
        for (index, url) in spec.stun_urls.iter().enumerate() {
            check.require(
                !url.contains('?'),
                &format!("spec.stunUrls[{index}]"),
                "must have no query (RFC 7064)",
            );
        }
        check.entries("spec.providers", spec.providers.len(), 0..=8);
        let mut providers = Vec::with_capacity(spec.providers.len() + 1);
        if let Some(managed) = &spec.managed {
            managed_turn::check(&mut check, managed);
            let status = resource.status.as_ref();
            let status = status.and_then(|status| status.managed.as_ref());
            providers.push(ProviderSettings::Managed {
                servers: managed_turn::servers(managed, status),
                secret: turn_secret(&resource.name_any()),
            });
        }
        for (index, entry) in spec.providers.iter().enumerate() {
            let path = format!("spec.providers[{index}]");
            let unique = spec
                .providers
                .iter()
                .take(index)
                .all(|earlier| earlier.name != entry.name);
            check.require(unique, &format!("{path}.name"), "must be unique in the list");
            check.require(
                spec.managed.is_none() || entry.name != MANAGED_PROVIDER,
                &format!("{path}.name"),
                "is that of the servers in spec.managed",
            );
            check.require(
                is_label(&entry.name),
                &format!("{path}.name"),
                "must have 1 to 63 characters out of a-z 0-9 -, none of them - at the start or end",
            );
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
            failure_policy: spec.failure_policy,
        };
        check.finish(Some(settings))
    }
}

fn provider(check: &mut Checker, path: &str, entry: &TurnProvider) -> Option<ProviderSettings> {
    let key = |name: &str, key: &Option<String>, usual: &str| SecretRef {
        name: name.to_owned(),
        key: key.clone().unwrap_or_else(|| usual.to_owned()),
    };
    match (&entry.shared_secret, &entry.fixed, &entry.metered) {
        (Some(shared), None, None) => {
            turn_urls(check, &format!("{path}.sharedSecret.urls"), &shared.urls);
            let reference = &shared.secret_ref;
            let secret = key(&reference.name, &reference.key, "secret");
            let path = format!("{path}.sharedSecret.secretRef");
            check.secret_part(&format!("{path}.name"), &secret.name);
            check.secret_part(&format!("{path}.key"), &secret.key);
            Some(ProviderSettings::SharedSecret {
                name: entry.name.clone(),
                urls: shared.urls.clone(),
                secret,
            })
        }
        (None, Some(fixed), None) => {
            turn_urls(check, &format!("{path}.static.urls"), &fixed.urls);
            let reference = &fixed.secret_ref;
            let username = key(&reference.name, &reference.username_key, "username");
            let credential = key(&reference.name, &reference.credential_key, "credential");
            let path = format!("{path}.static.secretRef");
            check.secret_part(&format!("{path}.name"), &reference.name);
            check.secret_part(&format!("{path}.usernameKey"), &username.key);
            check.secret_part(&format!("{path}.credentialKey"), &credential.key);
            Some(ProviderSettings::Static {
                name: entry.name.clone(),
                urls: fixed.urls.clone(),
                username,
                credential,
            })
        }
        (None, None, Some(metered)) => {
            check.require(
                is_domain(&metered.domain),
                &format!("{path}.metered.domain"),
                "must be the name of an application at Metered, such as games or games.metered.live, without scheme, port and path",
            );
            let reference = &metered.api_key_secret_ref;
            let api_key = key(&reference.name, &reference.key, "apiKey");
            let path = format!("{path}.metered.apiKeySecretRef");
            check.secret_part(&format!("{path}.name"), &api_key.name);
            check.secret_part(&format!("{path}.key"), &api_key.key);
            let domain = metered.domain.to_ascii_lowercase();
            Some(ProviderSettings::Metered {
                name: entry.name.clone(),
                domain: if domain.contains('.') {
                    domain
                } else {
                    format!("{domain}.{METERED}")
                },
                api_key,
            })
        }
        _ => {
            check.refuse(
                path,
                "exactly one of sharedSecret, static and metered must be set",
            );
            None
        }
    }
}

/// Labels of letters, digits and inner hyphens (RFC 1123, section 2.1).
pub(super) fn is_domain(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label = |label: &str| {
        let inside = !label.starts_with('-') && !label.ends_with('-');
        (1..=63).contains(&label.len()) && inside && label.bytes().all(allowed)
    };
    text.len() <= MAX_DOMAIN && text.split('.').all(is_label)
}

/// The name of a provider: a label of RFC 1123.
fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let inside = !text.starts_with('-') && !text.ends_with('-');
    (1..=63).contains(&text.len()) && inside && text.bytes().all(allowed)
}

fn turn_urls(check: &mut Checker, path: &str, list: &[String]) {
    check.entries(path, list.len(), 1..=16);
    urls(check, path, list, &["turn:", "turns:"]);
}

fn urls(check: &mut Checker, path: &str, urls: &[String], schemes: &[&str]) {
    for (index, url) in urls.iter().enumerate() {
        let known = schemes
            .iter()
            .any(|scheme| url.len() > scheme.len() && url.starts_with(scheme));
        let allowed = known && url.chars().count() <= 256 && !url.contains(char::is_whitespace);
        check.require(
            allowed,
            &format!("{path}[{index}]"),
            &format!(
                "must start with {}, name a server, and have at most 256 characters and no blanks",
                schemes.join(" or ")
            ),
        );
    }
}
