//! Match tokens: a JWT (RFC 7519, HS256) that admits its bearer to exactly one room.
//!
//! The key is the Secret `CLUSTER-match-key`, which the operator generates and mounts in signaling and in the
//! matchmakers of the cluster. Time comes as an argument, so that issuing and checking are pure.

use std::fmt;
use std::time::Duration;

use berth_crds::settings::{SignalingSettings, match_key_secret};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use crate::secrets::{RotatingSecret, Secret, SecretStore};

/// How far the clocks of the machines that issue and check may be apart, seconds.
const LEEWAY: u64 = 5;
/// Longest token that is looked at, bytes: our own have a few hundred.
const MAX_TOKEN_BYTES: usize = 4096;

/// What the bearer is in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The streaming host.
    Host,
    /// A player.
    Player,
}

/// Claims of a match token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchClaims {
    /// The room.
    pub room: String,
    /// What the bearer is there.
    pub role: Role,
    /// The host's id, or the match (reservation) id of a player.
    pub id: String,
    /// `NAMESPACE/NAME` of the HostPool.
    pub pool: String,
    /// When it was issued, Unix seconds.
    pub iat: u64,
    /// Not valid before, Unix seconds.
    pub nbf: u64,
    /// Not valid from then on, Unix seconds.
    pub exp: u64,
}

/// What a token is issued for.
#[derive(Debug, Clone, Copy)]
pub struct MatchGrant<'a> {
    /// The room.
    pub room: &'a str,
    /// What the bearer is there.
    pub role: Role,
    /// The host's id, or the match (reservation) id of a player.
    pub id: &'a str,
    /// `NAMESPACE/NAME` of the HostPool.
    pub pool: &'a str,
    /// How long the token is valid.
    pub ttl: Duration,
}

/// The match key of a SignalingCluster, prepared for signing and checking.
#[derive(Clone)]
pub struct MatchKeys {
    signing: EncodingKey,
    /// Current first, then previous.
    checking: Vec<DecodingKey>,
}

/// Why a token is refused, or could not be issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MatchTokenError {
    /// Not a JWT, or not with the claims of a match token.
    #[error("not a match token")]
    Malformed,
    /// Signed by another algorithm than HS256.
    #[error("match token has another algorithm than HS256")]
    Algorithm,
    /// Signed by neither the current nor the previous key.
    #[error("match token has a wrong signature")]
    Signature,
    /// Its time is over.
    #[error("match token has expired")]
    Expired,
    /// Its time has not come.
    #[error("match token is not valid yet")]
    NotYetValid,
    /// The token could not be signed.
    #[error("match token could not be signed")]
    Signing,
}

/// The match key of a SignalingCluster, out of the Secret `CLUSTER-match-key`, as far as it counts in the environment of
/// the cluster.
pub fn match_key(store: &SecretStore, cluster: &SignalingSettings) -> RotatingSecret {
    store
        .rotating(&match_key_secret(&cluster.name.name))
        .counting_in(cluster.environment)
}

impl MatchKeys {
    /// Keys from the two values of the Secret; `None` without a current one.
    pub fn new(secret: &RotatingSecret) -> Option<Self> {
        let signing = EncodingKey::from_secret(secret.current.as_ref()?.expose());
        let both = secret.current.iter().chain(&secret.previous);
        Some(Self {
            signing,
            checking: both
                .map(|key| DecodingKey::from_secret(Secret::expose(key)))
                .collect(),
        })
    }

    /// Keys from the Secret `CLUSTER-match-key`; `None` means that no match tokens are issued.
    pub fn from_store(store: &SecretStore, cluster: &SignalingSettings) -> Option<Self> {
        Self::new(&match_key(store, cluster))
    }

    /// Signs a token with the current key. `now`: Unix seconds.
    pub fn issue(&self, grant: &MatchGrant<'_>, now: u64) -> Result<String, MatchTokenError> {
        let claims = MatchClaims {
            room: grant.room.to_owned(),
            role: grant.role,
            id: grant.id.to_owned(),
            pool: grant.pool.to_owned(),
            iat: now,
            nbf: now,
            exp: now.saturating_add(grant.ttl.as_secs()),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.signing).map_err(|_| MatchTokenError::Signing)
    }

    /// Checks a token: algorithm, signature by the current or the previous key, and its time with 5 s leeway.
    /// `now`: Unix seconds. That the room is the one asked for is the caller's check.
    pub fn verify(&self, token: &str, now: u64) -> Result<MatchClaims, MatchTokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(MatchTokenError::Malformed);
        }
        let claims = self.signed_claims(token)?;
        if now >= claims.exp.saturating_add(LEEWAY) {
            return Err(MatchTokenError::Expired);
        }
        if now.saturating_add(LEEWAY) < claims.nbf {
            return Err(MatchTokenError::NotYetValid);
        }
        Ok(claims)
    }

    fn signed_claims(&self, token: &str) -> Result<MatchClaims, MatchTokenError> {
        let mut validation = Validation::new(Algorithm::HS256);
        // Times are compared with the caller's clock.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        let mut refusal = MatchTokenError::Signature;
        for key in &self.checking {
            match decode::<MatchClaims>(token, key, &validation) {
                Ok(data) => return Ok(data.claims),
                Err(error) => refusal = reason(error.kind()),
            }
            if refusal != MatchTokenError::Signature {
                break;
            }
        }
        Err(refusal)
    }
}

fn reason(kind: &ErrorKind) -> MatchTokenError {
    match kind {
        ErrorKind::InvalidSignature => MatchTokenError::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => MatchTokenError::Algorithm,
        _ => MatchTokenError::Malformed,
    }
}

impl fmt::Debug for MatchKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MatchKeys")
            .field("keys", &self.checking.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use berth_crds::SignalingCluster;
    use berth_crds::api::{ClusterEnvironment, SignalingClusterSpec};
    use proptest::prelude::*;

    const NOW: u64 = 1_700_000_000;

    fn keys(current: &str, previous: Option<&str>) -> MatchKeys {
        let secret = |text: &str| Secret::new(text).unwrap();
        MatchKeys::new(&RotatingSecret {
            current: Some(secret(current)),
            previous: previous.map(secret),
        })
        .unwrap()
    }

    fn grant(room: &str) -> MatchGrant<'_> {
        MatchGrant {
            room,
            role: Role::Player,
            id: "m-1",
            pool: "default/eu",
            ttl: Duration::from_mins(1),
        }
    }

    fn header(token: &str) -> String {
        let (header, _) = token.split_once('.').unwrap();
        String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
    }

    #[test]
    fn binds_room_role_and_id() {
        let keys = keys("k", None);
        let token = keys.issue(&grant("r-1"), NOW).unwrap();
        assert_eq!(header(&token), r#"{"typ":"JWT","alg":"HS256"}"#);
        let expected = MatchClaims {
            room: "r-1".to_owned(),
            role: Role::Player,
            id: "m-1".to_owned(),
            pool: "default/eu".to_owned(),
            iat: NOW,
            nbf: NOW,
            exp: NOW + 60,
        };
        assert_eq!(keys.verify(&token, NOW), Ok(expected));
    }

    #[test]
    fn rotation_keeps_running_tokens() {
        let token = keys("old", None).issue(&grant("r"), NOW).unwrap();
        assert!(keys("new", Some("old")).verify(&token, NOW).is_ok());
        assert_eq!(
            keys("new", None).verify(&token, NOW),
            Err(MatchTokenError::Signature)
        );
        let token = keys("new", Some("old")).issue(&grant("r"), NOW).unwrap();
        assert!(
            keys("new", None).verify(&token, NOW).is_ok(),
            "issued with the previous key"
        );
    }

    #[test]
    fn holds_for_its_time_with_a_little_leeway() {
        let keys = keys("k", None);
        let token = keys.issue(&grant("r"), NOW).unwrap();
        assert_eq!(keys.verify(&token, NOW - 6), Err(MatchTokenError::NotYetValid));
        assert!(keys.verify(&token, NOW - 5).is_ok());
        assert!(keys.verify(&token, NOW + 64).is_ok());
        assert_eq!(keys.verify(&token, NOW + 65), Err(MatchTokenError::Expired));
    }

    #[test]
    fn algorithm_is_pinned() {
        let keys = keys("k", None);
        let claims = keys.verify(&keys.issue(&grant("r"), NOW).unwrap(), NOW).unwrap();
        let other = encode(&Header::new(Algorithm::HS512), &claims, &keys.signing).unwrap();
        assert_eq!(keys.verify(&other, NOW), Err(MatchTokenError::Algorithm));
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap());
        let none = format!(
            "{}.{body}.",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#)
        );
        assert!(keys.verify(&none, NOW).is_err());
    }

    #[test]
    fn other_claims_are_no_match_token() {
        let keys = keys("k", None);
        let foreign = encode(
            &Header::default(),
            &serde_json::json!({"sub": "x", "exp": NOW + 9}),
            &keys.signing,
        );
        assert_eq!(
            keys.verify(&foreign.unwrap(), NOW),
            Err(MatchTokenError::Malformed)
        );
        assert_eq!(
            keys.verify(&"a".repeat(MAX_TOKEN_BYTES + 1), NOW),
            Err(MatchTokenError::Malformed)
        );
    }

    #[test]
    fn without_a_key_there_are_no_tokens() {
        let cluster = |environment| {
            let mut cluster = SignalingCluster::new("main", SignalingClusterSpec::new("ws://a"));
            cluster.spec.environment = environment;
            SignalingSettings::try_from(&cluster).unwrap()
        };
        let production = cluster(ClusterEnvironment::Production);
        assert!(MatchKeys::from_store(&SecretStore::in_memory(), &production).is_none());
        let store = SecretStore::in_memory();
        let current = match_key_secret("main").current;
        store.put(&current, Secret::new("k").unwrap());
        assert!(MatchKeys::from_store(&store, &production).is_some());
        // Nor with one that everybody could sign with.
        store.put(&current, Secret::new("change-me").unwrap());
        assert!(MatchKeys::from_store(&store, &production).is_none());
        assert!(MatchKeys::from_store(&store, &cluster(ClusterEnvironment::Development)).is_some());
    }

    proptest! {
        #[test]
        fn no_other_text_is_accepted(position in 0usize..400, replacement in any::<u8>(), junk in "\\PC*") {
            let keys = keys("k", Some("p"));
            prop_assert!(keys.verify(&junk, NOW).is_err());
            let token = keys.issue(&grant("r"), NOW).unwrap();
            let mut bytes = token.clone().into_bytes();
            let position = position % bytes.len();
            bytes[position] = b' ' + replacement % 94;
            let changed = String::from_utf8(bytes).unwrap();
            if let Ok(claims) = keys.verify(&changed, NOW) {
                // The last character of a base64 text may carry bits that mean nothing.
                prop_assert_eq!(Ok(claims), keys.verify(&token, NOW));
            }
        }
    }
}
