//! The program `berth-matchmaker`, started as the Node matchmaker is: from environment variables alone.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use berth_dataplane::occupancy::{Claim, Instance, MemberId};
use berth_dataplane::testing::{RedisServer, free_port, kubeconfig_of_nobody};
use serde_json::json;
use uuid::Uuid;

use crate::support::http::{get, post};
use crate::support::world::{connect, room, shared_rooms};
use crate::support::{LONG, until};

/// A running program; it ends when this is dropped.
pub(crate) struct Program(Child);

impl Program {
    pub(crate) fn start(variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth-matchmaker"));
        command
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        Self(
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    /// Exit code, output and errors.
    fn end(mut self) -> (Option<i32>, String, String) {
        let code = self.0.wait().unwrap().code();
        let (mut output, mut errors) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (code, output, errors)
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.0.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

pub(crate) async fn answers(address: SocketAddr) {
    until("the program answers", || async {
        get("/health").try_send(address).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn runs_from_the_variables_of_the_node_matchmaker() {
    let redis = RedisServer::start();
    let (port, internal) = (free_port(), free_port());
    let program = Program::start(&[
        ("PORT", &port.to_string()),
        ("INTERNAL_PORT", &internal.to_string()),
        ("REDIS_URL", &redis.url()),
        ("HOST_SECRET", "s3cret"),
        ("HOST_SECRET_PREVIOUS", "s3cret-before"),
        ("SIGNALING_PUBLIC_URL", "ws://play.example.com"),
    ]);
    answers(local(port)).await;
    let body = json!({"hostId": "h", "roomId": "r"});
    for (secret, status) in [
        ("s3cret", 200),
        ("s3cret-before", 200),
        ("to-change-in-prod", 403),
    ] {
        let answer = post("/api/host/heartbeat")
            .bearer(secret)
            .json(&body)
            .send(local(port))
            .await;
        assert_eq!(answer.status, status, "{secret}: {}", answer.body);
    }
    // An empty store may have lost what signaling knew: that is waited for.
    let (begun, mut found) = (Instant::now(), json!(null));
    while found["found"] != true {
        assert!(begun.elapsed() < LONG, "{found}");
        found = post("/api/match/find").send(local(port)).await.json();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(found["signalingUrl"], "ws://play.example.com");
    let metrics = get("/metrics").send(local(port)).await.body;
    assert!(
        metrics.contains("berth_finds_total{result=\"granted\"} 1"),
        "{metrics}"
    );
    until("ready", || async {
        get("/readyz").send(local(internal)).await.body == "ready"
    })
    .await;
    let status = get("/statusz").send(local(internal)).await.json();
    assert_eq!(
        (&status["settings"]["source"], &status["redis"]["up"]),
        (&json!("env"), &json!(true)),
        "{status}"
    );
    program.signal("TERM");
    let (code, output, errors) = program.end();
    assert_eq!(code, Some(0), "{errors}");
    assert!(!output.contains("s3cret"), "{output}");
    // By the names that the signaling server's lines have too.
    let granted = output
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|line| line["message"] == "match granted")
        .expect("the match is in the log");
    assert_eq!(
        (&granted["match"], &granted["room"], &granted["host"]),
        (&found["matchId"], &json!("r"), &json!("h")),
        "{granted}"
    );
    assert!(
        output
            .lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "{output}"
    );
}

/// Berth's signaling server on the same Redis shares its rooms without any setting.
#[tokio::test]
async fn shares_rooms_with_signaling_without_a_setting() {
    let redis = RedisServer::start();
    let (port, internal) = (free_port(), free_port());
    let _program = Program::start(&[
        ("PORT", &port.to_string()),
        ("INTERNAL_PORT", &internal.to_string()),
        ("REDIS_URL", &redis.url()),
    ]);
    answers(local(port)).await;
    let standalone =
        berth_dataplane::keys::Keys::new(&berth_crds::settings::ObjectName::new("default", "default"));
    let rooms = shared_rooms(&connect(&redis).await, standalone);
    let signaling = Instance::new("signaling", 1);
    rooms.renew(&signaling).await.unwrap();
    let beat = post("/api/host/heartbeat")
        .bearer("to-change-in-prod")
        .json(&json!({"hostId": "h", "roomId": "r"}));
    assert_eq!(
        beat.clone().send(local(port)).await.status,
        200,
        "the secret of a Node matchmaker without one"
    );
    until("the host counts as unreachable", || async {
        get("/counts").send(local(internal)).await.json()["hosts"]["unreachable"] == 1
    })
    .await;
    assert_eq!(post("/api/match/find").send(local(port)).await.status, 404);
    rooms
        .join(&room("r"), &Claim::new(MemberId(Uuid::new_v4()), &signaling), 2)
        .await
        .unwrap();
    let found = post("/api/match/find").send(local(port)).await.json();
    assert_eq!(found["signalingUrl"], "ws://localhost:3002");
}

#[tokio::test]
async fn wrong_start_is_told_by_name() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (port, internal) = (
        taken.local_addr().unwrap().port().to_string(),
        free_port().to_string(),
    );
    for (variables, told) in [
        (
            vec![
                ("PORT", port.as_str()),
                ("INTERNAL_PORT", &internal),
                ("HOST_SECRET", "x"),
            ],
            "(PORT)",
        ),
        (vec![("PORT", "eighty"), ("INTERNAL_PORT", &internal)], "PORT"),
        (vec![("REDIS_URL", "http://nowhere"), ("PORT", "0")], "REDIS_URL"),
        (vec![("NODE_ENV", "production"), ("PORT", "0")], "HOST_SECRET"),
        (
            vec![("NODE_ENV", "production"), ("PORT", "0"), ("HOST_SECRET", "own")],
            "SIGNALING_PUBLIC_URL",
        ),
    ] {
        let (code, _, errors) = Program::start(&variables).end();
        assert_eq!(code, Some(1), "{variables:?}");
        assert!(errors.contains(told), "{variables:?}: {errors}");
    }
}

/// A placeholder serves outside of production, and one line says so; a heartbeat with it is no other.
#[tokio::test]
async fn a_placeholder_is_warned_of_once() {
    let (port, internal) = (free_port(), free_port());
    let program = Program::start(&[
        ("PORT", &port.to_string()),
        ("INTERNAL_PORT", &internal.to_string()),
        ("HOST_SECRET", "HELLO-MFS"),
    ]);
    answers(local(port)).await;
    for _ in 0..3 {
        let beat = post("/api/host/heartbeat")
            .bearer("HELLO-MFS")
            .json(&json!({"hostId": "h", "roomId": "r"}));
        assert_eq!(beat.send(local(port)).await.status, 200);
    }
    program.signal("TERM");
    let (_, output, _) = program.end();
    let told: Vec<_> = output
        .lines()
        .filter(|line| line.contains("placeholder"))
        .collect();
    assert_eq!(told.len(), 1, "{output}");
    assert!(told[0].contains("variable HOST_SECRET") && told[0].contains("environment is Development"));
    assert!(!output.contains("HELLO-MFS"), "{output}");
}

#[tokio::test]
async fn a_taken_internal_port_that_nobody_named_is_no_obstacle() {
    // Should somebody else have it already, it is taken all the same.
    let _taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9090));
    let port = free_port();
    let _program = Program::start(&[("PORT", &port.to_string())]);
    answers(local(port)).await;
}

/// A pod whose API server is away takes its settings from the cache, seconds after its start: until then nothing names
/// the internal port.
#[tokio::test]
async fn settings_that_come_late_name_the_internal_port() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, kubeconfig) = (folder.path().join("cache"), folder.path().join("kubeconfig"));
    let internal = free_port();
    let resource = |kind: &str, name: &str, spec: serde_json::Value| {
        json!({
            "apiVersion": "berth.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "games"},
            "spec": spec,
        })
    };
    let resources = json!([
        resource("SignalingCluster", "main", json!({"publicUrl": "ws://localhost"})),
        resource(
            "HostPool",
            "eu",
            json!({"signalingClusterRef": {"name": "main"}, "internalPort": internal}),
        ),
    ]);
    std::fs::write(&cache, resources.to_string()).unwrap();
    std::fs::write(&kubeconfig, kubeconfig_of_nobody()).unwrap();
    let _program = Program::start(&[
        ("PORT", "0"),
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("KUBECONFIG", kubeconfig.to_str().unwrap()),
        ("BERTH_CACHE_FILE", cache.to_str().unwrap()),
        ("BERTH_NAMESPACE", "games"),
        ("BERTH_NAME", "eu"),
    ]);
    until("the named port is served", || async {
        get("/healthz").try_send(local(internal)).await.is_ok()
    })
    .await;
    let status = get("/statusz").send(local(internal)).await.json();
    assert_eq!(status["settings"]["fromCache"], true, "{status}");
    // What only a matchmaker shows.
    until("counts", || async {
        get("/counts").send(local(internal)).await.status == 200
    })
    .await;
}

#[test]
fn help_and_version() {
    let run = |flag: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_berth-matchmaker"))
            .arg(flag)
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        run("--version").trim(),
        concat!("berth-matchmaker ", env!("CARGO_PKG_VERSION"))
    );
    assert!(run("--help").contains("--settings"));
}
