//! Defects of the process: its secrets, its logs, its ports.

use std::time::Duration;

use crate::process::Program;
use crate::support::{Client, RedisServer, Request, eventually, get};

/// There: the default of `REDIS_URL` was the address of somebody's server, with its password.
#[tokio::test]
async fn no_secret_is_a_default_and_none_is_logged() {
    let mut alone = Program::start(&[], &[]).await;
    let (_, status) = get(alone.internal, "/statusz").await;
    assert!(!status.contains("\"redis\""), "{status}");
    alone.signal("TERM").await;
    assert_eq!(alone.ends().await, 0);

    let redis = RedisServer::start_with(&["--requirepass", "hunter2"]);
    let right = redis.url().replace("redis://", "redis://:hunter2@");
    let wrong = redis.url().replace("redis://", "redis://user:swordfish@");
    for (url, ready) in [(right, true), (wrong, false)] {
        let mut program = Program::start(
            &[
                ("REDIS_URL", &url),
                ("LOG_LEVEL", "trace"),
                ("DRAIN_TIMEOUT_MS", "0"),
            ],
            &[],
        )
        .await;
        if ready {
            eventually("ready", || async {
                (get(program.address, "/readyz").await.0 == 200).then_some(())
            })
            .await;
        } else {
            eventually("it says why", || async {
                let (_, status) = get(program.internal, "/statusz").await;
                status.contains("lastError").then_some(())
            })
            .await;
        }
        let (_, status) = get(program.internal, "/statusz").await;
        program.signal("TERM").await;
        program.ends().await;
        let logs = program.rest_of_logs().await.join("\n") + &status;
        assert!(!logs.contains("hunter2") && !logs.contains("swordfish"), "{logs}");
    }
}

/// There: each bad request wrote a warning.
#[tokio::test]
async fn bad_requests_do_not_fill_the_log() {
    let mut program = Program::start(
        &[("RATE_LIMIT_CONN_PER_10S", "100000"), ("DRAIN_TIMEOUT_MS", "500")],
        &[],
    )
    .await;
    for number in 0..300 {
        let target = if number % 2 == 0 { "/" } else { "/?roomId=a%20b" };
        let mut client = Client::open(program.address, Request::target(target)).await;
        client.send_raw(&[0xff; 64]).await;
        client.closed().await;
    }
    let mut peer = Client::try_join(program.address, "r1").await.expect("a seat");
    for _ in 0..50 {
        peer.send("no json").await;
        peer.send("[]").await;
        peer.hear().await;
    }
    program.signal("TERM").await;
    peer.closed().await;
    assert_eq!(program.ends().await, 0);
    let lines = program.rest_of_logs().await;
    assert!(lines.len() < 30, "{} lines:\n{}", lines.len(), lines.join("\n"));
}

/// There: the health port was documented and nothing listened on it, and the server answered nothing before Redis did.
#[tokio::test]
async fn both_ports_answer_while_redis_is_away() {
    let mut redis = RedisServer::start();
    redis.kill();
    let program = Program::start(&[("REDIS_URL", &redis.url())], &[]).await;
    for port in [program.address, program.internal] {
        assert_eq!(get(port, "/healthz").await, (200, "ok".to_owned()));
        assert_eq!(get(port, "/readyz").await, (503, "not-ready".to_owned()));
        assert_eq!(get(port, "/metrics").await.0, 200);
    }
    redis.restart();
    for port in [program.address, program.internal] {
        eventually("ready", || async {
            (get(port, "/readyz").await == (200, "ready".to_owned())).then_some(())
        })
        .await;
    }
}

/// Whatever its peers do, the process has ended when the time for the drain is over.
#[tokio::test]
async fn a_process_ends_within_its_drain() {
    let redis = RedisServer::start();
    let mut program = Program::start(&[("REDIS_URL", &redis.url()), ("DRAIN_TIMEOUT_MS", "2000")], &[]).await;
    let mut peers = Vec::new();
    for number in 0..10 {
        let room = format!("r{number}");
        peers.push(eventually("a seat", || Client::try_join(program.address, &room)).await);
    }
    // Half of them never answer the close, and Redis takes no seat back.
    let _deaf = peers.split_off(5);
    redis.freeze();
    program.signal("TERM").await;
    let begun = std::time::Instant::now();
    for peer in &mut peers {
        assert_eq!(peer.closed().await.0, 1012);
    }
    assert_eq!(program.ends().await, 0);
    let took = begun.elapsed();
    // Two seconds, one for the last words to the store, and as much again for a slow machine.
    assert!(took < Duration::from_secs(15), "{took:?}");
    redis.thaw();
}
