//! Reads the known fields out of a peer's JSON. Each is kept as the text that the peer wrote, so that what is relayed is
//! neither decoded nor encoded again.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Text;

/// Most bytes that a relayed text may hold beside itself.
const MOST_SPARE: usize = 256;

/// What the bytes of a message, be it a text frame or a binary one, are.
pub(super) enum Read<'a> {
    /// A JSON object.
    Object(Fields<'a>),
    /// JSON, but no object.
    Other,
    /// No JSON.
    NotJson,
}

/// The known fields of a message, each as the JSON text that the peer wrote. Of a repeated field the last one counts.
#[derive(Default)]
pub(super) struct Fields<'a> {
    /// Length of the whole message, bytes.
    pub(super) size: usize,
    pub(super) kind: Option<&'a RawValue>,
    pub(super) sdp: Option<&'a RawValue>,
    pub(super) candidate: Option<&'a RawValue>,
    pub(super) sdp_mid: Option<&'a RawValue>,
    pub(super) sdp_m_line_index: Option<&'a RawValue>,
    pub(super) action: Option<&'a RawValue>,
    pub(super) payload: Option<&'a RawValue>,
    pub(super) seq: Option<&'a RawValue>,
    pub(super) to: Option<&'a RawValue>,
    pub(super) username_fragment: Option<&'a RawValue>,
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
    Seq,
    To,
    UsernameFragment,
    Unknown,
}

/// What is relayed, in no more memory than it needs: it may be kept, and its length is what bounds count.
pub(super) fn sealed(out: String) -> Text {
    Text::from(without_spare(out))
}

fn without_spare(mut text: String) -> String {
    if text.capacity() - text.len() > MOST_SPARE {
        text.shrink_to_fit();
    }
    text
}

/// Reads a message.
pub(super) fn read(message: &[u8]) -> Read<'_> {
    let Ok(text) = std::str::from_utf8(message) else {
        return Read::NotJson;
    };
    // JSON knows these four blanks and no others.
    if !text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{') {
        return match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Read::Other,
            Err(_) => Read::NotJson,
        };
    }
    let mut json = serde_json::Deserializer::from_str(text);
    // The visitor takes every value, so an error can only be one of syntax.
    match json
        .deserialize_map(FieldsVisitor)
        .and_then(|fields| json.end().map(|()| fields))
    {
        Ok(fields) => Read::Object(Fields {
            size: text.len(),
            ..fields
        }),
        Err(_) => Read::NotJson,
    }
}

/// Appends a field to an object that has one already.
pub(super) fn push(out: &mut String, name: &str, json: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
    out.push_str(json);
}

/// What a JSON text says; almost never does it hold an escape.
pub(super) fn decoded(value: &RawValue) -> Option<Cow<'_, str>> {
    let inside = text(value)?.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') {
        return serde_json::from_str(value.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inside))
}

/// A text that is not empty.
pub(super) fn filled(value: Option<&RawValue>) -> Option<&str> {
    text(value?).filter(|json| *json != "\"\"")
}

/// A text.
pub(super) fn text(value: &RawValue) -> Option<&str> {
    Some(value.get()).filter(|json| json.starts_with('"'))
}

/// An integer from 0, however it is written: `1.0` and `1e0` are integers in JavaScript.
pub(super) fn integer(value: &RawValue) -> Option<&str> {
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
                Name::Seq => &mut fields.seq,
                Name::To => &mut fields.to,
                Name::UsernameFragment => &mut fields.username_fragment,
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
                    "seq" => Name::Seq,
                    "to" => Name::To,
                    "usernameFragment" => Name::UsernameFragment,
                    _ => Name::Unknown,
                })
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_no_spare_memory() {
        let mut long = String::with_capacity(256 * 1024);
        long.push_str("short");
        assert!(without_spare(long).capacity() <= "short".len() + MOST_SPARE);
        let mut fits = String::with_capacity(200);
        fits.push_str("short");
        assert_eq!(without_spare(fits).capacity(), 200, "not worth a copy");
    }
}
