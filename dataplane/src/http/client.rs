//! Who the client is, behind proxies or not (pure).

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// Most proxies that are walked through; a longer `X-Forwarded-For` is somebody's invention.
const MAX_HOPS: usize = 32;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The client of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress {
    /// Its address: that of the socket, or the rightmost one in `X-Forwarded-For` that is no trusted proxy.
    /// IPv4 addresses that came mapped into IPv6 are IPv4.
    pub ip: IpAddr,
    /// The socket belongs to a trusted proxy, so its forwarding headers are believed.
    pub via_trusted_proxy: bool,
    /// The connection came by TLS all the way: every entry of `X-Forwarded-Proto` says `https`. Never true without a
    /// trusted proxy.
    pub https: bool,
}

/// Finds the client of a request from the socket's peer, the headers and the trusted proxies.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> ClientAddress {
    let peer = peer.to_canonical();
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(&ip));
    if !is_trusted(peer) {
        return ClientAddress {
            ip: peer,
            via_trusted_proxy: false,
            https: false,
        };
    }
    let mut ip = peer;
    for text in right_to_left(headers, &X_FORWARDED_FOR).take(MAX_HOPS) {
        // Who wrote something unreadable is trusted, what it wrote is not: the client is whoever sits before it.
        let Some(hop) = parse_hop(text) else { break };
        ip = hop;
        if !is_trusted(hop) {
            break;
        }
    }
    ClientAddress {
        ip,
        via_trusted_proxy: true,
        https: forwarded_https(headers),
    }
}

/// Some proxies replace the header, some append to what the client wrote, and nothing tells whose entry is whose. So all
/// entries must say `https`: an invented one can take away what a proxy said, but not make it up.
fn forwarded_https(headers: &HeaderMap) -> bool {
    let mut entries = right_to_left(headers, &X_FORWARDED_PROTO).peekable();
    entries.peek().is_some() && entries.all(|proto| proto.eq_ignore_ascii_case("https"))
}

/// Entries of a list header, last one first. Several lines count as one list.
fn right_to_left<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    let lines: Vec<&str> = headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap_or_default())
        .collect();
    lines
        .into_iter()
        .rev()
        .flat_map(|line| line.rsplit(','))
        .map(str::trim)
}

/// An address, with or without port and brackets.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let ip = bare
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    ip.ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    fn headers(forwarded_for: &[&str], proto: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in forwarded_for {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        if let Some(proto) = proto {
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_str(proto).unwrap());
        }
        headers
    }

    fn find(peer: &str, forwarded_for: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        client_address(peer.parse().unwrap(), &headers(forwarded_for, None), &trusted)
            .ip
            .to_string()
    }

    #[test]
    fn headers_of_strangers_are_not_believed() {
        let client = client_address(
            "203.0.113.9".parse().unwrap(),
            &headers(&["198.51.100.1"], Some("https")),
            &["10.0.0.0/8".parse().unwrap()],
        );
        let expected = ClientAddress {
            ip: "203.0.113.9".parse().unwrap(),
            via_trusted_proxy: false,
            https: false,
        };
        assert_eq!(client, expected);
    }

    #[test]
    fn rightmost_untrusted_address_is_the_client() {
        for (forwarded_for, expected) in [
            (&["198.51.100.1"][..], "198.51.100.1"),
            (&["6.6.6.6, 198.51.100.1, 10.1.1.1"], "198.51.100.1"),
            (&["6.6.6.6", "198.51.100.1", "10.1.1.1"], "198.51.100.1"),
            (&["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            (&["198.51.100.1:4711"], "198.51.100.1"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["::ffff:198.51.100.1"], "198.51.100.1"),
            (&["198.51.100.1, unknown, 10.1.1.1"], "10.1.1.1"),
            (&[""], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(find("10.0.0.1", forwarded_for), expected, "{forwarded_for:?}");
        }
    }

    #[test]
    fn garbage_is_nobody() {
        for forwarded_for in [
            &["unknown"][..],
            &["198.51.100.1,"],
            &["198.51.100.1", ""],
            &["198.51.100.1, for=198.51.100.2"],
            &["198.51.100.1, 198.51.100.300"],
            &["198.51.100.1, [2001:db8::1"],
            &["198.51.100.1, 198.51.100.2:port"],
            &["198.51.100.1 198.51.100.2"],
        ] {
            assert_eq!(find("10.0.0.1", forwarded_for), "10.0.0.1", "{forwarded_for:?}");
        }
        // Neither is a line that is no text.
        let mut lines = headers(&["198.51.100.1"], None);
        lines.append(
            X_FORWARDED_FOR,
            HeaderValue::from_bytes(b"198.51.100.2\xff").unwrap(),
        );
        let client = client_address(
            "10.0.0.1".parse().unwrap(),
            &lines,
            &["10.0.0.0/8".parse().unwrap()],
        );
        assert_eq!(client.ip.to_string(), "10.0.0.1");
    }

    #[test]
    fn a_chain_without_end_is_cut() {
        let hops = vec!["10.1.1.1"; MAX_HOPS + 10].join(", ");
        let line = format!("198.51.100.1, {hops}");
        assert_eq!(find("10.0.0.1", &[&line]), "10.1.1.1");
    }

    #[test]
    fn mapped_and_ipv6_peers() {
        assert_eq!(find("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(find("fd00::1", &["2001:db8::7"]), "2001:db8::7");
        assert_eq!(find("::ffff:203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
    }

    #[test]
    fn tls_is_what_every_entry_says() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        for (lines, expected) in [
            (&["https"][..], true),
            (&["HTTPS"], true),
            (&["https, https"], true),
            (&["https", "https"], true),
            // The left one is the client's own, in front of what an appending proxy says.
            (&["https, http"], false),
            (&["https", "http"], false),
            (&["http, https"], false),
            (&["https,"], false),
            (&["http"], false),
            (&[""], false),
            (&[], false),
        ] {
            let mut headers = headers(&["198.51.100.1"], None);
            for line in lines {
                headers.append(X_FORWARDED_PROTO, HeaderValue::from_static(line));
            }
            let client = client_address("10.0.0.1".parse().unwrap(), &headers, &trusted);
            assert_eq!(client.https, expected, "{lines:?}");
        }
    }

    proptest! {
        /// Whatever a client writes in front, the entry that the trusted proxy appended decides.
        #[test]
        fn cannot_be_forged(forged in "[ -~]{0,80}", client: [u8; 4]) {
            let client = IpAddr::from(client);
            prop_assume!(!"10.0.0.0/8".parse::<IpNet>().unwrap().contains(&client));
            let line = format!("{forged}, {client}");
            prop_assert_eq!(find("10.0.0.1", &[&line]), client.to_string());
        }
    }
}
