use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Candidate, ClientMessage, Control, Offer, Relayed, ServerMessage, say};
use super::*;

fn relay(message: &Value) -> Relay {
    match read(message.to_string().as_bytes()) {
        Ok(Request::Relay(relay)) => relay,
        other => panic!("{message}: {other:?}"),
    }
}

fn refused(message: &str) -> Refused {
    match read(message.as_bytes()) {
        Err(refused) => refused,
        other => panic!("{message}: {other:?}"),
    }
}

#[test]
fn what_v1_strips_and_refuses_is_kept() {
    let candidate = relay(&json!({
        "type": "candidate", "seq": 3, "candidate": "c", "sdpMid": null, "sdpMLineIndex": 0, "usernameFragment": "u",
        "unknown": 1,
    }));
    assert_eq!(
        &*candidate.text,
        r#"{"type":"candidate","candidate":"c","sdpMLineIndex":0,"usernameFragment":"u"}"#
    );
    assert!(candidate.extended);
    let end = relay(&json!({"type": "candidate", "seq": 4, "candidate": ""}));
    assert_eq!(&*end.text, r#"{"type":"candidate","candidate":""}"#);
    assert!(end.extended, "v1 does not know the end of candidates");
    let plain = relay(&json!({"type": "candidate", "seq": 5, "candidate": "c", "usernameFragment": null}));
    assert!(!plain.extended);
}

#[test]
fn addressees() {
    let id = "0123456789abcdef0123456789abcdef";
    for (to, expected) in [
        (Value::Null, To::All),
        (json!("host"), To::Role(Role::Host)),
        (json!("player"), To::Role(Role::Player)),
        (json!(id), To::Member(MemberId(Uuid::try_parse(id).unwrap()))),
    ] {
        assert_eq!(
            relay(&json!({"type": "offer", "seq": 1, "to": to, "sdp": "s"})).to,
            expected
        );
    }
}

#[test]
fn refusals_name_the_field_and_the_number() {
    for (message, seq, names) in [
        (r#"{"type":"offer","sdp":"s"}"#, None, "seq"),
        (r#"{"type":"offer","seq":0,"sdp":"s"}"#, None, "seq"),
        (
            r#"{"type":"offer","seq":9007199254740992,"sdp":"s"}"#,
            None,
            "seq",
        ),
        (r#"{"type":"offer","seq":"1","sdp":"s"}"#, None, "seq"),
        (r#"{"type":"offer","seq":7,"sdp":""}"#, Some(7), "sdp"),
        (r#"{"type":"answer","seq":7}"#, Some(7), "sdp"),
        (
            r#"{"type":"candidate","seq":7,"candidate":null}"#,
            Some(7),
            "candidate",
        ),
        (
            r#"{"type":"candidate","seq":7,"candidate":"c","sdpMid":1}"#,
            Some(7),
            "sdpMid",
        ),
        (
            r#"{"type":"candidate","seq":7,"candidate":"c","sdpMLineIndex":-1}"#,
            Some(7),
            "sdpMLineIndex",
        ),
        (
            r#"{"type":"candidate","seq":7,"candidate":"c","usernameFragment":1}"#,
            Some(7),
            "usernameFragment",
        ),
        (r#"{"type":"control","seq":7,"action":1}"#, Some(7), "action"),
        (
            r#"{"type":"control","seq":7,"action":"a","to":"nobody"}"#,
            Some(7),
            "to",
        ),
        (r#"{"type":"hello","seq":7,"role":"host"}"#, Some(7), "hello"),
        (r#"{"type":"nonsense","seq":7}"#, Some(7), "type"),
        ("[]", None, "object"),
    ] {
        let refused = refused(message);
        assert_eq!(
            (refused.code, refused.seq),
            (ErrorCode::BadMessage, seq),
            "{message}"
        );
        assert!(refused.message.contains(names), "{message}: {}", refused.message);
    }
    assert_eq!(refused("{").code, ErrorCode::NotJson);
}

#[test]
fn hello_is_read_or_refused() {
    let hello =
        read_hello(br#"{"type":"hello","role":"player","resume":{"token":"t","heard":{"a":1}}}"#).unwrap();
    assert_eq!(hello.role, Role::Player);
    assert_eq!(hello.resume.unwrap().heard["a"], 1);
    let many: std::collections::BTreeMap<String, u64> = (0..65).map(|n| (n.to_string(), 1)).collect();
    let many = json!({"type": "hello", "role": "host", "resume": {"token": "t", "heard": many}}).to_string();
    for wrong in [
        r#"{"type":"offer","sdp":"s"}"#,
        r#"{"type":"hello"}"#,
        r#"{"type":"hello","role":"spectator"}"#,
        r#"{"type":"hello","role":"host","token":1}"#,
        "hello",
        &many,
    ] {
        assert_eq!(
            read_hello(wrong.as_bytes()).unwrap_err().code,
            ErrorCode::HelloExpected
        );
    }
}

fn relayed<T: std::fmt::Debug>(body: impl Strategy<Value = T>) -> impl Strategy<Value = Relayed<T>> {
    let to = prop::option::of(prop_oneof![
        Just("host".to_owned()),
        Just("player".to_owned()),
        any::<u128>().prop_map(|id| MemberId(Uuid::from_u128(id)).to_string()),
    ]);
    (1..=MAX_SEQ, to, body).prop_map(|(seq, to, body)| Relayed {
        from: None,
        seq,
        to,
        body,
    })
}

fn message() -> impl Strategy<Value = ClientMessage> {
    let candidate = (
        ".*",
        prop::option::of(".*"),
        prop::option::of(any::<u32>()),
        prop::option::of(".*"),
    )
        .prop_map(
            |(candidate, sdp_mid, sdp_m_line_index, username_fragment)| Candidate {
                candidate,
                sdp_mid,
                sdp_m_line_index,
                username_fragment,
            },
        );
    let control = (".+", prop::option::of(any::<i64>())).prop_map(|(action, payload)| Control {
        action,
        payload: payload.map(Value::from),
    });
    prop_oneof![
        relayed(".+".prop_map(|sdp| Offer { sdp })).prop_map(ClientMessage::Offer),
        relayed(candidate).prop_map(ClientMessage::Candidate),
        relayed(control).prop_map(ClientMessage::Control),
    ]
}

/// A message as its receiver gets it.
fn heard<T: Clone>(sent: &Relayed<T>, from: MemberId) -> Relayed<T> {
    Relayed {
        from: Some(from.to_string()),
        to: None,
        ..sent.clone()
    }
}

proptest! {
    /// The fast reader and the published types agree, and what is relayed says what was sent.
    #[test]
    fn every_message_of_the_schema_is_relayed_whole(message in message(), from: u128) {
        let Ok(Request::Relay(relay)) = read(&serde_json::to_vec(&message).unwrap()) else {
            panic!("refused {message:?}")
        };
        let from = MemberId(Uuid::from_u128(from));
        let said: ServerMessage =
            serde_json::from_str(&say::relayed(from, relay.seq, &relay.text)).unwrap();
        let expected = match &message {
            ClientMessage::Offer(sent) => ServerMessage::Offer(heard(sent, from)),
            ClientMessage::Candidate(sent) => ServerMessage::Candidate(heard(sent, from)),
            ClientMessage::Control(sent) => ServerMessage::Control(heard(sent, from)),
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(said, expected);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = read(&bytes);
        let _ = read_hello(&bytes);
    }
}
