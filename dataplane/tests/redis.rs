//! The link against a real Redis: commands, breaker, reconnect, subscriptions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a test"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use berth_dataplane::boot::install_crypto_provider;
use berth_dataplane::redis::{
    BreakerSettings, BreakerState, LinkOptions, Publication, RedisEndpoint, RedisError, RedisLink,
    RedisMetrics, Script, Subscription, SubscriptionEvent, cmd, pipe,
};
use berth_dataplane::telemetry::Metrics;
use berth_dataplane::testing::{RedisServer, free_port};
use tokio::time::timeout;

/// Longest wait for anything here; only a hang reaches it.
const LONG: Duration = Duration::from_mins(1);

fn link_with(server: &RedisServer, options: LinkOptions) -> RedisLink {
    RedisLink::start(
        RedisEndpoint::from_url(&server.url()).unwrap(),
        options,
        RedisMetrics::unregistered(),
    )
}

async fn link(server: &RedisServer) -> RedisLink {
    let link = link_with(server, LinkOptions::default());
    timeout(LONG, link.wait_healthy()).await.expect("never connected");
    link
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn next(subscription: &mut Subscription) -> SubscriptionEvent {
    timeout(LONG, subscription.next())
        .await
        .expect("no event")
        .expect("subscription ended")
}

async fn set(link: &RedisLink, key: &str, value: &str) -> Result<(), RedisError> {
    link.command(cmd("SET").arg(key).arg(value)).await
}

async fn get(link: &RedisLink, key: &str) -> Option<String> {
    link.command(cmd("GET").arg(key)).await.unwrap()
}

fn message(text: &'static str) -> SubscriptionEvent {
    SubscriptionEvent::Message(text.as_bytes().into())
}

#[tokio::test]
async fn commands_pipelines_and_scripts() {
    let server = RedisServer::start();
    let link = link(&server).await;
    set(&link, "a", "1").await.unwrap();
    assert_eq!(get(&link, "a").await.as_deref(), Some("1"));
    let (a, b): (i64, i64) = link
        .pipeline(pipe().atomic().incr("a", 4).incr("b", 1))
        .await
        .unwrap();
    assert_eq!((a, b), (5, 1));

    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    assert_eq!(link.script::<i64>(&script, &["a"], &["2"]).await.unwrap(), 7);
    server.command("SCRIPT FLUSH");
    assert_eq!(
        link.script::<i64>(&script, &["a"], &["2"]).await.unwrap(),
        9,
        "not loaded again"
    );
    assert_eq!(
        server
            .command("INFO commandstats")
            .matches("cmdstat_eval:")
            .count(),
        0,
        "sent the text each time"
    );
}

#[tokio::test]
async fn answers_that_are_errors_are_no_outage() {
    let server = RedisServer::start();
    let link = link(&server).await;
    set(&link, "text", "x").await.unwrap();
    for _ in 0..10 {
        let error = link.command::<i64>(cmd("INCR").arg("text")).await.unwrap_err();
        assert!(
            matches!(error, RedisError::Server(_)) && !error.is_outage(),
            "{error:?}"
        );
        let error = link.command::<i64>(cmd("GET").arg("text")).await.unwrap_err();
        assert!(matches!(error, RedisError::Type(_)), "{error:?}");
    }
    assert!(link.healthy() && !link.circuit_open());
    assert_eq!(link.health().breaker, BreakerState::Closed);
}

#[tokio::test]
async fn many_callers_share_one_connection() {
    let server = RedisServer::start();
    let link = link_with(
        &server,
        LinkOptions {
            max_in_flight: 16,
            ..LinkOptions::default()
        },
    );
    timeout(LONG, link.wait_healthy()).await.unwrap();
    let calls = (0..500).map(|_| {
        let link = link.clone();
        tokio::spawn(async move { link.command::<i64>(cmd("INCR").arg("n")).await.unwrap() })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(timeout(LONG, call).await.unwrap().unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers, (1..=500).collect::<Vec<i64>>());
    let clients = server.command("CLIENT LIST");
    assert_eq!(clients.matches("resp=3").count(), 1, "{clients}");
}

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
    let endpoint = RedisEndpoint::from_url_file(name.clone());
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

fn openssl(folder: &Path, arguments: &str) {
    let run = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output();
    let output = run.expect("cannot run openssl: install the Debian package openssl");
    assert!(
        output.status.success(),
        "openssl {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own() {
    install_crypto_provider();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(
        folder.path(),
        &format!("req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=authority"),
    );
    openssl(
        folder.path(),
        &format!("req {key} -keyout redis.key -out redis.csr -subj /CN=redis"),
    );
    std::fs::write(path("names"), "subjectAltName=IP:127.0.0.1").unwrap();
    openssl(
        folder.path(),
        "x509 -req -in redis.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out redis.crt -days 2 -extfile names",
    );
    let port = free_port().to_string();
    let (certificate, key, authority) = (path("redis.crt"), path("redis.key"), path("ca.crt"));
    let _server = RedisServer::start_with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &authority,
        "--tls-auth-clients",
        "no",
    ]);
    let endpoint = RedisEndpoint::from_url(&format!("rediss://127.0.0.1:{port}")).unwrap();
    let start = |endpoint| RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::unregistered());

    let stranger = start(endpoint.clone());
    until("an unknown authority is refused", || {
        stranger.health().last_error.is_some()
    })
    .await;
    assert!(!stranger.healthy());
    let link = start(endpoint.with_ca_file(authority.into()));
    timeout(LONG, link.wait_healthy())
        .await
        .expect("its own authority was refused");
    let mut inbox = link.subscribe("inbox", 10);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    assert_eq!(link.publish("inbox", b"x").await.unwrap(), 1);
}

#[tokio::test]
async fn without_a_server_calls_fail_soon() {
    let endpoint = RedisEndpoint::from_url(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
    let link = RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::unregistered());
    let error = timeout(LONG, set(&link, "a", "1")).await.unwrap().unwrap_err();
    assert!(
        matches!(error, RedisError::Disconnected) && error.had_no_effect(),
        "{error:?}"
    );
    assert!(!link.healthy() && !link.health().up);
}

#[tokio::test]
async fn publish_tells_receivers_in_order() {
    let server = RedisServer::start();
    let link = link(&server).await;
    assert_eq!(link.publish("inbox", b"nobody").await.unwrap(), 0);
    let mut inbox = link.subscribe("inbox", 100);
    let mut other = link.subscribe("other", 100);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    assert_eq!(next(&mut other).await, SubscriptionEvent::Subscribed);
    assert!(inbox.is_subscribed());
    let messages =
        [("inbox", "a"), ("nobody", "b"), ("inbox", "c"), ("other", "d")].map(|(channel, payload)| {
            Publication {
                channel,
                payload: payload.as_bytes(),
            }
        });
    assert_eq!(link.publish_all(&messages).await.unwrap(), [1, 0, 1, 1]);
    assert_eq!(link.publish_all(&[]).await.unwrap(), Vec::<u64>::new());
    assert_eq!(
        (next(&mut inbox).await, next(&mut inbox).await),
        (message("a"), message("c"))
    );
    assert_eq!(next(&mut other).await, message("d"));
    assert!(inbox.try_next().is_none());
}

#[tokio::test]
async fn two_readers_of_one_channel_and_unsubscribe_on_drop() {
    let server = RedisServer::start();
    let link = link(&server).await;
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
    until("unsubscribed", || {
        server.command("PUBSUB NUMSUB inbox").contains(":0")
    })
    .await;
    let mut third = link.subscribe("inbox", 10);
    assert_eq!(next(&mut third).await, SubscriptionEvent::Subscribed);
}

#[tokio::test]
async fn slow_reader_loses_and_is_told() {
    let server = RedisServer::start();
    let link = link(&server).await;
    let mut inbox = link.subscribe("inbox", 3);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    for payload in [b"a", b"b", b"c", b"d", b"e"] {
        link.publish("inbox", payload).await.unwrap();
    }
    until("the loss was counted", || link.metrics().lost_messages.get() == 2).await;
    for text in ["a", "b", "c"] {
        assert_eq!(next(&mut inbox).await, message(text));
    }
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Lost(2));
}

#[tokio::test]
async fn subscription_resumes_after_kill_and_restart() {
    let mut server = RedisServer::start();
    let link = link(&server).await;
    let mut inbox = link.subscribe("inbox", 10);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    for _ in 0..2 {
        link.publish("inbox", b"before").await.unwrap();
        assert_eq!(next(&mut inbox).await, message("before"));
        server.kill();
        assert_eq!(next(&mut inbox).await, SubscriptionEvent::Disconnected);
        assert!(!inbox.is_subscribed() && !link.health().subscriptions_up);
        server.restart();
        assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
        timeout(LONG, link.wait_healthy()).await.unwrap();
        assert_eq!(link.publish("inbox", b"after").await.unwrap(), 1);
        assert_eq!(next(&mut inbox).await, message("after"));
    }
}

#[tokio::test]
async fn cut_subscription_resumes_while_commands_go_on() {
    let server = RedisServer::start();
    let link = link(&server).await;
    let mut inbox = link.subscribe("inbox", 10);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    server.command("CLIENT KILL TYPE pubsub");
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Disconnected);
    assert!(link.healthy());
    set(&link, "a", "1").await.unwrap();
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
}

#[tokio::test]
async fn connections_end_with_the_last_clone() {
    let server = RedisServer::start();
    let link = link(&server).await;
    let mut inbox = link.subscribe("inbox", 10);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    let clone = link.clone();
    drop(link);
    set(&clone, "a", "1").await.unwrap();
    drop(clone);
    assert_eq!(timeout(LONG, inbox.next()).await.unwrap(), None);
    until("all connections closed", || {
        !server.command("CLIENT LIST").contains("resp=3")
    })
    .await;
}
