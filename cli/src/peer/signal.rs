//! The messages of signaling protocol v1.

use serde::{Deserialize, Serialize};

/// A message between the two peers of a room, or from signaling itself.
///
/// The wire form is one JSON object with a `type`; fields that this program does not know are
/// ignored, because signaling v1 strips them anyway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Signal {
    /// The session description with which a player opens or changes a session.
    Offer {
        /// SDP text.
        sdp: String,
    },
    /// The host's reply to an offer.
    Answer {
        /// SDP text.
        sdp: String,
    },
    /// One trickled ICE candidate.
    Candidate(CandidateSignal),
    /// Anything else that peers or signaling tell each other by name, such as `schema-error`.
    Control {
        /// What the message says.
        action: String,
    },
    /// The other peer's socket left the room. Sent by signaling.
    PeerDisconnected,
}

/// An ICE candidate as `RTCIceCandidate` has it.
///
/// Browsers refuse a candidate that has neither `sdpMid` nor `sdpMLineIndex`, so both are always
/// sent; native hosts in the field send none, so both may be absent when read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateSignal {
    /// The `candidate:` line.
    pub candidate: String,
    /// `a=mid` of the media section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    /// Index of the media section.
    #[serde(default, rename = "sdpMLineIndex", skip_serializing_if = "Option::is_none")]
    pub sdp_m_line_index: Option<u16>,
}

impl Signal {
    /// Reads one frame. `None` for what is not a message that a peer acts on: signaling v1 drops
    /// such messages silently as well.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The wire form.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidate_is_written_with_mid_and_index() {
        let signal = Signal::Candidate(CandidateSignal {
            candidate: "candidate:1 1 udp 1 127.0.0.1 9 typ host".into(),
            sdp_mid: Some("0".into()),
            sdp_m_line_index: Some(0),
        });
        assert_eq!(
            signal.to_json(),
            r#"{"type":"candidate","candidate":"candidate:1 1 udp 1 127.0.0.1 9 typ host","sdpMid":"0","sdpMLineIndex":0}"#
        );
    }

    #[test]
    fn candidate_of_a_native_host_has_neither() {
        let parsed = Signal::parse(r#"{"type":"candidate","candidate":"candidate:x"}"#);
        assert_eq!(
            parsed,
            Some(Signal::Candidate(CandidateSignal {
                candidate: "candidate:x".into(),
                sdp_mid: None,
                sdp_m_line_index: None,
            }))
        );
    }

    #[test]
    fn null_fields_are_absent_fields() {
        let parsed =
            Signal::parse(r#"{"type":"candidate","candidate":"c","sdpMid":null,"sdpMLineIndex":null}"#);
        assert!(matches!(parsed, Some(Signal::Candidate(c)) if c.sdp_mid.is_none()));
    }

    #[test]
    fn messages_of_signaling_are_known() {
        assert_eq!(
            Signal::parse(r#"{"type":"peer-disconnected"}"#),
            Some(Signal::PeerDisconnected)
        );
        assert_eq!(
            Signal::parse(r#"{"type":"control","action":"schema-error","payload":{"x":1}}"#),
            Some(Signal::Control {
                action: "schema-error".into()
            })
        );
        assert_eq!(Signal::parse(r#"{"type":"ready"}"#), None);
        assert_eq!(Signal::parse("not json"), None);
    }
}
