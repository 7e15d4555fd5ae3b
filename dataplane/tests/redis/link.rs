//! Commands over a link to one server.

use berth_dataplane::redis::{
    BreakerState, LinkOptions, RedisEndpoint, RedisError, RedisLink, RedisMetrics, Script, cmd, pipe,
};
use berth_dataplane::testing::{RedisServer, free_port};
use tokio::time::timeout;

use crate::support::{LONG, get, link, link_with, set};

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
