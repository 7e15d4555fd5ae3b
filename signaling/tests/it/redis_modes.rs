//! Instances on the kinds of Redis that teams run: a Redis Cluster, servers behind Sentinels, a user with few rights.

use std::time::Duration;

use berth_dataplane::testing::{RedisCluster, RedisSentinels, TestRedis, narrow_user};
use berth_signaling::Timing;
use serde_json::Value;

use crate::support::{
    Client, Node, NodeOptions, RedisServer, candidate, eventually_true, get, in_some_round, offer,
};

/// Messages of each peer in a conversation.
const LENGTH: usize = 50;
/// A lease that outlasts a failover; it is renewed, and what waits is sent again, every third of it.
const LEASE: Duration = Duration::from_secs(9);

async fn node(redis: &impl TestRedis, id: &'static str, lease: Duration) -> Node {
    let timing = Timing {
        lease,
        limit_sync: lease,
        ..NodeOptions::default().timing
    };
    Node::start(NodeOptions {
        id,
        redis: Some(redis.url()),
        timing,
        ..NodeOptions::default()
    })
    .await
}

/// Both say much and hear all of it in order.
async fn talk(one: &mut Client, other: &mut Client, word: &str) {
    let texts: Vec<String> = std::iter::once(offer(word))
        .chain((1..LENGTH).map(|number| candidate(&format!("{word} {number}"))))
        .collect();
    for text in &texts {
        one.send(text.clone()).await;
        other.send(text.clone()).await;
    }
    assert_eq!(other.hear_many(texts.len()).await, texts);
    assert_eq!(one.hear_many(texts.len()).await, texts);
}

async fn statusz(node: &Node) -> Value {
    let (code, body) = get(node.internal, "/statusz").await;
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// The channel on which a node listens.
async fn inbox(node: &Node) -> String {
    let status = statusz(node).await;
    let token = status["relay"]["inbox"].as_str().expect("a node has an inbox");
    format!("berth:default/default:inbox:{token}")
}

#[tokio::test]
async fn a_remote_message_is_one_command_in_the_whole_cluster() {
    let cluster = RedisCluster::start();
    // Their leases seldom need Redis during the test, and their limits never.
    let (one, two) = (
        node(&cluster, "i1", Duration::from_secs(30)).await,
        node(&cluster, "i2", Duration::from_secs(30)).await,
    );
    let (mut host, mut player) = (Client::join(&one, "r1").await, Client::join(&two, "r1").await);
    talk(&mut host, &mut player, "first").await;
    in_some_round("a remote message is one command", async || {
        let before = (cluster.calls("spublish"), cluster.foreground_calls());
        talk(&mut host, &mut player, "counted").await;
        let counted = (
            cluster.calls("spublish") - before.0,
            cluster.foreground_calls() - before.1,
        );
        let messages = 2 * LENGTH as u64;
        (counted == (messages, messages)).then_some(()).ok_or(counted)
    })
    .await;
    let status = statusz(&one).await;
    assert_eq!(status["redis"]["mode"], "cluster", "{status}");
    assert!(status["redis"]["master"].is_string(), "{status}");
}

#[tokio::test]
async fn relay_through_a_cluster_goes_on_while_inboxes_move() {
    let mut cluster = RedisCluster::start();
    let (one, two) = (
        node(&cluster, "i1", LEASE).await,
        node(&cluster, "i2", LEASE).await,
    );
    let (mut host, mut player) = (Client::join(&one, "r1").await, Client::join(&two, "r1").await);
    talk(&mut host, &mut player, "first").await;
    // The slot of an inbox goes to another node in the middle of a conversation. Nothing is lost, nothing comes twice.
    for (round, node) in [&one, &two, &one].into_iter().enumerate() {
        let channel = inbox(node).await;
        let to = (cluster.owner(&channel) + 1) % 3;
        let moving = tokio::task::spawn_blocking(move || {
            cluster.move_slot(&channel, to);
            cluster
        });
        talk(&mut host, &mut player, &format!("while {round}")).await;
        cluster = moving.await.unwrap();
        talk(&mut host, &mut player, &format!("after {round}")).await;
    }
}

#[tokio::test]
async fn two_instances_relay_through_sentinels_and_a_failover() {
    let sentinels = RedisSentinels::start(2);
    let (one, two) = (
        node(&sentinels, "i1", LEASE).await,
        node(&sentinels, "i2", LEASE).await,
    );
    let (mut host, mut player) = (Client::join(&one, "r1").await, Client::join(&two, "r1").await);
    talk(&mut host, &mut player, "first").await;
    sentinels.fail_over();
    talk(&mut host, &mut player, "after").await;
    let master = format!("127.0.0.1:{}", sentinels.server(1).port());
    for node in [&one, &two] {
        node.ready().await;
        let status = statusz(node).await;
        assert_eq!(status["redis"]["mode"], "sentinel", "{status}");
        assert_eq!(status["redis"]["master"], *master, "{status}");
    }
    // Who comes now finds the room as it was.
    let full = Client::connect(one.address, "r1").await.closed().await;
    assert_eq!(full, (1000, "Room is full".to_owned()));
}

#[tokio::test]
async fn a_user_with_no_further_rights_is_enough() {
    let redis = RedisServer::start();
    narrow_user([&redis], "default", "default");
    let url = redis.url().replacen("://", "://berth:narrow@", 1);
    let options = |id| NodeOptions {
        id,
        redis: Some(url.clone()),
        ..NodeOptions::default()
    };
    let (one, mut two) = (Node::start(options("i1")).await, Node::start(options("i2")).await);
    let (mut host, mut player) = (Client::join(&one, "r1").await, Client::join(&two, "r1").await);
    talk(&mut host, &mut player, "word").await;
    for node in [&one, &two] {
        eventually_true("limits were told", || {
            node.metric("signaling_limit_syncs_total{result=\"done\"}") > 0.5
        })
        .await;
        assert!(node.metric("signaling_limit_syncs_total{result=\"failed\"}") < 0.5);
    }
    player.leave().await;
    drop(host);
    two.drain().await;
    one.empties().await;
    let log = redis.command("ACL LOG");
    assert!(log.starts_with("*0\r\n"), "{log}");
}
