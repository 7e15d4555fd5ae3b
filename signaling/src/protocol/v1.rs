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

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Text;

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

/// The known fields of a message, each as the JSON text that the peer wrote. Of a repeated field the last one counts.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a RawValue>,
    sdp: Option<&'a RawValue>,
    candidate: Option<&'a RawValue>,
    sdp_mid: Option<&'a RawValue>,
    sdp_m_line_index: Option<&'a RawValue>,
    action: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
}

/// Reads [`Fields`] out of an object.
struct FieldsVisitor;

/// Name of a field; unknown ones are all the same.
enum Name {
    Kind,
    Sdp,
    Candidate,
    SdpMid,
    SdpMLineIndex,
    Action,
    Payload,
    Unknown,
}

/// Judges the bytes of one message, be it a text frame or a binary one.
pub fn judge(message: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(message) else {
        return Verdict::NotJson;
    };
    // JSON knows these four blanks and no others.
    if !text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{') {
        return match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Verdict::SchemaError,
            Err(_) => Verdict::NotJson,
        };
    }
    let mut json = serde_json::Deserializer::from_str(text);
    // The visitor takes every value, so an error can only be one of syntax.
    match json
        .deserialize_map(FieldsVisitor)
        .and_then(|fields| json.end().map(|()| fields))
    {
        Ok(fields) => fields
            .relayed(text.len())
            .map_or(Verdict::SchemaError, Verdict::Relay),
        Err(_) => Verdict::NotJson,
    }
}

impl Fields<'_> {
    /// The message as it is relayed, if it is one. `size` is the length of what the peer sent.
    fn relayed(&self, size: usize) -> Option<Text> {
        let kind = decoded(self.kind?)?;
        let mut out = String::with_capacity(size);
        out.push_str("{\"type\":\"");
        out.push_str(&kind);
        out.push('"');
        match &*kind {
            "offer" | "answer" => push(&mut out, "sdp", filled(self.sdp)?),
            "candidate" => {
                push(&mut out, "candidate", filled(self.candidate)?);
                if let Some(mid) = self.sdp_mid {
                    push(&mut out, "sdpMid", text(mid)?);
                }
                if let Some(index) = self.sdp_m_line_index {
                    push(&mut out, "sdpMLineIndex", integer(index)?);
                }
            }
            "control" => {
                push(&mut out, "action", filled(self.action)?);
                if let Some(payload) = self.payload {
                    push(&mut out, "payload", payload.get());
                }
            }
            _ => return None,
        }
        out.push('}');
        Some(Text::from(out))
    }
}

fn push(out: &mut String, name: &str, json: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
    out.push_str(json);
}

/// What a JSON text says; almost never does it hold an escape.
fn decoded(value: &RawValue) -> Option<Cow<'_, str>> {
    let inside = text(value)?.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') {
        return serde_json::from_str(value.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inside))
}

/// A text that is not empty.
fn filled(value: Option<&RawValue>) -> Option<&str> {
    text(value?).filter(|json| *json != "\"\"")
}

/// A text.
fn text(value: &RawValue) -> Option<&str> {
    Some(value.get()).filter(|json| json.starts_with('"'))
}

/// An integer from 0, however it is written: `1.0` and `1e0` are integers in JavaScript.
fn integer(value: &RawValue) -> Option<&str> {
    let number: f64 = value.get().parse().ok()?;
    (number.is_finite() && number >= 0.0 && number.fract() == 0.0).then_some(value.get())
}

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<Name>()? {
            let field = match name {
                Name::Kind => &mut fields.kind,
                Name::Sdp => &mut fields.sdp,
                Name::Candidate => &mut fields.candidate,
                Name::SdpMid => &mut fields.sdp_mid,
                Name::SdpMLineIndex => &mut fields.sdp_m_line_index,
                Name::Action => &mut fields.action,
                Name::Payload => &mut fields.payload,
                Name::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *field = Some(map.next_value()?);
        }
        Ok(fields)
    }
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl Visitor<'_> for NameVisitor {
            type Value = Name;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a field name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(match name {
                    "type" => Name::Kind,
                    "sdp" => Name::Sdp,
                    "candidate" => Name::Candidate,
                    "sdpMid" => Name::SdpMid,
                    "sdpMLineIndex" => Name::SdpMLineIndex,
                    "action" => Name::Action,
                    "payload" => Name::Payload,
                    _ => Name::Unknown,
                })
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests;
