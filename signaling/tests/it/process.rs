//! The program itself: variables, files, signals.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use berth_dataplane::testing::{IssuerKey, KeySetServer, free_port, kubeconfig_of_nobody};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::cluster::join_when_free;
use crate::support::{
    Client, DEADLINE, Node, PEER_DISCONNECTED, RedisServer, Request, eventually, get, offer,
};

/// A running program. It is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    logs: Lines<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
    pub(crate) internal: SocketAddr,
}

pub(crate) fn command(variables: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth-signaling"));
    command
        .env_clear()
        .args(["--bind", "127.0.0.1"])
        .args(arguments)
        .envs(variables.iter().copied());
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl Program {
    /// Starts on free ports.
    pub(crate) async fn start(variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let internal = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let health_port = internal.port().to_string();
        let ports = [("PORT", "0"), ("HEALTH_PORT", &*health_port)];
        let mut child = command(&ports, arguments)
            .envs(variables.iter().copied())
            .spawn()
            .unwrap();
        let mut logs = BufReader::new(child.stdout.take().unwrap()).lines();
        let serving = wait_for(&mut logs, "signaling serves").await;
        let address = serving["address"].as_str().unwrap().parse().unwrap();
        Self {
            child,
            logs,
            address,
            internal,
        }
    }

    pub(crate) async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    pub(crate) async fn ends(&mut self) -> i32 {
        ends(&mut self.child).await
    }

    /// The lines of the log from where they were read to last, after the end.
    pub(crate) async fn rest_of_logs(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.logs.next_line().await.unwrap() {
            lines.push(line);
        }
        lines
    }
}

async fn signal(child: &Child, name: &str) {
    let id = child.id().expect("the program runs").to_string();
    let status = Command::new("kill")
        .args(["-s", name, &id])
        .status()
        .await
        .unwrap();
    assert!(status.success());
}

/// The exit code.
async fn ends(child: &mut Child) -> i32 {
    let status = timeout(DEADLINE, child.wait())
        .await
        .expect("the program must end")
        .unwrap();
    status.code().expect("an exit code")
}

/// The first log line with this message.
async fn wait_for(logs: &mut Lines<BufReader<ChildStdout>>, message: &str) -> serde_json::Value {
    timeout(DEADLINE, async {
        while let Some(line) = logs.next_line().await.unwrap() {
            let line: serde_json::Value = serde_json::from_str(&line).expect("logs are JSON lines");
            if line["message"] == message {
                return line;
            }
        }
        panic!("the program ended without {message:?}");
    })
    .await
    .expect("in time")
}

/// Runs a program that ends by itself: exit code, stdout and stderr.
async fn run(variables: &[(&str, &str)], arguments: &[&str]) -> (i32, String) {
    let mut child = command(variables, arguments).spawn().unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let all = async {
        let (read, failed) = tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err));
        read.and(failed).unwrap();
        child.wait().await.unwrap()
    };
    let status = timeout(DEADLINE, all).await.expect("the program must end");
    (status.code().expect("an exit code"), out + &err)
}

#[tokio::test]
async fn variables_alone_are_enough() {
    let mut program = Program::start(
        &[
            ("ROOM_CAPACITY", "1"),
            ("INSTANCE_ID", "alone"),
            ("DRAIN_TIMEOUT_MS", "500"),
        ],
        &[],
    )
    .await;
    assert_eq!(get(program.address, "/readyz").await, (200, "ready".to_owned()));
    assert_eq!(get(program.address, "/metrics").await.0, 200);
    let mut first = Client::try_join(program.address, "r1").await.expect("a seat");
    assert_eq!(first.headers["x-berth-instance"], "alone");
    assert_eq!(
        Client::connect(program.address, "r1").await.closed().await.1,
        "Room is full"
    );
    program.signal("TERM").await;
    assert_eq!(first.closed().await, (1012, "Server draining".to_owned()));
    assert_eq!(program.ends().await, 0);
    wait_for(&mut program.logs, "everything has ended").await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut program = Program::start(&[("DRAIN_TIMEOUT_MS", "3600000")], &[]).await;
    let _peer = Client::try_join(program.address, "r1").await.expect("a seat");
    program.signal("INT").await;
    wait_for(&mut program.logs, "shutting down").await;
    program.signal("INT").await;
    assert_eq!(program.ends().await, 0);
}

/// A file that whoever reads it waits for.
fn hanging_file(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[tokio::test]
async fn a_disk_that_hangs_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (good, hanging) = (
        folder.path().join("good.yaml"),
        folder.path().join("hanging.yaml"),
    );
    hanging_file(&hanging);

    // While the first settings are read.
    let source = format!("file:{}", hanging.display());
    let mut child = command(&[], &["--settings", &source]).spawn().unwrap();
    let mut logs = BufReader::new(child.stdout.take().unwrap()).lines();
    wait_for(&mut logs, "starting").await;
    signal(&child, "TERM").await;
    assert_eq!(ends(&mut child).await, 0);

    // While a change is read.
    std::fs::write(
        &good,
        "apiVersion: berth.dev/v1alpha1\nkind: SignalingCluster\nmetadata:\n  name: main\nspec:\n  publicUrl: ws://x\n",
    )
    .unwrap();
    let source = format!("file:{}", good.display());
    let mut program = Program::start(&[], &["--settings", &source]).await;
    std::fs::rename(&hanging, &good).unwrap();
    // It opens as soon as the program reads, and as long as it is open, the program reads on.
    let mut options = tokio::fs::OpenOptions::new();
    let opening = options.write(true).open(&good);
    let _writer = timeout(DEADLINE, opening)
        .await
        .expect("the program reads")
        .unwrap();
    program.signal("TERM").await;
    assert_eq!(program.ends().await, 0);
}

/// A pod whose API server is away takes its settings from the cache, seconds after its start: until then nothing names
/// the internal port.
#[tokio::test]
async fn settings_that_come_late_name_the_internal_port() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, kubeconfig) = (folder.path().join("cache"), folder.path().join("kubeconfig"));
    let internal = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let resources = json!([{
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "SignalingCluster",
        "metadata": {"name": "main", "namespace": "games"},
        "spec": {"publicUrl": "ws://localhost", "healthPort": internal.port()},
    }]);
    std::fs::write(&cache, resources.to_string()).unwrap();
    std::fs::write(&kubeconfig, kubeconfig_of_nobody()).unwrap();
    let program = Program::start(
        &[
            ("HEALTH_PORT", ""),
            ("KUBECONFIG", kubeconfig.to_str().unwrap()),
            ("BERTH_CACHE_FILE", cache.to_str().unwrap()),
            ("BERTH_NAMESPACE", "games"),
            ("BERTH_NAME", "main"),
        ],
        &["--settings", "kube"],
    )
    .await;
    assert_eq!(get(internal, "/readyz").await, (200, "ready".to_owned()));
    let (_, status) = get(internal, "/statusz").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["settings"]["fromCache"], true, "{status}");
    Client::try_join(program.address, "r1").await.expect("a seat");
}

#[tokio::test]
async fn wrong_variables_are_named() {
    for (variables, named) in [
        (&[("ROOM_CAPACITY", "many")][..], "ROOM_CAPACITY"),
        (&[("ROOM_CAPACITY", "0")], "ROOM_CAPACITY"),
        (&[("PORT", "http")], "PORT"),
        (&[("REDIS_URL", "http://:hunter2@x")], "REDIS_URL"),
        (&[("LOG_LEVEL", "loud")], "LOG_LEVEL"),
        (&[("ENABLE_AUTH", "true")], "JWT_SECRET"),
        (&[("ENABLE_AUTH", "true"), ("JWKS_URL", "id.example")], "JWKS_URL"),
        (
            &[
                ("ENABLE_AUTH", "true"),
                ("JWT_JWKS_URL", "http://id.example"),
                ("JWT_SECRET", "hunter2"),
            ],
            "JWT_JWKS_URL",
        ),
        (
            &[
                ("ENABLE_AUTH", "true"),
                ("JWKS_URL", "http://id.example"),
                ("JWKS_CACHE_TTL", "1"),
            ],
            "JWKS_CACHE_TTL",
        ),
        (
            &[
                ("ENABLE_AUTH", "true"),
                ("JWT_SECRET", "hunter2"),
                ("JWT_ALG", "none"),
            ],
            "JWT_ALG",
        ),
    ] {
        let (code, output) = run(variables, &[]).await;
        assert_ne!(code, 0, "{variables:?}");
        assert!(
            output.contains(named) && !output.contains("hunter2"),
            "{variables:?}: {output}"
        );
    }
    let taken = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let free = free_port().to_string();
    for variable in ["PORT", "HEALTH_PORT"] {
        let other = if variable == "PORT" { "HEALTH_PORT" } else { "PORT" };
        let (code, output) = run(&[(variable, &port), (other, &free)], &[]).await;
        assert_ne!(code, 0);
        assert!(
            output.contains(&format!("127.0.0.1:{port} ({variable})")),
            "{output}"
        );
    }
}

#[tokio::test]
async fn variables_ask_for_tokens_of_an_issuer() {
    let key = IssuerKey::rsa("k1");
    let issuer = KeySetServer::start(&[&key]).await;
    let program = Program::start(
        &[
            ("ENABLE_AUTH", "true"),
            ("JWT_JWKS_URL", &issuer.url()),
            ("JWT_ISSUER", "us"),
            ("JWT_ROOMS_CLAIM", "doors"),
        ],
        &[],
    )
    .await;
    let target = |claims: serde_json::Value| format!("/?roomId=r1&token={}", key.token("RS256", &claims));
    let mut refused = Client::open(program.address, Request::target(&target(json!({"iss": "them"})))).await;
    assert_eq!(refused.closed().await, (1008, "Unauthorized".to_owned()));
    let claims = json!({"iss": "us", "doors": ["r2"]});
    let mut refused = Client::open(program.address, Request::target(&target(claims))).await;
    assert_eq!(refused.closed().await, (1008, "Forbidden".to_owned()));
    let claims = json!({"iss": "us", "doors": ["r1"]});
    let mut peer = Client::open(program.address, Request::target(&target(claims))).await;
    peer.send("[]").await;
    peer.hear().await;
    assert_eq!(issuer.requests(), 1);
}

#[tokio::test]
async fn help_and_version() {
    let (code, output) = run(&[], &["--help"]).await;
    assert_eq!(code, 0);
    assert!(
        output.contains("--settings") && output.contains("REDIS_URL"),
        "{output}"
    );
    assert_eq!(
        run(&[], &["--version"]).await,
        (0, format!("berth-signaling {}\n", env!("CARGO_PKG_VERSION")))
    );
}

#[tokio::test]
async fn a_changed_file_is_followed_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("signaling.yaml");
    let manifest = |capacity: u8| {
        format!(
            "apiVersion: berth.dev/v1alpha1\nkind: SignalingCluster\nmetadata:\n  name: main\nspec:\n  \
             publicUrl: ws://localhost:3002\n  rooms:\n    capacity: {capacity}\n"
        )
    };
    std::fs::write(&file, manifest(1)).unwrap();
    let source = format!("file:{}", file.display());
    let program = Program::start(&[], &["--settings", &source]).await;
    let mut first = Client::try_join(program.address, "r1").await.expect("a seat");
    assert_eq!(
        Client::connect(program.address, "r1").await.closed().await.1,
        "Room is full"
    );
    std::fs::write(&file, manifest(2)).unwrap();
    let mut second = eventually("a second seat", || Client::try_join(program.address, "r1")).await;
    second.send(offer("hello")).await;
    assert_eq!(first.hear().await, offer("hello"));
    // A wrong version is refused, the last good one stays.
    std::fs::write(&file, manifest(0)).unwrap();
    eventually("the refusal is told", || async {
        let (_, status) = get(program.internal, "/statusz").await;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        (status["settings"]["refusals"].as_u64() > Some(0)).then_some(())
    })
    .await;
    second.leave().await;
    assert_eq!(first.hear().await, PEER_DISCONNECTED);
    eventually("a second seat", || Client::try_join(program.address, "r1")).await;
}

#[tokio::test]
async fn a_killed_process_leaves_no_ghosts() {
    let redis = RedisServer::start();
    let url = redis.url();
    let mut program = Program::start(&[("REDIS_URL", &url), ("INSTANCE_ID", "dies")], &[]).await;
    let survivor = Node::on(&redis, "survives").await;
    let _player = eventually("a seat", || Client::try_join(program.address, "r1")).await;
    let mut host = Client::join(&survivor, "r1").await;
    program.child.kill().await.unwrap();
    assert_eq!(host.hear().await, PEER_DISCONNECTED);
    let mut next = join_when_free(&survivor, "r1").await;
    next.send(offer("next")).await;
    assert_eq!(host.hear().await, offer("next"));
}
