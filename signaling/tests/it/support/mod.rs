//! Servers and peers for tests.

mod client;
mod node;
pub(crate) mod v2;

use std::future::Future;
use std::time::{Duration, Instant};

pub(crate) use berth_dataplane::testing::RedisServer;
pub(crate) use client::{Client, Request, get};
pub(crate) use node::{Node, NodeOptions};

/// Longest wait for something that must happen; only a failure reaches it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `check` gives something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < end, "did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same for a condition.
pub(crate) async fn eventually_true(what: &str, mut check: impl FnMut() -> bool) {
    eventually(what, || {
        let happened = check().then_some(());
        async move { happened }
    })
    .await;
}

/// An offer with this text in it.
pub(crate) fn offer(sdp: &str) -> String {
    format!(r#"{{"type":"offer","sdp":"{sdp}"}}"#)
}

/// A candidate with this text in it.
pub(crate) fn candidate(text: &str) -> String {
    format!(r#"{{"type":"candidate","candidate":"{text}"}}"#)
}

/// What a peer hears when another one has left.
pub(crate) const PEER_DISCONNECTED: &str = r#"{"type":"peer-disconnected"}"#;
