//! The rules of v1 said once more, plainly, on values that are parsed and built again; any message must be judged the
//! same by both.

use proptest::sample::{Index, select};

use super::*;

#[derive(Debug, PartialEq)]
enum Judged {
    NotJson,
    NoMessage,
    Relayed(Value),
}

fn plain(message: &[u8]) -> Judged {
    match serde_json::from_slice(message) {
        Ok(value) => relay(&value).map_or(Judged::NoMessage, Judged::Relayed),
        Err(_) => Judged::NotJson,
    }
}

fn relay(value: &Value) -> Option<Value> {
    let filled = |name: &str| {
        let text = value.get(name)?.as_str()?;
        (!text.is_empty()).then(|| json!(text))
    };
    let mut out = json!({"type": value.as_object()?.get("type")?.as_str()?});
    match value["type"].as_str()? {
        "offer" | "answer" => out["sdp"] = filled("sdp")?,
        "candidate" => {
            out["candidate"] = filled("candidate")?;
            if let Some(mid) = value.get("sdpMid") {
                out["sdpMid"] = json!(mid.as_str()?);
            }
            if let Some(index) = value.get("sdpMLineIndex") {
                let number = index.as_f64()?;
                (number >= 0.0 && number.fract() == 0.0).then_some(())?;
                out["sdpMLineIndex"] = index.clone();
            }
        }
        "control" => {
            out["action"] = filled("action")?;
            if let Some(payload) = value.get("payload") {
                out["payload"] = payload.clone();
            }
        }
        _ => return None,
    }
    Some(out)
}

fn judged(message: &[u8]) -> Judged {
    match judge(message) {
        Verdict::NotJson => Judged::NotJson,
        Verdict::SchemaError => Judged::NoMessage,
        Verdict::Relay(text) => {
            Judged::Relayed(serde_json::from_str(&text).expect("what is relayed is JSON"))
        }
    }
}

/// JSON text of a value, right or wrong for the field that it stands in.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(vec![r#""v=0""#, r#""c""#, r#""é\n\u00e9\"""#, "0", "3", "null", r#""""#])
            .prop_map(str::to_owned),
        2 => select(vec!["-0", "-1", "0.5", "2.0", "1e1", "true", "[]", "{}", r#"["x"]"#, r#"{"a":{"b":[1,null]}}"#])
            .prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| json!(text).to_string()),
        1 => any::<i32>().prop_map(|number| number.to_string()),
    ]
}

fn field() -> impl Strategy<Value = String> {
    let known = select(vec![
        "sdp",
        "candidate",
        "sdpMid",
        "sdpMLineIndex",
        "action",
        "payload",
        "to",
        "usernameFragment",
        "Type",
    ]);
    let kind = select(vec![
        r#""offer""#,
        r#""answer""#,
        r#""candidate""#,
        r#""control""#,
        r#""peer-disconnected""#,
        r#""\u006fffer""#,
        "null",
        "1",
    ]);
    prop_oneof![
        3 => (known, value()).prop_map(|(name, value)| format!("\"{name}\":{value}")),
        2 => kind.prop_map(|kind| format!("\"type\":{kind}")),
        1 => (any::<String>(), value()).prop_map(|(name, value)| format!("{}:{value}", json!(name))),
    ]
}

/// Fields in any order, also twice, with blanks between.
fn text() -> impl Strategy<Value = String> {
    let blank = select(vec!["", "", " ", "\n\t\r "]);
    (prop::collection::vec(field(), 0..7), blank).prop_map(|(fields, blank)| {
        format!(
            "{blank}{{{blank}{}{blank}}}{blank}",
            fields.join(&format!("{blank},{blank}"))
        )
    })
}

#[derive(Clone, Debug)]
enum Mutation {
    Remove(Index),
    Insert(Index, u8),
    Replace(Index, u8),
    Cut(Index),
    Twice(Index, Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let byte = || {
        prop_oneof![
            4 => select(b"{}[]\",:\\ eE+-.0n\xc3\xa9\xff\0".to_vec()),
            1 => any::<u8>(),
        ]
    };
    prop_oneof![
        any::<Index>().prop_map(Mutation::Remove),
        (any::<Index>(), byte()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        (any::<Index>(), byte()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        any::<Index>().prop_map(Mutation::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Twice(from, to)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    let at = |index: &Index| index.index(bytes.len());
    match mutation {
        Mutation::Remove(index) => {
            let at = at(index);
            bytes.remove(at);
        }
        Mutation::Insert(index, byte) => {
            let at = at(index);
            bytes.insert(at, *byte);
        }
        Mutation::Replace(index, byte) => {
            let at = at(index);
            bytes[at] = *byte;
        }
        Mutation::Cut(index) => {
            let at = at(index);
            bytes.truncate(at);
        }
        Mutation::Twice(from, to) => {
            let (from, to) = (at(from).min(at(to)), at(from).max(at(to)));
            let part = bytes[from..to].to_vec();
            bytes.splice(to..to, part);
        }
    }
}

/// Numbers that JavaScript takes and a parser into values refuses; the cases by hand have them.
fn is_huge(bytes: &[u8]) -> bool {
    let digits = |rest: &[u8]| rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.iter().enumerate().any(|(at, byte)| {
        let rest = &bytes[at + 1..];
        let rest = rest
            .strip_prefix(b"-")
            .or_else(|| rest.strip_prefix(b"+"))
            .unwrap_or(rest);
        matches!(byte, b'e' | b'E') && digits(rest) > 2
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_message_is_judged_by_the_rules(text in text()) {
        prop_assert_eq!(judged(text.as_bytes()), plain(text.as_bytes()));
    }

    #[test]
    fn any_damaged_message_is_judged_by_the_rules(
        text in text(),
        mutations in prop::collection::vec(mutation(), 1..4),
    ) {
        let mut bytes = text.into_bytes();
        for mutation in &mutations {
            mutate(&mut bytes, mutation);
        }
        prop_assume!(!is_huge(&bytes));
        prop_assert_eq!(judged(&bytes), plain(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }
}

/// What JavaScript takes and a parser into Rust's strings and numbers does not.
#[test]
fn what_javascript_takes_is_taken() {
    for (message, expected) in [
        (
            r#"{"type":"offer","sdp":"s","x":"\udc00\ud800"}"#,
            r#"{"type":"offer","sdp":"s"}"#,
        ),
        (
            r#"{"type":"offer","sdp":"s","x":1e999}"#,
            r#"{"type":"offer","sdp":"s"}"#,
        ),
        (
            r#"{"type":"control","action":"\ud800","payload":[-1e999]}"#,
            r#"{"type":"control","action":"\ud800","payload":[-1e999]}"#,
        ),
        (
            r#"{"__proto__":{"type":"x"},"type":"offer","sdp":"s"}"#,
            r#"{"type":"offer","sdp":"s"}"#,
        ),
    ] {
        assert_eq!(relayed(message), expected, "{message}");
    }
    assert_eq!(judge(br#""\ud800""#), Verdict::SchemaError);
    assert_eq!(judge(br#"{"type":"\ud800"}"#), Verdict::SchemaError);
}
