//! References between resources: what each of them needs, and what of that is missing. Pure.
//!
//! A reference is resolved when the object exists and, for a Secret that someone else made, when the keys that are
//! named have a value. No pod is made before: one that mounts a Secret which is not there would never start.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use berth_crds::api::{ClusterEnvironment, RotatingSecretRef};
use berth_crds::settings::{
    FieldErrors, PoolSettings, ProviderSettings, TurnSettings, match_key_secret, placeholder_cure,
    turn_secret,
};
use berth_crds::{HostPool, SignalingCluster, TurnConfig};
use kube::ResourceExt;

use crate::render::{PodLinks, RedisAccess};

/// What is known of a Secret. Its values are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SecretView {
    /// There is none of that name.
    #[default]
    Absent,
    /// It exists; its keys were not looked at.
    Exists,
    /// It exists and has these keys.
    Keys(Arc<BTreeMap<String, KeyFact>>),
}

/// What is known of a key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFact {
    /// The value has no bytes.
    pub empty: bool,
    /// The value is one that everybody knows.
    pub placeholder: bool,
    /// Hosts and ports when the value is the URL of a Redis.
    pub redis_endpoint: Option<String>,
}

/// What is needed of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretNeed {
    /// Name of the Secret.
    pub secret: String,
    /// Keys that must have a value. None for a Secret that the operator makes: that it exists is enough.
    pub keys: BTreeSet<String>,
    /// Whether the keys hold URLs of a Redis.
    pub redis_url: bool,
}

/// Something that a resource names and that is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    /// A SignalingCluster.
    SignalingCluster(String),
    /// A TurnConfig.
    TurnConfig(String),
    /// A TurnConfig whose spec is wrong.
    InvalidTurnConfig(String),
    /// A Secret.
    Secret(String),
    /// A key of a Secret, or its value.
    Key(SecretKey),
    /// A key of a Secret should hold the URL of a Redis and does not.
    RedisUrl(SecretKey),
    /// A key of a Secret holds a value that everybody knows, which counts as none in production.
    Weak(Purpose, SecretKey),
}

/// What a secret is for that must not be one that everybody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Hosts prove by it that they belong to a pool.
    Hosts,
    /// It allows changes on the internal port of a matchmaker.
    Admin,
    /// It signs the tokens of peers.
    Tokens,
}

/// A value in use that everybody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholder {
    /// What it is for.
    pub purpose: Purpose,
    /// Where it is.
    pub key: SecretKey,
    /// It is the current one, and not the one before it.
    pub current: bool,
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretKey {
    /// Name of the Secret.
    pub secret: String,
    /// Key.
    pub key: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SignalingCluster(name) => write!(f, "SignalingCluster {name} does not exist"),
            Self::TurnConfig(name) => write!(f, "TurnConfig {name} does not exist"),
            Self::InvalidTurnConfig(name) => write!(f, "TurnConfig {name} has an invalid spec"),
            Self::Secret(name) => write!(f, "Secret {name} does not exist"),
            Self::Key(SecretKey { secret, key }) => write!(f, "Secret {secret} has no value under key {key}"),
            Self::RedisUrl(SecretKey { secret, key }) => {
                write!(
                    f,
                    "Secret {secret} key {key} is not a redis[s]://, redis[s]+sentinel:// or redis[s]+cluster:// URL"
                )
            }
            Self::Weak(_, SecretKey { secret, key }) => {
                write!(
                    f,
                    "{}, or set the SignalingCluster's spec.environment to Development",
                    placeholder_cure(secret, key)
                )
            }
        }
    }
}

/// What one resource names in other objects of its namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// SignalingCluster.
    pub signaling_cluster: Option<String>,
    /// TurnConfig.
    pub turn_config: Option<String>,
    /// Secrets, those that the operator makes for it included.
    pub secrets: BTreeSet<String>,
}

/// What a SignalingCluster names. What its TurnConfig names in turn is that one's.
pub fn names_of_cluster(resource: &SignalingCluster) -> Names {
    let mut secrets: BTreeSet<String> = cluster_needs(resource, None)
        .into_iter()
        .map(|need| need.secret)
        .collect();
    secrets.insert(match_key_secret(&resource.name_any()).current.name);
    secrets.extend(RedisAccess::of(resource).secrets());
    Names {
        signaling_cluster: None,
        turn_config: resource
            .spec
            .turn_config_ref
            .as_ref()
            .map(|reference| reference.name.clone()),
        secrets,
    }
}

/// What a HostPool names. What its SignalingCluster and TurnConfig name in turn is theirs.
pub fn names_of_pool(resource: &HostPool) -> Names {
    let spec = &resource.spec;
    Names {
        signaling_cluster: Some(spec.signaling_cluster_ref.name.clone()),
        turn_config: spec
            .turn_config_ref
            .as_ref()
            .map(|reference| reference.name.clone()),
        secrets: pool_secrets(resource)
            .into_iter()
            .map(|(_, reference)| reference.name.clone())
            .collect(),
    }
}

/// Secrets that someone made for the pool itself. Those that the operator makes are random.
pub fn pool_secrets(resource: &HostPool) -> Vec<(Purpose, &RotatingSecretRef)> {
    let spec = &resource.spec;
    let hosts = spec.host_auth.secret_ref.iter();
    let admin = spec.admin_token_secret_ref.iter();
    let hosts = hosts.map(|reference| (Purpose::Hosts, reference));
    hosts
        .chain(admin.map(|reference| (Purpose::Admin, reference)))
        .collect()
}

/// Secrets that someone shares with a SignalingCluster.
pub fn cluster_secrets(resource: &SignalingCluster) -> Vec<(Purpose, &RotatingSecretRef)> {
    let jwt = resource.spec.auth.jwt.as_ref();
    let shared = jwt.and_then(|jwt| jwt.secret_ref.as_ref());
    shared
        .map(|reference| (Purpose::Tokens, reference))
        .into_iter()
        .collect()
}

/// What a TurnConfig names.
pub fn names_of_turn(resource: &TurnConfig) -> Names {
    let shared = |provider: &berth_crds::api::TurnProvider| {
        let shared = provider
            .shared_secret
            .as_ref()
            .map(|shared| shared.secret_ref.name.clone());
        let fixed = provider.fixed.as_ref().map(|fixed| fixed.secret_ref.name.clone());
        let metered = provider.metered.as_ref();
        let metered = metered.map(|metered| metered.api_key_secret_ref.name.clone());
        shared.into_iter().chain(fixed).chain(metered)
    };
    let mut secrets: BTreeSet<String> = resource.spec.providers.iter().flat_map(shared).collect();
    if let Some(managed) = &resource.spec.managed {
        secrets.insert(turn_secret(&resource.name_any()).name);
        secrets.extend(managed.tls.iter().map(|tls| tls.secret_name.clone()));
    }
    Names {
        secrets,
        ..Names::default()
    }
}

/// Secrets that someone must have made for a SignalingCluster, given the TurnConfig that it names.
pub fn cluster_needs(resource: &SignalingCluster, turn: Option<&TurnSettings>) -> Vec<SecretNeed> {
    let mut needs = token_needs(resource);
    needs.extend(external_redis_needs(&RedisAccess::of(resource)));
    needs.extend(turn.map(turn_needs).unwrap_or_default());
    needs
}

/// Secrets by which pods reach a Redis of the team's.
fn external_redis_needs(redis: &RedisAccess) -> Vec<SecretNeed> {
    let RedisAccess::External {
        secret,
        key,
        authorities,
    } = redis
    else {
        return Vec::new();
    };
    let url = SecretNeed {
        redis_url: true,
        ..need(secret, [key])
    };
    let authorities = authorities.as_ref().map(|(secret, key)| need(secret, [key]));
    [Some(url), authorities].into_iter().flatten().collect()
}

/// Secrets with which tokens of an issuer are checked.
fn token_needs(resource: &SignalingCluster) -> Vec<SecretNeed> {
    let Some(jwt) = &resource.spec.auth.jwt else {
        return Vec::new();
    };
    let shared = jwt.secret_ref.as_ref();
    let authorities = jwt.jwks.as_ref().and_then(|jwks| jwks.ca_secret_ref.as_ref());
    let shared = shared.map(|secret| need(&secret.name, [&secret.current_key]));
    let authorities = authorities.map(|secret| need(&secret.name, [&secret.key]));
    shared.into_iter().chain(authorities).collect()
}

/// Secrets that a HostPool needs, given what it names.
pub fn pool_needs(
    resource: &HostPool,
    cluster: &SignalingCluster,
    turn: Option<&TurnSettings>,
) -> Vec<SecretNeed> {
    let mut needs = vec![exists(&match_key_secret(&cluster.name_any()).current.name)];
    let redis = RedisAccess::of(cluster);
    if matches!(redis, RedisAccess::Managed { .. }) {
        needs.push(exists(&redis.secret()));
    }
    needs.extend(external_redis_needs(&redis));
    needs.extend(
        pool_secrets(resource)
            .into_iter()
            .map(|(_, secret)| need(&secret.name, [&secret.current_key])),
    );
    needs.extend(turn.map(turn_needs).unwrap_or_default());
    needs
}

/// Secrets that a TurnConfig needs.
pub fn turn_needs(settings: &TurnSettings) -> Vec<SecretNeed> {
    let mut keys: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for provider in &settings.providers {
        let references = match provider {
            ProviderSettings::Managed { secret, .. } => {
                // The operator makes it: that it exists is enough.
                keys.entry(&secret.name).or_default();
                continue;
            }
            ProviderSettings::SharedSecret { secret, .. } => vec![secret],
            ProviderSettings::Static {
                username, credential, ..
            } => vec![username, credential],
            ProviderSettings::Metered { api_key, .. } => vec![api_key],
        };
        for reference in references {
            keys.entry(&reference.name)
                .or_default()
                .insert(reference.key.clone());
        }
    }
    keys.into_iter()
        .map(|(secret, keys)| SecretNeed {
            secret: secret.to_owned(),
            keys,
            redis_url: false,
        })
        .collect()
}

/// Secrets that someone must have made for a TurnConfig itself: those of its providers, and beside them the one that the pods of the
/// servers which Berth runs mount.
pub fn turn_own_needs(
    resource: &TurnConfig,
    settings: &TurnSettings,
) -> (Vec<SecretNeed>, Option<SecretNeed>) {
    let mut needs = turn_needs(settings);
    let made = turn_secret(&resource.name_any()).name;
    needs.retain(|need| need.secret != made || !need.keys.is_empty());
    let tls = resource
        .spec
        .managed
        .as_ref()
        .and_then(|managed| managed.tls.as_ref());
    let keys = ["tls.crt", "tls.key"].map(str::to_owned);
    let tls = tls.map(|tls| need(&tls.secret_name, keys.each_ref()));
    (needs, tls)
}

/// What the pods of a SignalingCluster mount, given the TurnConfig that it names.
pub fn cluster_links(resource: &SignalingCluster, turn: Option<&TurnSettings>) -> PodLinks {
    let redis = RedisAccess::of(resource);
    let mut secrets = BTreeSet::from([match_key_secret(&resource.name_any()).current.name]);
    let named = token_needs(resource)
        .into_iter()
        .chain(turn.map(turn_needs).unwrap_or_default());
    secrets.extend(named.map(|need| need.secret));
    PodLinks { redis, secrets }
}

/// What the pods of a HostPool mount.
pub fn pool_links(
    settings: &PoolSettings,
    cluster: &SignalingCluster,
    turn: Option<&TurnSettings>,
) -> PodLinks {
    let mut secrets = BTreeSet::from([
        match_key_secret(&cluster.name_any()).current.name,
        settings.host_secret.current.name.clone(),
        settings.admin_token.current.name.clone(),
    ]);
    secrets.extend(
        turn.map(turn_needs)
            .unwrap_or_default()
            .into_iter()
            .map(|need| need.secret),
    );
    PodLinks {
        redis: RedisAccess::of(cluster),
        secrets,
    }
}

/// The TurnConfig's settings, or that it is missing or wrong.
pub fn turn_settings(name: &str, resource: Option<&TurnConfig>) -> Result<TurnSettings, Missing> {
    let resource = resource.ok_or_else(|| Missing::TurnConfig(name.to_owned()))?;
    TurnSettings::try_from(resource).map_err(|_: FieldErrors| Missing::InvalidTurnConfig(name.to_owned()))
}

/// What of `needs` is missing.
pub fn missing_secrets(needs: &[SecretNeed], seen: &BTreeMap<String, SecretView>) -> Vec<Missing> {
    let mut missing = BTreeSet::new();
    for need in needs {
        let key_of = |key: &String| SecretKey {
            secret: need.secret.clone(),
            key: key.clone(),
        };
        match seen.get(&need.secret) {
            None | Some(SecretView::Absent) => {
                missing.insert(Missing::Secret(need.secret.clone()));
            }
            Some(SecretView::Exists) => {}
            Some(SecretView::Keys(keys)) => {
                for key in &need.keys {
                    match keys.get(key) {
                        None | Some(KeyFact { empty: true, .. }) => {
                            missing.insert(Missing::Key(key_of(key)));
                        }
                        Some(fact) if need.redis_url && fact.redis_endpoint.is_none() => {
                            missing.insert(Missing::RedisUrl(key_of(key)));
                        }
                        Some(_) => {}
                    }
                }
            }
        }
    }
    missing.into_iter().collect()
}

/// Which of `secrets` everybody knows, by what was seen.
pub fn placeholders(
    secrets: &[(Purpose, &RotatingSecretRef)],
    seen: &BTreeMap<String, SecretView>,
) -> Vec<Placeholder> {
    let mut found = Vec::new();
    for (purpose, reference) in secrets {
        let Some(SecretView::Keys(keys)) = seen.get(&reference.name) else {
            continue;
        };
        for (key, current) in [(&reference.current_key, true), (&reference.previous_key, false)] {
            if keys.get(key).is_some_and(|fact| fact.placeholder) {
                found.push(Placeholder {
                    purpose: *purpose,
                    key: SecretKey {
                        secret: reference.name.clone(),
                        key: key.clone(),
                    },
                    current,
                });
            }
        }
    }
    found
}

/// What `found` means in `environment`: what is missing by it, first, and what there is to warn of. In production a current
/// value counts as missing; a previous one is refused by the services, and only hosts that still have it mind.
pub fn judge_placeholders(
    found: Vec<Placeholder>,
    environment: ClusterEnvironment,
) -> (Vec<Missing>, Vec<Placeholder>) {
    match environment {
        ClusterEnvironment::Development => (Vec::new(), found),
        ClusterEnvironment::Production => {
            let current = found.into_iter().filter(|one| one.current);
            let missing = current.map(|one| Missing::Weak(one.purpose, one.key));
            (missing.collect(), Vec::new())
        }
    }
}

fn need<'a>(secret: &str, keys: impl IntoIterator<Item = &'a String>) -> SecretNeed {
    SecretNeed {
        secret: secret.to_owned(),
        keys: keys.into_iter().cloned().collect(),
        redis_url: false,
    }
}

fn exists(secret: &str) -> SecretNeed {
    need(secret, [])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[(&str, KeyFact)]) -> SecretView {
        let keys = keys.iter().map(|(key, fact)| ((*key).to_owned(), fact.clone()));
        SecretView::Keys(Arc::new(keys.collect()))
    }

    fn seen(view: SecretView) -> BTreeMap<String, SecretView> {
        [("a".to_owned(), view)].into()
    }

    fn key(key: &str) -> SecretKey {
        SecretKey {
            secret: "a".into(),
            key: key.into(),
        }
    }

    #[test]
    fn a_secret_counts_when_each_key_that_is_named_has_a_value() {
        let needs = [need("a", [&"x".to_owned(), &"y".to_owned()])];
        let empty = KeyFact {
            empty: true,
            ..KeyFact::default()
        };
        let missing = |view| missing_secrets(&needs, &seen(view));
        assert_eq!(missing(SecretView::Absent), [Missing::Secret("a".into())]);
        assert_eq!(
            missing_secrets(&needs, &BTreeMap::new()),
            [Missing::Secret("a".into())]
        );
        assert_eq!(
            missing(keys(&[("x", empty), ("z", KeyFact::default())])),
            [Missing::Key(key("x")), Missing::Key(key("y"))]
        );
        assert_eq!(
            missing(keys(&[("x", KeyFact::default()), ("y", KeyFact::default())])),
            []
        );
        assert_eq!(missing_secrets(&[exists("a")], &seen(SecretView::Exists)), []);
    }

    /// What is waited for is what is mounted, and beside it what the operator makes.
    #[test]
    fn a_cluster_needs_keys_of_tokens_and_what_its_turn_config_needs() {
        let cluster = |auth: serde_json::Value| -> SignalingCluster {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "berth.dev/v1alpha1",
                "kind": "SignalingCluster",
                "metadata": {"name": "main"},
                "spec": {"publicUrl": "ws://a", "auth": auth, "turnConfigRef": {"name": "turn"}},
            }))
            .unwrap()
        };
        let turn: TurnConfig = serde_json::from_value(serde_json::json!({
            "apiVersion": "berth.dev/v1alpha1",
            "kind": "TurnConfig",
            "metadata": {"name": "turn"},
            "spec": {"providers": [{"name": "a", "sharedSecret": {"urls": ["turn:a"], "secretRef": {"name": "coturn"}}},
                {"name": "b", "metered": {"domain": "games", "apiKeySecretRef": {"name": "metered"}}}]},
        }))
        .unwrap();
        let turn = turn_settings("turn", Some(&turn)).unwrap();
        let authorities =
            serde_json::json!({"url": "https://a", "caSecretRef": {"name": "ca", "key": "ca.crt"}});
        for (auth, token_secrets) in [
            (serde_json::json!({}), &[][..]),
            (serde_json::json!({"mode": "MatchToken"}), &[]),
            (
                serde_json::json!({"mode": "Jwt", "jwt": {"secretRef": {"name": "tokens"}}}),
                &[("tokens", "current")],
            ),
            (
                serde_json::json!({"mode": "Jwt", "jwt": {"jwks": {"url": "https://a"}}}),
                &[],
            ),
            (
                serde_json::json!({"mode": "Jwt", "jwt": {"jwks": authorities}}),
                &[("ca", "ca.crt")],
            ),
        ] {
            let cluster = cluster(auth.clone());
            let mut expected: Vec<_> = token_secrets
                .iter()
                .map(|(secret, key)| need(secret, [&(*key).to_owned()]))
                .collect();
            assert_eq!(cluster_needs(&cluster, None), expected, "{auth}");
            expected.push(need("coturn", [&"secret".to_owned()]));
            expected.push(need("metered", [&"apiKey".to_owned()]));
            let needs = cluster_needs(&cluster, Some(&turn));
            assert_eq!(needs, expected, "{auth}");
            let mut mounted = cluster_links(&cluster, Some(&turn)).secrets;
            assert!(mounted.remove("main-match-key"), "{auth}");
            assert_eq!(
                mounted,
                needs.into_iter().map(|need| need.secret).collect(),
                "{auth}"
            );
        }
    }

    #[test]
    fn placeholders_are_missing_in_production_and_warned_of_in_development() {
        let weak = || KeyFact {
            placeholder: true,
            ..KeyFact::default()
        };
        let reference = RotatingSecretRef::named("a");
        let judge = |keys: &[(&str, KeyFact)], environment| {
            let found = placeholders(&[(Purpose::Hosts, &reference)], &seen(self::keys(keys)));
            judge_placeholders(found, environment)
        };
        let (production, development) = (ClusterEnvironment::Production, ClusterEnvironment::Development);
        let both = [("current", weak()), ("previous", weak()), ("other", weak())];
        let missing = Missing::Weak(Purpose::Hosts, key("current"));
        assert_eq!(judge(&both, production), (vec![missing.clone()], vec![]));
        let (missing_then, warned) = judge(&both, development);
        assert_eq!((missing_then, warned.len()), (vec![], 2));
        let old = [("current", KeyFact::default()), ("previous", weak())];
        assert_eq!(judge(&old, production), (vec![], vec![]));
        assert_eq!(judge(&old, development).1[0].key, key("previous"));
        assert_eq!(judge(&[("current", KeyFact::default())], development).1, []);
        assert_eq!(
            placeholders(&[(Purpose::Hosts, &reference)], &seen(SecretView::Absent)),
            []
        );
        let told = missing.to_string();
        assert!(
            told.starts_with(
                "Secret a has a placeholder that everybody knows under key current: put a random value there"
            ),
            "{told}"
        );
    }

    #[test]
    fn a_redis_url_must_be_one() {
        let needs = [SecretNeed {
            redis_url: true,
            ..need("a", [&"url".to_owned()])
        }];
        let found = missing_secrets(&needs, &seen(keys(&[("url", KeyFact::default())])));
        assert_eq!(found, [Missing::RedisUrl(key("url"))]);
        let url = KeyFact {
            redis_endpoint: Some("redis.example:6379".into()),
            ..KeyFact::default()
        };
        assert_eq!(missing_secrets(&needs, &seen(keys(&[("url", url)]))), []);
    }
}
