use proptest::prelude::*;
use serde_json::json;

use super::*;

const RULES: HeartbeatRules = HeartbeatRules {
    room_id_max_length: 64,
    default_capacity: 3,
};

fn issues(body: &Value) -> Vec<(String, &'static str, String)> {
    let issues = heartbeat(Some(body), RULES).unwrap_err();
    issues
        .into_iter()
        .map(|issue| (issue.path, issue.code, issue.message))
        .collect()
}

fn read(body: &Value) -> Heartbeat {
    heartbeat(Some(body), RULES).unwrap().heartbeat
}

#[test]
fn shortest_heartbeat_gets_its_defaults() {
    let read = read(&json!({"hostId": "h", "roomId": "r", "unknown": {"name": "x"}, "publicIp": null}));
    let expected = Heartbeat {
        host: HostId::new("h"),
        room: RoomId::parse("r", 64).unwrap(),
        region: "local".to_owned(),
        labels: BTreeMap::new(),
        status: HostStatus::Idle,
        capacity: 3,
        available: 3,
        serves: None,
        age: Duration::ZERO,
        info: HostInfo::default(),
    };
    assert_eq!(read, expected);
}

#[test]
fn slots_are_what_the_host_says() {
    for (body, capacity, available) in [
        (json!({"capacity": 4}), 4, 4),
        (json!({"capacity": 4, "availableSlots": 9}), 4, 4),
        (json!({"capacity": 4, "availableSlots": 0}), 4, 0),
        (json!({"availableSlots": 2}), 3, 2),
        (json!({"capacity": 2.0, "availableSlots": 1e0}), 2, 1),
        (json!({"availableSlots": 1e300}), 3, 3),
        (json!({"status": "busy"}), 3, 0),
        (json!({"status": "allocated", "availableSlots": 1}), 3, 1),
        (json!({"status": "draining"}), 3, 0),
        (json!({"status": "idle", "region": ""}), 3, 3),
    ] {
        let mut whole = json!({"hostId": "h", "roomId": "r"});
        whole
            .as_object_mut()
            .unwrap()
            .extend(body.as_object().unwrap().clone());
        let read = read(&whole);
        assert_eq!(
            (read.capacity, read.available, read.region.as_str()),
            (capacity, available, "local"),
            "{whole}"
        );
    }
}

#[test]
fn every_wrong_field_is_named() {
    let text = |received: &str| format!("Invalid input: expected string, received {received}");
    let found = issues(&json!({
        "hostId": 7, "region": null, "status": "offline", "capacity": 0, "availableSlots": -1,
    }));
    let expected = [
        ("hostId", "invalid_type", text("number")),
        ("roomId", "invalid_type", text("undefined")),
        ("region", "invalid_type", text("null")),
        (
            "status",
            "invalid_value",
            r#"Invalid option: expected one of "idle"|"busy"|"allocated"|"draining""#.to_owned(),
        ),
        (
            "capacity",
            "too_small",
            "Too small: expected number to be >0".to_owned(),
        ),
        (
            "availableSlots",
            "too_small",
            "Too small: expected number to be >=0".to_owned(),
        ),
    ];
    assert_eq!(
        found,
        expected.map(|(path, code, message)| (path.to_owned(), code, message))
    );
}

#[test]
fn bounds_of_single_fields() {
    let with = |name: &str, value: Value| {
        let mut body = json!({"hostId": "h", "roomId": "r"});
        body[name] = value;
        body
    };
    for (name, value, code) in [
        ("hostId", json!(""), "too_small"),
        ("hostId", json!("x".repeat(129)), "too_big"),
        ("roomId", json!(""), "too_small"),
        ("roomId", json!("a room"), "invalid_format"),
        ("roomId", json!("x".repeat(65)), "invalid_format"),
        ("region", json!("x".repeat(65)), "too_big"),
        ("region", json!(["eu"]), "invalid_type"),
        ("status", json!(null), "invalid_value"),
        ("capacity", json!(1.5), "invalid_type"),
        ("capacity", json!("4"), "invalid_type"),
        ("capacity", json!(1001), "too_big"),
        ("capacity", json!(1e99), "too_big"),
        ("availableSlots", json!(true), "invalid_type"),
    ] {
        let found = issues(&with(name, value.clone()));
        assert_eq!(found.len(), 1, "{name} {value}: {found:?}");
        assert_eq!((found[0].0.as_str(), found[0].1), (name, code), "{value}");
    }
    for (name, value) in [
        ("hostId", json!("\u{1f3ae}".repeat(128))),
        ("roomId", json!("A-z_0:9.")),
    ] {
        read(&with(name, value));
    }
}

#[test]
fn bodies_that_are_no_objects() {
    for (body, received) in [
        (json!([]), "array"),
        (json!("x"), "string"),
        (json!(null), "null"),
        (json!(1), "number"),
    ] {
        let message = format!("Invalid input: expected object, received {received}");
        assert_eq!(issues(&body), [(String::new(), "invalid_type", message.clone())]);
        assert_eq!(find(Some(&body)).unwrap_err()[0].message, message);
    }
    assert_eq!(
        heartbeat(None, RULES).unwrap_err()[0].message,
        "Invalid input: expected object, received undefined"
    );
}

#[test]
fn a_find_may_ask_for_nothing() {
    for body in [
        None,
        Some(json!({})),
        Some(json!({"region": "", "hostId": "", "other": 1})),
    ] {
        assert_eq!(find(body.as_ref()).unwrap(), FindRequest::default());
    }
    let found = find(Some(&json!({"region": "eu", "hostId": "h"}))).unwrap();
    assert_eq!(
        found,
        FindRequest {
            region: Some("eu".to_owned()),
            host: Some(HostId::new("h")),
            ..FindRequest::default()
        }
    );
    let issues = find(Some(&json!({"region": 1, "hostId": null}))).unwrap_err();
    assert_eq!(
        issues.iter().map(|issue| issue.path.as_str()).collect::<Vec<_>>(),
        ["region", "hostId"]
    );
}

#[test]
fn labels_and_latencies_of_a_find() {
    let found = find(Some(&json!({
        "region": "eu",
        "latencies": {"us-b": 80, "eu": 5, "us-a": 8e1, "asia": 60_000, "moon": 0.5, "home": 0},
        "labels": {"gpu": "a100", "codec": ""},
    })))
    .unwrap();
    assert_eq!(
        found.nearest,
        ["home", "moon", "us-a", "us-b", "asia"],
        "nearest first, then by name, without the asked one"
    );
    let labels = [("codec", ""), ("gpu", "a100")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(found.labels, BTreeMap::from(labels.clone()));
    let read = read(&json!({"hostId": "h", "roomId": "r", "labels": {"gpu": "a100", "codec": ""}}));
    assert_eq!(read.labels, BTreeMap::from(labels));
    let longest =
        json!({"labels": {"\u{1f3ae}".repeat(63): "\u{1f3ae}".repeat(63)}, "latencies": {"x".repeat(64): 1}});
    assert_eq!(find(Some(&longest)).unwrap().labels.len(), 1);
    let full: serde_json::Map<String, Value> = (0..64).map(|number| (number.to_string(), json!(1))).collect();
    assert_eq!(find(Some(&json!({"latencies": full}))).unwrap().nearest.len(), 64);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn wrong_labels_and_latencies_are_named() {
    let many = |count: usize, value: Value| {
        let entries = (0..count).map(|number| (number.to_string(), value.clone()));
        Value::Object(entries.collect())
    };
    let long = "x".repeat(70);
    for (name, value, path, code, message) in [
        (
            "labels",
            json!(null),
            "labels",
            "invalid_type",
            "Invalid input: expected object, received null",
        ),
        (
            "labels",
            json!(["a"]),
            "labels",
            "invalid_type",
            "Invalid input: expected object, received array",
        ),
        (
            "labels",
            many(17, json!("x")),
            "labels",
            "too_big",
            "Too big: expected object to have <=16 keys",
        ),
        (
            "labels",
            json!({"gpu": 1}),
            "labels.gpu",
            "invalid_type",
            "Invalid input: expected string, received number",
        ),
        (
            "labels",
            json!({"gpu": "x".repeat(64)}),
            "labels.gpu",
            "too_big",
            "Too big: expected string to have <=63 characters",
        ),
        (
            "labels",
            json!({"": "x"}),
            "labels.",
            "invalid_key",
            "Invalid key: expected string of 1 to 63 characters",
        ),
        (
            "labels",
            json!({&long: "x"}),
            &format!("labels.{}", &long[..63]),
            "invalid_key",
            "Invalid key: expected string of 1 to 63 characters",
        ),
        (
            "latencies",
            json!(5),
            "latencies",
            "invalid_type",
            "Invalid input: expected object, received number",
        ),
        (
            "latencies",
            many(65, json!(1)),
            "latencies",
            "too_big",
            "Too big: expected object to have <=64 keys",
        ),
        (
            "latencies",
            json!({"eu": "5"}),
            "latencies.eu",
            "invalid_type",
            "Invalid input: expected number, received string",
        ),
        (
            "latencies",
            json!({"eu": -0.1}),
            "latencies.eu",
            "too_small",
            "Too small: expected number to be >=0",
        ),
        (
            "latencies",
            json!({"eu": 60_000.1}),
            "latencies.eu",
            "too_big",
            "Too big: expected number to be <=60000",
        ),
        (
            "latencies",
            json!({&long: 1}),
            &format!("latencies.{}", &long[..64]),
            "invalid_key",
            "Invalid key: expected string of 1 to 64 characters",
        ),
    ] {
        let body = json!({"hostId": "h", "roomId": "r", name: value});
        let issues = find(Some(&body)).unwrap_err();
        let expected = Issue {
            path: path.to_owned(),
            message: message.to_owned(),
            code,
        };
        assert_eq!(issues, std::slice::from_ref(&expected), "{body}");
        if name == "labels" {
            assert_eq!(heartbeat(Some(&body), RULES).unwrap_err(), [expected], "{body}");
        } else {
            assert_eq!(
                heartbeat(Some(&body), RULES).map(|read| read.heartbeat.capacity),
                Ok(3)
            );
        }
    }
    let issues = find(Some(
        &json!({"labels": {"a": 1, "b": "x", "c": null}, "latencies": {"d": true}}),
    ))
    .unwrap_err();
    let paths: Vec<&str> = issues.iter().map(|issue| issue.path.as_str()).collect();
    assert_eq!(paths, ["latencies.d", "labels.a", "labels.c"]);
}

fn any_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,80}".prop_map(Value::from),
        Just(json!({"a": [1]})),
        prop::collection::btree_map(".{0,70}", ".{0,70}", 0..20).prop_map(|map| json!(map)),
        prop::collection::btree_map(".{0,70}", any::<f64>(), 0..70).prop_map(|map| json!(map)),
    ]
}

#[test]
fn a_host_is_told_who_is_on_the_way_there_or_gone() {
    use crate::slots::Holder;
    let told = |holder, left_ms| {
        let reservation = Reservation {
            id: MatchId(uuid::Uuid::nil()),
            granted_us: 1,
            deadline_ms: 30,
            base: 1,
            holder,
            joined_us: 0,
            left_ms,
            asked: None,
        };
        let mut told = json!(HeldSlot::from(&reservation));
        told.as_object_mut().unwrap().remove("matchId");
        told
    };
    let player = Holder::Player {
        join: 2,
        known: true,
        clear: true,
    };
    assert_eq!(told(Holder::Nobody, 0), json!({"deadline": 30, "joined": false}));
    assert_eq!(told(player, 0), json!({"deadline": 30, "joined": true}));
    let left = json!({"deadline": 30, "joined": false, "leftAt": 40});
    assert_eq!(told(player, 40), left);
}

proptest! {
    /// Whatever is sent: a heartbeat and a find within their bounds, or issues.
    #[test]
    fn total(values in prop::collection::vec(prop::option::of(any_json()), 14)) {
        let names = [
            "hostId", "roomId", "region", "status", "capacity", "availableSlots", "labels", "latencies", "reservations",
            "publicIp", "gameInfo", "fqdn", "ports", "location",
        ];
        let fields = names.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
        let body = Value::Object(fields.collect());
        match heartbeat(Some(&body), RULES) {
            Ok(Received { heartbeat: read, dropped }) => {
                prop_assert!(read.available <= read.capacity && (1..=1000).contains(&read.capacity));
                prop_assert!(read.info.public_ip.is_none() || !dropped.contains(&"publicIp"));
            }
            Err(issues) => {
                prop_assert!(!issues.is_empty());
                prop_assert!(issues.iter().all(|issue| !["publicIp", "gameInfo"].contains(&&*issue.path)));
            }
        }
        match find(Some(&body)) {
            Ok(read) => prop_assert!(read.nearest.len() <= 64 && read.labels.len() <= 16),
            Err(issues) => prop_assert!(!issues.is_empty()),
        }
    }
}
