//! Reading remote candidates and describing the pair that won.

use std::net::SocketAddr;

use serde::Serialize;
use str0m::{Candidate, CandidateKind};

/// Remote candidates that one connection takes; the rest is dropped.
pub const MAX_REMOTE_CANDIDATES: usize = 64;
/// Longest candidate line that is looked at; real ones stay below 300 bytes.
const MAX_LENGTH: usize = 1024;

/// Why a remote candidate is not used. None of these ends a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CandidateError {
    /// The empty string, with which some peers end their list.
    #[error("end of candidates")]
    End,
    /// A name in place of an address, which browsers announce without camera permission. The
    /// peer's own checks reveal its address.
    #[error("the address is an mDNS name")]
    Mdns,
    /// Not a candidate line.
    #[error("candidate is malformed")]
    Malformed,
    /// More candidates than one connection takes.
    #[error("more than {MAX_REMOTE_CANDIDATES} candidates")]
    TooMany,
}

/// Reads a `candidate:` line, with or without `a=` in front.
///
/// # Errors
/// When it cannot be used; the caller goes on without it.
pub fn parse(line: &str) -> Result<Candidate, CandidateError> {
    let line = line.trim();
    let line = line.strip_prefix("a=").unwrap_or(line);
    if line.is_empty() {
        return Err(CandidateError::End);
    }
    if line.len() > MAX_LENGTH {
        return Err(CandidateError::Malformed);
    }
    let address = line.split_ascii_whitespace().nth(4).unwrap_or_default();
    if address.rsplit('.').next() == Some("local") {
        return Err(CandidateError::Mdns);
    }
    Candidate::from_sdp_string(line).map_err(|_| CandidateError::Malformed)
}

/// The `ufrag` extension of a candidate line, which says whose candidate it is.
pub fn ufrag(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "ufrag");
    words.next()?;
    words.next()
}

/// One side of a candidate pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CandidateEnd {
    /// `host`, `srflx`, `prflx` or `relay`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Transport address.
    pub address: SocketAddr,
}

/// The pair that carries a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CandidatePair {
    /// This peer's side.
    pub local: CandidateEnd,
    /// The other peer's side.
    pub remote: CandidateEnd,
}

/// The name of a candidate type in SDP.
pub fn kind_name(kind: CandidateKind) -> &'static str {
    match kind {
        CandidateKind::Host => "host",
        CandidateKind::PeerReflexive => "prflx",
        CandidateKind::ServerReflexive => "srflx",
        CandidateKind::Relayed => "relay",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "candidate:1 1 udp 2113937151 192.0.2.1 5000 typ host";

    #[test]
    fn reads_lines_of_browsers_and_native_hosts() {
        let browser = format!("{HOST} generation 0 ufrag aBcD network-id 1 network-cost 10");
        let parsed = parse(&browser).unwrap();
        assert_eq!(parsed.addr(), "192.0.2.1:5000".parse().unwrap());
        assert_eq!(parsed.kind(), CandidateKind::Host);
        assert_eq!(ufrag(&browser), Some("aBcD"));
        assert!(parse(&format!("a={HOST}")).is_ok());
        assert_eq!(ufrag(HOST), None);
    }

    #[test]
    fn reads_relayed_and_ipv6_candidates() {
        let relayed =
            parse("candidate:3 1 UDP 41885439 198.51.100.9 49160 typ relay raddr 192.0.2.1 rport 5000")
                .unwrap();
        assert_eq!(kind_name(relayed.kind()), "relay");
        let v6 = parse("candidate:1 1 udp 2113939711 fd00::2 5001 typ host").unwrap();
        assert!(v6.addr().is_ipv6());
    }

    #[test]
    fn tells_names_and_garbage_apart() {
        let name = "candidate:1 1 udp 2113937151 4f1d6c2e-8a4c.local 50 typ host";
        assert_eq!(parse(name).unwrap_err(), CandidateError::Mdns);
        assert_eq!(parse("").unwrap_err(), CandidateError::End);
        assert_eq!(parse("  ").unwrap_err(), CandidateError::End);
        assert_eq!(parse("candidate:1 1 udp").unwrap_err(), CandidateError::Malformed);
        assert_eq!(parse(&"x".repeat(5000)).unwrap_err(), CandidateError::Malformed);
    }
}
