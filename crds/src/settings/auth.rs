//! Settings of authentication.

use std::time::Duration;

use url::Url;

use super::check::Checker;
use super::values::{SecretPair, SecretRef};
use crate::api::{Auth, AuthMode, Jwks, Jwt, JwtAlgorithm, LegacyPeers};

/// Algorithms with a shared key, if none is named.
const SYMMETRIC: [JwtAlgorithm; 1] = [JwtAlgorithm::HS256];
/// Algorithms with published keys, if none is named. None of them can be mistaken for one with a shared key.
const ASYMMETRIC: [JwtAlgorithm; 3] = [JwtAlgorithm::RS256, JwtAlgorithm::PS256, JwtAlgorithm::ES256];
/// What is wrong with an algorithm that does not fit the key.
const UNFIT: &str = "HS256, HS384 and HS512 need a shared secret (secretRef); RS256, PS256 and ES256 need published keys (jwks)";
/// What is wrong with the address of a key set.
const URL_RULE: &str = "must be a URL such as https://id.example.com/keys, of http or https, without user, password and fragment";
/// Most characters of the address of a key set.
const MAX_URL: usize = 1024;

/// How peers prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthSettings {
    /// They do not.
    None,
    /// By a token of an issuer.
    Jwt(Box<JwtSettings>),
    /// By a token of the matchmaker.
    MatchToken {
        /// What becomes of peers that know nothing of it.
        legacy_peers: LegacyPeers,
    },
}

/// How tokens of an issuer are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// Where the keys come from.
    pub keys: KeySource,
    /// The only accepted algorithms; not empty, and they fit `keys`.
    pub algorithms: Vec<JwtAlgorithm>,
    /// Required issuer.
    pub issuer: Option<String>,
    /// Required audience.
    pub audience: Option<String>,
    /// Claim with the list of rooms.
    pub rooms_claim: String,
    /// How far the clocks may be apart.
    pub leeway: Duration,
}

/// Where the keys come from that tokens are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A key that the issuer shares with Berth.
    Secret(SecretPair),
    /// Keys that the issuer publishes.
    Jwks(JwksSettings),
}

/// A published set of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksSettings {
    /// Its address: http or https, without user, password and fragment.
    pub url: Url,
    /// How long a set is used.
    pub cache: Duration,
    /// How much longer while no new one can be had.
    pub stale: Duration,
    /// Certificates (PEM) of the authorities that vouch for the server; `None`: the public ones.
    pub authorities: Option<SecretRef>,
}

impl AuthSettings {
    /// Reads `spec.auth`.
    pub(super) fn read(check: &mut Checker, spec: &Auth) -> Self {
        check.require(
            spec.legacy_peers == LegacyPeers::Refuse || spec.mode == AuthMode::MatchToken,
            "spec.auth.legacyPeers",
            "can be Allow only when mode is MatchToken",
        );
        match (spec.mode, &spec.jwt) {
            (AuthMode::None, None) => Self::None,
            (AuthMode::MatchToken, None) => Self::MatchToken {
                legacy_peers: spec.legacy_peers,
            },
            (AuthMode::Jwt, Some(jwt)) => {
                let jwt = JwtSettings::read(check, jwt);
                jwt.map_or(Self::None, |jwt| Self::Jwt(Box::new(jwt)))
            }
            _ => {
                check.refuse("spec.auth.jwt", "must be set when mode is Jwt, and only then");
                Self::None
            }
        }
    }
}

impl JwtSettings {
    fn read(check: &mut Checker, spec: &Jwt) -> Option<Self> {
        if let Some(reference) = &spec.secret_ref {
            check.rotating_secret("spec.auth.jwt.secretRef", reference);
        }
        let jwks = spec.jwks.as_ref().map(|jwks| JwksSettings::read(check, jwks));
        if let Some(issuer) = &spec.issuer {
            check.length("spec.auth.jwt.issuer", issuer, 1..=256);
        }
        if let Some(audience) = &spec.audience {
            check.length("spec.auth.jwt.audience", audience, 1..=256);
        }
        check.length("spec.auth.jwt.roomsClaim", &spec.rooms_claim, 1..=64);
        let leeway: u32 = check.number("spec.auth.jwt.leewaySeconds", spec.leeway_seconds, 0..=300);
        let keys = match (&spec.secret_ref, jwks) {
            (Some(reference), None) => KeySource::Secret(reference.into()),
            (None, Some(jwks)) => KeySource::Jwks(jwks?),
            _ => {
                check.refuse("spec.auth.jwt", "exactly one of secretRef and jwks must be set");
                return None;
            }
        };
        Some(Self {
            algorithms: algorithms(check, spec, &keys),
            keys,
            issuer: spec.issuer.clone(),
            audience: spec.audience.clone(),
            rooms_claim: spec.rooms_claim.clone(),
            leeway: Duration::from_secs(leeway.into()),
        })
    }
}

fn algorithms(check: &mut Checker, spec: &Jwt, keys: &KeySource) -> Vec<JwtAlgorithm> {
    let shared = matches!(keys, KeySource::Secret(_));
    let (path, named) = match (spec.algorithm, &spec.algorithms) {
        (None, None) if shared => return SYMMETRIC.into(),
        (None, None) => return ASYMMETRIC.into(),
        (Some(only), None) => ("spec.auth.jwt.algorithm", vec![only]),
        (None, Some(list)) => ("spec.auth.jwt.algorithms", list.clone()),
        (Some(_), Some(list)) => {
            check.refuse("spec.auth.jwt.algorithms", "must not be set beside algorithm");
            ("spec.auth.jwt.algorithms", list.clone())
        }
    };
    check.entries(path, named.len(), 1..=3);
    let fit = named.iter().all(|algorithm| algorithm.is_symmetric() == shared);
    check.require(fit, path, UNFIT);
    named
}

impl JwksSettings {
    fn read(check: &mut Checker, spec: &Jwks) -> Option<Self> {
        let url = check.parse("spec.auth.jwt.jwks.url", key_set_url(&spec.url));
        let seconds = |check: &mut Checker, name: &str, value, range| {
            let seconds: u32 = check.number(&format!("spec.auth.jwt.jwks.{name}"), value, range);
            Duration::from_secs(seconds.into())
        };
        let cache = seconds(check, "cacheSeconds", spec.cache_seconds, 10..=86_400);
        let stale = seconds(check, "staleSeconds", spec.stale_seconds, 0..=86_400);
        if let Some(reference) = &spec.ca_secret_ref {
            check.secret_part("spec.auth.jwt.jwks.caSecretRef.name", &reference.name);
            check.secret_part("spec.auth.jwt.jwks.caSecretRef.key", &reference.key);
        }
        Some(Self {
            url: url?,
            cache,
            stale,
            authorities: spec.ca_secret_ref.as_ref().map(|reference| SecretRef {
                name: reference.name.clone(),
                key: reference.key.clone(),
            }),
        })
    }
}

/// The parser takes more than the schema: other cases of the scheme, blanks at the ends, missing slashes.
fn key_set_url(text: &str) -> Result<Url, &'static str> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or(URL_RULE)?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let plain = !authority.is_empty() && !authority.contains(['@', '#']);
    let written = plain && !text.contains(|letter: char| letter.is_whitespace() || letter == '#');
    if !written || text.chars().count() > MAX_URL {
        return Err(URL_RULE);
    }
    Url::parse(text).map_err(|_| URL_RULE)
}
