use std::net::IpAddr;

use axum::http::HeaderValue;
use berth_crds::SignalingCluster;
use berth_crds::api::{LegacyPeers, RotatingSecretRef, SignalingClusterSpec};
use berth_dataplane::match_token::{MatchGrant, MatchKeys, Role};
use berth_dataplane::secrets::{RotatingSecret, Secret, SecretStore};
use berth_dataplane::telemetry::Metrics;
use futures::FutureExt as _;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::*;
use crate::auth::{AuthMetrics, KeySetTiming, Keyring};

const NOW: f64 = 1_000_000.0;

fn client() -> ClientAddress {
    ClientAddress {
        ip: IpAddr::from([203, 0, 113, 1]),
        via_trusted_proxy: false,
        https: false,
    }
}

fn hello(uri: &str, headers: &[(&'static str, &str)]) -> Hello {
    let headers: HeaderMap = [("host", "h")]
        .iter()
        .chain(headers)
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect();
    Hello::new(&uri.parse().unwrap(), &headers, client())
}

/// The decision as a whole, with the keys that `secrets` hold.
fn admit(
    hello: &Hello,
    settings: &SignalingSettings,
    secrets: &SecretStore,
    circuit_open: bool,
    now: f64,
) -> Result<Admitted, Close> {
    let room = qualify(hello, settings, circuit_open)?;
    let keyring = Keyring::new(
        AuthMetrics::register(&Metrics::new()),
        KeySetTiming {
            fetch_within: Duration::from_secs(1),
            floor: Duration::from_secs(1),
        },
    );
    // Nothing has to be fetched, so it is ready at once.
    let keys = keyring.find(secrets, settings, hello.token.as_ref());
    let keys = keys.now_or_never().unwrap();
    let pass = authenticate(hello, settings, &room, &keys, now).map_err(refusal)?;
    Ok(Admitted {
        room,
        ends_at: pass.ends_at,
        identity: pass.identity,
        own_seat_only: false,
    })
}

/// Settings in which every check can fail.
fn strict() -> (SignalingSettings, SecretStore) {
    let mut spec = SignalingClusterSpec::new("wss://signaling.example.com");
    spec.security.require_wss = true;
    spec.security.trusted_proxy_cidrs = vec!["10.0.0.0/8".into()];
    spec.security.allowed_origins = vec!["https://play.example.com".into()];
    spec.websocket.subprotocol = Some("v9".into());
    spec.auth =
        serde_json::from_value(json!({"mode": "Jwt", "jwt": {"secretRef": {"name": "jwt"}}})).unwrap();
    let settings = SignalingSettings::try_from(&SignalingCluster::new("main", spec)).unwrap();
    let secrets = SecretStore::in_memory();
    let reference = (&RotatingSecretRef::named("jwt")).into();
    let berth_crds::settings::SecretPair { current, .. } = reference;
    secrets.put(&current, Secret::new("key").unwrap());
    (settings, secrets)
}

fn token(claims: &serde_json::Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(b"key")).unwrap()
}

#[test]
fn refusals_come_in_their_order() {
    let (settings, secrets) = strict();
    let mut hello = hello("/?roomId=bad%20id", &[("origin", "https://evil.example.com")]);
    hello.has_host = false;
    let refused =
        |hello: &Hello, circuit_open| admit(hello, &settings, &secrets, circuit_open, NOW).unwrap_err();
    assert_eq!(refused(&hello, true), Close::ServiceUnavailable);
    assert_eq!(refused(&hello, false), Close::MalformedRequest);
    hello.has_host = true;
    assert_eq!(refused(&hello, false), Close::InvalidRoomId);
    hello.room = Some("r1".into());
    assert_eq!(refused(&hello, false), Close::WssRequired);
    hello.client.https = true;
    assert_eq!(refused(&hello, false), Close::OriginNotAllowed);
    hello.origin = Some("https://play.example.com".into());
    assert_eq!(refused(&hello, false), Close::SubprotocolRequired);
    hello.subprotocols = vec!["v8".into(), "v9".into()];
    assert_eq!(refused(&hello, false), Close::Unauthorized);
    hello.token = Some(Token::new(token(&json!({"rooms": ["r2"]}))));
    assert_eq!(refused(&hello, false), Close::Forbidden);
    hello.token = Some(Token::new(token(&json!({"rooms": ["r1"], "exp": NOW + 5.0}))));
    let admitted = admit(&hello, &settings, &secrets, false, NOW).unwrap();
    assert_eq!(
        (admitted.room.as_str(), admitted.ends_at),
        ("r1", Some(NOW + 65.0))
    );
    // Native hosts send no origin.
    hello.origin = None;
    assert!(admit(&hello, &settings, &secrets, false, NOW).is_ok());
}

#[test]
fn room_ids_have_a_form() {
    let settings = SignalingCluster::new("main", SignalingClusterSpec::new("ws://h"));
    let settings = SignalingSettings::try_from(&settings).unwrap();
    let longest = "x".repeat(64);
    for (query, expected) in [
        ("roomId=A-b_9:.", Some("A-b_9:.")),
        ("token=t&roomId=first&roomId=second", Some("first")),
        ("roomId=%61%62", Some("ab")),
        (&format!("roomId={longest}"), Some(&longest)),
        (&format!("roomId={longest}x"), None),
        ("roomId=", None),
        ("roomId=a+b", None),
        ("roomId=a/b", None),
        ("roomId=%C3%A9", None),
        ("roomid=a", None),
        ("", None),
    ] {
        let hello = hello(&format!("/any/path?{query}"), &[]);
        let admitted = admit(&hello, &settings, &SecretStore::in_memory(), false, NOW);
        assert_eq!(
            admitted.as_ref().map(|admitted| admitted.room.as_str()).ok(),
            expected,
            "{query}"
        );
        if expected.is_none() {
            assert_eq!(admitted, Err(Close::InvalidRoomId));
        }
    }
}

#[test]
fn the_query_goes_before_the_header() {
    let (settings, secrets) = strict();
    let (good, bad) = (token(&json!({})), "bad");
    let admitted = |uri: &str, authorization: Option<String>| {
        let headers: Vec<_> = authorization
            .iter()
            .map(|value| ("authorization", value.as_str()))
            .collect();
        let mut hello = hello(uri, &headers);
        hello.client.https = true;
        hello.subprotocols = vec!["v9".into()];
        admit(&hello, &settings, &secrets, false, NOW).is_ok()
    };
    assert!(admitted(
        &format!("/?roomId=r&token={good}"),
        Some(format!("Bearer {bad}"))
    ));
    assert!(!admitted(
        &format!("/?roomId=r&token={bad}"),
        Some(format!("Bearer {good}"))
    ));
    assert!(admitted("/?roomId=r&token=", Some(format!("bearer {good}"))));
    assert!(admitted("/?roomId=r", Some(format!("Bearer  {good}"))));
    assert!(!admitted("/?roomId=r", Some(format!("Basic {good}"))));
    assert!(!admitted("/?roomId=r", None));
}

#[test]
fn subprotocols_keep_their_order() {
    let hello = hello("/", &[("sec-websocket-protocol", "b, a ,,c")]);
    assert_eq!(hello.subprotocols, ["b", "a", "c"]);
}

/// Of match tokens only.
fn match_tokens(legacy_peers: LegacyPeers) -> (SignalingSettings, SecretStore) {
    let mut spec = SignalingClusterSpec::new("wss://signaling.example.com");
    spec.auth = serde_json::from_value(json!({"mode": "MatchToken", "legacyPeers": legacy_peers})).unwrap();
    let settings = SignalingSettings::try_from(&SignalingCluster::new("main", spec)).unwrap();
    let secrets = SecretStore::in_memory();
    let key = berth_crds::settings::match_key_secret("main").current;
    secrets.put(&key, Secret::new("key").unwrap());
    (settings, secrets)
}

fn match_token(key: &str, room: &str) -> String {
    let keys = MatchKeys::new(&RotatingSecret {
        current: Some(Secret::new(key).unwrap()),
        previous: None,
    });
    let grant = MatchGrant {
        room,
        role: Role::Host,
        id: "host-1",
        pool: "default/eu",
        ttl: Duration::from_mins(1),
    };
    keys.unwrap().issue(&grant, 1_000_000).unwrap()
}

#[test]
fn a_match_token_opens_one_room_and_says_who_comes() {
    let (settings, secrets) = match_tokens(LegacyPeers::Refuse);
    let ask = |uri: &str| admit(&hello(uri, &[]), &settings, &secrets, false, NOW);
    let good = match_token("key", "r1");
    let admitted = ask(&format!("/?roomId=r1&token={good}")).unwrap();
    let identity = Identity {
        role: Some(Role::Host),
        id: Some("host-1".into()),
    };
    assert_eq!((admitted.identity, admitted.ends_at), (identity, None));
    assert_eq!(ask(&format!("/?roomId=r2&token={good}")), Err(Close::Forbidden));
    for wrong in ["/?roomId=r1", "/?roomId=r1&token=", "/?roomId=r1&token=x"] {
        assert_eq!(ask(wrong), Err(Close::Unauthorized), "{wrong}");
    }
    let bearer = format!("Bearer {good}");
    let hello = hello("/?roomId=r1", &[("authorization", &bearer)]);
    assert!(admit(&hello, &settings, &secrets, false, NOW).is_ok());
    assert_eq!(
        admit(&hello, &settings, &SecretStore::in_memory(), false, NOW),
        Err(Close::Unauthorized)
    );
}

#[test]
fn legacy_peers_come_in_without_a_token_only_where_they_are_allowed() {
    let other = format!("/?roomId=r1&token={}", match_token("other key", "r1"));
    let v2 = [("sec-websocket-protocol", "x, berth.v2")];
    for (legacy_peers, uri, headers, expected) in [
        (LegacyPeers::Allow, "/?roomId=r1", &[][..], true),
        (
            LegacyPeers::Allow,
            "/?roomId=r1",
            &[("sec-websocket-protocol", "x")],
            true,
        ),
        (LegacyPeers::Allow, "/?roomId=r1", &v2, false),
        (LegacyPeers::Allow, &other, &[], false),
        (LegacyPeers::Allow, "/?roomId=r1&token=nonsense", &[], false),
        (LegacyPeers::Refuse, "/?roomId=r1", &[], false),
    ] {
        let (settings, secrets) = match_tokens(legacy_peers);
        let admitted = admit(&hello(uri, headers), &settings, &secrets, false, NOW);
        let expected = if expected {
            Ok(Identity::default())
        } else {
            Err(Close::Unauthorized)
        };
        assert_eq!(
            admitted.map(|admitted| admitted.identity),
            expected,
            "{legacy_peers:?} {uri}"
        );
    }
}
