//! Slow receivers: what waits for one is bounded, and nobody else waits.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::v2::{self, Peer};
use crate::support::{Client, DEADLINE, Node, PEER_DISCONNECTED, Request, candidate, offer};

/// What may wait for one receiver in these tests.
const BOUND: usize = 64 * 1024;
/// The header of one frame, and the close frame with what else the server has to say at the end.
const BESIDE: usize = 10 + 512;

async fn node() -> Node {
    let node = Node::memory().await;
    node.change(|settings| {
        settings.rooms.capacity = 3;
        settings.websocket.max_message_bytes = BOUND;
        settings.websocket.backpressure_close_bytes = BOUND;
    });
    node
}

/// A peer that takes as little as the kernel lets it, and reads only when it is asked to.
async fn slow(node: &Node, room: &str) -> Client {
    let mut request = Request::room(room);
    request.receive_buffer = Some(4096);
    // As whoever joined before has waited for: the gauge of connections follows a moment later.
    let joins = "signaling_joins_total{result=\"joined\"}";
    let before = node.metric(joins);
    let client = Client::open(node.address, request).await;
    node.metric_becomes(joins, before + 1.0).await;
    client
}

#[tokio::test]
async fn a_slow_receiver_is_closed_and_nobody_waits_for_it() {
    let node = node().await;
    let mut slow = slow(&node, "r1").await;
    let (mut fast, mut sender) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    let text = candidate(&"x".repeat(16 * 1024));
    let end = Instant::now() + DEADLINE;
    let mut sent = 0;
    loop {
        sender.send(text.clone()).await;
        sent += 1;
        let heard = fast.hear().await;
        if heard == PEER_DISCONNECTED {
            assert!(fast.hear().await == text, "nobody else waits or loses anything");
            break;
        }
        assert!(heard == text);
        assert!(
            Instant::now() < end,
            "{sent} messages wait for a peer that does not read"
        );
    }
    assert_eq!(slow.closed().await, (1013, "Server overloaded".to_owned()));
    node.metric_becomes("signaling_closes_total{code=\"1013\"}", 1.0)
        .await;
    node.metric_becomes("signaling_backpressure_closes_total", 1.0)
        .await;
    sender.send(offer("still here")).await;
    assert_eq!(fast.hear().await, offer("still here"));
}

/// It is told why, although it is late to read, and comes back to its seat.
#[tokio::test]
async fn a_slow_receiver_that_speaks_v2_hears_why_and_keeps_its_seat() {
    let node = node().await;
    let mut request = v2::request("r1");
    request.receive_buffer = Some(4096);
    let client = Client::open(node.address, request).await;
    let mut slow = Peer::greet(
        client,
        "r1",
        "player",
        &json!({"type": "hello", "role": "player"}),
    )
    .await;
    let mut sender = Client::join(&node, "r1").await;
    let text = candidate(&"x".repeat(16 * 1024));
    let end = Instant::now() + DEADLINE;
    while node.metric("signaling_backpressure_closes_total") < 0.5 {
        sender.send(text.clone()).await;
        assert!(Instant::now() < end, "nothing is enough");
    }
    let mut last = Value::Null;
    while last["type"] != "error" {
        last = slow.hear().await;
    }
    assert_eq!(
        (&last["code"], &last["retryAfterMs"]),
        (&json!("overloaded"), &json!(0))
    );
    assert_eq!(slow.client.closed().await, (1013, "Server overloaded".to_owned()));
    let again = slow.lose().resume(&node).await;
    assert_eq!(again.hello["resumed"], true);
}

#[tokio::test]
async fn what_waits_for_a_slow_receiver_reaches_it_when_it_reads() {
    let node = Node::memory().await;
    let mut slow = slow(&node, "r1").await;
    let mut sender = Client::join(&node, "r1").await;
    // More than the kernel takes, less than the bound of the server.
    let texts: Vec<String> = (0..24)
        .map(|number| candidate(&format!("{number}{}", "x".repeat(200_000))))
        .collect();
    for text in &texts {
        sender.send(text.clone()).await;
    }
    node.metric_becomes("signaling_messages_forwarded_total", 24.0)
        .await;
    for text in &texts {
        assert!(slow.hear().await == *text, "lost or out of order");
    }
}

/// Kernel buffers apart: they are the kernel's, and bounded by it.
#[tokio::test]
async fn who_never_reads_holds_no_more_than_its_bound() {
    let node = node().await;
    let _slow = slow(&node, "r1").await;
    let mut sender = Client::join(&node, "r1").await;
    let text = candidate(&"x".repeat(5000));
    let (mut most, end) = (0.0, Instant::now() + DEADLINE);
    let closes = "signaling_closes_total{code=\"1013\"}";
    while node.metric(closes) < 0.5 {
        sender.send(text.clone()).await;
        // It is closed and reads nothing, so it is gone only after the time for its farewell.
        most = f64::max(most, node.metric("signaling_buffered_bytes"));
        assert!(Instant::now() < end, "nothing is enough");
    }
    let bound = f64::from(u32::try_from(BOUND + BESIDE).unwrap());
    assert!(most <= bound, "{most} bytes waited, at most {bound} may");
    assert!(
        most > bound / 2.0,
        "{most} bytes waited: the test does not see them"
    );
    node.metric_becomes("signaling_backpressure_closes_total", 1.0)
        .await;
    node.metric_becomes("signaling_buffered_bytes", 0.0).await;
    node.metric_becomes("signaling_slow_receivers", 0.0).await;
}

#[tokio::test]
async fn many_that_never_read_hold_no_more_than_their_bounds_together() {
    const PEERS: usize = 24;
    let node = node().await;
    let mut slow_peers = Vec::new();
    let mut senders = Vec::new();
    for number in 0..PEERS {
        let room = format!("slow-{number}");
        slow_peers.push(slow(&node, &room).await);
        senders.push(Client::join(&node, &room).await);
    }
    let (mut host, mut player) = (
        Client::join(&node, "fast").await,
        Client::join(&node, "fast").await,
    );
    let text = candidate(&"x".repeat(50_000));
    let (mut most, mut most_slow) = (0.0, 0.0);
    let closes = "signaling_closes_total{code=\"1013\"}";
    let all = f64::from(u32::try_from(PEERS).unwrap());
    let end = Instant::now() + DEADLINE * 2;
    let mut round = 0;
    while node.metric(closes) < all - 0.5 {
        for sender in &mut senders {
            sender.send(text.clone()).await;
        }
        // Another room goes on, both ways.
        player.send(offer(&format!("{round}"))).await;
        assert_eq!(host.hear().await, offer(&format!("{round}")));
        host.send(candidate(&format!("{round}"))).await;
        assert_eq!(player.hear().await, candidate(&format!("{round}")));
        round += 1;
        most = f64::max(most, node.metric("signaling_buffered_bytes"));
        most_slow = f64::max(most_slow, node.metric("signaling_slow_receivers"));
        assert!(Instant::now() < end, "{} of {PEERS} closed", node.metric(closes));
    }
    let bound = f64::from(u32::try_from(PEERS * (BOUND + BESIDE)).unwrap());
    assert!(most <= bound, "{most} bytes waited, at most {bound} may");
    assert!(
        most > 0.0 && most_slow > 1.5,
        "{most} bytes for {most_slow} peers: the test does not see them"
    );
    assert!(node.metric("signaling_slow_receivers") <= all);
    // The closed ones hear why, when they read at last.
    for peer in &mut slow_peers {
        let close = peer.closed().await;
        // Or they were cut off meanwhile.
        assert!(
            close == (1013, "Server overloaded".to_owned()) || close.0 == 1006,
            "{close:?}"
        );
    }
    drop((slow_peers, senders, host, player));
    node.empties().await;
    node.metric_becomes("signaling_open_sockets", 0.0).await;
    node.metric_becomes("signaling_buffered_bytes", 0.0).await;
}
