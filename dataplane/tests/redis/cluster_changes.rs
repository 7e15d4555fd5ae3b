//! A Redis Cluster that changes: slots move, nodes restart, replicas take over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use berth_dataplane::redis::{RedisError, RedisLink, Script, Subscription, SubscriptionEvent, cmd};
use berth_dataplane::testing::RedisCluster;
use tokio::time::timeout;

use crate::support::{LONG, get, link, message, next, set, until};

/// Publishes until somebody receives it.
async fn publish_until_received(link: &RedisLink, channel: &str, payload: &[u8]) {
    let end = Instant::now() + LONG;
    loop {
        if let Ok(1) = link.publish(channel, payload).await {
            return;
        }
        assert!(Instant::now() < end, "nobody receives it");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Reads until the subscription stands again; it must not have been lost without a word.
async fn resubscribed(inbox: &mut Subscription) {
    assert_eq!(next(inbox).await, SubscriptionEvent::Disconnected);
    assert_eq!(next(inbox).await, SubscriptionEvent::Subscribed);
}

#[tokio::test]
async fn commands_and_subscriptions_follow_a_slot() {
    let mut cluster = RedisCluster::start();
    let (sender, receiver) = (link(&cluster).await, link(&cluster).await);
    let key = cluster.name_at("{tag}key", cluster.owner("{tag}"));
    let channel = "{tag}inbox";
    let mut inbox = receiver.subscribe(channel, 100);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    set(&sender, &key, "1").await.unwrap();
    assert_eq!(sender.publish(channel, b"before").await.unwrap(), 1);
    assert_eq!(next(&mut inbox).await, message("before"));
    for round in 0..3 {
        let to = (cluster.owner(channel) + 1) % 3;
        cluster.move_slot(&key, to);
        // The first command after it finds the new owner by itself.
        assert_eq!(get(&sender, &key).await.as_deref(), Some("1"), "round {round}");
        resubscribed(&mut inbox).await;
        publish_until_received(&sender, channel, b"after").await;
        assert_eq!(next(&mut inbox).await, message("after"));
        let port = cluster.node(to).port().to_string();
        until("the home is the new owner", || {
            let master = sender.health().master;
            master.is_some_and(|master| master.ends_with(&port)) && sender.healthy()
        })
        .await;
    }
    assert!(!sender.circuit_open());
}

#[tokio::test]
async fn messages_of_a_channel_keep_their_order_while_its_slot_moves() {
    let mut cluster = RedisCluster::start();
    let (sender, receiver) = (link(&cluster).await, link(&cluster).await);
    let channel = "{tag}inbox";
    let mut inbox = receiver.subscribe(channel, 100_000);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    let moved = Arc::new(AtomicBool::new(false));
    let all_moved = Arc::clone(&moved);
    let publishing = tokio::spawn(async move {
        let mut counted = 0u32;
        for number in 0u32.. {
            let payload = number.to_string();
            let moved = all_moved.load(Ordering::Relaxed);
            if sender.publish(channel, payload.as_bytes()).await.ok() == Some(1) {
                counted += 1;
                // Somebody receives it at the last owner.
                if moved {
                    break;
                }
            }
        }
        counted
    });
    let moving = tokio::task::spawn_blocking(move || {
        for _ in 0..4 {
            let to = (cluster.owner(channel) + 1) % 3;
            cluster.move_slot(channel, to);
        }
        cluster
    });
    let _cluster = timeout(LONG, moving).await.unwrap().unwrap();
    moved.store(true, Ordering::Relaxed);
    let counted = timeout(LONG, publishing).await.unwrap().unwrap();
    let mut last = None;
    let mut seen = 0;
    while let Some(event) = inbox.try_next() {
        if let SubscriptionEvent::Message(payload) = event {
            let number: u32 = std::str::from_utf8(&payload).unwrap().parse().unwrap();
            assert!(last < Some(number), "{number} after {last:?}");
            last = Some(number);
            seen += 1;
        }
    }
    assert!(
        seen >= counted,
        "{seen} of {counted} that were counted as received"
    );
}

#[tokio::test]
async fn a_slot_that_is_half_moved_is_an_outage_and_no_empty_room() {
    let mut cluster = RedisCluster::start();
    let link = link(&cluster).await;
    let from = cluster.owner("{tag}");
    let to = (from + 1) % 3;
    set(&link, "{tag}here", "1").await.unwrap();
    set(&link, "{tag}moved", "1").await.unwrap();
    let script = Script::new("return redis.call('GET', ARGV[1]) or 'nobody'");
    cluster.begin_move("{tag}", to);
    cluster.move_key("{tag}moved", to);
    let read = async |key: &str, other: &str| link.script::<String>(&script, &[key], &[other]).await;
    // The key that is named is here, or is not, and the other one is or is not.
    for (key, other) in [
        ("{tag}here", "{tag}moved"),
        ("{tag}moved", "{tag}here"),
        ("{tag}moved", "{tag}moved"),
        ("{tag}new", "{tag}here"),
    ] {
        let error = read(key, other).await.unwrap_err();
        assert!(error.is_outage(), "{key} {other}: {error:?}");
        until("the circuit closes again", || {
            !link.circuit_open() || link.health().up
        })
        .await;
        reset(&link).await;
    }
    assert_eq!(read("{tag}here", "{tag}here").await.unwrap(), "1");
    cluster.finish_move("{tag}", to);
    for key in ["{tag}here", "{tag}moved"] {
        assert_eq!(read(key, key).await.unwrap(), "1", "{key}");
    }
    assert_eq!(read("{tag}here", "{tag}new").await.unwrap(), "nobody");
}

/// Lets the breaker forget its failures.
async fn reset(link: &RedisLink) {
    let end = Instant::now() + LONG;
    while link
        .command::<Option<String>>(cmd("GET").arg("{tag}here"))
        .await
        .is_err()
    {
        assert!(Instant::now() < end, "never answered");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_node_that_restarts_is_found_again() {
    let mut cluster = RedisCluster::start();
    let (sender, receiver) = (link(&cluster).await, link(&cluster).await);
    let owner = cluster.owner("inbox");
    let mut inbox = receiver.subscribe("inbox", 100);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    set(&sender, "inbox", "1").await.unwrap();
    for _ in 0..2 {
        cluster.node_mut(owner).kill();
        assert_eq!(next(&mut inbox).await, SubscriptionEvent::Disconnected);
        until("unhealthy", || !sender.healthy()).await;
        let error = sender.publish("inbox", b"lost").await.unwrap_err();
        assert!(error.is_outage(), "{error:?}");
        cluster.node_mut(owner).restart();
        assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
        timeout(LONG, sender.wait_healthy())
            .await
            .expect("never came back");
        publish_until_received(&sender, "inbox", b"after").await;
        assert_eq!(next(&mut inbox).await, message("after"));
    }
}

#[tokio::test]
async fn a_replica_that_takes_over_is_followed() {
    let mut cluster = RedisCluster::start();
    let owner = cluster.owner("{tag}");
    let replica = cluster.add_replica(owner);
    let (sender, receiver) = (link(&cluster).await, link(&cluster).await);
    let mut inbox = receiver.subscribe("{tag}inbox", 100);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    set(&sender, "{tag}key", "1").await.unwrap();
    assert_eq!(sender.publish("{tag}inbox", b"before").await.unwrap(), 1);
    assert_eq!(next(&mut inbox).await, message("before"));
    until("the replica has the key", || {
        cluster.node(replica).command("DBSIZE").contains(":1\r\n")
    })
    .await;
    let leads_to = |link: &RedisLink, port: u16| {
        let master = link.health().master;
        master.is_some_and(|master| master.ends_with(&format!(":{port}"))) && link.healthy()
    };

    // By order: the old master stays, as a replica.
    let answer = cluster.node(replica).command("CLUSTER FAILOVER");
    assert!(answer.starts_with("+OK"), "{answer}");
    resubscribed(&mut inbox).await;
    let new_port = cluster.node(replica).port();
    let end = Instant::now() + LONG;
    while !leads_to(&sender, new_port) {
        let _: Result<(), RedisError> = set(&sender, "{tag}key", "2").await;
        assert!(Instant::now() < end, "the new master was never found");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    publish_until_received(&sender, "{tag}inbox", b"by order").await;
    while next(&mut inbox).await != message("by order") {}

    // By death: the first one takes over again.
    until("the old master follows the new one", || {
        let info = cluster.node(owner).try_command("INFO replication");
        info.is_ok_and(|info| info.contains("role:slave") && info.contains("master_link_status:up"))
    })
    .await;
    cluster.node_mut(replica).kill();
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Disconnected);
    let old_port = cluster.node(owner).port();
    while !leads_to(&sender, old_port) {
        let _: Result<(), RedisError> = set(&sender, "{tag}key", "3").await;
        assert!(Instant::now() < end, "the first master was never found again");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    publish_until_received(&sender, "{tag}inbox", b"by death").await;
    while next(&mut inbox).await != message("by death") {}
    assert!(!sender.circuit_open());
}
