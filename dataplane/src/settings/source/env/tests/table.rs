//! Every variable of the signaling server but those of authentication: each spelling, what it sets, and values that
//! stop the process with its name.

use super::*;

struct Row {
    spellings: &'static [&'static str],
    /// A value, and what the setting then is.
    valid: &'static [(&'static str, &'static str)],
    wrong: &'static [&'static str],
    read: fn(&SignalingSettings) -> String,
    /// What else must be set for it.
    with: &'static [(&'static str, &'static str)],
}

const NOT_NUMBERS: &[&str] = &["many", "1.5", "0x10", "1e3", "-", "10s", "99999999999999999999"];

const fn row(
    spellings: &'static [&'static str],
    valid: &'static [(&'static str, &'static str)],
    wrong: &'static [&'static str],
    read: fn(&SignalingSettings) -> String,
) -> Row {
    Row {
        spellings,
        valid,
        wrong,
        read,
        with: &[],
    }
}

const TABLE: &[Row] = &[
    row(
        &["NODE_ENV"],
        &[
            ("production", "Production"),
            ("development", "Development"),
            ("staging", "Development"),
        ],
        &[],
        |s| format!("{:?}", s.environment),
    ),
    row(
        &["WS_PORT"],
        &[("4000", "4000"), ("1", "1"), ("65535", "65535")],
        &["0", "65536", "-1"],
        |s| s.ws_port.to_string(),
    ),
    row(
        &["HEALTH_PORT"],
        &[("4001", "4001")],
        &["0", "65536", "3002"],
        |s| s.health_port.to_string(),
    ),
    row(
        &["SIGNALING_PUBLIC_URL"],
        &[("wss://a.example/x", "wss://a.example/x")],
        &["http://a.example", "a.example", "ws://", "wss://a.example/?x=1"],
        |s| s.public_url.as_str().to_owned(),
    ),
    row(
        &["ROOM_CAPACITY"],
        &[("1", "1"), ("10", "10"), ("64", "64")],
        &["0", "65", "-2"],
        |s| s.rooms.capacity.to_string(),
    ),
    row(
        &["ROOM_TTL_SECONDS"],
        &[("120", "120"), ("3600", "3600")],
        &["0", "86401"],
        |s| s.rooms.ttl.as_secs().to_string(),
    ),
    row(
        &["ROOM_ID_MAX_LENGTH"],
        &[("8", "8"), ("256", "256")],
        &["7", "257"],
        |s| s.rooms.id_max_length.to_string(),
    ),
    row(
        &["MESSAGE_MAX_BYTES"],
        &[("65536", "65536"), ("262144", "262144")],
        &["1023", "4194305"],
        |s| s.websocket.max_message_bytes.to_string(),
    ),
    row(
        &[
            "BACKPRESSURE_CLOSE_THRESHOLD_BYTES",
            "BACKPRESSURE_THRESHOLD_BYTES",
        ],
        &[("1048576", "1048576"), ("5242880", "5242880")],
        // The second one is less than the largest message.
        &["1023", "2048", "67108865"],
        |s| s.websocket.backpressure_close_bytes.to_string(),
    ),
    row(
        &["HEARTBEAT_INTERVAL_MS"],
        &[("30000", "30000")],
        &["999", "300001"],
        |s| s.websocket.heartbeat_interval.as_millis().to_string(),
    ),
    row(
        &["SUBPROTOCOL"],
        &[("cloudgaming-v1", "cloudgaming-v1")],
        &["two words", "a,b", "\u{e9}"],
        |s| s.websocket.subprotocol.clone().unwrap_or_default(),
    ),
    row(
        &["RATE_LIMIT_CONN_PER_10S"],
        &[("20", "20")],
        &["0", "1000000001"],
        |s| s.rate_limits.connections_per_ip.to_string(),
    ),
    row(&["RATE_LIMIT_MESSAGES_PER_10S"], &[("200", "200")], &["0"], |s| {
        s.rate_limits.messages_per_client.to_string()
    }),
    row(&["RATE_LIMIT_IP_MSGS_PER_10S"], &[("400", "400")], &["0"], |s| {
        s.rate_limits.messages_per_ip.to_string()
    }),
    row(
        &["RATE_LIMIT_ROOM_MSGS_PER_10S"],
        &[("800", "800")],
        &["0"],
        |s| s.rate_limits.messages_per_room.to_string(),
    ),
    row(
        &["REQUIRE_WSS"],
        &[("true", "true"), ("false", "false")],
        &["yes", "1", "TRUE"],
        |s| s.security.require_wss.to_string(),
    ),
    row(
        &["ALLOWED_ORIGINS"],
        &[
            ("https://a.example, b.example,", "true false true"),
            ("*", "true true true"),
            ("https://a.example,*", "true true true"),
        ],
        &[],
        |s| {
            let origins = ["https://a.example", "https://c.example", "http://b.example:81"];
            origins
                .map(|origin| s.security.allowed_origins.allow(Some(origin)).to_string())
                .join(" ")
        },
    ),
    row(
        &["TRUSTED_PROXY_CIDRS"],
        &[
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.1,fd00::/8", "192.0.2.1/32 fd00::/8"),
        ],
        &["proxy", "10.0.0.0/33", "10.0.0.0/8,300.1.1.1"],
        |s| {
            let networks: Vec<String> = s
                .security
                .trusted_proxies
                .iter()
                .map(ToString::to_string)
                .collect();
            networks.join(" ")
        },
    ),
    row(
        &["CB_ERROR_THRESHOLD"],
        &[("3", "3"), ("5", "5")],
        &["0", "1001"],
        |s| s.circuit_breaker.error_threshold.to_string(),
    ),
    row(
        &["CB_OPEN_MS"],
        &[("5000", "5000"), ("10000", "10000")],
        &["99", "300001"],
        |s| s.circuit_breaker.open.as_millis().to_string(),
    ),
    row(
        &["DRAIN_TIMEOUT_MS"],
        &[("5000", "5000"), ("0", "0"), ("60001", "61000")],
        &["-1", "3600001"],
        |s| s.drain_timeout.as_millis().to_string(),
    ),
    row(
        &["SHUTDOWN_CLOSE_CODE"],
        &[("1012", "1012"), ("1001", "1001"), ("4321", "4321")],
        &["999", "1002", "5000"],
        |s| s.drain_close_code.to_string(),
    ),
];

/// Variables whose values are numbers.
fn is_number(row: &Row) -> bool {
    row.valid
        .iter()
        .all(|(value, _)| value.bytes().all(|byte| byte.is_ascii_digit()))
}

fn with(row: &Row, name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    [row.with, &[(name, value)]].concat()
}

#[test]
fn every_variable_is_in_the_table() {
    let known: Vec<&str> = SIGNALING
        .iter()
        .flat_map(|variable| variable.names)
        .copied()
        .collect();
    let tested: Vec<&str> = TABLE.iter().flat_map(|row| row.spellings).copied().collect();
    for name in &known {
        assert!(tested.contains(name), "{name} has no row");
    }
    assert_eq!(known.len(), tested.len());
}

#[test]
fn every_spelling_sets_its_setting() {
    let defaults = signaling(&[]);
    for row in TABLE {
        for name in row.spellings {
            for (value, expected) in row.valid {
                assert_eq!(
                    (row.read)(&signaling(&with(row, name, value))),
                    *expected,
                    "{name}={value}"
                );
            }
            // Blank is absent, as platforms have it that set every variable of a form.
            for blank in ["", "  "] {
                assert_eq!(
                    (row.read)(&signaling(&with(row, name, blank))),
                    (row.read)(&defaults),
                    "{name}={blank:?}"
                );
            }
        }
    }
}

#[test]
fn every_wrong_value_is_refused_by_the_name_that_was_used() {
    for row in TABLE {
        let numbers = if is_number(row) { NOT_NUMBERS } else { &[] };
        for name in row.spellings {
            for value in row.wrong.iter().chain(numbers) {
                let refused = refusals(Kind::SignalingCluster, &with(row, name, value));
                assert_eq!(refused.len(), 1, "{name}={value}: {refused:?}");
                assert!(
                    refused[0].starts_with(&format!("{name}: must ")),
                    "{name}={value}: {refused:?}"
                );
            }
        }
    }
}
