//! The server as a whole: when it leaves Redis alone, and how it ends.

use berth_crds::reload::ReloadClass;
use serde_json::json;

use super::{Live, Proof};
use crate::support::v2::Peer;
use crate::support::{Client, RedisServer, Request, eventually, eventually_true};

/// Fields that are proven here.
pub(super) const PROVEN: &[Proof] = &[
    (
        "spec.circuitBreaker.errorThreshold",
        ReloadClass::Hot,
        error_threshold,
    ),
    ("spec.circuitBreaker.openMs", ReloadClass::Hot, open_ms),
    ("spec.drain.closeCode", ReloadClass::Hot, drain_close_code),
    ("spec.drain.timeoutSeconds", ReloadClass::Hot, drain_timeout),
];

// === circuit breaker ===

/// Tries to join until the server refuses without asking Redis.
async fn circuit_opens(live: &Live) {
    eventually("the circuit opens", || async {
        let (code, _) = Client::connect(live.node.address, "r9").await.closed().await;
        (code == 1013 && live.node.metric("signaling_circuit_breaker_open") > 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn error_threshold() {
    let redis = RedisServer::start();
    let mut live = Live::start(Some(&redis)).await;
    live.set(&[("spec.circuitBreaker.errorThreshold", json!(1000))]);
    redis.freeze();
    // More failures than the threshold had before.
    for _ in 0..5 {
        live.is_closed(Request::room("r1"), 1011, "Internal error").await;
    }
    assert!(live.node.metric("signaling_circuit_breaker_open") < 0.5);
    live.set(&[("spec.circuitBreaker.errorThreshold", json!(1))]);
    circuit_opens(&live).await;
    redis.thaw();
}

#[tokio::test]
async fn open_ms() {
    let redis = RedisServer::start();
    let mut live = Live::start(Some(&redis)).await;
    // Long beyond what this test waits for.
    live.set(&[
        ("spec.circuitBreaker.errorThreshold", json!(1)),
        ("spec.circuitBreaker.openMs", json!(300_000)),
    ]);
    redis.freeze();
    circuit_opens(&live).await;
    eventually_true("redis is away", || live.node.metric("signaling_redis_up") < 0.5).await;
    redis.thaw();
    eventually_true("redis is back", || live.node.metric("signaling_redis_up") > 0.5).await;
    live.is_closed(Request::room("r1"), 1013, "Service unavailable")
        .await;
    live.set(&[("spec.circuitBreaker.openMs", json!(100))]);
    let _seat = eventually("a seat", || Client::try_join(live.node.address, "r1")).await;
}

// === drain ===

#[tokio::test]
async fn drain_timeout() {
    let mut live = Live::memory().await;
    // Long beyond what this test waits for.
    live.set(&[
        ("spec.drain.timeoutSeconds", json!(3600)),
        ("spec.drain.gracePeriodSeconds", json!(7200)),
    ]);
    let mut peers = Vec::new();
    for number in 0..8 {
        peers.push(Client::join(&live.node, &format!("r{number}")).await);
    }
    live.set(&[("spec.drain.timeoutSeconds", json!(1))]);
    let closed = tokio::spawn(async move {
        for peer in &mut peers {
            assert_eq!(peer.closed().await, (1012, "Server draining".to_owned()));
        }
    });
    live.node.drain().await;
    closed.await.unwrap();
}

#[tokio::test]
async fn drain_close_code() {
    let mut live = Live::memory().await;
    live.set(&[("spec.drain.timeoutSeconds", json!(1))]);
    let mut old = Client::join(&live.node, "r1").await;
    let mut new = Peer::join(&live.node, "r2", "host").await;
    // It was 1012 when they came.
    live.set(&[("spec.drain.closeCode", json!(4321))]);
    let (_, old, new) = tokio::join!(live.node.drain(), old.closed(), new.client.closed());
    assert_eq!(old, (4321, "Server draining".to_owned()));
    assert_eq!(new, (1012, "Server draining".to_owned()), "v2 has its own codes");
}
