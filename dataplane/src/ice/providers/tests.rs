//! Providers against a server that speaks the documented calls.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use berth_crds::api::FailurePolicy;
use berth_crds::settings::SecretRef;
use futures::future::join_all;

use super::*;
use crate::ice::DEFAULT_STUN;
use crate::secrets::Secret;
use crate::telemetry::Metrics;
use crate::testing::{MeteredCall, MeteredServer};

/// Only a hang reaches it.
const DEADLINE: Duration = Duration::from_mins(1);
const KEY: &str = "hunter2-secret-key";
/// Life of the credentials, in seconds.
const LIFE: u64 = 600;

struct Bed {
    server: MeteredServer,
    providers: IceProviders,
    metrics: Metrics,
    secrets: SecretStore,
    turn: TurnSettings,
    /// How far the clock is ahead, in seconds.
    ahead: Arc<AtomicU64>,
}

fn reference() -> SecretRef {
    SecretRef {
        name: "metered".to_owned(),
        key: "apiKey".to_owned(),
    }
}

fn settings(name: &str) -> TurnSettings {
    TurnSettings {
        name: ObjectName::new("default", name),
        generation: 1,
        stun_urls: vec![DEFAULT_STUN.to_owned()],
        providers: vec![ProviderSettings::Metered {
            name: "relay".to_owned(),
            domain: "games.metered.live".to_owned(),
            api_key: reference(),
        }],
        credential_ttl: Duration::from_secs(LIFE),
        failure_policy: FailurePolicy::StunOnly,
    }
}

impl Bed {
    /// With a provider that is waited for as long as it takes.
    async fn new() -> Self {
        Self::with_patience(DEADLINE).await
    }

    async fn with_patience(patience: Duration) -> Self {
        let server = MeteredServer::start(KEY).await;
        let metrics = Metrics::new();
        let ahead = Arc::new(AtomicU64::new(0));
        let (read, begun) = (Arc::clone(&ahead), Instant::now());
        let options = IceOptions {
            metered: Some(server.url()),
            patience,
            // It stands still but for what the test adds.
            clock: Arc::new(move || begun + Duration::from_secs(read.load(Ordering::SeqCst))),
        };
        let secrets = SecretStore::in_memory();
        secrets.put(&reference(), Secret::new(KEY).unwrap());
        Self {
            server,
            providers: IceProviders::new(options, IceMetrics::register(&metrics)),
            metrics,
            secrets,
            turn: settings("turn"),
            ahead,
        }
    }

    fn pass(&self, seconds: u64) {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
    }

    async fn soon(&self) -> IceServers {
        self.providers
            .servers_soon(Some(&self.turn), &self.secrets, "player", 1000)
            .await
    }

    fn now(&self) -> IceServers {
        self.providers
            .servers(Some(&self.turn), &self.secrets, "player", 1000)
    }

    fn tend(&self) {
        self.providers.tend(Some(&self.turn), &self.secrets);
    }

    fn metric(&self, start: &str) -> String {
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(start));
        line.map_or("absent", str::trim).to_owned()
    }

    fn failures(&self, reason: &str) -> String {
        self.metric(&format!(
            "berth_ice_failures_total{{provider=\"relay\",reason=\"{reason}\"}}"
        ))
    }

    fn issues(&self) -> String {
        self.metric("berth_ice_issue_seconds_count{provider=\"relay\"}")
    }

    fn described(&self) -> Value {
        self.providers.describe()[0].clone()
    }
}

async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let wait = async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

fn urls(answer: &IceServers) -> Vec<&str> {
    answer.servers.iter().map(|server| server.urls.as_str()).collect()
}

/// The servers of the credential with this number, after the STUN server of the TurnConfig.
fn expected(number: usize) -> Vec<IceServer> {
    let mut servers = vec![IceServer::stun(DEFAULT_STUN)];
    let issued: Vec<IceServer> = serde_json::from_value(MeteredServer::servers(number)).unwrap();
    servers.extend(issued);
    servers
}

#[tokio::test]
async fn one_credential_is_issued_for_all() {
    let bed = Bed::new().await;
    let answers = join_all((0..100).map(|_| bed.soon())).await;
    for answer in answers {
        assert_eq!(answer.servers, expected(1));
        assert_eq!(answer.failures, []);
        let now = unix_seconds();
        assert!((now..=now + LIFE).contains(&answer.expires_at.unwrap()));
    }
    assert_eq!(bed.now().servers, expected(1));
    assert_eq!((bed.server.made(), bed.server.listed()), (vec![LIFE], 1));
    assert_eq!(bed.issues(), "1");
    assert_eq!(bed.described()["error"], Value::Null);
}

#[tokio::test]
async fn it_is_replaced_at_half_of_its_life_while_the_old_one_serves() {
    let bed = Bed::new().await;
    bed.soon().await;
    bed.pass(LIFE / 2 - 1);
    bed.tend();
    assert_eq!(bed.soon().await.servers, expected(1));
    assert_eq!(bed.server.made().len(), 1, "too early");

    bed.server.hold(true);
    bed.pass(1);
    bed.tend();
    eventually("it is asked again", || bed.server.made().len() == 2).await;
    // Nobody waits for it.
    assert_eq!(bed.soon().await.servers, expected(1));
    bed.server.hold(false);
    eventually("it serves the new one", || bed.now().servers == expected(2)).await;
    assert_eq!((bed.server.made().len(), bed.issues()), (2, "2".to_owned()));
}

#[tokio::test]
async fn the_old_one_outlives_a_failure_but_not_by_much() {
    let bed = Bed::new().await;
    bed.soon().await;
    bed.server.answer(MeteredCall::Make, StatusCode::BAD_GATEWAY, "");
    bed.pass(LIFE / 2);
    for attempts in 2..=4 {
        bed.tend();
        eventually("it fails", || {
            bed.failures("status") == (attempts - 1).to_string()
        })
        .await;
        assert_eq!(bed.soon().await.servers, expected(1));
    }
    bed.pass(LIFE / 4);
    let answer = bed.now();
    assert_eq!(urls(&answer), [DEFAULT_STUN]);
    assert_eq!(answer.failures.len(), 1);
}

/// Time stands still but for timers, which run out when nothing else happens: so this is 2 s and not more, on any machine.
#[tokio::test(start_paused = true)]
async fn a_provider_that_says_nothing_holds_a_match_up_for_two_seconds() {
    let bed = Bed::with_patience(PATIENCE).await;
    bed.server.hold(true);
    let begun = tokio::time::Instant::now();
    let answers = join_all((0..10).map(|_| bed.soon())).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
    for answer in answers {
        assert_eq!(urls(&answer), [DEFAULT_STUN]);
        assert_eq!(answer.failures.len(), 1);
    }
    // Whoever comes later does not wait for the same request again.
    bed.pass(2);
    assert_eq!(bed.soon().await.failures.len(), 1);
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
    // It is given up.
    eventually("a timeout", || bed.failures("timeout") == "1").await;
    assert_eq!(bed.described()["error"], "did not answer in time");
    assert_eq!(bed.metric("berth_ice_left_out_total{provider=\"relay\"}"), "11");
}

#[tokio::test]
async fn answers_that_are_none_are_counted_and_named() {
    let elsewhere = MeteredServer::start(KEY).await;
    let large = "x".repeat(64 * 1024 + 1);
    for (call, status, body, reason, error) in [
        (
            MeteredCall::Make,
            StatusCode::UNAUTHORIZED,
            "{}",
            "status",
            "making a credential: answered 401 Unauthorized",
        ),
        (
            MeteredCall::List,
            StatusCode::INTERNAL_SERVER_ERROR,
            "[]",
            "status",
            "asking for its servers: answered 500 Internal Server Error",
        ),
        (
            MeteredCall::Make,
            StatusCode::TEMPORARY_REDIRECT,
            "",
            "status",
            "making a credential: answered 307 Temporary Redirect",
        ),
        (
            MeteredCall::Make,
            StatusCode::OK,
            "<html>",
            "answer",
            "making a credential: the answer has no apiKey",
        ),
        (
            MeteredCall::Make,
            StatusCode::OK,
            r#"{"apiKey": ""}"#,
            "answer",
            "making a credential: the answer has no apiKey",
        ),
        (
            MeteredCall::List,
            StatusCode::OK,
            "not json",
            "answer",
            "asking for its servers: the answer is no list of ICE servers",
        ),
        (
            MeteredCall::List,
            StatusCode::OK,
            large.as_str(),
            "answer",
            "asking for its servers: the answer cannot be read: it was cut off or has more than 65536 bytes",
        ),
    ] {
        let bed = Bed::new().await;
        bed.server.answer(call, status, body);
        let answer = bed.soon().await;
        assert_eq!(urls(&answer), [DEFAULT_STUN], "{error}");
        let failure = assemble::ProviderFailure {
            provider: "relay".to_owned(),
            cause: FailureCause::NotIssued,
        };
        assert_eq!(answer.failures, [failure]);
        assert_eq!(bed.described()["error"], error);
        assert_eq!(bed.failures(reason), "1", "{error}");
    }
    assert_eq!(elsewhere.made(), [0; 0]);
}

#[tokio::test]
async fn a_wrong_key_is_told_and_the_right_one_taken_at_once() {
    let bed = Bed::new().await;
    bed.secrets.put(&reference(), Secret::new("wrong").unwrap());
    assert_eq!(bed.soon().await.failures.len(), 1);
    assert_eq!(bed.failures("status"), "1");
    bed.secrets.put(&reference(), Secret::new(KEY).unwrap());
    assert_eq!(bed.soon().await.failures, []);
}

#[tokio::test]
async fn a_missing_key_is_a_failure_too() {
    let bed = Bed::new().await;
    bed.tend();
    assert_eq!(bed.failures("secret"), "0");
    let secrets = SecretStore::in_memory();
    for count in ["1", "2"] {
        let answer = bed
            .providers
            .servers_soon(Some(&bed.turn), &secrets, "player", 1000)
            .await;
        assert_eq!(answer.failures[0].cause, FailureCause::NoSecret(reference()));
        assert_eq!(urls(&answer), [DEFAULT_STUN]);
        assert_eq!(bed.failures("secret"), count);
    }
}

#[tokio::test]
async fn a_provider_that_fails_is_left_alone_and_tried_again() {
    let bed = Bed::new().await;
    bed.server.answer(MeteredCall::List, StatusCode::BAD_GATEWAY, "");
    for _ in 0..3 {
        assert_ne!(bed.described()["circuit"], "open");
        assert_eq!(bed.soon().await.failures.len(), 1);
    }
    assert_eq!(bed.described()["circuit"], "open");
    for _ in 0..10 {
        bed.tend();
        assert_eq!(bed.soon().await.failures.len(), 1);
    }
    assert_eq!(bed.server.made().len(), 3, "nobody asks it");

    // One probe, which nobody waits for.
    bed.pass(5);
    bed.server.hold(true);
    assert_eq!(bed.soon().await.failures.len(), 1);
    eventually("a probe", || bed.server.made().len() == 4).await;
    assert_eq!(bed.described()["circuit"], "half-open");
    assert_eq!(bed.soon().await.failures.len(), 1);
    bed.server.hold(false);
    eventually("it is open again", || bed.described()["circuit"] == "open").await;
    bed.pass(9);
    bed.tend();
    assert_eq!(bed.server.made().len(), 4, "left alone for longer");

    bed.server.recover();
    bed.pass(1);
    bed.tend();
    eventually("it serves again", || bed.now().failures.is_empty()).await;
    assert_eq!(bed.described()["circuit"], "closed");
    assert_eq!(bed.described()["error"], Value::Null);
}

#[tokio::test]
async fn nobody_there_is_a_failure() {
    let mut bed = Bed::new().await;
    let gone = bed.server.url();
    bed.server = MeteredServer::start(KEY).await;
    let options = IceOptions {
        metered: Some(gone),
        patience: DEADLINE,
        ..IceOptions::default()
    };
    bed.providers = IceProviders::new(options, IceMetrics::register(&Metrics::new()));
    assert_eq!(urls(&bed.soon().await), [DEFAULT_STUN]);
    let error = bed.described()["error"].as_str().unwrap().to_owned();
    assert!(
        error.starts_with("making a credential: cannot be reached: "),
        "{error}"
    );
}

#[tokio::test]
async fn another_life_or_key_is_another_credential() {
    let mut bed = Bed::new().await;
    bed.soon().await;
    bed.turn.credential_ttl = Duration::from_mins(5);
    assert_eq!(bed.soon().await.servers, expected(2));
    assert_eq!(bed.server.made(), [LIFE, 300]);
}

#[tokio::test]
async fn few_providers_are_remembered() {
    let mut bed = Bed::new().await;
    for number in 0..MOST_REMEMBERED + 5 {
        bed.turn = settings(&format!("turn-{number}"));
        bed.soon().await;
        bed.pass(1);
    }
    let described = bed.providers.describe();
    let described = described.as_array().unwrap();
    assert_eq!(described.len(), MOST_REMEMBERED);
    assert!(described.iter().any(|one| one["turnConfig"] == "default/turn-20"));
    assert!(described.iter().all(|one| one["turnConfig"] != "default/turn-0"));
}
