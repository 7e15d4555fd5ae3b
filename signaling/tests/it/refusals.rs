//! Every refusal: after the upgrade, with its code and reason.

use std::time::Duration;

use berth_crds::api::RotatingSecretRef;
use berth_crds::settings::{
    AllowedOrigins, AuthSettings, JwtSettings, KeySource, RateLimitSettings, SecretPair, SignalingSettings,
};
use berth_dataplane::secrets::Secret;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::support::{Client, Node, Request};

pub(crate) fn unix_now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

pub(crate) fn token(claims: &Value) -> String {
    encode(
        &Header::new(Algorithm::HS256),
        claims,
        &EncodingKey::from_secret(b"key"),
    )
    .unwrap()
}

/// Makes the node ask for tokens that are signed with `key`.
pub(crate) fn require_tokens(node: &Node) {
    let secret = SecretPair::from(&RotatingSecretRef::named("jwt"));
    node.secrets.put(&secret.current, Secret::new("key").unwrap());
    node.change(|settings| {
        settings.auth = AuthSettings::Jwt(Box::new(JwtSettings {
            keys: KeySource::Secret(secret),
            algorithms: vec![berth_crds::api::JwtAlgorithm::HS256],
            issuer: None,
            audience: None,
            rooms_claim: "rooms".into(),
            leeway: Duration::from_mins(1),
        }));
    });
}

/// A change of the settings, a handshake, and how it is refused, if it is.
type Case<'a> = (&'a dyn Fn(&mut SignalingSettings), Request, Option<(u16, String)>);

/// A seat is shown by an answer.
pub(crate) async fn is_seated(node: &Node, mut client: Client) {
    client.send("[]").await;
    assert_eq!(
        client.hear().await,
        r#"{"type":"control","action":"schema-error"}"#
    );
    client.leave().await;
    node.empties().await;
}

#[tokio::test]
async fn every_refusal_has_its_code_and_reason() {
    let node = Node::memory().await;
    let original = SignalingSettings::clone(&node.settings.get().cluster);
    let behind_proxy = |settings: &mut SignalingSettings| {
        settings.security.require_wss = true;
        settings.security.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    };
    let origins = |settings: &mut SignalingSettings| {
        settings.security.allowed_origins = AllowedOrigins::new(["https://play.example.com".to_owned()]);
    };
    let subprotocol = |settings: &mut SignalingSettings| settings.websocket.subprotocol = Some("v9".into());
    let rate = |settings: &mut SignalingSettings| {
        settings.rate_limits = RateLimitSettings {
            connections_per_ip: 1,
            ..settings.rate_limits
        };
    };
    let unchanged = |_: &mut SignalingSettings| {};
    let room = || Request::room("r1");
    let refused = |code: u16, reason: &str| Some((code, reason.to_owned()));
    let mut hostless = room();
    hostless.host = false;

    let cases: Vec<Case<'_>> = vec![
        (&unchanged, room(), None),
        (&unchanged, hostless, refused(1008, "Malformed request")),
        (&unchanged, Request::target("/"), refused(1008, "Invalid roomId")),
        (
            &unchanged,
            Request::target("/?roomId="),
            refused(1008, "Invalid roomId"),
        ),
        (
            &unchanged,
            Request::target("/?roomId=a%20b"),
            refused(1008, "Invalid roomId"),
        ),
        (
            &unchanged,
            Request::room(&"x".repeat(65)),
            refused(1008, "Invalid roomId"),
        ),
        (&behind_proxy, room(), refused(1008, "WSS required")),
        (
            &behind_proxy,
            room().header("X-Forwarded-Proto", "http"),
            refused(1008, "WSS required"),
        ),
        (&behind_proxy, room().header("X-Forwarded-Proto", "https"), None),
        (
            &origins,
            room().header("Origin", "https://evil.example.com"),
            refused(1008, "Origin not allowed"),
        ),
        (
            &origins,
            room().header("Origin", "https://play.example.com"),
            None,
        ),
        (&origins, room(), None),
        (&subprotocol, room(), refused(1008, "Subprotocol required")),
        (
            &subprotocol,
            room().header("Sec-WebSocket-Protocol", "v8"),
            refused(1008, "Subprotocol required"),
        ),
        (&subprotocol, room().header("Sec-WebSocket-Protocol", "v9"), None),
        (&rate, room(), None),
        (&rate, room(), refused(1013, "Rate limited")),
    ];
    for (change, request, expected) in cases {
        node.change(|settings| {
            *settings = original.clone();
            change(settings);
        });
        let described = format!("{} {:?}", request.target, request.headers);
        let mut client = Client::open(node.address, request).await;
        if let Some(expected) = expected {
            assert_eq!(client.closed().await, expected, "{described}");
        } else {
            is_seated(&node, client).await;
        }
    }
}

#[tokio::test]
async fn a_full_room_closes_normally() {
    let node = Node::memory().await;
    let (_host, _player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    let mut third = Client::connect(node.address, "r1").await;
    assert_eq!(third.closed().await, (1000, "Room is full".to_owned()));
    // Another room is another matter, and a changed capacity counts for the next connection.
    let _other = Client::join(&node, "r2").await;
    node.change(|settings| settings.rooms.capacity = 3);
    let _third = Client::join(&node, "r1").await;
    assert!((node.metric("signaling_closes_total{code=\"1000\"}") - 1.0).abs() < 0.5);
}

#[tokio::test]
async fn tokens_open_rooms() {
    let node = Node::memory().await;
    require_tokens(&node);
    let now = unix_now();
    let unauthorized = (1008, "Unauthorized".to_owned());
    let forbidden = (1008, "Forbidden".to_owned());
    let with = |claims: Value| Request::target(&format!("/?roomId=r1&token={}", token(&claims)));
    for (request, expected) in [
        (Request::room("r1"), Some(&unauthorized)),
        (Request::target("/?roomId=r1&token=nonsense"), Some(&unauthorized)),
        (with(json!({"exp": now - 61})), Some(&unauthorized)),
        (with(json!({"nbf": now + 100})), Some(&unauthorized)),
        (with(json!({"rooms": ["r2"]})), Some(&forbidden)),
        (with(json!({"rooms": "r1"})), Some(&forbidden)),
        (with(json!({"rooms": ["r1"], "exp": now + 60})), None),
        (
            Request::room("r1").header("Authorization", format!("Bearer {}", token(&json!({})))),
            None,
        ),
    ] {
        let mut client = Client::open(node.address, request).await;
        if let Some(expected) = expected {
            assert_eq!(client.closed().await, *expected);
        } else {
            is_seated(&node, client).await;
        }
    }
}

#[tokio::test]
async fn a_token_without_meaning_is_ignored() {
    let node = Node::memory().await;
    let mut client = Client::open(node.address, Request::target("/?roomId=r1&token=whatever")).await;
    client.send("[]").await;
    client.hear().await;
}
