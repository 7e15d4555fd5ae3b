use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod oracle;

fn relayed(message: &str) -> String {
    match judge(message.as_bytes()) {
        Verdict::Relay(text) => text.to_string(),
        other => panic!("{message}: {other:?}"),
    }
}

#[test]
fn known_fields_are_relayed_in_a_fixed_order() {
    for (message, expected) in [
        (
            r#"{"type":"offer","sdp":"v=0\r\n"}"#,
            r#"{"type":"offer","sdp":"v=0\r\n"}"#,
        ),
        (
            r#" { "sdp" : "v=0" , "type" : "answer" } "#,
            r#"{"type":"answer","sdp":"v=0"}"#,
        ),
        (
            r#"{"sdpMLineIndex":0,"sdpMid":"","candidate":"c","type":"candidate","usernameFragment":"u","to":"x"}"#,
            r#"{"type":"candidate","candidate":"c","sdpMid":"","sdpMLineIndex":0}"#,
        ),
        (
            r#"{"type":"candidate","candidate":"c"}"#,
            r#"{"type":"candidate","candidate":"c"}"#,
        ),
        (
            r#"{"type":"candidate","candidate":"c","sdpMLineIndex":1.0}"#,
            r#"{"type":"candidate","candidate":"c","sdpMLineIndex":1.0}"#,
        ),
        (
            r#"{"type":"control","action":"a","payload":null}"#,
            r#"{"type":"control","action":"a","payload":null}"#,
        ),
        (
            r#"{"type":"control","action":"a","payload":{"b":[1, 2]}}"#,
            r#"{"type":"control","action":"a","payload":{"b":[1, 2]}}"#,
        ),
        (
            r#"{"type":"control","action":"a","sdp":"b"}"#,
            r#"{"type":"control","action":"a"}"#,
        ),
        (
            r#"{"type":"x","type":"offer","sdp":"","sdp":"s"}"#,
            r#"{"type":"offer","sdp":"s"}"#,
        ),
        (
            r#"{"\u0074ype":"\u006fffer","sdp":"\ud800"}"#,
            r#"{"type":"offer","sdp":"\ud800"}"#,
        ),
    ] {
        assert_eq!(relayed(message), expected);
    }
}

#[test]
fn json_that_is_no_message_is_answered() {
    for message in [
        r#"{"type":"offer"}"#,
        r#"{"type":"offer","sdp":""}"#,
        r#"{"type":"offer","sdp":null}"#,
        r#"{"type":"offer","sdp":5}"#,
        r#"{"type":"Offer","sdp":"s"}"#,
        r#"{"type":"candidate","candidate":""}"#,
        r#"{"type":"candidate","candidate":null}"#,
        r#"{"type":"candidate","candidate":"c","sdpMid":null}"#,
        r#"{"type":"candidate","candidate":"c","sdpMid":0}"#,
        r#"{"type":"candidate","candidate":"c","sdpMLineIndex":null}"#,
        r#"{"type":"candidate","candidate":"c","sdpMLineIndex":-1}"#,
        r#"{"type":"candidate","candidate":"c","sdpMLineIndex":0.5}"#,
        r#"{"type":"candidate","candidate":"c","sdpMLineIndex":1e999}"#,
        r#"{"type":"candidate","candidate":"c","sdpMLineIndex":"0"}"#,
        r#"{"type":"control"}"#,
        r#"{"type":"control","action":""}"#,
        r#"{"type":"peer-disconnected"}"#,
        r#"{"type":"\ud800"}"#,
        r#"{"type":["offer"]}"#,
        r#"{"sdp":"s"}"#,
        "{}",
        "[]",
        "null",
        "5",
        r#""offer""#,
    ] {
        assert_eq!(judge(message.as_bytes()), Verdict::SchemaError, "{message}");
    }
}

#[test]
fn what_is_not_json_is_dropped() {
    for message in [
        "",
        " ",
        "hello",
        "{",
        r#"{"type":"offer","sdp":"s"} x"#,
        r#"{"type":"offer","sdp":"s",}"#,
        r"{'type':'offer'}",
        "{\"type\":\"offer\",\"sdp\":\"a\nb\"}",
        "\u{feff}{}",
        "\u{a0}{}",
        "NaN",
    ] {
        assert_eq!(judge(message.as_bytes()), Verdict::NotJson, "{message:?}");
    }
    assert_eq!(judge(b"{\"type\":\"offer\",\"sdp\":\"\xff\"}"), Verdict::NotJson);
}

#[test]
fn depth_takes_no_stack() {
    let deep = format!(
        r#"{{"type":"control","action":"a","payload":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(relayed(&deep), deep);
    assert_eq!(judge("[".repeat(100_000).as_bytes()), Verdict::NotJson);
}

proptest! {
    #[test]
    fn takes_any_bytes(bytes: Vec<u8>) {
        let _ = judge(&bytes);
    }

    /// What is relayed is a message again, and stays as it is.
    #[test]
    fn relaying_twice_changes_nothing(message in message()) {
        let once = relayed(&message.to_string());
        prop_assert_eq!(relayed(&once), once.clone());
        let value: Value = serde_json::from_str(&once).unwrap();
        for (name, field) in value.as_object().unwrap() {
            prop_assert_eq!(Some(field), message.get(name));
        }
    }
}

fn message() -> impl Strategy<Value = Value> {
    let other = any::<String>();
    let kinds = prop_oneof![
        (".+").prop_map(|sdp| json!({"type": "offer", "sdp": sdp})),
        (".+").prop_map(|sdp| json!({"type": "answer", "sdp": sdp})),
        (".+", any::<u16>(), ".*").prop_map(|(candidate, index, mid)| {
            json!({"type": "candidate", "candidate": candidate, "sdpMLineIndex": index, "sdpMid": mid})
        }),
        (".+", any::<Vec<i32>>())
            .prop_map(|(action, payload)| json!({"type": "control", "action": action, "payload": payload})),
    ];
    (kinds, other).prop_map(|(mut message, other)| {
        message["someOtherField"] = json!(other);
        message
    })
}
