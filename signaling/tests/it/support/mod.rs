//! Servers and peers for tests.

mod client;
mod node;
mod proxy;
pub(crate) mod v2;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

pub(crate) use berth_dataplane::testing::RedisServer;
pub(crate) use client::{Client, Request, get};
pub(crate) use node::{Node, NodeOptions};
pub(crate) use proxy::{Network, Proxy};

/// Longest wait for something that must happen; only a failure reaches it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Calls of each command since `before`, without those that did not happen.
pub(crate) fn calls_since(redis: &RedisServer, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut calls = redis.foreground_calls();
    for (name, count) in &mut calls {
        *count -= before.get(name).copied().unwrap_or_default();
    }
    calls.retain(|_, count| *count > 0);
    calls
}

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

/// Measures again until `round` has seen what must be, at most ten times: on a machine that stood still for seconds links connect
/// again, and a round is disturbed by that, but not every round.
pub(crate) async fn in_some_round<E: std::fmt::Debug>(
    what: &str,
    mut round: impl AsyncFnMut() -> Result<(), E>,
) {
    let mut seen = Vec::new();
    for _ in 0..10 {
        match round().await {
            Ok(()) => return,
            Err(other) => seen.push(other),
        }
    }
    panic!("in no round: {what}, but {seen:?}");
}

/// The same as [`eventually`] for a condition.
pub(crate) async fn eventually_true(what: &str, mut check: impl FnMut() -> bool) {
    eventually(what, || {
        let happened = check().then_some(());
        async move { happened }
    })
    .await;
}

/// Lets Redis answer nobody for a while. Returns at once, in the middle of it.
pub(crate) fn pause(redis: &RedisServer, milliseconds: u32) {
    pause_what(redis, milliseconds, "ALL");
}

/// Lets Redis take no write for a while.
pub(crate) fn pause_writes(redis: &RedisServer, milliseconds: u32) {
    pause_what(redis, milliseconds, "WRITE");
}

fn pause_what(redis: &RedisServer, milliseconds: u32, what: &str) {
    let begun = begin(redis, &format!("CLIENT PAUSE {milliseconds} {what}"));
    let mut answer = [0; 5];
    std::io::Read::read_exact(&mut &begun, &mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n");
}

/// Lets the process of Redis sleep for a while; the server must have been started with [`DEBUG_COMMANDS`].
pub(crate) fn hang(redis: &RedisServer, milliseconds: u32) {
    // It answers when it wakes up; until then the connection must stay.
    let sleeping = begin(
        redis,
        &format!("DEBUG SLEEP {}", f64::from(milliseconds) / 1000.0),
    );
    std::thread::spawn(move || std::io::Read::read(&mut &sleeping, &mut [0; 64]));
}

/// Arguments for [`RedisServer::start_with`].
pub(crate) const DEBUG_COMMANDS: [&str; 2] = ["--enable-debug-command", "yes"];

/// Sends an inline command and does not wait for the answer.
fn begin(redis: &RedisServer, line: &str) -> std::net::TcpStream {
    let stream = std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, redis.port())).unwrap();
    std::io::Write::write_all(&mut &stream, format!("{line}\r\n").as_bytes()).unwrap();
    stream
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
