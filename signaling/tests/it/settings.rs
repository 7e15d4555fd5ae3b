//! Every field of the SignalingCluster that the server reads is in force when its reload class says, without a restart:
//! *hot* for connections that are open, *connection* for the next one while open ones keep the old value.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use berth_crds::api::SignalingClusterSpec;
use berth_crds::generate::definitions;
use berth_crds::reload::{ReloadClass, leaves};
use serde_json::{Value, json};

use crate::support::v2::Peer;
use crate::support::{
    Client, DEADLINE, Node, NodeOptions, PEER_DISCONNECTED, RedisServer, Request, candidate, eventually,
    eventually_true, offer,
};

/// Fields that are proven here: path, class, and the test.
const HERE: &[(&str, ReloadClass, fn())] = &[
    (
        "spec.circuitBreaker.errorThreshold",
        ReloadClass::Hot,
        error_threshold,
    ),
    ("spec.circuitBreaker.openMs", ReloadClass::Hot, open_ms),
    ("spec.drain.timeoutSeconds", ReloadClass::Hot, drain_timeout),
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
    ("spec.resume.maxBytes", ReloadClass::Connection, resume_bytes),
    (
        "spec.resume.maxMessages",
        ReloadClass::Connection,
        resume_messages,
    ),
    ("spec.resume.windowSeconds", ReloadClass::Hot, resume_window),
    ("spec.rooms.capacity", ReloadClass::Connection, capacity),
    ("spec.rooms.idMaxLength", ReloadClass::Connection, id_max_length),
    ("spec.rooms.ttlSeconds", ReloadClass::Hot, ttl),
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

/// Fields that are proven elsewhere, or that signaling does not read: how their path begins, the file, and a test there.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "spec.auth.",
        "signaling/tests/it/auth.rs",
        "changed_settings_are_in_force_for_the_next_connection",
    ),
    // Read by the operator, which applies them to objects around pods that it leaves alone.
    ("spec.autoscaling.", RELOAD, "classes_of_signaling_cluster"),
    ("spec.networkPolicy.", RELOAD, "classes_of_signaling_cluster"),
    ("spec.pdb.", RELOAD, "classes_of_signaling_cluster"),
    (
        "spec.redis.managed.reclaimPolicy",
        RELOAD,
        "classes_of_signaling_cluster",
    ),
    ("spec.replicas", RELOAD, "classes_of_signaling_cluster"),
    ("spec.service.", RELOAD, "classes_of_signaling_cluster"),
    // Read by the matchmaker, which tells it to players.
    (
        "spec.publicUrl",
        "matchmaker/tests/integration/program.rs",
        "signalingUrl",
    ),
];

/// Where it is proven for every field of every kind which ones restart pods.
const RELOAD: &str = "operator/src/render/tests/reload.rs";

#[test]
fn every_field_is_proven() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (_, file, test) in ELSEWHERE
        .iter()
        .chain(&[("", RELOAD, "classes_of_signaling_cluster")])
    {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        assert!(text.contains(test), "{file} has no {test}");
    }
    let crd = &definitions()[0];
    assert_eq!(crd.spec.names.kind, "SignalingCluster");
    let fields = leaves(crd);
    for field in &fields {
        let class = field
            .class
            .unwrap_or_else(|| panic!("{} has no class", field.path));
        let here = HERE.iter().find(|(path, ..)| *path == field.path);
        let elsewhere = ELSEWHERE.iter().any(|(path, ..)| field.path.starts_with(path));
        match (class, here) {
            (_, Some((_, proven, _))) => assert_eq!(*proven, class, "{}", field.path),
            (ReloadClass::Hot | ReloadClass::Connection, None) => {
                assert!(
                    elsewhere,
                    "nothing proves that {} is {}",
                    field.path,
                    class.as_str()
                );
            }
            // All of them by the test in RELOAD.
            (ReloadClass::Rolling | ReloadClass::Immutable, None) => {}
        }
    }
    for (path, ..) in HERE {
        assert!(
            fields.iter().any(|field| field.path == *path),
            "{path} is no field"
        );
    }
    for (path, ..) in ELSEWHERE {
        assert!(
            fields.iter().any(|field| field.path.starts_with(path)),
            "{path} is no field"
        );
    }
}

/// A node whose resource is changed field by field.
struct Live {
    node: Node,
    spec: Value,
}

impl Live {
    async fn memory() -> Self {
        Self::start(None).await
    }

    async fn start(redis: Option<&RedisServer>) -> Self {
        let options = NodeOptions {
            redis: redis.map(RedisServer::url),
            ..NodeOptions::default()
        };
        let spec = serde_json::to_value(&options.spec).unwrap();
        let node = Node::start(options).await;
        Self { node, spec }
    }

    /// Sets fields of the resource, all at once, as an edit of the resource would.
    fn set(&mut self, fields: &[(&str, Value)]) {
        for (path, value) in fields {
            let path = path.strip_prefix("spec").unwrap().replace('.', "/");
            let (around, name) = path.rsplit_once('/').unwrap();
            let around = self.spec.pointer_mut(around).unwrap().as_object_mut().unwrap();
            around.insert(name.to_owned(), value.clone());
        }
        let spec: SignalingClusterSpec = serde_json::from_value(self.spec.clone()).unwrap();
        self.node.apply(spec);
    }

    /// Two peers of one room.
    async fn pair(&self, room: &str) -> (Client, Client) {
        (
            Client::join(&self.node, room).await,
            Client::join(&self.node, room).await,
        )
    }

    async fn open(&self, request: Request) -> Client {
        Client::open(self.node.address, request).await
    }

    /// The connection of this handshake is closed so.
    async fn is_closed(&self, request: Request, code: u16, reason: &str) {
        assert_eq!(self.open(request).await.closed().await, (code, reason.to_owned()));
    }

    /// The connection of this handshake gets a seat.
    async fn is_seated(&self, request: Request) -> Client {
        let mut client = self.open(request).await;
        // What is no message is answered to a seated peer.
        client.send("[]").await;
        assert!(client.hear().await.contains("schema-error"));
        client
    }
}

/// The two go on as if nothing had changed.
async fn talk((one, other): (&mut Client, &mut Client), word: &str) {
    one.send(offer(word)).await;
    assert_eq!(other.hear().await, offer(word));
    other.send(candidate(word)).await;
    assert_eq!(one.hear().await, candidate(word));
}

// === resume ===

#[tokio::test]
async fn resume_window() {
    let mut live = Live::memory().await;
    let mut host = Peer::join(&live.node, "r1", "host").await;
    let player = Peer::join(&live.node, "r1", "player").await;
    let lost = player.lose();
    host.hear_type("peer-reconnecting").await;
    let player = lost.resume(&live.node).await;
    // It was a window of 30 seconds when this connection came.
    live.set(&[("spec.resume.windowSeconds", json!(0))]);
    drop(player.lose());
    while host.hear().await["type"] != "peer-left" {}
    live.node
        .metric_becomes("signaling_active_connections", 1.0)
        .await;
}

/// How many of three messages of this many characters somebody is given who lost his connection.
async fn replayed(live: &Live, room: &str, size: usize) -> usize {
    let mut host = Peer::join(&live.node, room, "host").await;
    let player = Peer::join(&live.node, room, "player").await;
    let lost = player.lose();
    host.hear_type("peer-reconnecting").await;
    for seq in 1..=3 {
        let offer = json!({"type": "offer", "seq": seq, "sdp": "x".repeat(size)});
        host.client.send(offer.to_string()).await;
    }
    while host.hear_type("ack").await["seq"] != 3 {}
    let mut player = lost.resume(&live.node).await;
    let first = player.hear_type("offer").await["seq"].as_u64().unwrap();
    usize::try_from(4 - first).unwrap()
}

#[tokio::test]
async fn resume_messages() {
    let mut live = Live::memory().await;
    assert_eq!(replayed(&live, "r1", 1).await, 3);
    live.set(&[("spec.resume.maxMessages", json!(2))]);
    assert_eq!(replayed(&live, "r2", 1).await, 2);
}

#[tokio::test]
async fn resume_bytes() {
    let mut live = Live::memory().await;
    assert_eq!(replayed(&live, "r1", 800).await, 3);
    live.set(&[("spec.resume.maxBytes", json!(1024))]);
    assert_eq!(replayed(&live, "r2", 800).await, 1);
}

// === rooms ===

#[tokio::test]
async fn capacity() {
    let mut live = Live::memory().await;
    let (mut host, mut player) = live.pair("r1").await;
    live.is_closed(Request::room("r1"), 1000, "Room is full").await;
    live.set(&[("spec.rooms.capacity", json!(3))]);
    let third = live.is_seated(Request::room("r1")).await;
    live.is_closed(Request::room("r1"), 1000, "Room is full").await;
    third.leave().await;
    assert_eq!(host.hear().await, PEER_DISCONNECTED);
    assert_eq!(player.hear().await, PEER_DISCONNECTED);
    // Who sits keeps the seat.
    live.set(&[("spec.rooms.capacity", json!(1))]);
    live.is_closed(Request::room("r1"), 1000, "Room is full").await;
    talk((&mut host, &mut player), "still here").await;
}

#[tokio::test]
async fn id_max_length() {
    let mut live = Live::memory().await;
    let long = "x".repeat(65);
    live.is_closed(Request::room(&long), 1008, "Invalid roomId").await;
    live.set(&[("spec.rooms.idMaxLength", json!(65))]);
    let (mut host, mut player) = live.pair(&long).await;
    live.set(&[("spec.rooms.idMaxLength", json!(8))]);
    live.is_closed(Request::room(&long), 1008, "Invalid roomId").await;
    live.is_seated(Request::room("12345678")).await;
    talk((&mut host, &mut player), "still here").await;
}

#[tokio::test]
async fn ttl() {
    let redis = RedisServer::start();
    let mut live = Live::start(Some(&redis)).await;
    let pttl = |room: &str| {
        let key = format!("berth:default/default:{{default/default}}:room:{room}");
        let answer = redis.command(&format!("PTTL {key}"));
        let number = answer.lines().find_map(|line| line.strip_prefix(':'));
        number.unwrap().parse::<i64>().unwrap()
    };
    // How long a room lives when this member, its last one, has left, in ms.
    let left = async |client: Client, room: &str| {
        client.leave().await;
        // With a member in it a room lives for more than an hour: the shorter time tells that the seat is given back.
        eventually("the seat is given back", || {
            let ttl = pttl(room);
            async move { (ttl < 3_000_000).then_some(ttl) }
        })
        .await
    };
    let client = Client::join(&live.node, "r0").await;
    let before = left(client, "r0").await;
    assert!(before > 0 && before <= 120_000, "{before}");
    // Members that are there already count too. A task hands the time on, so the first to leave may be faster.
    let mut waiting = Vec::new();
    for number in 0..10 {
        let room = format!("long-{number}");
        waiting.push((Client::join(&live.node, &room).await, room));
    }
    live.set(&[("spec.rooms.ttlSeconds", json!(1000))]);
    let mut after = 0;
    while after <= 120_000 {
        let (client, room) = waiting.pop().expect("one of ten leaves later than the change");
        after = left(client, &room).await;
    }
    assert!(after <= 1_000_000, "{after}");
    live.set(&[("spec.rooms.ttlSeconds", json!(1))]);
    for (client, room) in waiting {
        after = after.min(left(client, &room).await);
    }
    assert!(after <= 1000, "{after}");
}

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
        if let Some(heard) = to.hears_within(Duration::from_millis(100)).await {
            return assert_eq!(heard, offer("again"));
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
    eventually_true(&dropped, || live.node.metric(&dropped) > 20.0).await;
    live.set(&[(path, json!(1_000_000))]);
    passes_again(&mut player, &mut host).await;
    let drops = live.node.metric(&dropped);
    for number in 0..100 {
        talk((&mut host, &mut player), &number.to_string()).await;
    }
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

// === circuit breaker ===

/// Tries to join until the server refuses without asking Redis.
async fn circuit_opens(live: &Live) {
    eventually("the circuit opens", || async {
        let (code, _) = Client::connect(live.node.address, "r9").await.closed().await;
        (code == 1013 && live.node.metric("signaling_circuit_breaker_open") > 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn error_threshold() {
    let redis = RedisServer::start();
    let mut live = Live::start(Some(&redis)).await;
    live.set(&[("spec.circuitBreaker.errorThreshold", json!(1000))]);
    redis.freeze();
    // More failures than the threshold had before.
    for _ in 0..5 {
        live.is_closed(Request::room("r1"), 1011, "Internal error").await;
    }
    assert!(live.node.metric("signaling_circuit_breaker_open") < 0.5);
    live.set(&[("spec.circuitBreaker.errorThreshold", json!(1))]);
    circuit_opens(&live).await;
    redis.thaw();
}

#[tokio::test]
async fn open_ms() {
    let redis = RedisServer::start();
    let mut live = Live::start(Some(&redis)).await;
    // Long beyond what this test waits for.
    live.set(&[
        ("spec.circuitBreaker.errorThreshold", json!(1)),
        ("spec.circuitBreaker.openMs", json!(300_000)),
    ]);
    redis.freeze();
    circuit_opens(&live).await;
    eventually_true("redis is away", || live.node.metric("signaling_redis_up") < 0.5).await;
    redis.thaw();
    eventually_true("redis is back", || live.node.metric("signaling_redis_up") > 0.5).await;
    live.is_closed(Request::room("r1"), 1013, "Service unavailable")
        .await;
    live.set(&[("spec.circuitBreaker.openMs", json!(100))]);
    let _seat = eventually("a seat", || Client::try_join(live.node.address, "r1")).await;
}

// === drain ===

#[tokio::test]
async fn drain_timeout() {
    let mut live = Live::memory().await;
    // Long beyond what this test waits for.
    live.set(&[
        ("spec.drain.timeoutSeconds", json!(3600)),
        ("spec.drain.gracePeriodSeconds", json!(7200)),
    ]);
    let mut peers = Vec::new();
    for number in 0..8 {
        peers.push(Client::join(&live.node, &format!("r{number}")).await);
    }
    live.set(&[("spec.drain.timeoutSeconds", json!(1))]);
    let closed = tokio::spawn(async move {
        for peer in &mut peers {
            assert_eq!(peer.closed().await, (1012, "Server draining".to_owned()));
        }
    });
    live.node.drain().await;
    closed.await.unwrap();
}
