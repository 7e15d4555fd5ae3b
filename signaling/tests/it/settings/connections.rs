//! Connections, their limits, and who may connect.

use std::time::{Duration, Instant};

use berth_crds::reload::ReloadClass;
use serde_json::{Value, json};

use super::{Live, Proof, talk};
use crate::support::{
    Client, DEADLINE, PEER_DISCONNECTED, Request, candidate, eventually, eventually_true, offer,
};

/// Fields that are proven here.
pub(super) const PROVEN: &[Proof] = &[
    (
        "spec.rateLimits.connectionsPerIp",
        ReloadClass::Hot,
        connections_per_ip,
    ),
    (
        "spec.rateLimits.messagesPerClient",
        ReloadClass::Hot,
        messages_per_client,
    ),
    ("spec.rateLimits.messagesPerIp", ReloadClass::Hot, messages_per_ip),
    (
        "spec.rateLimits.messagesPerRoom",
        ReloadClass::Hot,
        messages_per_room,
    ),
    (
        "spec.security.allowedOrigins",
        ReloadClass::Connection,
        allowed_origins,
    ),
    ("spec.security.requireWss", ReloadClass::Connection, require_wss),
    (
        "spec.security.trustedProxyCidrs",
        ReloadClass::Connection,
        trusted_proxies,
    ),
    (
        "spec.websocket.backpressureCloseBytes",
        ReloadClass::Connection,
        backpressure,
    ),
    ("spec.websocket.heartbeatIntervalMs", ReloadClass::Hot, heartbeat),
    (
        "spec.websocket.maxMessageBytes",
        ReloadClass::Connection,
        max_message,
    ),
    ("spec.websocket.subprotocol", ReloadClass::Connection, subprotocol),
];

// === websocket ===

#[tokio::test]
async fn max_message() {
    let mut live = Live::memory().await;
    let (mut host, mut player) = live.pair("r1").await;
    live.set(&[("spec.websocket.maxMessageBytes", json!(2048))]);
    let large = "x".repeat(5000);
    talk((&mut host, &mut player), &large).await;
    let mut next = Client::join(&live.node, "r2").await;
    next.send(candidate(&large)).await;
    assert_eq!(next.closed().await, (1009, String::new()));
    live.set(&[("spec.websocket.maxMessageBytes", json!(6000))]);
    let (mut host, mut player) = live.pair("r3").await;
    talk((&mut host, &mut player), &large).await;
}

#[tokio::test]
async fn backpressure() {
    let mut live = Live::memory().await;
    let slow = |room: &str| {
        let mut request = Request::room(room);
        request.receive_buffer = Some(4096);
        request
    };
    let waiting = |live: &Live| live.node.metric("signaling_buffered_bytes");
    let text = candidate(&"x".repeat(50_000));
    let _before = live.is_seated(slow("r1")).await;
    let mut sender = Client::join(&live.node, "r1").await;
    let end = Instant::now() + DEADLINE;
    while waiting(&live) < 1_000_000.0 {
        sender.send(text.clone()).await;
        assert!(Instant::now() < end, "nothing waits");
    }
    live.set(&[
        ("spec.websocket.maxMessageBytes", json!(65_536)),
        ("spec.websocket.backpressureCloseBytes", json!(65_536)),
    ]);
    let mut after = live.is_seated(slow("r2")).await;
    let mut sender = Client::join(&live.node, "r2").await;
    let (held, mut most) = (waiting(&live), 0.0);
    let closes = "signaling_closes_total{code=\"1013\"}";
    while live.node.metric(closes) < 0.5 {
        sender.send(text.clone()).await;
        most = f64::max(most, waiting(&live) - held);
        assert!(Instant::now() < end, "nothing is enough");
    }
    assert!(most < 70_000.0, "{most} bytes wait for the new connection");
    assert_eq!(after.closed().await, (1013, "Server overloaded".to_owned()));
    // The open one keeps its bound, and what waits for it.
    assert!(waiting(&live) >= 1_000_000.0 - 1.0, "{} wait", waiting(&live));
    assert!((live.node.metric(closes) - 1.0).abs() < 0.5);
}

#[tokio::test]
async fn heartbeat() {
    let mut live = Live::memory().await;
    // Long beyond what this test waits for.
    live.set(&[("spec.websocket.heartbeatIntervalMs", json!(300_000))]);
    let (_frozen, mut alive) = live.pair("r1").await;
    live.set(&[("spec.websocket.heartbeatIntervalMs", json!(1000))]);
    // Polled while it waits, so it answers; the other one is not, and ends.
    assert_eq!(alive.hear().await, PEER_DISCONNECTED);
    alive.send("[]").await;
    alive.hear().await;
}

#[tokio::test]
async fn subprotocol() {
    let mut live = Live::memory().await;
    let (mut host, mut player) = live.pair("r1").await;
    live.set(&[("spec.websocket.subprotocol", json!("games-v9"))]);
    live.is_closed(Request::room("r2"), 1008, "Subprotocol required")
        .await;
    let offers = Request::room("r2").header("Sec-WebSocket-Protocol", "games-v9");
    live.is_seated(offers).await;
    talk((&mut host, &mut player), "still here").await;
    live.set(&[("spec.websocket.subprotocol", Value::Null)]);
    live.is_seated(Request::room("r2")).await;
}

// === rate limits ===

/// Sends until the other one hears something again.
async fn passes_again(from: &mut Client, to: &mut Client) {
    let end = Instant::now() + DEADLINE;
    loop {
        from.send(offer("again")).await;
        // What came before may be heard first.
        while let Some(heard) = to.hears_within(Duration::from_millis(100)).await {
            if heard == offer("again") {
                return;
            }
        }
        assert!(Instant::now() < end, "nothing passes");
    }
}

/// A limit of messages holds for connections that were open before, and so does its end.
async fn limits_messages(path: &str, reason: &str) {
    let mut live = Live::memory().await;
    let (mut host, mut player) = live.pair("r1").await;
    let dropped = format!("signaling_dropped_total{{reason=\"{reason}\"}}");
    talk((&mut host, &mut player), "before").await;
    live.set(&[(path, json!(5))]);
    for number in 0..50 {
        player.send(candidate(&number.to_string())).await;
    }
    let first: Vec<String> = (0..5).map(|number| candidate(&number.to_string())).collect();
    assert_eq!(host.hear_many(5).await, first);
    let forwarded = "signaling_messages_forwarded_total";
    eventually_true("all are seen", || {
        live.node.metric(&dropped) + live.node.metric(forwarded) > 51.5
    })
    .await;
    assert!(live.node.metric(&dropped) > 20.0);
    live.set(&[(path, json!(1_000_000))]);
    passes_again(&mut player, &mut host).await;
    let drops = live.node.metric(&dropped);
    for number in 0..100 {
        player.send(candidate(&format!("free {number}"))).await;
    }
    while host.hear().await != candidate("free 99") {}
    assert!((live.node.metric(&dropped) - drops).abs() < 0.5);
}

#[tokio::test]
async fn messages_per_client() {
    limits_messages("spec.rateLimits.messagesPerClient", "client-rate").await;
}

#[tokio::test]
async fn messages_per_ip() {
    limits_messages("spec.rateLimits.messagesPerIp", "ip-rate").await;
}

#[tokio::test]
async fn messages_per_room() {
    limits_messages("spec.rateLimits.messagesPerRoom", "room-rate").await;
}

#[tokio::test]
async fn connections_per_ip() {
    let mut live = Live::memory().await;
    let (mut host, mut player) = live.pair("r1").await;
    live.set(&[("spec.rateLimits.connectionsPerIp", json!(1))]);
    live.is_seated(Request::room("r2")).await;
    live.is_closed(Request::room("r3"), 1013, "Rate limited").await;
    talk((&mut host, &mut player), "still here").await;
    live.set(&[("spec.rateLimits.connectionsPerIp", json!(100_000))]);
    let again = eventually("a seat", || Client::try_join(live.node.address, "r4")).await;
    drop(again);
}

// === security ===

#[tokio::test]
async fn require_wss() {
    let mut live = Live::memory().await;
    live.set(&[
        ("spec.publicUrl", json!("wss://localhost")),
        ("spec.security.trustedProxyCidrs", json!(["127.0.0.0/8"])),
    ]);
    let (mut host, mut player) = live.pair("r1").await;
    live.set(&[("spec.security.requireWss", json!(true))]);
    live.is_closed(Request::room("r2"), 1008, "WSS required").await;
    let tls = Request::room("r2").header("X-Forwarded-Proto", "https");
    live.is_seated(tls).await;
    talk((&mut host, &mut player), "still here").await;
    live.set(&[("spec.security.requireWss", json!(false))]);
    live.is_seated(Request::room("r2")).await;
}

#[tokio::test]
async fn allowed_origins() {
    let mut live = Live::memory().await;
    let page = |room: &str| Request::room(room).header("Origin", "https://a.example");
    let (mut host, mut player) = (live.is_seated(page("r1")).await, live.is_seated(page("r1")).await);
    live.set(&[("spec.security.allowedOrigins", json!(["https://b.example"]))]);
    live.is_closed(page("r2"), 1008, "Origin not allowed").await;
    talk((&mut host, &mut player), "still here").await;
    let allowed = json!(["https://b.example", "https://a.example"]);
    live.set(&[("spec.security.allowedOrigins", allowed)]);
    live.is_seated(page("r2")).await;
}

#[tokio::test]
async fn trusted_proxies() {
    let mut live = Live::memory().await;
    let from = |ip: &str, room: &str| Request::room(room).header("X-Forwarded-For", ip);
    let limits = |connections: i32| ("spec.rateLimits.connectionsPerIp", json!(connections));
    live.set(&[limits(1)]);
    let _first = live.is_seated(from("203.0.113.1", "r1")).await;
    // Nobody is believed: all are one client.
    live.is_closed(from("203.0.113.2", "r2"), 1013, "Rate limited")
        .await;
    live.set(&[("spec.security.trustedProxyCidrs", json!(["127.0.0.1"]))]);
    for number in 3..8 {
        let ip = format!("203.0.113.{number}");
        live.is_seated(from(&ip, &ip)).await;
        live.is_closed(from(&ip, "r9"), 1013, "Rate limited").await;
    }
    // Another proxy than this one is believed.
    live.set(&[
        ("spec.security.trustedProxyCidrs", json!(["192.0.2.0/24"])),
        limits(2),
    ]);
    let seated = eventually("a seat", || Client::try_join(live.node.address, "r10")).await;
    drop(seated);
    let end = Instant::now() + DEADLINE;
    while live.open(from("203.0.113.99", "r11")).await.closed().await.1 != "Rate limited" {
        assert!(Instant::now() < end, "an invented address is believed");
    }
}
