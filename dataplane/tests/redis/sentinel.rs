//! Servers behind Sentinels: the master is found, and followed when it is another one.

use std::time::{Duration, Instant};

use berth_dataplane::redis::{
    LinkOptions, RedisEndpoint, RedisLink, RedisMetrics, RedisMode, SubscriptionEvent,
};
use berth_dataplane::telemetry::Metrics;
use berth_dataplane::testing::{RedisSentinels, SentinelOptions, TestRedis};
use tokio::time::timeout;

use crate::support::{LONG, get, link, message, next, set, until};

/// Sets a key until it is taken.
async fn set_until_taken(link: &RedisLink, key: &str, value: &str) {
    let end = Instant::now() + LONG;
    while set(link, key, value).await.is_err() {
        assert!(Instant::now() < end, "no master takes it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn leads_to(link: &RedisLink, port: u16) -> bool {
    let master = link.health().master;
    master.is_some_and(|master| master == format!("127.0.0.1:{port}"))
}

#[tokio::test]
async fn a_dead_master_is_left_for_its_successor() {
    let mut sentinels = RedisSentinels::start(3);
    let metrics = Metrics::new();
    let endpoint = RedisEndpoint::from_url(&sentinels.url()).unwrap();
    let link = RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::register(&metrics));
    timeout(LONG, link.wait_healthy()).await.expect("never connected");
    let (first, second) = (sentinels.server(0).port(), sentinels.server(1).port());
    assert_eq!(link.health().mode, RedisMode::Sentinel);
    assert!(leads_to(&link, first));
    let mut inbox = link.subscribe("inbox", 10);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    set(&link, "a", "1").await.unwrap();
    until("the replica has it", || {
        sentinels.server(1).command("GET a").contains("1\r\n")
    })
    .await;

    sentinels.server_mut(0).kill();
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Disconnected);
    sentinels.wait_for_other_master(first);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    timeout(LONG, link.wait_healthy()).await.expect("no successor");
    assert!(leads_to(&link, second));
    assert_eq!(get(&link, "a").await.as_deref(), Some("1"));
    set_until_taken(&link, "a", "2").await;
    assert_eq!(link.publish("inbox", b"x").await.unwrap(), 1);
    assert_eq!(next(&mut inbox).await, message("x"));
    let text = metrics.encode();
    for line in [
        "berth_redis_master_changes_total 1",
        "berth_redis_mode{mode=\"sentinel\"} 1",
        "berth_redis_up 1",
    ] {
        assert!(text.contains(line), "{line} missing in\n{text}");
    }
}

#[tokio::test]
async fn a_failover_by_order_is_followed_with_one_sentinel() {
    let sentinels = RedisSentinels::start(1);
    let link = link(&sentinels).await;
    let (first, second) = (sentinels.server(0).port(), sentinels.server(1).port());
    let mut inbox = link.subscribe("inbox", 10);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    for port in [second, first] {
        sentinels.fail_over();
        set_until_taken(&link, "a", &port.to_string()).await;
        until("the link leads to the new master", || leads_to(&link, port)).await;
        while next(&mut inbox).await != SubscriptionEvent::Subscribed {}
        let end = Instant::now() + LONG;
        while link.publish("inbox", port.to_string().as_bytes()).await.ok() != Some(1) {
            assert!(Instant::now() < end, "nobody receives it");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let expected = SubscriptionEvent::Message(port.to_string().into());
        while next(&mut inbox).await != expected {}
        // The old master must follow before it can be the successor again.
        until("both servers are in step", || {
            (0..2).any(|index| {
                let info = sentinels.server(index).try_command("INFO replication");
                info.is_ok_and(|info| info.contains("role:slave") && info.contains("master_link_status:up"))
            })
        })
        .await;
    }
}

/// A master that is cut off from the Sentinels and not from us: only they know that it is none any more.
#[tokio::test]
async fn news_of_a_switch_move_a_link_whose_server_still_answers() {
    let sentinels = RedisSentinels::start(2);
    let (first, second) = (sentinels.server(0).port(), sentinels.server(1).port());
    let link = link(&sentinels).await;
    assert!(leads_to(&link, first));
    let mut inbox = link.subscribe("inbox", 10);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    // To the Sentinels it looks dead, and they cannot make it a replica.
    let answer = sentinels
        .server(0)
        .command("ACL SETUSER default -ping -slaveof -replicaof");
    assert!(answer.starts_with("+OK"), "{answer}");
    sentinels.wait_for_other_master(first);
    until("the link leads to the new master", || leads_to(&link, second)).await;
    set_until_taken(&link, "a", "1").await;
    assert!(sentinels.server(1).command("GET a").contains("1\r\n"));
    while next(&mut inbox).await != SubscriptionEvent::Subscribed {}
    let receivers = sentinels.server(1).command("PUBSUB NUMSUB inbox");
    assert!(receivers.contains("inbox\r\n:1\r\n"), "{receivers}");
    let old = sentinels.server(0).command("INFO replication");
    assert!(old.contains("role:master"), "nobody could tell it: {old}");
}

#[tokio::test]
async fn sentinels_that_are_dead_or_know_nothing_are_passed_over() {
    let mut sentinels = RedisSentinels::start(3);
    sentinels.sentinel_mut(0).kill();
    let answer = sentinels.sentinel_mut(1).command("SENTINEL REMOVE main");
    assert!(answer.starts_with("+OK"), "{answer}");
    let link = link(&sentinels).await;
    set(&link, "a", "1").await.unwrap();

    let unknown = sentinels.url().replace("/main", "/other");
    let endpoint = RedisEndpoint::from_url(&unknown).unwrap();
    let lost = RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::unregistered());
    until("it is told that nobody knows the name", || {
        let error = lost.health().last_error;
        error.is_some_and(|error| error.contains("no Sentinel named a master"))
    })
    .await;
    assert!(!lost.healthy());
}

#[tokio::test]
async fn servers_and_sentinels_have_logins_of_their_own() {
    let options = SentinelOptions {
        servers: &["--requirepass", "data", "--masterauth", "data"],
        sentinels: &["sentinel auth-pass main data"],
        sentinel_password: "watch",
        login: ":data@",
        parameters: "?sentinel_password=watch",
        ..SentinelOptions::default()
    };
    let sentinels = RedisSentinels::start_with(1, &options);
    let right = link(&sentinels).await;
    set(&right, "a", "1").await.unwrap();
    for (from, to) in [("watch", "other"), (":data@", ":other@")] {
        let url = sentinels.url().replace(from, to);
        let endpoint = RedisEndpoint::from_url(&url).unwrap();
        let wrong = RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::unregistered());
        until("the refusal is told", || wrong.health().last_error.is_some()).await;
        let health = format!("{:?}", wrong.health());
        assert!(!wrong.healthy(), "{health}");
        for secret in ["data", "watch", "other"] {
            assert!(
                !health.contains(&format!(":{secret}")) && !health.contains(&format!("={secret}")),
                "{health}"
            );
        }
    }
}
