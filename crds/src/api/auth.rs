//! How peers prove who they are: `spec.auth` of a SignalingCluster.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{RotatingSecretRef, SecretKeyRef};

/// How peers prove who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuthMode {
    /// They do not: the room id is all that a peer needs to know.
    #[default]
    None,
    /// By a JSON Web Token (RFC 7519) of an issuer of yours, in the query parameter `token` or as a bearer token.
    Jwt,
    /// By the match token that the matchmaker gave: to a host with each heartbeat, to a player with his match. It opens one room.
    MatchToken,
}

/// What becomes of peers that know nothing of match tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LegacyPeers {
    /// They come in without a token.
    Allow,
    /// They are refused like everybody without a token.
    #[default]
    Refuse,
}

/// Authentication of peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "(self.mode == 'Jwt') == has(self.jwt)", "message": "jwt must be set when mode is Jwt, and only then", "fieldPath": ".jwt"},
    {"rule": "self.legacyPeers == 'Refuse' || self.mode == 'MatchToken'", "message": "legacyPeers can be Allow only when mode is MatchToken", "fieldPath": ".legacyPeers"}
]))]
pub struct Auth {
    /// `None`, `Jwt` or `MatchToken`. Reload: connection.
    pub mode: AuthMode,
    /// How tokens are checked when `mode` is `Jwt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// When `mode` is `MatchToken`: whether a peer is let in that sends no token at all and does not offer the subprotocol
    /// `berth.v2`. `Refuse` is the default, because with `Allow` whoever knows a room id comes in, as without authentication. `Allow`
    /// is for the days until every client sends its token, and shows in the condition `SecurityWarnings`. A wrong
    /// token is refused either way. Reload: connection.
    pub legacy_peers: LegacyPeers,
}

/// Signature algorithm of tokens (RFC 7518, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// ECDSA on the curve P-256 with SHA-256.
    ES256,
}

impl JwtAlgorithm {
    /// Whether tokens are made and checked with the same key, which is then a secret.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

/// How tokens are checked. A token that names another algorithm than the listed ones is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.secretRef) != has(self.jwks)", "message": "exactly one of secretRef and jwks must be set"},
    {"rule": "!has(self.algorithm) || !has(self.algorithms)", "message": "algorithm and algorithms must not both be set", "fieldPath": ".algorithms"},
    {"rule": "!has(self.algorithm) || self.algorithm.startsWith('HS') == has(self.secretRef)", "message": "HS256, HS384 and HS512 need secretRef; RS256, PS256 and ES256 need jwks", "fieldPath": ".algorithm"},
    {"rule": "!has(self.algorithms) || self.algorithms.all(name, name.startsWith('HS') == has(self.secretRef))", "message": "HS256, HS384 and HS512 need secretRef; RS256, PS256 and ES256 need jwks", "fieldPath": ".algorithms"}
]))]
pub struct Jwt {
    /// Secret with the key that the issuer shares with Berth. The name of the Secret is part of the pods: naming another restarts
    /// them, new contents do not. Reload: rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<RotatingSecretRef>,
    /// Public keys that the issuer publishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Jwks>,
    /// The only accepted signature algorithm: short for `algorithms` with one entry. Reload: connection.
    // As if it were no option: the schema of an optional word has the description of the word's type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "JwtAlgorithm")]
    pub algorithm: Option<JwtAlgorithm>,
    /// Accepted signature algorithms: `HS256`, `HS384`, `HS512` with `secretRef`; `RS256`, `PS256`, `ES256` with `jwks`. Absent, and
    /// `algorithm` too: `HS256` with `secretRef`, all three with `jwks`. Reload: connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub algorithms: Option<Vec<JwtAlgorithm>>,
    /// Required `iss` claim; absent: any. Reload: connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub issuer: Option<String>,
    /// Required `aud` claim; absent: any. Reload: connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub audience: Option<String>,
    /// Claim with the list of rooms that the token opens; a token without it opens every room, and one in which it is no list
    /// none. Reload: connection.
    #[serde(default = "rooms_claim")]
    #[schemars(length(min = 1, max = 64))]
    pub rooms_claim: String,
    /// How far the clocks of issuer and signaling may be apart, in seconds: a token is taken that much before its `nbf` and after
    /// its `exp`. Reload: connection.
    #[serde(default = "leeway_seconds")]
    #[schemars(range(min = 0, max = 300))]
    pub leeway_seconds: i32,
}

/// A published set of public keys (JWKS, RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Jwks {
    /// Address of the set, `https://` or `http://`, without user, password and fragment. Redirects are not followed. Over `http://`
    /// whoever can change the answer on its way can make tokens, which shows in the condition `SecurityWarnings`.
    /// Reload: connection.
    #[schemars(length(min = 8, max = 1024), extend("pattern" = r"^https?://[^\s/?#@]+([/?][^\s#]*)?$"))]
    pub url: String,
    /// How long a set is used before it is fetched again, in seconds. A token whose key is not in the set has it fetched sooner, at
    /// most once in 10 seconds. Reload: connection.
    #[serde(default = "cache_seconds")]
    #[schemars(range(min = 10, max = 86_400))]
    pub cache_seconds: i32,
    /// How much longer the set is used while no new one can be had, in seconds; 0: no longer. Reload: connection.
    #[serde(default = "stale_seconds")]
    #[schemars(range(min = 0, max = 86_400))]
    pub stale_seconds: i32,
    /// Secret key with the certificates (PEM) of the authorities that vouch for the server, instead of the public ones. The name
    /// of the Secret is part of the pods. Reload: rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
}

impl Jwks {
    /// The set at `url`, with every default.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            cache_seconds: cache_seconds(),
            stale_seconds: stale_seconds(),
            ca_secret_ref: None,
        }
    }
}

impl Default for Jwt {
    /// Every default, and no key.
    fn default() -> Self {
        Self {
            secret_ref: None,
            jwks: None,
            algorithm: None,
            algorithms: None,
            issuer: None,
            audience: None,
            rooms_claim: rooms_claim(),
            leeway_seconds: leeway_seconds(),
        }
    }
}

fn rooms_claim() -> String {
    "rooms".into()
}

fn leeway_seconds() -> i32 {
    60
}

fn cache_seconds() -> i32 {
    300
}

/// Tokens live about as long, and while the issuer is away there are no new ones.
fn stale_seconds() -> i32 {
    3600
}
