//! `berth up`, `berth host` and `berth play` together, as on a laptop: in memory, and with Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use berth::host::options::HostOptions;
use berth::play::options::PlayOptions;
use berth::up::{self, UpOptions};
use berth_dataplane::shutdown::{Shutdown, ShutdownOutcome};
use berth_dataplane::testing::{RedisServer, port_is_free};
use clap::Parser;
use tokio::fs::OpenOptions;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything here; only a hang reaches it.
const LONG: Duration = Duration::from_mins(1);

#[derive(Parser)]
enum Line {
    Up(UpOptions),
    Host(HostOptions),
    Play(PlayOptions),
}

fn up_options(args: &[&str]) -> UpOptions {
    match Line::parse_from([&["berth", "up"], args].concat()) {
        Line::Up(options) => options,
        _ => unreachable!(),
    }
}

/// Three ports in a row that are free now, others for each test.
fn free_base() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    loop {
        let base = first + 3 * TAKEN.fetch_add(1, Ordering::Relaxed);
        if (base..base + 3).all(port_is_free) {
            return base;
        }
        assert!(base < 60_000, "no three free ports in a row");
    }
}

/// One host and two players, one after the other: the second gets the slot that the first gave back. `more` is for `berth up`,
/// `host` for `berth host`.
async fn two_players_one_after_the_other(more: &[&str], host: &[&str]) {
    let base = free_base();
    let base_text = base.to_string();
    let options = up_options(&[&["--port-base", &base_text], more].concat());
    let shutdown = Shutdown::new();
    let up = up::start(&options, shutdown.clone()).await.unwrap();
    let (matchmaker, signaling) = (
        format!("http://localhost:{base}"),
        format!("ws://localhost:{}", base + 2),
    );
    assert_eq!(up.addresses().signaling.port(), base + 2);

    let args = [
        "berth",
        "host",
        "--matchmaker",
        &matchmaker,
        "--signaling",
        &signaling,
        "--loopback",
    ];
    let Line::Host(host) = Line::parse_from([&args, host].concat()) else {
        unreachable!()
    };
    let end_host = CancellationToken::new();
    let hosting = tokio::spawn(berth::host::run(host, end_host.clone()));
    for _ in 0..2 {
        let report = play_until_found(&matchmaker).await;
        assert_eq!(report["outcome"], "ok", "{report}");
        assert_eq!(
            report["signalingUrl"],
            format!("{signaling}/"),
            "players are sent to the moved port: {report}"
        );
    }
    end_host.cancel();
    hosting.await.unwrap().unwrap();
    shutdown.begin();
    assert_eq!(up.run().await, ShutdownOutcome::Drained);
}

/// Plays; a pool without a free host is asked again, for a bounded time.
async fn play_until_found(matchmaker: &str) -> serde_json::Value {
    let mut report = serde_json::Value::Null;
    for _ in 0..120 {
        let args = [
            "berth",
            "play",
            "--matchmaker",
            matchmaker,
            "--loopback",
            "--frames",
            "3",
            "--round-trips",
            "3",
        ];
        let Line::Play(options) = Line::parse_from(args) else {
            unreachable!()
        };
        report = serde_json::to_value(berth::play::run(options).await).unwrap();
        if report["exitCode"] != 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory() {
    Box::pin(two_players_one_after_the_other(&[], &["--present-host"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis() {
    let redis = RedisServer::start();
    let redis = ["--redis", &redis.url()];
    Box::pin(two_players_one_after_the_other(&redis, &["--present-host"])).await;
}

/// The matchmaker's tokens are all that a host and a player need.
#[tokio::test(flavor = "multi_thread")]
async fn with_match_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = "apiVersion: berth.dev/v1alpha1\nkind: SignalingCluster\nmetadata: {name: main}\n\
                     spec: {publicUrl: 'ws://localhost:3002', auth: {mode: MatchToken}}\n---\n\
                     apiVersion: berth.dev/v1alpha1\nkind: HostPool\nmetadata: {name: demo}\n\
                     spec: {signalingClusterRef: {name: main}}\n";
    std::fs::write(folder.path().join("berth.yaml"), manifests).unwrap();
    let manifests = ["--manifests", folder.path().to_str().unwrap()];
    Box::pin(two_players_one_after_the_other(&manifests, &[])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    let base = free_base();
    let _taken = TcpListener::bind(("127.0.0.1", base + 2)).unwrap();
    let Err(error) = up::start(&up_options(&["--port-base", &base.to_string()]), Shutdown::new()).await
    else {
        panic!("the port is taken");
    };
    let text = error.to_string();
    assert!(
        text.contains(&(base + 2).to_string()) && text.contains("--port-base"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_manifests_name_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = "apiVersion: berth.dev/v1alpha1\nkind: SignalingCluster\nmetadata: {name: main}\n\
                    spec: {publicUrl: 'ws://localhost:3002', rooms: {capacity: 65}}\n";
    std::fs::write(folder.path().join("berth.yaml"), manifest).unwrap();
    let path = folder.path().to_str().unwrap();
    let options = up_options(&["--port-base", &free_base().to_string(), "--manifests", path]);
    let Err(error) = up::start(&options, Shutdown::new()).await else {
        panic!("65 is too many")
    };
    assert!(error.to_string().contains("spec.rooms.capacity"), "{error}");
}

/// Sends SIGTERM and waits for the end, which must come.
async fn ends(mut program: Child) {
    let id = program.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-s", "TERM", &id]).status().await;
    assert!(sent.unwrap().success());
    let end = timeout(LONG, program.wait()).await.expect("no end");
    assert!(end.unwrap().success());
}

#[tokio::test]
async fn a_disk_that_hangs_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (good, hanging) = (folder.path().join("good.yaml"), folder.path().join("hanging"));
    let made = Command::new("mkfifo").arg(&hanging).status().await;
    assert!(made.unwrap().success());
    let up = |manifests: &Path| {
        Command::new(env!("CARGO_BIN_EXE_berth"))
            .args(["up", "--port-base", &free_base().to_string(), "--manifests"])
            .arg(manifests)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    // It opens as soon as the program reads, and as long as it is open, the program reads on.
    let reading = async |path: &Path| {
        let opening = OpenOptions::new().write(true).open(path).await;
        opening.unwrap()
    };

    // While the first manifests are read.
    let program = up(&hanging);
    let writer = timeout(LONG, reading(&hanging)).await.expect("nobody reads");
    ends(program).await;
    drop(writer);

    // While a change is read.
    std::fs::copy("../examples/local/berth.yaml", &good).unwrap();
    let mut program = up(&good);
    let mut told = BufReader::new(program.stdout.take().unwrap()).lines();
    let line = timeout(LONG, told.next_line()).await.expect("nothing is told");
    assert!(line.unwrap().unwrap().contains("is up"));
    std::fs::rename(&hanging, &good).unwrap();
    let _writer = timeout(LONG, reading(&good)).await.expect("nobody reads");
    ends(program).await;
}
