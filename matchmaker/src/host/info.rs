//! What a host tells of itself that matching does not need: it is shown, and leads players to what else runs there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What a host tells of itself beside its room and its slots. Everything is optional. In heartbeats, in lists and in the
/// store it looks the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostInfo {
    /// Its address on the internet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false)]
    pub public_ip: Option<IpAddr>,
    /// Its name in DNS.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub fqdn: Option<String>,
    /// Ports that players reach beside the stream, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, HostPort>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub location: Option<HostLocation>,
    /// What runs on it, in whatever form.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, nullable = false)]
    pub game_info: Option<Map<String, Value>>,
}

/// A port of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostPort {
    /// As players reach it.
    pub port: u16,
    /// As the game listens on it, where a router maps ports.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub internal: Option<u16>,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// Any, over TCP.
    Tcp,
    /// Any, over UDP.
    Udp,
    /// HTTP.
    Http,
    /// HTTP with TLS.
    Https,
    /// WebSocket.
    Ws,
    /// WebSocket with TLS.
    Wss,
}

/// Where a host stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostLocation {
    /// City.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub city: Option<String>,
    /// State, province or department.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub administrative_division: Option<String>,
    /// Country.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub country: Option<String>,
    /// Continent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub continent: Option<String>,
    /// Time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub timezone: Option<String>,
    /// Degrees north, -90 to 90.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = -90, maximum = 90, nullable = false)]
    pub latitude: Option<f64>,
    /// Degrees east, -180 to 180.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = -180, maximum = 180, nullable = false)]
    pub longitude: Option<f64>,
}

impl HostInfo {
    /// The text that stores keep: a JSON object; empty when there is nothing to keep.
    pub fn to_text(&self) -> String {
        if *self == Self::default() {
            return String::new();
        }
        // Nothing in here can fail to become JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads such a text. One that another version wrote in a form of its own counts as nothing: a host without its info is
    /// better than a list that fails.
    pub fn from_text(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

impl Protocol {
    /// The words on the wire.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("TCP", Self::Tcp),
        ("UDP", Self::Udp),
        ("HTTP", Self::Http),
        ("HTTPS", Self::Https),
        ("WS", Self::Ws),
        ("WSS", Self::Wss),
    ];
}
