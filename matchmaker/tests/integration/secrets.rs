//! Which secrets count, and how they change under traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use berth_crds::api::ClusterEnvironment::{Development, Production};
use berth_crds::settings::{SecretRef, match_key_secret};
use berth_dataplane::secrets::{Secret, SecretStore};
use berth_dataplane::settings::MatchmakerView;
use berth_dataplane::testing::MountedSecret;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::http::post;
use crate::support::server::{SECRET, Served, view};
use crate::support::until;

/// Secrets that everybody knows.
const KNOWN: [&str; 2] = ["to-change-in-prod", "HELLO-MFS"];

async fn heartbeat(served: &Served, secret: &str) -> (u16, Value) {
    let answer = post("/api/host/heartbeat")
        .bearer(secret)
        .json(&json!({"hostId": "h", "roomId": "r"}))
        .send(served.public)
        .await;
    (answer.status, answer.json())
}

async fn status(served: &Served, secret: &str) -> u16 {
    heartbeat(served, secret).await.0
}

/// Why the matchmaker is not ready.
async fn not_ready(served: &Served) -> Value {
    let ready = served.ask("/readyz").await;
    let reasons = served.ask("/statusz").await.json()["notReady"].clone();
    assert_eq!(ready.status == 200, reasons == json!([]), "{reasons}");
    reasons
}

fn put(served: &Served, reference: &SecretRef, value: &str) {
    served.secrets.put(reference, Secret::new(value).unwrap());
}

fn cure(secret: &str, key: &str) -> String {
    format!(
        "Secret {secret} has a placeholder that everybody knows under key {key}: put a random value there, such as \
         `openssl rand -base64 32` prints"
    )
}

#[tokio::test]
async fn in_production_a_placeholder_is_no_host_secret() {
    let served = Served::new().await;
    assert_eq!(
        served.settings.load().cluster.environment,
        Production,
        "the default"
    );
    for known in KNOWN {
        served.host_secret(Some(known), None);
        assert_eq!(
            heartbeat(&served, known).await,
            (
                403,
                json!({"success": false, "error": "Forbidden: Invalid host secret"})
            )
        );
        let reason = format!(
            "host-secret: refused in Production: {}",
            cure("eu-host-secret", "current")
        );
        assert_eq!(not_ready(&served).await, json!([reason]));
    }
    // While hosts move away from it, those that have the new one are served, and nobody else is.
    served.host_secret(Some("own"), Some(KNOWN[0]));
    assert_eq!(
        (status(&served, "own").await, status(&served, KNOWN[0]).await),
        (200, 403)
    );
    assert_eq!(not_ready(&served).await, json!([]));
    served.host_secret(Some(KNOWN[0]), Some("own"));
    assert_eq!(
        (status(&served, "own").await, status(&served, KNOWN[0]).await),
        (200, 403)
    );
    assert_eq!(not_ready(&served).await, json!([]));
    let told = served.ask("/statusz").await.json()["pool"]["placeholders"].clone();
    assert_eq!(told, json!([cure("eu-host-secret", "current")]));
}

#[tokio::test]
async fn in_production_a_placeholder_is_no_admin_token_and_signs_nothing() {
    let served = Served::new().await;
    let (admin, key) = (
        served.settings.load().pool.admin_token.current.clone(),
        match_key_secret("main").current,
    );
    let signs = async || heartbeat(&served, SECRET).await.1["matchToken"].is_string();
    put(&served, &admin, KNOWN[0]);
    put(&served, &key, KNOWN[1]);
    let refused =
        |name: &str, secret: &str| format!("{name}: refused in Production: {}", cure(secret, "current"));
    assert_eq!(
        not_ready(&served).await,
        json!([
            refused("admin-token", "eu-admin-token"),
            refused("match-key", "main-match-key")
        ])
    );
    assert!(!signs().await);
    let drain = async |token: &str| {
        let answer = post("/hosts/h/drain").bearer(token).send(served.internal).await;
        (answer.status, answer.body)
    };
    let (status, told) = drain(KNOWN[0]).await;
    assert!(
        status == 403 && told.contains(&cure("eu-admin-token", "current")),
        "{told}"
    );
    put(&served, &admin, "own");
    assert_eq!(drain("own").await.0, 200);
    put(&served, &key, "own too");
    assert_eq!(not_ready(&served).await, json!([]));
    assert!(signs().await);
}

/// `spec.environment` of the SignalingCluster is hot.
#[tokio::test]
async fn the_environment_is_in_force_with_the_next_request() {
    let served = Served::new().await;
    put(&served, &match_key_secret("main").current, KNOWN[1]);
    served.host_secret(Some(KNOWN[0]), None);
    let signs = async || heartbeat(&served, KNOWN[0]).await.1["matchToken"].is_string();
    for _ in 0..2 {
        served.settings.replace(in_environment(Development));
        assert_eq!(status(&served, KNOWN[0]).await, 200);
        assert!(signs().await);
        assert_eq!(not_ready(&served).await, json!([]));
        let told = served.ask("/statusz").await.json()["pool"]["placeholders"].clone();
        assert_eq!(
            told,
            json!([
                cure("eu-host-secret", "current"),
                cure("main-match-key", "current")
            ])
        );
        served.settings.replace(in_environment(Production));
        assert_eq!(status(&served, KNOWN[0]).await, 403);
        assert!(!signs().await);
        assert_ne!(not_ready(&served).await, json!([]));
    }
}

fn in_environment(environment: berth_crds::api::ClusterEnvironment) -> MatchmakerView {
    let mut view = view(None);
    view.cluster.environment = environment;
    view
}

/// Hosts send heartbeats as fast as they can, while their secret changes in the files of the pod: the old value under
/// `previous` and the new one under `current`, then the hosts move, then the next change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_secret_rotates_under_traffic() {
    const HOSTS: usize = 16;
    let folder = tempfile::tempdir().unwrap();
    let mut mounted = MountedSecret::new(folder.path(), "eu-host-secret");
    mounted.set(&[("current", "secret-0")]);
    let secrets = SecretStore::open(folder.path());
    secrets.follow();
    let served = Arc::new(Served::with_secrets(secrets).await);
    let pair = served.settings.load().pool.host_secret.clone();
    let (moves, secret) = watch::channel(0_u32);
    let sent: Arc<Vec<AtomicU64>> = Arc::new((0..HOSTS).map(|_| AtomicU64::new(0)).collect());
    let hosts: Vec<_> = (0..HOSTS)
        .map(|number| {
            let (served, secret, sent) = (Arc::clone(&served), secret.clone(), Arc::clone(&sent));
            tokio::spawn(async move {
                while secret.has_changed().is_ok() {
                    let turn = *secret.borrow();
                    let body = json!({"hostId": format!("h{number}"), "roomId": format!("r{number}")});
                    let answer = post("/api/host/heartbeat")
                        .bearer(&format!("secret-{turn}"))
                        .json(&body)
                        .send(served.public)
                        .await;
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    sent[number].store(turn.into(), Ordering::Relaxed);
                }
            })
        })
        .collect();
    drop(secret);
    let all_send = |turn: u32| {
        let sent = Arc::clone(&sent);
        async move {
            sent.iter()
                .all(|last| last.load(Ordering::Relaxed) == u64::from(turn))
        }
    };
    for turn in 1..=3_u32 {
        let (now, before) = (format!("secret-{turn}"), format!("secret-{}", turn - 1));
        mounted.set(&[("current", &now), ("previous", &before)]);
        until("the new secret is known", || async {
            served.secrets.rotating(&pair).accepts(now.as_bytes())
        })
        .await;
        moves.send(turn).unwrap();
        until("all hosts have moved", || all_send(turn)).await;
    }
    mounted.set(&[("current", "secret-3")]);
    until("the old secret is forgotten", || async {
        status(&served, "secret-2").await == 403
    })
    .await;
    drop(moves);
    for host in hosts {
        host.await.unwrap();
    }
    let refused = served.ask("/metrics").await.body;
    let accepted = refused
        .lines()
        .find_map(|line| line.strip_prefix("berth_heartbeats_total{result=\"accepted\"} "))
        .unwrap();
    assert!(accepted.parse::<u64>().unwrap() > 4 * HOSTS as u64, "{accepted}");
}
