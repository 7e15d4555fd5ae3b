//! What must hold for any bytes, for the fuzz targets in `fuzz/` and for the bounded run of the same in the tests.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::conn::hear;
use crate::envelope;
use crate::protocol::v1::{Verdict, judge};
use crate::protocol::v2::{self, ClientHello, ClientMessage, MOST_HEARD, Relay, Request};
use crate::room::To;

/// Largest message in the properties of frames.
const MAX: usize = 4096;

/// Frames of a peer: the same is heard however the bytes are cut, and no more is kept than one message and a head.
///
/// # Panics
/// When that does not hold.
pub fn frames(bytes: &[u8]) {
    let (cut, bytes) = bytes
        .split_first()
        .map_or((1, bytes), |(cut, rest)| (usize::from(*cut).max(1), rest));
    let whole = hear(MAX, std::iter::once(bytes));
    assert_eq!(hear(MAX, bytes.chunks(cut)), whole, "cut every {cut} bytes");
}

/// A message of a peer: what is relayed is JSON, and is relayed unchanged if it is sent again.
///
/// # Panics
/// When that does not hold.
pub fn message(bytes: &[u8]) {
    if let Verdict::Relay(text) = judge(bytes) {
        assert!(
            serde_json::from_str::<IgnoredAny>(&text).is_ok(),
            "relayed what is no JSON: {text}"
        );
        assert_eq!(judge(text.as_bytes()), Verdict::Relay(text.clone()));
    }
}

/// A message of a peer that speaks v2, the first one or a later one: none is both, and a number that can be read is named
/// whatever becomes of the message.
///
/// # Panics
/// When that does not hold, or what holds for a `hello` or a relayed message.
pub fn message_v2(bytes: &[u8]) {
    let read = v2::read(bytes);
    if let Ok(said) = v2::read_hello(bytes) {
        assert!(read.is_err(), "a hello is nothing else");
        hello(&said, bytes);
    }
    match read {
        Ok(Request::Relay(relay)) => {
            assert_eq!(v2::seq_of(bytes), Some(relay.seq));
            relayed(&relay, bytes);
        }
        Ok(Request::Ping | Request::Bye) => {}
        Err(refused) => assert!(refused.seq.is_none() || refused.seq == v2::seq_of(bytes)),
    }
}

/// What a `hello` says is no more than was sent, and the same if it is said again.
fn hello(said: &ClientHello, sent: &[u8]) {
    let texts = said.token.iter().chain(said.resume.iter().flat_map(|resume| {
        assert!(resume.heard.len() <= MOST_HEARD);
        std::iter::once(&resume.token).chain(resume.heard.keys())
    }));
    // Of the texts, and of none more often than it was sent.
    assert!(texts.map(String::len).sum::<usize>() <= sent.len());
    let again = serde_json::to_vec(&ClientMessage::Hello(said.clone())).unwrap_or_default();
    assert_eq!(v2::read_hello(&again).as_ref(), Ok(said));
}

/// What is relayed is JSON with the fields of its type alone, not longer than what was sent, the same if it is sent again, and
/// what a peer that speaks v1 may hear, unless it is marked as more.
fn relayed(relay: &Relay, sent: &[u8]) {
    let text = &*relay.text;
    assert!(text.len() <= sent.len(), "longer than what was sent: {text}");
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap_or_default();
    let known: &[&str] = match fields.get("type").map(|kind| kind.get()) {
        Some("\"offer\"" | "\"answer\"") => &["sdp"],
        Some("\"candidate\"") => &["candidate", "sdpMLineIndex", "sdpMid", "usernameFragment"],
        Some("\"control\"") => &["action", "payload"],
        _ => &[],
    };
    let unknown = |name: &&String| *name != "type" && !known.contains(&name.as_str());
    assert_eq!(fields.keys().find(unknown), None, "{text}");
    assert!(fields.len() > 1, "nothing is said: {text}");
    let again = text.replacen('{', &format!("{{\"seq\":{},", relay.seq), 1);
    let expected = Relay {
        to: To::All,
        ..relay.clone()
    };
    assert_eq!(v2::read(again.as_bytes()), Ok(Request::Relay(expected)));
    let fits = match judge(text.as_bytes()) {
        Verdict::Relay(plain) if relay.extended => plain.len() < text.len(),
        Verdict::Relay(plain) => plain == relay.text,
        Verdict::SchemaError => relay.extended,
        Verdict::NotJson => false,
    };
    assert!(fits, "not as v1 has it: {text}");
}

/// A notice of another instance: what is understood is written in this one way.
///
/// # Panics
/// When that does not hold.
pub fn notice(bytes: &[u8]) {
    if let Ok(read) = envelope::decode(Bytes::copy_from_slice(bytes)) {
        assert_eq!(
            envelope::encode(&read.room, (read.published_at, read.publisher), &read.notice),
            bytes
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    const NAMES: &[&str] = &[
        "type",
        "seq",
        "to",
        "sdp",
        "candidate",
        "sdpMid",
        "sdpMLineIndex",
        "usernameFragment",
        "action",
        "payload",
        "role",
        "token",
        "resume",
        "other",
        "\\u0073eq",
    ];
    const VALUES: &[&str] = &[
        r#""offer""#,
        r#""answer""#,
        r#""candidate""#,
        r#""control""#,
        r#""hello""#,
        r#""ping""#,
        r#""h\u0065llo""#,
        r#""host""#,
        r#""player""#,
        r#""0123456789abcdef0123456789abcdef""#,
        r#""""#,
        r#""\ud800""#,
        "null",
        "0",
        "1",
        "1.0",
        "1e0",
        "-1",
        "9007199254740993",
        "1e400",
        "[[]]",
        "{}",
        r#"{"token":"t"}"#,
        r#"{"token":"t","heard":{"a":1,"b":2}}"#,
    ];

    /// A message that is right more often than bytes are by chance: fields of the protocol with values of the protocol.
    fn nearly_right() -> impl Strategy<Value = Vec<u8>> {
        let kind = prop_oneof![select(NAMES), Just("type"), Just("seq")];
        let fields = prop::collection::vec((kind, select(VALUES)), 1..8);
        let start = select(
            &[
                "",
                r#""type":"hello","role":"host","#,
                r#""type":"candidate","seq":1,"candidate":"","#,
            ][..],
        );
        (start, fields).prop_map(|(start, fields)| {
            let fields: Vec<String> = fields
                .into_iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            format!("{{{start}{}}}", fields.join(",")).into_bytes()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn hold_for_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600), kind in 0u8..4) {
            frames(&bytes);
            message(&bytes);
            message_v2(&bytes);
            notice(&bytes);
            // The heads that bytes rarely have by chance.
            frames(&[&[kind + 1, 0x81 + kind, 0xfe, 0, 200, 1, 2, 3, 4], &bytes[..]].concat());
            message(&[b"{\"type\":\"control\",\"action\":\"a\",\"payload\":", &bytes[..], b"}"].concat());
            message_v2(&[b"{\"type\":\"control\",\"seq\":1,\"action\":\"a\",\"payload\":", &bytes[..], b"}"].concat());
            notice(&[&[1, kind][..], &bytes].concat());
        }

        #[test]
        fn hold_for_what_is_nearly_right(bytes in nearly_right(), at: Index, byte: u8) {
            message(&bytes);
            message_v2(&bytes);
            let mut damaged = bytes.clone();
            damaged[at.index(bytes.len())] = byte;
            message(&damaged);
            message_v2(&damaged);
        }
    }
}
