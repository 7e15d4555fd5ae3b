//! Values that can only hold what is allowed.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

use crate::api::RotatingSecretRef;

/// Namespace and name of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// Namespace; `default` outside a cluster.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectName {
    /// The resource `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Address by which peers reach signaling: `ws` or `wss`, without query or fragment, because clients append
/// `?roomId=` to the text as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Takes the text of `spec.publicUrl`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "must be a URL such as wss://signaling.example.com, without query or fragment";
        let url = Url::parse(text).map_err(|_| RULE)?;
        // The parser reads `WSS:a` and `ws:////a` as well, which neither clients nor `is_secure` do.
        let rest = text.strip_prefix("wss://").or_else(|| text.strip_prefix("ws://"));
        let scheme = rest.is_some_and(|rest| !rest.starts_with('/')) && text.chars().count() <= 512;
        let plain = url.query().is_none() && url.fragment().is_none() && !text.contains(char::is_whitespace);
        if scheme && plain && url.has_host() {
            Ok(Self(text.to_owned()))
        } else {
            Err(RULE)
        }
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the scheme is `wss`.
    pub fn is_secure(&self) -> bool {
        self.0.starts_with("wss:")
    }
}

/// Origins that browsers may connect from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins(Vec<String>);

impl AllowedOrigins {
    /// Takes the entries of the list; an empty list allows every origin. A blank entry matches none.
    pub fn new(entries: impl IntoIterator<Item = String>) -> Self {
        Self(
            entries
                .into_iter()
                .map(|entry| entry.trim().to_ascii_lowercase())
                .collect(),
        )
    }

    /// Whether every origin is allowed.
    pub fn allows_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a peer with this `Origin` header may connect. A peer without the header is not a browser and may.
    /// An entry matches the whole origin, its host with port, or its host alone, as the Node services have it.
    pub fn allow(&self, origin: Option<&str>) -> bool {
        let Some(origin) = origin.filter(|_| !self.allows_all()) else {
            return true;
        };
        let origin = origin.to_ascii_lowercase();
        let url = Url::parse(&origin).ok();
        let host = url.as_ref().and_then(Url::host_str);
        let host_and_port = origin.split_once("://").map(|(_, rest)| rest);
        self.0.iter().filter(|entry| !entry.is_empty()).any(|entry| {
            *entry == origin || Some(entry.as_str()) == host_and_port || Some(entry.as_str()) == host
        })
    }
}

/// Id of a room: 1 to the configured number of characters out of `A-Z a-z 0-9 _ - : .`
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoomId(String);

/// Why a text is not a room id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must have 1 to {max_length} characters out of A-Z a-z 0-9 _ - : .")]
pub struct RoomIdError {
    max_length: usize,
}

impl RoomId {
    /// Takes `text` as a room id of at most `max_length` characters.
    pub fn parse(text: &str, max_length: usize) -> Result<Self, RoomIdError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':' | b'.');
        if (1..=max_length).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RoomIdError { max_length })
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretRef {
    /// Name of the Secret.
    pub name: String,
    /// Key in the Secret.
    pub key: String,
}

/// A secret in use and the one that is still accepted during a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretPair {
    /// The secret in use.
    pub current: SecretRef,
    /// The secret before it; may be absent.
    pub previous: SecretRef,
}

impl From<&RotatingSecretRef> for SecretPair {
    fn from(reference: &RotatingSecretRef) -> Self {
        let key = |key: &String| SecretRef {
            name: reference.name.clone(),
            key: key.clone(),
        };
        Self {
            current: key(&reference.current_key),
            previous: key(&reference.previous_key),
        }
    }
}
