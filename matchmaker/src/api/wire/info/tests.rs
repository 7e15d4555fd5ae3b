use serde_json::{Value, json};

use super::super::{HeartbeatRules, Received, heartbeat};
use crate::host::HostInfo;

const RULES: HeartbeatRules = HeartbeatRules {
    room_id_max_length: 64,
    default_capacity: 1,
};

/// A heartbeat with this field.
fn with(name: &str, value: Value) -> Result<(HostInfo, Vec<&'static str>), Vec<[String; 2]>> {
    let mut body = json!({"hostId": "h", "roomId": "r"});
    body[name] = value;
    match heartbeat(Some(&body), RULES) {
        Ok(Received { heartbeat, dropped }) => Ok((heartbeat.info, dropped)),
        Err(issues) => Err(issues
            .into_iter()
            .map(|issue| [issue.path, issue.code.to_owned()])
            .collect()),
    }
}

#[test]
fn what_fits_is_kept_as_it_came() {
    let whole = json!({
        "publicIp": "2001:db8::1", "fqdn": "Host-1.example.com",
        "ports": {"game": {"port": 51123, "internal": 7777, "protocol": "UDP"}, "web": {"port": 65535, "protocol": "WSS"}},
        "location": {
            "city": "Montreal", "administrativeDivision": "Quebec", "country": "Canada", "continent": "North America",
            "timezone": "America/Toronto", "latitude": 45.5, "longitude": -73,
        },
        "gameInfo": {"name": "x", "specs": {"gpu": ["a", null, 1.5]}},
    });
    let mut body = json!({"hostId": "h", "roomId": "r"});
    body.as_object_mut()
        .unwrap()
        .extend(whole.as_object().unwrap().clone());
    let Received { heartbeat, dropped } = heartbeat(Some(&body), RULES).unwrap();
    assert!(dropped.is_empty());
    let text = heartbeat.info.to_text();
    let mut shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown["location"]["longitude"].as_f64(), Some(-73.0));
    shown["location"]["longitude"] = json!(-73);
    assert_eq!(shown, whole);
    assert_eq!(HostInfo::from_text(&text), heartbeat.info);
    assert_eq!(HostInfo::default().to_text(), "");
    assert_eq!(HostInfo::from_text("{\"ports\": 7}"), HostInfo::default());
}

#[test]
fn names_of_the_field_never_refuse_a_heartbeat() {
    let game = |bytes: usize| json!({"x": "y".repeat(bytes - r#"{"x":""}"#.len())});
    for (name, value, fits) in [
        ("publicIp", json!("192.0.2.1"), true),
        ("publicIp", json!(" ::1 "), true),
        ("publicIp", json!("host.example.com"), false),
        ("publicIp", json!("192.0.2.1:80"), false),
        ("publicIp", json!("x".repeat(60_000)), false),
        ("publicIp", json!(7), false),
        ("gameInfo", json!({}), true),
        ("gameInfo", game(4096), true),
        ("gameInfo", game(4097), false),
        ("gameInfo", json!("chess"), false),
        ("gameInfo", json!([1]), false),
    ] {
        let (info, dropped) = with(name, value.clone()).unwrap();
        let kept = info.public_ip.is_some() || info.game_info.is_some();
        let expected: &[&str] = if fits { &[] } else { &[name] };
        assert_eq!((kept, dropped.as_slice()), (fits, expected), "{name}");
    }
    for name in ["publicIp", "gameInfo"] {
        let (info, dropped) = with(name, json!(null)).unwrap();
        assert_eq!(
            (info, dropped.len()),
            (HostInfo::default(), 0),
            "null says nothing"
        );
    }
}

/// The longest name in DNS.
fn longest_name() -> String {
    let label = "a".repeat(63);
    [&*label, &*label, &*label, &"b".repeat(61)].join(".")
}

/// A port by this name.
fn named(name: &str) -> Value {
    json!({name: {"port": 1, "protocol": "TCP"}})
}

/// So many ports.
fn ports(count: usize) -> Value {
    let port = |number| (format!("p{number}"), json!({"port": 1, "protocol": "TCP"}));
    Value::Object((0..count).map(port).collect())
}

fn game(port: &Value) -> Value {
    json!({"game": port})
}

#[test]
fn new_names_within_their_bounds() {
    for (name, value) in [
        ("fqdn", json!("")),
        ("fqdn", json!(longest_name())),
        ("fqdn", json!("_x.1a")),
        ("ports", json!({})),
        ("ports", ports(16)),
        ("ports", named(&"ü".repeat(64))),
        (
            "ports",
            game(&json!({"port": 65535, "protocol": "TCP", "other": 1})),
        ),
        ("location", json!({})),
        ("location", json!({"city": "", "other": {}})),
        (
            "location",
            json!({"city": "ü".repeat(64), "latitude": -90, "longitude": 180.0}),
        ),
    ] {
        assert!(with(name, value.clone()).is_ok(), "{name}: {value}");
    }
}

#[test]
fn new_names_beyond_their_bounds() {
    for (name, value, path, code) in [
        ("fqdn", json!(null), "fqdn", "invalid_type"),
        ("fqdn", json!(7), "fqdn", "invalid_type"),
        ("fqdn", json!(longest_name() + "b"), "fqdn", "too_big"),
        ("fqdn", json!("a".repeat(64) + ".com"), "fqdn", "invalid_format"),
        ("fqdn", json!("192.0.2.1"), "fqdn", "invalid_format"),
        ("fqdn", json!("-a.com"), "fqdn", "invalid_format"),
        ("fqdn", json!("a b"), "fqdn", "invalid_format"),
        ("fqdn", json!("https://a.com"), "fqdn", "invalid_format"),
        ("ports", json!([]), "ports", "invalid_type"),
        ("ports", ports(17), "ports", "too_big"),
        ("ports", named(""), "ports", "invalid_key"),
        ("ports", named(&"x".repeat(65)), "ports", "invalid_key"),
        ("ports", game(&json!(7777)), "ports.game", "invalid_type"),
        (
            "ports",
            game(&json!({"protocol": "TCP"})),
            "ports.game.port",
            "invalid_type",
        ),
        (
            "ports",
            game(&json!({"port": 0, "protocol": "TCP"})),
            "ports.game.port",
            "too_small",
        ),
        (
            "ports",
            game(&json!({"port": 65536, "protocol": "TCP"})),
            "ports.game.port",
            "too_big",
        ),
        (
            "ports",
            game(&json!({"port": "1", "protocol": "TCP"})),
            "ports.game.port",
            "invalid_type",
        ),
        (
            "ports",
            game(&json!({"port": 1})),
            "ports.game.protocol",
            "invalid_type",
        ),
        (
            "ports",
            game(&json!({"port": 1, "protocol": "udp"})),
            "ports.game.protocol",
            "invalid_value",
        ),
        (
            "ports",
            game(&json!({"port": 1, "internal": 0, "protocol": "UDP"})),
            "ports.game.internal",
            "too_small",
        ),
        ("location", json!("Oslo"), "location", "invalid_type"),
        ("location", json!({"city": 1}), "location.city", "invalid_type"),
        (
            "location",
            json!({"country": "x".repeat(65)}),
            "location.country",
            "too_big",
        ),
        (
            "location",
            json!({"latitude": 90.1}),
            "location.latitude",
            "out_of_range",
        ),
        (
            "location",
            json!({"longitude": -181}),
            "location.longitude",
            "out_of_range",
        ),
        (
            "location",
            json!({"latitude": "1"}),
            "location.latitude",
            "invalid_type",
        ),
    ] {
        let issues = with(name, value.clone()).unwrap_err();
        assert_eq!(issues, [[path.to_owned(), code.to_owned()]], "{name}: {value}");
    }
}
