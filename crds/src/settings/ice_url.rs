//! URLs of STUN and TURN servers (RFC 7064, RFC 7065).

use std::fmt;

/// Port of a server when its URL names none.
const DEFAULT_PORT: u16 = 3478;
/// The same by TLS.
const DEFAULT_TLS_PORT: u16 = 5349;
/// Most characters of a host name.
const MAX_HOST: usize = 253;

/// A STUN or TURN server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IceUrl {
    /// It relays (`turn:`, `turns:`), and does not only tell addresses.
    pub relays: bool,
    /// How it is spoken to.
    pub transport: IceTransport,
    /// DNS name, IPv4 address, or IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IceTransport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// DTLS over UDP: `turns:` with `transport=udp`.
    Dtls,
}

/// Why a text is no URL of a STUN or TURN server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IceUrlError {
    /// The scheme.
    #[error("scheme must be stun:, stuns:, turn: or turns:")]
    Scheme,
    /// What follows `?`.
    #[error("after ? only transport=udp and transport=tcp are known, and only for turn: and turns:")]
    Query,
    /// Host or port.
    #[error("host or port is malformed")]
    Endpoint,
}

impl IceUrl {
    /// Reads a URL.
    pub fn parse(url: &str) -> Result<Self, IceUrlError> {
        let (scheme, rest) = url.split_once(':').ok_or(IceUrlError::Scheme)?;
        let (address, query) = match rest.split_once('?') {
            Some((address, query)) => (address, Some(query.to_ascii_lowercase())),
            None => (rest, None),
        };
        let (relays, is_secure) = match scheme.to_ascii_lowercase().as_str() {
            "stun" => (false, false),
            "stuns" => (false, true),
            "turn" => (true, false),
            "turns" => (true, true),
            _ => return Err(IceUrlError::Scheme),
        };
        let transport = match (relays, query.as_deref(), is_secure) {
            (_, None, true) | (true, Some("transport=tcp"), true) => IceTransport::Tls,
            (true, Some("transport=udp"), true) => IceTransport::Dtls,
            (_, None, false) | (true, Some("transport=udp"), false) => IceTransport::Udp,
            (true, Some("transport=tcp"), false) => IceTransport::Tcp,
            _ => return Err(IceUrlError::Query),
        };
        let default_port = if is_secure { DEFAULT_TLS_PORT } else { DEFAULT_PORT };
        let (host, port) = endpoint(address, default_port).ok_or(IceUrlError::Endpoint)?;
        Ok(Self {
            relays,
            transport,
            host,
            port,
        })
    }
}

impl fmt::Display for IceUrl {
    /// Host and port, without what they are for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn endpoint(address: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        let port = match after {
            "" => None,
            after => Some(after.strip_prefix(':')?),
        };
        (host, port)
    } else {
        match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        }
    };
    let is_whole = !host.is_empty() && host.len() <= MAX_HOST && !host.contains(['/', '@', ' ']);
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
    };
    is_whole.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_both_rfcs() {
        let url = |relays, transport, host: &str, port| IceUrl {
            relays,
            transport,
            host: host.to_owned(),
            port,
        };
        for (text, expected) in [
            (
                "stun:stun.example.org",
                url(false, IceTransport::Udp, "stun.example.org", 3478),
            ),
            ("STUNS:h:1", url(false, IceTransport::Tls, "h", 1)),
            ("turn:[fd00::1]", url(true, IceTransport::Udp, "fd00::1", 3478)),
            (
                "turn:10.0.0.1:80?transport=udp",
                url(true, IceTransport::Udp, "10.0.0.1", 80),
            ),
            ("turn:h?transport=TCP", url(true, IceTransport::Tcp, "h", 3478)),
            (
                "turns:[::1]:443?transport=tcp",
                url(true, IceTransport::Tls, "::1", 443),
            ),
            ("turns:h", url(true, IceTransport::Tls, "h", 5349)),
            ("turns:h?transport=udp", url(true, IceTransport::Dtls, "h", 5349)),
        ] {
            assert_eq!(IceUrl::parse(text), Ok(expected), "{text}");
        }
        assert_eq!(IceUrl::parse("turn:[::1]:80").unwrap().to_string(), "[::1]:80");
    }

    #[test]
    fn what_is_none_says_why() {
        for (text, error) in [
            ("h", IceUrlError::Scheme),
            ("http://x", IceUrlError::Scheme),
            ("stun:h?transport=udp", IceUrlError::Query),
            ("turn:h?transport=sctp", IceUrlError::Query),
            ("turn:h?", IceUrlError::Query),
            ("stun:", IceUrlError::Endpoint),
            ("stun:h:0", IceUrlError::Endpoint),
            ("stun:h:x", IceUrlError::Endpoint),
            ("turn:[::1", IceUrlError::Endpoint),
            ("turn:[::1]80", IceUrlError::Endpoint),
            ("turn://h", IceUrlError::Endpoint),
        ] {
            assert_eq!(IceUrl::parse(text), Err(error), "{text}");
        }
    }
}
