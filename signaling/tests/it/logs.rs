//! What a running program writes, and what it never writes.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_crds::settings::match_key_secret;
use berth_dataplane::match_token::{MatchGrant, MatchKeys, Role};
use berth_dataplane::secrets::{RotatingSecret, Secret};
use berth_dataplane::testing::free_port;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::process::command;
use crate::refusals::{token, unix_now};
use crate::support::{Client, DEADLINE, PEER_DISCONNECTED, RedisServer, Request, eventually, get, offer};

/// A running program, all of whose lines are kept.
struct Logged {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    address: SocketAddr,
    internal: SocketAddr,
}

impl Logged {
    async fn start(variables: &[(&str, &str)]) -> Self {
        Self::start_with(variables, &[]).await
    }

    async fn start_with(variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let internal = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let health_port = internal.port().to_string();
        let mut child = command(&[("PORT", "0"), ("HEALTH_PORT", &health_port)], arguments)
            .envs(variables.iter().copied())
            .spawn()
            .unwrap();
        let lines = Arc::default();
        let readers = vec![
            keep(child.stdout.take().unwrap(), Arc::clone(&lines)),
            keep(child.stderr.take().unwrap(), Arc::clone(&lines)),
        ];
        let mut logged = Self {
            child,
            lines,
            readers,
            address: internal,
            internal,
        };
        let serving = logged
            .line("the start", |line| line["message"] == "signaling serves")
            .await;
        logged.address = serving["address"].as_str().unwrap().parse().unwrap();
        logged
    }

    fn values(&self) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("logs are JSON lines: {line}")))
            .collect()
    }

    /// The first line like this.
    async fn line(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let found = self.values().into_iter().find(&is_it);
            async move { found }
        })
        .await
    }

    /// Ends the program as SIGTERM does; everything that it wrote.
    async fn end(mut self) -> Vec<String> {
        let id = self.child.id().expect("the program runs").to_string();
        let mut kill = tokio::process::Command::new("kill");
        assert!(kill.args(["-s", "TERM", &id]).status().await.unwrap().success());
        let ended: ExitStatus = timeout(DEADLINE, self.child.wait())
            .await
            .expect("the end")
            .unwrap();
        assert!(ended.success());
        for reader in self.readers {
            reader.await.unwrap();
        }
        let lines = self.lines.lock().unwrap();
        lines.clone()
    }
}

fn keep(stream: impl AsyncRead + Unpin + Send + 'static, lines: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut stream = BufReader::new(stream).lines();
        while let Some(line) = stream.next_line().await.unwrap() {
            lines.lock().unwrap().push(line);
        }
    })
}

#[tokio::test]
async fn secrets_reach_no_line_at_any_level() {
    let redis = RedisServer::start_with(&["--requirepass", "hunter2-redis"]);
    let url = redis.url().replace("redis://", "redis://:hunter2-redis@");
    let program = Logged::start(&[
        ("LOG_LEVEL", "trace"),
        ("REDIS_URL", &url),
        ("ENABLE_AUTH", "true"),
        ("JWT_SECRET", "key"),
        ("JWT_SECRET_PREVIOUS", "hunter2-previous-key"),
        ("DRAIN_TIMEOUT_MS", "500"),
    ])
    .await;
    let forbidden = token(&json!({"rooms": ["another"]}));
    let expired = token(&json!({"exp": 1}));
    let good = token(&json!({"rooms": ["r1"]}));
    let connect = async |request: Request| Client::open(program.address, request).await;
    let mut refused = Vec::new();
    for text in ["hunter2-nonsense", &forbidden, &expired] {
        for request in [
            Request::target(&format!("/some/path?token={text}&roomId=r1")),
            Request::room("r1").header("Authorization", format!("Bearer {text}")),
            // Where nobody looks for one.
            Request::target(&format!("/?access_token={text}&roomId=r1"))
                .header("Authorization", format!("Basic {text}")),
        ] {
            refused.push(connect(request).await.closed().await.0);
        }
    }
    assert_eq!(refused, [1008; 9]);
    // Who mistakes the parameter: this one would stand in the line of the refusal.
    let mistaken = connect(Request::room(&good)).await.closed().await;
    assert_eq!(mistaken, (1008, "Invalid roomId".to_owned()));
    let mut peer = connect(Request::target(&format!("/?roomId=r1&token={good}"))).await;
    peer.send(r#"{"type":"offer","sdp":"hunter2-sdp"}"#).await;
    peer.send("hunter2-not-json").await;
    peer.send(r#"{"type":"hunter2-type"}"#).await;
    peer.hear().await;
    for target in ["/metrics", "/statusz", "/healthz"] {
        get(program.internal, &format!("{target}?token=hunter2-query")).await;
        get(program.address, &format!("{target}?token=hunter2-query")).await;
    }
    // The lines that are meant are written, so the others had their chance too.
    let line = program
        .line("the refusal", |line| {
            line["message"] == "refused a peer" && line["room"] == "r1"
        })
        .await;
    assert_eq!(
        (&line["reason"], &line["client_ip"], &line["level"]),
        (&json!("unauthorized"), &json!("127.0.0.1"), &json!("DEBUG"))
    );
    program
        .line("the mistake", |line| {
            line["message"] == "refused a peer" && line["room"] == "***"
        })
        .await;
    let lines = program.end().await;
    assert!(lines.len() > 30, "{lines:?}");
    for secret in [&*forbidden, &*expired, &*good] {
        for part in secret.split('.') {
            let shown: Vec<_> = lines.iter().filter(|line| line.contains(part)).collect();
            assert!(shown.is_empty(), "{shown:?}");
        }
    }
    let shown: Vec<_> = lines.iter().filter(|line| line.contains("hunter2")).collect();
    assert!(shown.is_empty(), "{shown:?}");
}

#[tokio::test]
async fn peers_are_named_by_room_and_member_and_not_by_address() {
    let program = Logged::start(&[("RATE_LIMIT_MESSAGES_PER_10S", "3"), ("DRAIN_TIMEOUT_MS", "500")]).await;
    let mut host = Client::try_join(program.address, "r1").await.expect("a seat");
    let mut player = Client::connect(program.address, "r1").await;
    player.send(offer("x")).await;
    assert_eq!(host.hear().await, offer("x"));
    for _ in 0..20 {
        player.send(offer("x")).await;
    }
    assert_eq!(
        Client::connect(program.address, "r1").await.closed().await.0,
        1000
    );
    Client::connect(program.address, "r%20%22%7D")
        .await
        .closed()
        .await;
    player.leave().await;
    while host.hear().await != PEER_DISCONNECTED {}
    let of = |message: &'static str| move |line: &Value| line["message"] == message;
    let left = program.line("the departure", of("peer left")).await;
    // Of several joins within a moment one is written, and the others are counted.
    let joined = program.line("a join", of("peer joined")).await;
    assert_eq!(joined["member"].as_str().unwrap().len(), 32, "{joined}");
    assert_eq!((&left["room"], &joined["room"]), (&json!("r1"), &json!("r1")));
    assert_eq!(left["code"], Value::Null, "it left by itself: {left}");
    let dropped = program
        .line("the drops", of("messages are dropped: over a rate limit"))
        .await;
    assert_eq!(
        (&dropped["room"], &dropped["member"], &dropped["reason"]),
        (&json!("r1"), &left["member"], &json!("client-rate"))
    );
    let refused = program
        .line("the refusal", |line| {
            line["message"] == "peer refused" && line["reason"] == "room-full"
        })
        .await;
    assert_eq!((&refused["room"], &refused["code"]), (&json!("r1"), &json!(1000)));
    // What is no room id is not written.
    let refused = program
        .line("the refusal", |line| {
            line["message"] == "peer refused" && line["reason"] == "invalid-room-id"
        })
        .await;
    assert_eq!(refused["room"], Value::Null);
    drop(host);
    for line in program.end().await {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_ne!(line["level"], "DEBUG");
        // Its own addresses are no client's.
        let own = ["address", "redis", "endpoint"];
        for (name, value) in line.as_object().unwrap() {
            let text = value.to_string();
            assert!(own.contains(&&**name) || !text.contains("127.0.0.1"), "{line}");
        }
    }
}

/// What the matchmaker logs of a match and what signaling logs of its player have the same name and id.
#[tokio::test]
async fn match_tokens_name_the_match_and_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join(match_key_secret("main").current.name);
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("current"), "hunter2").unwrap();
    let manifest = folder.path().join("main.yaml");
    let resource = json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "SignalingCluster",
        "metadata": {"name": "main"},
        "spec": {"publicUrl": "ws://localhost", "auth": {"mode": "MatchToken"}, "drain": {"timeoutSeconds": 1}},
    });
    std::fs::write(&manifest, resource.to_string()).unwrap();
    let (settings, secrets) = (format!("file:{}", manifest.display()), folder.path().to_str());
    let arguments = ["--settings", &*settings, "--secrets", secrets.unwrap()];
    let program = Logged::start_with(&[], &arguments).await;
    let keys = RotatingSecret {
        current: Some(Secret::new("hunter2").unwrap()),
        previous: None,
    };
    for (role, id, field) in [(Role::Player, "m-17", "match"), (Role::Host, "pc-4", "host")] {
        let grant = MatchGrant {
            room: "r1",
            role,
            id,
            pool: "default/demo",
            ttl: Duration::from_mins(1),
        };
        let token = MatchKeys::new(&keys).unwrap().issue(&grant, unix_now()).unwrap();
        // Joins right after others are counted in a later line and have none of their own.
        let line = eventually("the join", || async {
            let request = Request::target(&format!("/?roomId=r1&token={token}"));
            let peer = Client::open(program.address, request).await;
            peer.leave().await;
            let joined = |line: &Value| line["message"] == "peer joined" && line[field] == id;
            program.values().into_iter().find(joined)
        })
        .await;
        assert_eq!(line["room"], "r1");
    }
    program.end().await;
}

#[tokio::test]
async fn required_tls_without_a_list_of_proxies_is_a_warning_from_variables() {
    let program = Logged::start(&[("REQUIRE_WSS", "true"), ("DRAIN_TIMEOUT_MS", "500")]).await;
    let warning = program
        .line("the warning", |line| {
            line["level"] == "WARN" && line["message"].as_str().unwrap().contains("TRUSTED_PROXY_CIDRS")
        })
        .await;
    assert!(
        warning["message"].as_str().unwrap().contains("REQUIRE_WSS"),
        "{warning}"
    );
    // The loopback is one of the private networks that are trusted then.
    let mut plain = Client::connect(program.address, "r1").await;
    assert_eq!(plain.closed().await, (1008, "WSS required".to_owned()));
    let request = Request::room("r1").header("X-Forwarded-Proto", "https");
    let mut tls = Client::open(program.address, request).await;
    tls.send("[]").await;
    tls.hear().await;
    drop(tls);
    program.end().await;
}
