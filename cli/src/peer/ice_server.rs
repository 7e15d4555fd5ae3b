//! ICE servers as a match hands them out, and the STUN and TURN endpoints that they name.

use berth_crds::settings::{IceTransport, IceUrl};
use serde::Deserialize;

use super::secret::Secret;

/// Servers of each kind that are asked; more would only make checking slower.
const MAX_SERVERS: usize = 4;

/// One entry of `iceServers`, in the form of `RTCIceServer`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct IceServer {
    /// One URL or several.
    pub urls: Urls,
    /// TURN user name.
    #[serde(default)]
    pub username: Option<String>,
    /// TURN password.
    #[serde(default)]
    pub credential: Option<Secret>,
}

/// `urls` is a string or a list of strings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Urls {
    /// A plain string.
    One(String),
    /// A list.
    Many(Vec<String>),
}

/// Where a server is: a host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// DNS name, IPv4 address or IPv6 address without brackets.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

/// A TURN server over UDP with its long-term credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnServer {
    /// Where it is.
    pub endpoint: Endpoint,
    /// User name.
    pub username: String,
    /// Password.
    pub credential: Secret,
}

/// The endpoints that this peer can use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IceEndpoints {
    /// STUN servers: those that were named and, because every TURN server also answers binding
    /// requests, none that were not.
    pub stun: Vec<Endpoint>,
    /// TURN servers over UDP.
    pub turn: Vec<TurnServer>,
    /// URLs that were left out, with the reason; never a credential.
    pub ignored: Vec<(String, IceUrlError)>,
}

/// Why an ICE server URL is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IceUrlError {
    /// It is no URL of such a server.
    #[error(transparent)]
    Malformed(#[from] berth_crds::settings::IceUrlError),
    /// It is spoken to by something else than UDP.
    #[error("only UDP is supported, neither TCP nor TLS")]
    Transport,
    /// A TURN server without user name and credential.
    #[error("a TURN server needs username and credential")]
    Credential,
    /// More servers than are asked.
    #[error("only the first {MAX_SERVERS} servers of a kind are used")]
    TooMany,
}

// === impl IceServer ===

impl IceServer {
    /// A server of one URL, as command-line flags give it.
    pub fn new(url: impl Into<String>, username: Option<String>, credential: Option<Secret>) -> Self {
        Self {
            urls: Urls::One(url.into()),
            username,
            credential,
        }
    }

    /// Its URLs.
    pub fn urls(&self) -> &[String] {
        match &self.urls {
            Urls::One(url) => std::slice::from_ref(url),
            Urls::Many(urls) => urls,
        }
    }
}

// === impl IceEndpoints ===

impl IceEndpoints {
    /// Reads the URLs of all servers. Nothing here fails as a whole: a server that cannot be used
    /// is listed in `ignored` and the others remain.
    pub fn from_servers(servers: &[IceServer]) -> Self {
        let mut endpoints = Self::default();
        for server in servers {
            for url in server.urls() {
                if let Err(error) = endpoints.add(url, server) {
                    endpoints.ignored.push((url.clone(), error));
                }
            }
        }
        endpoints
    }

    fn add(&mut self, url: &str, server: &IceServer) -> Result<(), IceUrlError> {
        let parsed = IceUrl::parse(url)?;
        if parsed.transport != IceTransport::Udp {
            return Err(IceUrlError::Transport);
        }
        let endpoint = Endpoint {
            host: parsed.host,
            port: parsed.port,
        };
        if !parsed.relays {
            return push_bounded(&mut self.stun, endpoint);
        }
        let (Some(username), Some(credential)) = (server.username.clone(), server.credential.clone()) else {
            return Err(IceUrlError::Credential);
        };
        push_bounded(
            &mut self.turn,
            TurnServer {
                endpoint,
                username,
                credential,
            },
        )
    }
}

fn push_bounded<T: PartialEq>(list: &mut Vec<T>, item: T) -> Result<(), IceUrlError> {
    if list.contains(&item) {
        return Ok(());
    }
    if list.len() >= MAX_SERVERS {
        return Err(IceUrlError::TooMany);
    }
    list.push(item);
    Ok(())
}

#[cfg(test)]
mod tests {
    use berth_crds::settings::IceUrlError as Malformed;

    use super::*;

    fn parse(json: &str) -> IceEndpoints {
        let servers: Vec<IceServer> = serde_json::from_str(json).unwrap();
        IceEndpoints::from_servers(&servers)
    }

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint {
            host: host.into(),
            port,
        }
    }

    #[test]
    fn reads_strings_and_lists() {
        let endpoints = parse(
            r#"[{"urls": "stun:stun.example.org"},
                {"urls": ["turn:10.0.0.1:3479?transport=udp", "turn:[fd00::1]"],
                 "username": "u", "credential": "c"}]"#,
        );
        assert_eq!(endpoints.stun, [endpoint("stun.example.org", 3478)]);
        assert_eq!(endpoints.turn[0].endpoint, endpoint("10.0.0.1", 3479));
        assert_eq!(endpoints.turn[1].endpoint, endpoint("fd00::1", 3478));
        assert_eq!(endpoints.ignored, []);
    }

    #[test]
    fn what_cannot_be_used_is_named_and_the_rest_remains() {
        let endpoints = parse(
            r#"[{"urls": ["turns:a:5349", "turn:a?transport=tcp", "turn:b", "stun:", "stun:h:0",
                          "http://x", "stun:ok"]}]"#,
        );
        let errors: Vec<_> = endpoints.ignored.iter().map(|(_, error)| error.clone()).collect();
        assert_eq!(
            errors,
            [
                IceUrlError::Transport,
                IceUrlError::Transport,
                IceUrlError::Credential,
                IceUrlError::Malformed(Malformed::Endpoint),
                IceUrlError::Malformed(Malformed::Endpoint),
                IceUrlError::Malformed(Malformed::Scheme),
            ]
        );
        assert_eq!(endpoints.stun, [endpoint("ok", 3478)]);
    }

    #[test]
    fn the_number_of_servers_is_bounded() {
        let urls: Vec<String> = (0..10).map(|n| format!("\"stun:h{n}\"")).collect();
        let endpoints = parse(&format!("[{{\"urls\": [{}]}}]", urls.join(",")));
        assert_eq!(endpoints.stun.len(), MAX_SERVERS);
        assert_eq!(endpoints.ignored.len(), 10 - MAX_SERVERS);
    }

    #[test]
    fn credentials_do_not_show_in_debug_output() {
        let endpoints = parse(r#"[{"urls": "turn:a", "username": "u", "credential": "hunter2"}]"#);
        assert!(!format!("{endpoints:?}").contains("hunter2"));
    }
}
