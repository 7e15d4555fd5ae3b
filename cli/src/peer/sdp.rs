//! The few things that are read from session descriptions as text.

/// Longest description that is looked at: signaling itself passes 256 KiB.
pub const MAX_SDP_BYTES: usize = 256 * 1024;

/// `a=mid` of the first media section.
pub fn first_mid(sdp: &str) -> Option<&str> {
    attribute(sdp, "mid")
}

/// `a=fingerprint`: the certificate of the peer, and with it the identity of its connection.
pub fn fingerprint(sdp: &str) -> Option<&str> {
    attribute(sdp, "fingerprint")
}

/// `a=ice-ufrag`: the ICE generation that candidates belong to.
pub fn ufrag(sdp: &str) -> Option<&str> {
    attribute(sdp, "ice-ufrag")
}

/// The `candidate:` lines that the description itself carries.
pub fn candidates(sdp: &str) -> impl Iterator<Item = &str> {
    sdp.lines()
        .filter_map(|line| line.trim_end().strip_prefix("a="))
        .filter(|line| line.starts_with("candidate:"))
}

/// The first `a=NAME:value` line.
fn attribute<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    sdp.lines().find_map(|line| {
        line.trim_end()
            .strip_prefix("a=")?
            .strip_prefix(name)?
            .strip_prefix(':')
            .map(str::trim)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\na=group:BUNDLE 7 8\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n\
        a=ice-ufrag:abcd\r\na=fingerprint:sha-256 AA:BB\r\na=mid:7\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:8\r\n";

    #[test]
    fn reads_the_first_of_each() {
        assert_eq!(first_mid(SDP), Some("7"));
        assert_eq!(ufrag(SDP), Some("abcd"));
        assert_eq!(fingerprint(SDP), Some("sha-256 AA:BB"));
        assert_eq!(first_mid("v=0"), None);
    }

    #[test]
    fn lists_the_candidates() {
        let sdp = "v=0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=end-of-candidates\r\n";
        assert_eq!(
            candidates(sdp).collect::<Vec<_>>(),
            ["candidate:1 1 udp 1 192.0.2.1 9 typ host"]
        );
    }
}
