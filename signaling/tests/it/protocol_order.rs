//! Protocol v1: who is refused for several reasons hears the first of them, in the order that clients know.

use berth_crds::settings::AllowedOrigins;
use serde_json::json;

use crate::refusals::{require_tokens, token};
use crate::support::{Client, Node, NodeOptions, RedisServer, Request, eventually};

/// A handshake that is wrong in the ways that are left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Right {
    Nothing,
    Host,
    Room,
    Tls,
    Origin,
    Subprotocol,
    Token,
    TokenForTheRoom,
}

const STEPS: [(Right, &str); 8] = [
    (Right::Nothing, "Malformed request"),
    (Right::Host, "Invalid roomId"),
    (Right::Room, "WSS required"),
    (Right::Tls, "Origin not allowed"),
    (Right::Origin, "Subprotocol required"),
    (Right::Subprotocol, "Unauthorized"),
    (Right::Token, "Forbidden"),
    (Right::TokenForTheRoom, ""),
];

/// Everything up to `right` is right, everything behind it wrong.
fn request(right: Right) -> Request {
    let room = if right >= Right::Room {
        "r1"
    } else {
        "not%20a%20room"
    };
    let token = match right {
        Right::TokenForTheRoom => token(&json!({"rooms": ["r1"]})),
        Right::Token => token(&json!({"rooms": ["r2"]})),
        _ => "nonsense".to_owned(),
    };
    let mut request = Request::target(&format!("/?roomId={room}&token={token}"));
    request.host = right >= Right::Host;
    let pick = |at, good: &str, bad: &str| if right >= at { good } else { bad }.to_owned();
    request
        .header("X-Forwarded-Proto", pick(Right::Tls, "https", "http"))
        .header(
            "Origin",
            pick(Right::Origin, "https://ok.example", "https://evil.example"),
        )
        .header("Sec-WebSocket-Protocol", pick(Right::Subprotocol, "v9", "v8"))
}

/// Every check is on, one connection per address and one member per room are allowed.
fn make_strict(node: &Node) {
    require_tokens(node);
    node.change(|settings| {
        settings.security.require_wss = true;
        settings.security.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        settings.security.allowed_origins = AllowedOrigins::new(["https://ok.example".to_owned()]);
        settings.websocket.subprotocol = Some("v9".into());
        settings.rate_limits.connections_per_ip = 2;
        settings.rooms.capacity = 1;
    });
}

#[tokio::test]
async fn the_first_fault_in_order_is_told() {
    let node = Node::memory().await;
    make_strict(&node);
    for (right, reason) in STEPS.into_iter().filter(|(_, reason)| !reason.is_empty()) {
        // Refusals before the limit take nothing from it, however many there are.
        for _ in 0..3 {
            let mut client = Client::open(node.address, request(right)).await;
            assert_eq!(client.closed().await, (1008, reason.to_owned()));
        }
    }
    let mut seated = Client::open(node.address, request(Right::TokenForTheRoom)).await;
    seated.send("[]").await;
    seated.hear().await;
    let refused = |right| async move { Client::open(node.address, request(right)).await.closed().await };
    let full = (1000, "Room is full".to_owned());
    let limited = (1013, "Rate limited".to_owned());
    assert_eq!(refused(Right::TokenForTheRoom).await, full);
    // The limit is spent now, and comes before the capacity.
    assert_eq!(refused(Right::TokenForTheRoom).await, limited);
    // Everything else comes before the limit.
    assert_eq!(refused(Right::Token).await.1, "Forbidden");
}

#[tokio::test]
async fn an_open_circuit_comes_before_everything_else() {
    let mut redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    make_strict(&node);
    node.change(|settings| settings.rate_limits.connections_per_ip = 1_000_000);
    redis.kill();
    eventually("the circuit opens", || async {
        let mut client = Client::open(node.address, request(Right::TokenForTheRoom)).await;
        (client.closed().await.0 == 1013).then_some(())
    })
    .await;
    for (right, _) in STEPS {
        let mut client = Client::open(node.address, request(right)).await;
        let expected = (1013, "Service unavailable".to_owned());
        assert_eq!(client.closed().await, expected);
    }
}

#[tokio::test]
async fn origins_match_whole_by_host_or_by_name() {
    let node = Node::memory().await;
    node.change(|settings| {
        let entries = ["https://whole.example", "name.example", "host.example:8443"];
        settings.security.allowed_origins = AllowedOrigins::new(entries.map(str::to_owned));
    });
    for (origin, allowed) in [
        (None, true),
        (Some("https://whole.example"), true),
        (Some("http://whole.example"), false),
        (Some("https://whole.example:444"), false),
        (Some("https://name.example"), true),
        (Some("http://name.example:9999"), true),
        (Some("https://sub.name.example"), false),
        (Some("https://name.example.evil.example"), false),
        (Some("https://host.example:8443"), true),
        (Some("https://host.example"), false),
        (Some("null"), false),
        (Some(""), false),
    ] {
        let mut request = Request::room("r1");
        if let Some(origin) = origin {
            request = request.header("Origin", origin);
        }
        let mut client = Client::open(node.address, request).await;
        client.send("[]").await;
        if allowed {
            assert!(client.hear().await.contains("schema-error"), "{origin:?}");
            client.leave().await;
            node.empties().await;
        } else {
            assert_eq!(
                client.closed().await,
                (1008, "Origin not allowed".to_owned()),
                "{origin:?}"
            );
        }
    }
}

#[tokio::test]
async fn tls_is_what_a_trusted_proxy_says() {
    let node = Node::memory().await;
    for (trusted, proto, passes) in [
        ("127.0.0.0/8", Some("https"), true),
        ("127.0.0.0/8", Some("http"), false),
        ("127.0.0.0/8", Some("wss"), false),
        ("127.0.0.0/8", None, false),
        // There: anybody could say so.
        ("10.0.0.0/8", Some("https"), false),
    ] {
        node.change(|settings| {
            settings.security.require_wss = true;
            settings.security.trusted_proxies = vec![trusted.parse().unwrap()];
        });
        let mut request = Request::room("r1");
        if let Some(proto) = proto {
            request = request.header("X-Forwarded-Proto", proto);
        }
        let mut client = Client::open(node.address, request).await;
        client.send("[]").await;
        if passes {
            assert!(client.hear().await.contains("schema-error"), "{proto:?}");
        } else {
            assert_eq!(
                client.closed().await,
                (1008, "WSS required".to_owned()),
                "{trusted} {proto:?}"
            );
        }
    }
}

#[tokio::test]
async fn room_ids_are_counted_in_characters() {
    let options = NodeOptions::default();
    let longest = "x".repeat(64);
    let node = Node::start(options).await;
    for (room, valid) in [
        (longest.as_str(), true),
        (&format!("{longest}x"), false),
        ("A-b_9:.", true),
        ("%41", true),
        ("", false),
        ("a%20b", false),
        ("a+b", false),
        ("a/b", false),
        ("%C3%A9", false),
        ("a%00", false),
        ("a&roomId=", true),
    ] {
        let mut client = Client::connect(node.address, room).await;
        client.send("[]").await;
        if valid {
            assert!(client.hear().await.contains("schema-error"), "{room}");
        } else {
            assert_eq!(
                client.closed().await,
                (1008, "Invalid roomId".to_owned()),
                "{room}"
            );
        }
    }
}
