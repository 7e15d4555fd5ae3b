//! Listeners and health endpoints over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a test"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Extension, Request};
use axum::http::StatusCode;
use axum::routing::get;
use berth_dataplane::http::{
    ConnectionIo, ConnectionPermit, Health, Listener, ListenerOptions, health_router, internal_router,
};
use berth_dataplane::shutdown::{DrainPlan, Phase, Shutdown};
use berth_dataplane::telemetry::Metrics;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest wait for anything here; only a hang reaches it.
const LONG: Duration = Duration::from_mins(1);

fn options() -> ListenerOptions {
    ListenerOptions::new("test", SocketAddr::from(([127, 0, 0, 1], 0)), "PORT")
}

async fn serve(
    options: ListenerOptions,
    router: Router,
    shutdown: &Shutdown,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = Listener::bind(options).await.unwrap();
    let address = listener.local_addr();
    (
        address,
        tokio::spawn(listener.serve(router, shutdown.clone(), Phase::Draining)),
    )
}

/// Sends one request and reads until the server closes.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(LONG, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    answer
}

async fn fetch(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = exchange(
        address,
        &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
    )
    .await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn health_readiness_status_and_metrics() {
    let shutdown = Shutdown::new();
    let health = Health::new("signaling", "i-1", &shutdown);
    let gate = health.gate("settings", "no settings yet");
    let redis = Arc::new(Mutex::new(Some("down".to_owned())));
    let state = Arc::clone(&redis);
    health.check("redis", move || state.lock().clone());
    health.section("rooms", || serde_json::json!(7));
    let (internal, _) = serve(
        options(),
        internal_router(std::slice::from_ref(&health), &Metrics::new()),
        &shutdown,
    )
    .await;
    let (public, _) = serve(options(), health_router(&health), &shutdown).await;

    assert_eq!(fetch(internal, "/healthz").await, (200, "ok".to_owned()));
    assert_eq!(fetch(internal, "/readyz").await, (503, "not-ready".to_owned()));
    let (_, status) = fetch(internal, "/statusz").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        status["notReady"],
        serde_json::json!(["settings: no settings yet", "redis: down"])
    );
    assert_eq!(
        (&status["service"], &status["rooms"]),
        (&"signaling".into(), &7.into())
    );
    assert_eq!(fetch(internal, "/other").await, (404, "not-found".to_owned()));
    assert!(fetch(internal, "/metrics").await.1.contains("process_open_fds"));
    assert_eq!(fetch(public, "/metrics").await.0, 404);
    assert_eq!(fetch(public, "/statusz").await.0, 404);

    gate.open();
    *redis.lock() = None;
    assert_eq!(fetch(public, "/readyz").await, (200, "ready".to_owned()));
    gate.close("again");
    assert_eq!(fetch(public, "/readyz").await.0, 503);
}

#[tokio::test]
async fn services_of_one_process_share_the_internal_port() {
    let shutdown = Shutdown::new();
    let services = ["signaling", "matchmaker"].map(|name| Health::new(name, "i", &shutdown));
    let gate = services[1].gate("settings", "none");
    let (address, _) = serve(options(), internal_router(&services, &Metrics::new()), &shutdown).await;
    assert_eq!(fetch(address, "/readyz").await.0, 503);
    gate.open();
    assert_eq!(fetch(address, "/readyz").await.0, 200);
    let status: serde_json::Value = serde_json::from_str(&fetch(address, "/statusz").await.1).unwrap();
    assert_eq!(status["signaling"]["ready"], true);
    assert_eq!(status["matchmaker"]["service"], "matchmaker");
}

#[tokio::test]
async fn request_knows_its_peer() {
    let router = Router::new().route(
        "/",
        get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }),
    );
    let (address, _) = serve(options(), router, &Shutdown::new()).await;
    assert_eq!(fetch(address, "/").await, (200, "127.0.0.1".to_owned()));
}

#[tokio::test]
async fn taken_port_names_port_and_variable() {
    let first = Listener::bind(options()).await.unwrap();
    let second = Listener::bind(ListenerOptions {
        address: first.local_addr(),
        ..options()
    })
    .await;
    let error = second.unwrap_err();
    assert!(error.is_taken());
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {} (PORT)", first.local_addr())
    );
}

#[tokio::test]
async fn slow_and_huge_heads_are_cut() {
    let options = ListenerOptions {
        header_read_timeout: Duration::from_millis(200),
        ..options()
    };
    let (address, _) = serve(options, Router::new(), &Shutdown::new()).await;
    let never_finished = exchange(address, "GET / HTTP/1.1\r\nhost: x\r\n").await;
    assert!(
        never_finished.is_empty() || never_finished.contains(" 408 "),
        "{never_finished}"
    );
    let idle = exchange(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(
        idle.contains(" 404 "),
        "an idle connection was not closed after its answer"
    );
    let lines = "a: b\r\n".repeat(100);
    let many = exchange(address, &format!("GET / HTTP/1.1\r\n{lines}\r\n")).await;
    assert!(many.contains(" 431 "), "{many}");
    let long = "a".repeat(20_000);
    let huge = exchange(address, &format!("GET / HTTP/1.1\r\na: {long}\r\n\r\n")).await;
    assert!(huge.contains(" 431 "), "{huge}");
}

/// Echoes one line on the upgraded stream, holding its permit.
fn upgrading(kept: Arc<Mutex<Vec<ConnectionPermit>>>) -> Router {
    let upgrade = move |Extension(permit): Extension<ConnectionPermit>, mut request: Request| {
        kept.lock().push(permit);
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let parts = upgraded.await.unwrap().downcast::<ConnectionIo>().unwrap();
            let mut stream = parts.io.into_inner();
            stream.write_all(&parts.read_buf).await.unwrap();
            let mut bytes = [0; 5];
            while stream.read_exact(&mut bytes).await.is_ok() {
                stream.write_all(&bytes).await.unwrap();
            }
        });
        async {
            (
                StatusCode::SWITCHING_PROTOCOLS,
                [("connection", "upgrade"), ("upgrade", "echo")],
            )
        }
    };
    Router::new().route("/", get(upgrade))
}

async fn upgraded(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(LONG, stream.read_u8()).await.unwrap().unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream
}

async fn echoes(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 5];
    stream.write_all(b"hello").await.unwrap();
    timeout(LONG, stream.read_exact(&mut answer))
        .await
        .unwrap()
        .is_ok()
        && &answer == b"hello"
}

#[tokio::test]
async fn upgraded_stream_is_its_owners_and_counts() {
    let kept = Arc::default();
    let options = ListenerOptions {
        max_connections: 1,
        ..options()
    };
    let (address, _) = serve(options, upgrading(Arc::clone(&kept)), &Shutdown::new()).await;
    let mut first = upgraded(address).await;
    assert!(echoes(&mut first).await);

    // The only place is held by the upgraded socket: the next connection waits until it is given back.
    let second = tokio::spawn(upgraded(address));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!second.is_finished(), "more connections than allowed");
    kept.lock().clear();
    assert!(echoes(&mut timeout(LONG, second).await.unwrap().unwrap()).await);
}

#[tokio::test]
async fn drain_finishes_requests_and_refuses_new_ones() {
    let (started, release) = (
        Arc::new(tokio::sync::Notify::new()),
        Arc::new(tokio::sync::Notify::new()),
    );
    let (told, waits) = (Arc::clone(&started), Arc::clone(&release));
    let slow = move || {
        let (told, waits) = (Arc::clone(&told), Arc::clone(&waits));
        async move {
            told.notify_one();
            waits.notified().await;
            "done"
        }
    };
    let shutdown = Shutdown::new();
    let (address, served) = serve(options(), Router::new().route("/", get(slow)), &shutdown).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let request = tokio::spawn(fetch(address, "/"));
    started.notified().await;

    let plan = || DrainPlan {
        endpoint_delay: Duration::ZERO,
        drain_timeout: LONG,
    };
    let draining = shutdown.clone();
    let tracked = shutdown.clone();
    shutdown.spawn(async move { tracked.reached(Phase::Expired).await });
    tokio::spawn(async move { draining.run(plan).await });
    shutdown.begin();
    shutdown.reached(Phase::Draining).await;
    let mut byte = [0];
    assert_eq!(
        timeout(LONG, idle.read(&mut byte)).await.unwrap().unwrap_or(0),
        0,
        "idle connection still open"
    );
    assert!(TcpStream::connect(address).await.is_err(), "still accepting");
    assert!(!served.is_finished());
    release.notify_one();
    assert_eq!(request.await.unwrap(), (200, "done".to_owned()));
    timeout(LONG, served).await.unwrap().unwrap();
}

#[tokio::test]
async fn half_a_request_does_not_hold_up_the_end() {
    let shutdown = Shutdown::new();
    let (address, served) = serve(
        options(),
        Router::new().route("/", get(|| async { "ok" })),
        &shutdown,
    )
    .await;
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nho").await.unwrap();
    // Its bytes are there, because those of a later connection are.
    assert_eq!(fetch(address, "/").await, (200, "ok".to_owned()));
    let plan = || DrainPlan {
        endpoint_delay: Duration::ZERO,
        drain_timeout: Duration::from_hours(1),
    };
    let draining = shutdown.clone();
    tokio::spawn(async move { draining.run(plan).await });
    shutdown.begin();
    timeout(LONG, served).await.unwrap().unwrap();
    drop(half);
}

#[tokio::test]
async fn expiry_cuts_what_hangs() {
    let started = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&started);
    let hanging = move || {
        told.notify_one();
        std::future::pending::<()>()
    };
    let shutdown = Shutdown::new();
    let (address, served) = serve(options(), Router::new().route("/", get(hanging)), &shutdown).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    timeout(LONG, started.notified()).await.unwrap();
    shutdown.expire();
    timeout(LONG, served).await.unwrap().unwrap();
    let mut answer = Vec::new();
    // Closed or reset, but not answered.
    let _ = timeout(LONG, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty());
}
