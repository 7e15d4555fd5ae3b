//! A Redis Cluster at rest: commands, publications, costs, health.

use std::time::Duration;

use berth_dataplane::redis::{
    BreakerState, LinkOptions, Publication, RedisEndpoint, RedisLink, RedisMetrics, RedisMode, Script,
    SubscriptionEvent, cmd, pipe,
};
use berth_dataplane::telemetry::Metrics;
use berth_dataplane::testing::{RedisCluster, RedisServer, TestRedis};
use tokio::time::timeout;

use crate::support::{LONG, get, link, message, next, set, until};

#[tokio::test]
async fn commands_and_scripts_go_to_the_owner_of_their_slot() {
    let cluster = RedisCluster::start();
    let link = link(&cluster).await;
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for node in 0..3 {
        let key = cluster.name_at("key", node);
        set(&link, &key, "1").await.unwrap();
        assert_eq!(get(&link, &key).await.as_deref(), Some("1"));
        assert_eq!(link.script::<i64>(&script, &[&key], &["2"]).await.unwrap(), 3);
        let (a, b): (i64, i64) = link
            .pipeline(pipe().atomic().incr(&key, 4).incr(&key, 1))
            .await
            .unwrap();
        assert_eq!((a, b), (7, 8));
        let master = format!("127.0.0.1:{}", cluster.node(node).port());
        assert!(cluster.node(node).command(&format!("GET {key}")).contains('8'));
        until("the home is the owner", || {
            link.health().master.as_deref() == Some(&*master)
        })
        .await;
    }
    // A command without a key is for any node.
    assert_eq!(link.command::<String>(&cmd("PING")).await.unwrap(), "PONG");
    assert_eq!(cluster.calls("eval"), 0, "sent the text of the script each time");
}

#[tokio::test]
async fn one_node_of_the_url_is_enough() {
    let cluster = RedisCluster::start();
    let dead = RedisServer::start();
    let dead_port = dead.port();
    drop(dead);
    let url = format!(
        "redis+cluster://127.0.0.1:{dead_port},127.0.0.1:{}",
        cluster.node(1).port()
    );
    let endpoint = RedisEndpoint::from_url(&url).unwrap();
    let link = RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::unregistered());
    timeout(LONG, link.wait_healthy()).await.expect("never connected");
    for node in 0..3 {
        set(&link, &cluster.name_at("key", node), "1").await.unwrap();
    }
    assert_eq!(link.health().sharded, Some(true));
    let nodes = link.health().nodes;
    assert_eq!(nodes.len(), 3);
    assert!(
        nodes
            .iter()
            .all(|node| node.up && node.breaker == BreakerState::Closed)
    );
}

#[tokio::test]
async fn a_server_that_is_no_cluster_is_refused() {
    let server = RedisServer::start();
    let url = format!("redis+cluster://127.0.0.1:{}", server.port());
    let endpoint = RedisEndpoint::from_url(&url).unwrap();
    let link = RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::unregistered());
    until("it is told", || {
        let error = link.health().last_error;
        error.is_some_and(|error| error.contains("cluster support disabled"))
    })
    .await;
    assert!(!link.healthy());
    let error = timeout(LONG, set(&link, "a", "1")).await.unwrap().unwrap_err();
    assert!(error.is_outage() && error.had_no_effect(), "{error:?}");
}

#[tokio::test]
async fn publications_reach_the_subscriber_of_each_node_in_order_and_are_counted() {
    const ROUNDS: u32 = 50;
    const LENGTH: u32 = 30;
    let cluster = RedisCluster::start();
    let (sender, receiver) = (link(&cluster).await, link(&cluster).await);
    let channels: Vec<String> = (0..3).map(|node| cluster.name_at("inbox", node)).collect();
    let mut inboxes: Vec<_> = channels
        .iter()
        .map(|channel| receiver.subscribe(channel, 10_000))
        .collect();
    for inbox in &mut inboxes {
        assert_eq!(next(inbox).await, SubscriptionEvent::Subscribed);
    }
    assert!(receiver.health().subscriptions_up);
    for round in 0..ROUNDS {
        let payloads: Vec<String> = (0..LENGTH)
            .map(|number| (round * LENGTH + number).to_string())
            .collect();
        let mut messages: Vec<Publication<'_>> = Vec::new();
        for payload in &payloads {
            for channel in channels.iter().map(String::as_str).chain(["nobody"]) {
                let payload = payload.as_bytes();
                messages.push(Publication { channel, payload });
            }
        }
        let receivers = sender.publish_all(&messages).await.unwrap();
        for answers in receivers.chunks(4) {
            assert_eq!(answers, [Some(1), Some(1), Some(1), Some(0)]);
        }
    }
    for inbox in &mut inboxes {
        for number in 0..ROUNDS * LENGTH {
            let expected = SubscriptionEvent::Message(number.to_string().into());
            assert_eq!(next(inbox).await, expected);
        }
        assert!(inbox.try_next().is_none());
    }
}

#[tokio::test]
async fn a_publication_costs_one_command_in_the_whole_cluster() {
    let cluster = RedisCluster::start();
    let (sender, receiver) = (link(&cluster).await, link(&cluster).await);
    let mut inbox = receiver.subscribe("inbox", 1000);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    // The connection that carries them stands.
    assert_eq!(sender.publish("inbox", b"first").await.unwrap(), 1);
    assert_eq!(next(&mut inbox).await, message("first"));
    let before = cluster.foreground_calls();
    let messages = [Publication {
        channel: "inbox",
        payload: b"x",
    }; 10];
    for _ in 0..10 {
        assert_eq!(sender.publish_all(&messages).await.unwrap(), [Some(1); 10]);
    }
    for _ in 0..100 {
        assert_eq!(next(&mut inbox).await, message("x"));
    }
    assert_eq!(cluster.calls("spublish"), 101);
    assert_eq!(
        cluster.foreground_calls() - before,
        100,
        "something else was sent as well"
    );
}

#[tokio::test]
async fn readers_share_a_channel_and_the_last_one_ends_the_connection() {
    let cluster = RedisCluster::start();
    let link = link(&cluster).await;
    let owner = cluster.node(cluster.owner("inbox"));
    let subscribers = || owner.command("PUBSUB SHARDNUMSUB inbox").contains(":1\r\n");
    let mut first = link.subscribe("inbox", 10);
    assert_eq!(next(&mut first).await, SubscriptionEvent::Subscribed);
    let mut second = link.subscribe("inbox", 10);
    assert_eq!(next(&mut second).await, SubscriptionEvent::Subscribed);
    assert_eq!(link.publish("inbox", b"x").await.unwrap(), 1);
    assert_eq!(
        (next(&mut first).await, next(&mut second).await),
        (message("x"), message("x"))
    );
    drop(first);
    assert_eq!(link.publish("inbox", b"y").await.unwrap(), 1);
    assert_eq!(next(&mut second).await, message("y"));
    drop(second);
    until("unsubscribed", || !subscribers()).await;
    until("its connection is closed", || {
        !owner.command("CLIENT LIST TYPE pubsub").contains("addr=")
    })
    .await;
    assert!(link.health().subscriptions_up);
    let mut third = link.subscribe("inbox", 10);
    assert_eq!(next(&mut third).await, SubscriptionEvent::Subscribed);
    assert!(subscribers());
    drop(link);
    assert_eq!(timeout(LONG, third.next()).await.unwrap(), None);
    until("all connections closed", || {
        !owner.command("CLIENT LIST").contains("resp=3")
    })
    .await;
}

#[tokio::test]
async fn health_and_metrics_speak_of_the_home() {
    let mut cluster = RedisCluster::start_with(&["--cluster-require-full-coverage", "no"]);
    let metrics = Metrics::new();
    let endpoint = RedisEndpoint::from_url(&cluster.url()).unwrap();
    let options = LinkOptions {
        patience: Duration::from_millis(1),
        ..LinkOptions::default()
    };
    let link = RedisLink::start(endpoint, options, RedisMetrics::register(&metrics));
    timeout(LONG, link.wait_healthy()).await.expect("never connected");
    let health = link.health();
    assert_eq!((health.mode, health.master), (RedisMode::Cluster, None));
    let (home, other) = (cluster.name_at("key", 0), cluster.name_at("inbox", 1));
    let elsewhere = cluster.name_at("inbox", 2);
    until("the home takes commands", || link.health().up).await;
    while set(&link, &home, "1").await.is_err() {}
    let shown = serde_json::to_value(link.health()).unwrap();
    assert_eq!(shown["mode"], "cluster");
    assert_eq!(shown["master"], format!("127.0.0.1:{}", cluster.node(0).port()));
    let gauges = |up: u32, open: u32| {
        let text = metrics.encode();
        [
            format!("berth_redis_up {up}\n"),
            format!("berth_redis_breaker_open {open}\n"),
            "berth_redis_mode{mode=\"cluster\"} 1\n".to_owned(),
        ]
        .iter()
        .all(|line| text.contains(line.as_str()))
    };
    until("all is well", || gauges(1, 0)).await;

    // Another node is no matter of health, but its messages are not taken.
    cluster.node_mut(1).kill();
    let messages = [other.as_str(), elsewhere.as_str()].map(|channel| Publication {
        channel,
        payload: b"x",
    });
    until("its line is down", || {
        let port = cluster.node(1).port().to_string();
        let nodes = link.health().nodes;
        nodes.iter().all(|node| node.up != node.address.ends_with(&port))
    })
    .await;
    let end = std::time::Instant::now() + LONG;
    while link.publish_all(&messages).await.ok() != Some(vec![None, Some(0)]) {
        assert!(
            std::time::Instant::now() < end,
            "the other node never took its message"
        );
    }
    assert!(link.healthy() && link.health().up);
    set(&link, &home, "2").await.unwrap();

    cluster.node_mut(0).kill();
    until("the home is down", || !link.healthy() && gauges(0, 0)).await;
    for _ in 0..3 {
        assert!(set(&link, &home, "3").await.unwrap_err().is_outage());
    }
    until("its circuit is open", || link.circuit_open() && gauges(0, 1)).await;
    cluster.node_mut(0).restart();
    timeout(LONG, link.wait_healthy()).await.expect("never came back");
    until("all is well again", || gauges(1, 0)).await;
}
