//! The end of an instance, as its peers and their counterparts see it.

use std::time::{Duration, Instant};

use berth_dataplane::shutdown::ShutdownOutcome;

use crate::support::{Client, Node, NodeOptions, PEER_DISCONNECTED, RedisServer, eventually, get, offer};

#[tokio::test]
async fn connections_are_closed_one_after_the_other() {
    let mut node = Node::memory().await;
    node.change(|settings| settings.drain_timeout = Duration::from_secs(4));
    let mut peers = Vec::new();
    for number in 0..20 {
        peers.push(Client::join(&node, &format!("r{}", number / 2)).await);
    }
    let started = Instant::now();
    let closes = peers.into_iter().map(|mut peer| {
        tokio::spawn(async move {
            let close = peer.closed().await;
            (close, Instant::now())
        })
    });
    let closes: Vec<_> = closes.collect();
    assert_eq!(node.drain().await, ShutdownOutcome::Drained);
    let ended = started.elapsed();
    let mut times = Vec::new();
    for close in closes {
        let (close, at) = close.await.unwrap();
        assert_eq!(close, (1012, "Server draining".to_owned()));
        times.push(at.duration_since(started));
    }
    times.sort();
    let spread = times[times.len() - 1].checked_sub(times[0]).unwrap();
    assert!(spread > Duration::from_secs(1), "all at once: {times:?}");
    assert!(ended < Duration::from_secs(20), "{ended:?}");
    node.empties().await;
    assert!((node.metric("signaling_closes_total{code=\"1012\"}") - 20.0).abs() < 0.5);
}

#[tokio::test]
async fn a_drain_waits_for_no_dead_peer() {
    let mut node = Node::memory().await;
    node.change(|settings| settings.drain_timeout = Duration::from_millis(500));
    // Neither is polled, so neither answers the close.
    let _peers = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    node.drain().await;
    node.empties().await;
}

#[tokio::test]
async fn a_peer_that_comes_back_elsewhere_was_never_gone() {
    let redis = RedisServer::start();
    let (ending, staying) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    ending.change(|settings| settings.drain_timeout = Duration::from_millis(500));
    let (mut host, mut player) = (
        Client::join(&ending, "r1").await,
        Client::join(&staying, "r1").await,
    );
    ending.shutdown.begin();
    assert_eq!(host.closed().await.0, 1012);
    let mut host = crate::cluster::join_when_free(&staying, "r1").await;
    // What the counterpart hears first is the host's new words, not a departure, also when the grace is over.
    let grace = NodeOptions::default().timing.drained_grace;
    assert_eq!(player.hears_within(grace * 2).await, None);
    host.send(offer("again")).await;
    assert_eq!(player.hear().await, offer("again"));
    player.send(offer("hello")).await;
    assert_eq!(host.hear().await, offer("hello"));
}

#[tokio::test]
async fn a_peer_that_stays_away_is_gone_after_the_grace() {
    let redis = RedisServer::start();
    let (mut ending, staying) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    ending.change(|settings| settings.drain_timeout = Duration::from_millis(500));
    let (host, mut player) = (
        Client::join(&ending, "r1").await,
        Client::join(&staying, "r1").await,
    );
    let started = Instant::now();
    ending.drain().await;
    drop(host);
    assert_eq!(player.hear().await, PEER_DISCONNECTED);
    assert!(started.elapsed() >= NodeOptions::default().timing.drained_grace);
}

#[tokio::test]
async fn an_ended_instance_leaves_nothing_in_redis() {
    let redis = RedisServer::start();
    let mut node = Node::on(&redis, "i1").await;
    let _peers = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    node.change(|settings| settings.drain_timeout = Duration::from_millis(500));
    node.drain().await;
    let instances = redis.command("ZCARD berth:default/default:{default/default}:instances");
    assert!(instances.starts_with(":0"), "{instances}");
    let members = redis.command("HLEN berth:default/default:{default/default}:room:r1");
    assert!(
        members.starts_with(":1"),
        "only the last join number is left: {members}"
    );
}

#[tokio::test]
async fn an_ending_instance_is_not_ready() {
    let node = Node::memory().await;
    node.change(|settings| settings.drain_timeout = Duration::from_secs(20));
    let mut peer = Client::join(&node, "r1").await;
    node.shutdown.begin();
    eventually("not ready", || async {
        (get(node.internal, "/readyz").await == (503, "not-ready".to_owned())).then_some(())
    })
    .await;
    node.shutdown.expire();
    assert_ne!(peer.closed().await.0, 1000);
}
