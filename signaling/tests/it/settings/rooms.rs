//! Rooms, and what is kept for peers whose connection is lost.

use berth_crds::reload::ReloadClass;
use serde_json::json;

use super::{Live, Proof, talk};
use crate::support::v2::Peer;
use crate::support::{Client, PEER_DISCONNECTED, RedisServer, Request, eventually};

/// Fields that are proven here.
pub(super) const PROVEN: &[Proof] = &[
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
];

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
