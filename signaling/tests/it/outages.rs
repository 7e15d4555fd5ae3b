//! Redis that is slow, gone, empty, or back.

use std::time::{Duration, Instant};

use berth_signaling::Timing;

use crate::cluster::join_when_free;
use crate::support::{
    Client, DEADLINE, Network, Node, NodeOptions, PEER_DISCONNECTED, Proxy, RedisServer, candidate,
    eventually, get, offer, pause,
};

/// Talks until the other one answers; what is sent meanwhile may be lost or not.
async fn talks_again(from: &mut Client, to: &mut Client, word: &str) {
    let end = Instant::now() + DEADLINE;
    for number in 0.. {
        from.send(offer(&format!("{word} {number}"))).await;
        while let Some(heard) = to.hears_within(Duration::from_millis(200)).await {
            assert_ne!(heard, PEER_DISCONNECTED, "a departure that never was");
            if heard.contains(word) {
                return;
            }
        }
        assert!(Instant::now() < end, "no way from one to the other");
    }
}

#[tokio::test]
async fn local_relay_does_not_need_redis() {
    let mut redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    let (mut host, mut player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    redis.freeze();
    for number in 0..100 {
        player.send(candidate(&number.to_string())).await;
        assert_eq!(host.hear().await, candidate(&number.to_string()));
    }
    redis.thaw();
    redis.kill();
    for number in 0..100 {
        host.send(candidate(&number.to_string())).await;
        assert_eq!(player.hear().await, candidate(&number.to_string()));
    }
    eventually("not ready without redis", || async {
        (get(node.address, "/readyz").await == (503, "not-ready".to_owned())).then_some(())
    })
    .await;
    assert_eq!(get(node.address, "/healthz").await, (200, "ok".to_owned()));
    // Joins are refused while the circuit is open, and a departure is heard at once.
    eventually("joins are refused", || async {
        let mut client = Client::connect(node.address, "r2").await;
        match client.closed().await {
            (1013, reason) => {
                assert_eq!(reason, "Service unavailable");
                Some(())
            }
            (code, reason) => {
                assert_eq!((code, &*reason), (1011, "Internal error"));
                None
            }
        }
    })
    .await;
    assert!(node.metric("signaling_circuit_breaker_open") > 0.5);
    assert!(node.metric("signaling_redis_up") < 0.5);
    player.leave().await;
    assert_eq!(host.hear().await, PEER_DISCONNECTED);
    redis.restart();
    node.ready().await;
    // The seat that could not be given back is free: nobody else is in the room but the host.
    let mut next = join_when_free(&node, "r1").await;
    next.send(offer("next")).await;
    assert_eq!(host.hear().await, offer("next"));
}

#[tokio::test]
async fn a_paused_redis_delays_remote_messages_and_loses_none() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    let (mut near, mut far) = (Client::join(&one, "r1").await, Client::join(&two, "r1").await);
    pause(&redis, 600);
    let texts: Vec<String> = (0..40).map(|number| candidate(&number.to_string())).collect();
    for text in &texts {
        near.send(text.clone()).await;
    }
    assert_eq!(far.hear_many(texts.len()).await, texts);
}

#[tokio::test]
async fn a_flush_separates_nobody_and_frees_no_seat() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    let (mut host, mut player) = (Client::join(&one, "r1").await, Client::join(&two, "r1").await);
    redis.command("FLUSHALL");
    player.send(offer("during")).await;
    assert_eq!(host.hear().await, offer("during"));
    // Both instances assert their seats; then the room is full again, and stays so.
    eventually("both seats are asserted", || async {
        let members = redis.command("HLEN berth:default/default:{default/default}:room:r1");
        members.starts_with(":3").then_some(())
    })
    .await;
    for node in [&one, &two] {
        assert_eq!(
            Client::connect(node.address, "r1").await.closed().await,
            (1000, "Room is full".to_owned())
        );
    }
    host.send(offer("after")).await;
    assert_eq!(player.hear().await, offer("after"));
    player.send(offer("after")).await;
    assert_eq!(host.hear().await, offer("after"));
}

/// An instance that starts on a store which has just lost everything must not take it for one that is new, where nobody sits.
#[tokio::test]
async fn a_fresh_instance_lets_nobody_into_a_full_room_after_a_flush() {
    let redis = RedisServer::start();
    let network = Proxy::to(&redis).await;
    let node = async |id, redis| {
        let timing = Timing {
            lease: Duration::from_secs(9),
            ..NodeOptions::default().timing
        };
        Node::start(NodeOptions {
            id,
            redis: Some(redis),
            timing,
            ..NodeOptions::default()
        })
        .await
    };
    let one = node("i1", network.url()).await;
    let _pair = (Client::join(&one, "r1").await, Client::join(&one, "r1").await);
    // It hears of the loss a moment later than the other one has started: between a reconnect and the next renewal is a random
    // time, so that not all instances come at once.
    network.set(Network::BlackHole);
    redis.command("FLUSHALL");
    let two = node("i2", redis.url()).await;
    let mut third = Client::connect(two.address, "r1").await;
    // Answered when it has a seat.
    third.send("[]").await;
    network.set(Network::Open);
    assert_eq!(third.closed().await, (1000, "Room is full".to_owned()));
}

#[tokio::test]
async fn a_restarted_redis_separates_nobody() {
    let mut redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    let (mut host, mut player) = (Client::join(&one, "r1").await, Client::join(&two, "r1").await);
    redis.kill();
    // Waits until Redis is back.
    player.send(offer("while it is gone")).await;
    redis.restart();
    assert_eq!(host.hear().await, offer("while it is gone"));
    talks_again(&mut host, &mut player, "back").await;
    one.ready().await;
    two.ready().await;
    eventually("both seats are asserted", || async {
        let members = redis.command("HLEN berth:default/default:{default/default}:room:r1");
        members.starts_with(":3").then_some(())
    })
    .await;
    // Longer than a member may be missing in the store before it is given up.
    let lease = NodeOptions::default().timing.lease;
    assert_eq!(host.hears_within(lease * 2).await, None);
    player.leave().await;
    assert_eq!(host.hear().await, PEER_DISCONNECTED);
}

#[tokio::test]
async fn a_lost_subscription_is_made_good() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    let (mut host, mut player) = (Client::join(&one, "r1").await, Client::join(&two, "r1").await);
    for round in 0..3 {
        redis.command("CLIENT KILL TYPE pubsub");
        let text = offer(&format!("round {round}"));
        player.send(text.clone()).await;
        assert_eq!(host.hear().await, text);
        let text = offer(&format!("back {round}"));
        host.send(text.clone()).await;
        assert_eq!(player.hear().await, text);
    }
}

#[tokio::test]
async fn a_server_starts_without_redis_and_serves_when_it_comes() {
    let mut redis = RedisServer::start();
    redis.kill();
    let options = NodeOptions {
        redis: Some(redis.url()),
        ..NodeOptions::default()
    };
    let node = Node::start_unready(options).await;
    assert_eq!(get(node.address, "/healthz").await, (200, "ok".to_owned()));
    assert_eq!(get(node.address, "/readyz").await, (503, "not-ready".to_owned()));
    redis.restart();
    node.ready().await;
    let (mut host, mut player) = (
        join_when_free(&node, "r1").await,
        join_when_free(&node, "r1").await,
    );
    player.send(offer("served")).await;
    assert_eq!(host.hear().await, offer("served"));
}
