//! Servers that go away, hang or become replicas.

use std::time::Duration;

use berth_dataplane::redis::{
    BreakerSettings, LinkOptions, RedisEndpoint, RedisError, RedisLink, RedisMetrics, Script,
    SubscriptionEvent, pipe,
};
use berth_dataplane::telemetry::Metrics;
use berth_dataplane::testing::RedisServer;
use tokio::time::timeout;

use crate::support::{LONG, link, link_with, next, set, until};

#[tokio::test]
async fn breaker_opens_in_an_outage_and_closes_by_itself() {
    let mut server = RedisServer::start();
    let metrics = Metrics::new();
    let options = LinkOptions {
        patience: Duration::from_millis(1),
        breaker: BreakerSettings {
            error_threshold: 3,
            open_for: Duration::from_mins(10),
        },
        ..LinkOptions::default()
    };
    let endpoint = RedisEndpoint::from_url(&server.url()).unwrap();
    let link = RedisLink::start(endpoint, options, RedisMetrics::register(&metrics));
    timeout(LONG, link.wait_healthy()).await.unwrap();
    server.kill();
    until("unhealthy without traffic", || !link.healthy()).await;
    for _ in 0..3 {
        let error = set(&link, "a", "1").await.unwrap_err();
        assert!(
            error.is_outage() && !matches!(error, RedisError::Unavailable),
            "{error:?}"
        );
    }
    assert!(link.circuit_open());
    let refused = set(&link, "a", "1").await.unwrap_err();
    assert!(matches!(refused, RedisError::Unavailable) && refused.had_no_effect());
    let text = metrics.encode();
    for line in [
        "berth_redis_up 0",
        "berth_redis_breaker_open 1",
        "berth_redis_errors_total{kind=\"unavailable\"} 1",
    ] {
        assert!(text.contains(line), "{line} missing in\n{text}");
    }

    // The opening time is far from over: a new connection that answers is what counts.
    server.restart();
    timeout(LONG, link.wait_healthy()).await.expect("never came back");
    set(&link, "a", "1").await.unwrap();
    assert!(metrics.encode().contains("berth_redis_reconnects_total 1"));
    assert_eq!((link.health().reconnects, link.health().last_error), (1, None));
}

#[tokio::test]
async fn closed_connection_is_replaced_before_anybody_notices() {
    let server = RedisServer::start();
    let link = link_with(
        &server,
        LinkOptions {
            patience: LONG,
            ..LinkOptions::default()
        },
    );
    timeout(LONG, link.wait_healthy()).await.unwrap();
    for _ in 0..5 {
        let before = link.health().reconnects;
        server.command("CLIENT KILL TYPE normal SKIPME yes");
        // A command that was under way may break, one that comes after it must not.
        until("the loss was noticed", || {
            link.health().reconnects > before || !link.healthy()
        })
        .await;
        set(&link, "a", "1").await.unwrap();
    }
}

fn impatient() -> LinkOptions {
    LinkOptions {
        response_timeout: Duration::from_millis(100),
        connect_timeout: Duration::from_millis(300),
        breaker: BreakerSettings {
            error_threshold: 2,
            open_for: Duration::from_millis(200),
        },
        ..LinkOptions::default()
    }
}

#[tokio::test]
async fn hanging_server_times_out_and_recovers() {
    let server = RedisServer::start();
    let link = link_with(&server, impatient());
    timeout(LONG, link.wait_healthy()).await.unwrap();
    let mut inbox = link.subscribe("inbox", 10);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    server.freeze();
    let error = set(&link, "a", "1").await.unwrap_err();
    assert!(
        matches!(error, RedisError::Timeout) && !error.had_no_effect(),
        "{error:?}"
    );
    assert!(set(&link, "a", "1").await.is_err());
    assert!(link.circuit_open());
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Disconnected);
    assert!(!link.healthy());
    server.thaw();
    timeout(LONG, link.wait_healthy()).await.expect("never recovered");
    set(&link, "a", "2").await.unwrap();
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
}

/// A server that takes connections and answers their pings but hangs on writes, as in a failover.
#[tokio::test]
async fn paused_writes_open_the_breaker_although_new_connections_answer() {
    let server = RedisServer::start();
    let breaker = BreakerSettings {
        error_threshold: 2,
        open_for: LONG,
    };
    let link = link_with(
        &server,
        LinkOptions {
            breaker,
            ..impatient()
        },
    );
    timeout(LONG, link.wait_healthy()).await.unwrap();
    server.command("CLIENT PAUSE 600000 WRITE");
    assert!(matches!(
        set(&link, "a", "1").await.unwrap_err(),
        RedisError::Timeout
    ));
    // The write blocks its connection for the pings behind it, so that another one is made.
    until("a new connection answered", || {
        link.health().reconnects > 0 && link.health().up
    })
    .await;
    assert!(!link.circuit_open());
    assert!(matches!(
        set(&link, "a", "1").await.unwrap_err(),
        RedisError::Timeout
    ));
    assert!(link.circuit_open() && !link.healthy());
    server.command("CLIENT UNPAUSE");
}

#[tokio::test]
async fn server_may_come_later_and_password_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "wrong\n").unwrap();
    let mut server = RedisServer::start_with(&["--requirepass", "first"]);
    let endpoint = RedisEndpoint::from_url(&server.url())
        .unwrap()
        .with_password_file(file.clone());
    let link = RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::unregistered());
    until("the refusal is told", || link.health().last_error.is_some()).await;
    assert!(!link.healthy());
    let error = link.health().last_error.unwrap();
    assert!(!error.contains("wrong"), "{error}");

    std::fs::write(&file, "first\n").unwrap();
    timeout(LONG, link.wait_healthy())
        .await
        .expect("the new password was not read");
    std::fs::write(&file, "second\n").unwrap();
    server.restart_with(&["--requirepass", "second"]);
    until("the loss was noticed", || {
        link.health().reconnects > 0 || !link.healthy()
    })
    .await;
    timeout(LONG, link.wait_healthy())
        .await
        .expect("the rotated password was not read");
    set(&link, "a", "1").await.unwrap();
}

/// A failover that keeps connections: the old server answers pings as a replica, and the name moves a while later.
#[tokio::test]
async fn demoted_server_is_left_for_the_one_that_the_name_stands_for() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("url");
    std::fs::write(&name, old.url()).unwrap();
    let endpoint = RedisEndpoint::from_url_file(name.clone()).unwrap();
    let link = RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::unregistered());
    timeout(LONG, link.wait_healthy()).await.unwrap();
    let mut inbox = link.subscribe("inbox", 10);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);

    old.command(&format!("REPLICAOF 127.0.0.1 {}", new.port()));
    let error = set(&link, "a", "1").await.unwrap_err();
    assert!(error.is_outage(), "{error:?}");
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Disconnected);
    until("the replica is refused", || {
        let error = link.health().last_error;
        error.is_some_and(|error| error.contains("replica")) && !link.healthy()
    })
    .await;

    std::fs::write(&name, new.url()).unwrap();
    timeout(LONG, link.wait_healthy())
        .await
        .expect("never left the replica");
    set(&link, "a", "2").await.unwrap();
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    let receivers = new.command("PUBSUB NUMSUB inbox");
    assert!(receivers.contains("inbox\r\n:1\r\n"), "{receivers}");
}

#[tokio::test]
async fn every_kind_of_write_finds_a_demotion() {
    for kind in 0..3 {
        let (old, new) = (RedisServer::start(), RedisServer::start());
        let link = link(&old).await;
        old.command(&format!("REPLICAOF 127.0.0.1 {}", new.port()));
        let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
        let error = match kind {
            0 => link.script::<i64>(&script, &["a"], &["2"]).await.unwrap_err(),
            1 => link.pipeline::<()>(pipe().incr("a", 1)).await.unwrap_err(),
            _ => link
                .pipeline::<()>(pipe().atomic().incr("a", 1))
                .await
                .unwrap_err(),
        };
        assert!(error.is_outage(), "{error:?}");
        until("the replica is refused", || {
            !link.healthy() && link.health().last_error.is_some()
        })
        .await;
    }
}
