//! Protocol v1: what a peer may send, and what of it is relayed.
//!
//! A message is a JSON object whose `type` is one of four. It is relayed with the known fields alone, in a fixed
//! order; the text of each value is kept as the peer wrote it, so that nothing is decoded and encoded again.
//!
//! | `type` | fields |
//! |---|---|
//! | `offer` | `sdp`: text, not empty |
//! | `answer` | `sdp`: text, not empty |
//! | `candidate` | `candidate`: text, not empty; `sdpMid`: text, may be absent; `sdpMLineIndex`: integer from 0, may be absent |
//! | `control` | `action`: text, not empty; `payload`: anything, may be absent |
//!
//! `null` is not absent. Unknown fields are stripped. What is JSON but none of these is answered to its sender with
//! [`SCHEMA_ERROR`]; what is not JSON is dropped without a word.

use berth_dataplane::match_token::Role;

use super::Text;
use super::fields::{Fields, Read, decoded, filled, integer, push, read, sealed, text};

/// Tells a peer that its message was no signaling message.
pub const SCHEMA_ERROR: Text = Text::from_static(r#"{"type":"control","action":"schema-error"}"#);
/// Tells a peer that another one left the room.
pub const PEER_DISCONNECTED: Text = Text::from_static(r#"{"type":"peer-disconnected"}"#);

/// What to do with a message of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Relay this.
    Relay(Text),
    /// JSON, but no signaling message: tell the sender.
    SchemaError,
    /// No JSON: drop it.
    NotJson,
}

/// Judges the bytes of one message, be it a text frame or a binary one.
pub fn judge(message: &[u8]) -> Verdict {
    match read(message) {
        Read::Object(fields) => relayed(&fields).map_or(Verdict::SchemaError, Verdict::Relay),
        Read::Other => Verdict::SchemaError,
        Read::NotJson => Verdict::NotJson,
    }
}

/// What a peer is that sends this relayed message first, as far as it shows: players offer and hosts answer.
pub fn role_of(message: &Text) -> Option<Role> {
    let is = |kind: &str| message.as_bytes().starts_with(kind.as_bytes());
    if is(r#"{"type":"offer""#) {
        Some(Role::Player)
    } else if is(r#"{"type":"answer""#) {
        Some(Role::Host)
    } else {
        None
    }
}

/// The message as it is relayed, if it is one.
fn relayed(fields: &Fields<'_>) -> Option<Text> {
    let kind = decoded(fields.kind?)?;
    let mut out = String::with_capacity(fields.size);
    out.push_str("{\"type\":\"");
    out.push_str(&kind);
    out.push('"');
    match &*kind {
        "offer" | "answer" => push(&mut out, "sdp", filled(fields.sdp)?),
        "candidate" => {
            push(&mut out, "candidate", filled(fields.candidate)?);
            if let Some(mid) = fields.sdp_mid {
                push(&mut out, "sdpMid", text(mid)?);
            }
            if let Some(index) = fields.sdp_m_line_index {
                push(&mut out, "sdpMLineIndex", integer(index)?);
            }
        }
        "control" => {
            push(&mut out, "action", filled(fields.action)?);
            if let Some(payload) = fields.payload {
                push(&mut out, "payload", payload.get());
            }
        }
        _ => return None,
    }
    out.push('}');
    Some(sealed(out))
}

#[cfg(test)]
mod tests;
