//! What a peer sends, read without decoding what is only relayed.

use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::MemberId;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{ClientHello, ErrorCode, MOST_HEARD};
use crate::protocol::Text;
use crate::protocol::fields::{self, Fields, Read, decoded, filled, integer, push, sealed, text};
use crate::room::To;

/// Largest number of a message: what JavaScript counts exactly.
const MAX_SEQ: u64 = (1 << 53) - 1;

/// What a peer wants, after its `hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A message for others.
    Relay(Relay),
    /// A `pong`.
    Ping,
    /// To leave.
    Bye,
}

/// A message for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Its number.
    pub seq: u64,
    /// Whom it is for.
    pub to: To,
    /// The message as it is relayed, without number and addressee.
    pub text: Text,
    /// It says something that v1 does not know.
    pub extended: bool,
}

/// Why a message is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What kind of refusal.
    pub code: ErrorCode,
    /// Number of the message, if it has a readable one.
    pub seq: Option<u64>,
    /// Which field is wrong and what is allowed.
    pub message: &'static str,
}

/// Reads the first message of a connection.
pub fn read_hello(message: &[u8]) -> Result<ClientHello, Refused> {
    let refuse = |message| Refused {
        code: ErrorCode::HelloExpected,
        seq: None,
        message,
    };
    let Read::Object(fields) = crate::protocol::fields::read(message) else {
        return Err(refuse("the first message must be a JSON object of type hello"));
    };
    if fields.kind.and_then(decoded).as_deref() != Some("hello") {
        return Err(refuse("the first message must be of type hello"));
    }
    let hello: ClientHello = serde_json::from_slice(message).map_err(|_| {
        refuse("hello: role must be host or player; token must be a text; resume must have token and heard")
    })?;
    if hello
        .resume
        .as_ref()
        .is_some_and(|resume| resume.heard.len() > MOST_HEARD)
    {
        return Err(refuse("hello: resume.heard must name at most 64 peers"));
    }
    Ok(hello)
}

/// Reads any later message.
pub fn read(message: &[u8]) -> Result<Request, Refused> {
    let fields = match crate::protocol::fields::read(message) {
        Read::Object(fields) => fields,
        Read::Other => return Err(bad(None, "a message must be a JSON object")),
        Read::NotJson => {
            return Err(Refused {
                code: ErrorCode::NotJson,
                seq: None,
                message: "a message must be JSON in UTF-8",
            });
        }
    };
    let seq = fields.seq.and_then(number);
    let kind = fields.kind.and_then(decoded);
    match kind.as_deref() {
        Some("ping") => return Ok(Request::Ping),
        Some("bye") => return Ok(Request::Bye),
        Some("hello") => return Err(bad(seq, "hello must be the first message and no other")),
        Some("offer" | "answer" | "candidate" | "control") => {}
        _ => {
            return Err(bad(
                seq,
                "type must be offer, answer, candidate, control, ping or bye",
            ));
        }
    }
    let Some(seq) = seq else {
        return Err(bad(None, "seq must be an integer from 1 to 9007199254740991"));
    };
    let refuse = |message| bad(Some(seq), message);
    let to = to(fields.to).ok_or_else(|| refuse("to must be the id of a peer, host or player"))?;
    let (text, extended) = relayed(kind.as_deref().unwrap_or_default(), &fields).map_err(refuse)?;
    Ok(Request::Relay(Relay {
        seq,
        to,
        text,
        extended,
    }))
}

/// The number of a message that is not read further.
pub(crate) fn seq_of(message: &[u8]) -> Option<u64> {
    match fields::read(message) {
        Read::Object(fields) => fields.seq.and_then(number),
        Read::Other | Read::NotJson => None,
    }
}

fn bad(seq: Option<u64>, message: &'static str) -> Refused {
    Refused {
        code: ErrorCode::BadMessage,
        seq,
        message,
    }
}

/// The message as it is relayed, and whether v1 knows less of it.
fn relayed(kind: &str, fields: &Fields<'_>) -> Result<(Text, bool), &'static str> {
    let mut out = String::with_capacity(fields.size);
    out.push_str("{\"type\":\"");
    out.push_str(kind);
    out.push('"');
    let mut extended = false;
    match kind {
        "offer" | "answer" => push(
            &mut out,
            "sdp",
            filled(fields.sdp).ok_or("sdp must be a text that is not empty")?,
        ),
        "candidate" => {
            let candidate = fields
                .candidate
                .and_then(text)
                .ok_or("candidate must be a text")?;
            push(&mut out, "candidate", candidate);
            if let Some(mid) = present(fields.sdp_mid) {
                push(
                    &mut out,
                    "sdpMid",
                    text(mid).ok_or("sdpMid must be a text or null")?,
                );
            }
            if let Some(index) = present(fields.sdp_m_line_index) {
                let index = integer(index).ok_or("sdpMLineIndex must be an integer from 0 or null")?;
                push(&mut out, "sdpMLineIndex", index);
            }
            extended = candidate == "\"\"";
            if let Some(fragment) = present(fields.username_fragment) {
                extended = true;
                let fragment = text(fragment).ok_or("usernameFragment must be a text or null")?;
                push(&mut out, "usernameFragment", fragment);
            }
        }
        _ => {
            let action = filled(fields.action).ok_or("action must be a text that is not empty")?;
            push(&mut out, "action", action);
            if let Some(payload) = fields.payload {
                push(&mut out, "payload", payload.get());
            }
        }
    }
    out.push('}');
    Ok((sealed(out), extended))
}

/// A field that is null is one that is absent.
fn present(field: Option<&RawValue>) -> Option<&RawValue> {
    field.filter(|value| value.get() != "null")
}

/// An exact integer from 1, however it is written.
fn number(value: &RawValue) -> Option<u64> {
    let written = integer(value)?;
    let number = written.parse().ok().or_else(|| {
        let number: f64 = written.parse().ok()?;
        // A finite number without a fraction, below 2^53.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "checked"
        )]
        (number <= MAX_SEQ as f64).then_some(number as u64)
    })?;
    (1..=MAX_SEQ).contains(&number).then_some(number)
}

fn to(value: Option<&RawValue>) -> Option<To> {
    let Some(value) = present(value) else {
        return Some(To::All);
    };
    match &*decoded(value)? {
        "host" => Some(To::Role(Role::Host)),
        "player" => Some(To::Role(Role::Player)),
        id => Uuid::try_parse(id).ok().map(|id| To::Member(MemberId(id))),
    }
}

#[cfg(test)]
mod tests;
