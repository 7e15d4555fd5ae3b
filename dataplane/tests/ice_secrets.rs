//! No line of any library, at any level, holds a secret of a provider of ICE servers. A program of its own, because it takes the log of
//! the whole process.

// Clippy's exception for tests does not reach the helpers of a test program.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use berth_crds::api::FailurePolicy;
use berth_crds::settings::{ObjectName, ProviderSettings, SecretRef, TurnSettings};
use berth_dataplane::ice::{IceMetrics, IceOptions, IceProviders};
use berth_dataplane::secrets::{Secret, SecretStore};
use berth_dataplane::telemetry::Metrics;
use berth_dataplane::testing::{MeteredCall, MeteredServer};
use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

/// Lines as they are written, before anything is redacted.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn secrets_are_never_told() {
    let lines = Lines::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .init();
    let key = "hunter2-secret-key";
    let reference = SecretRef {
        name: "metered".to_owned(),
        key: "apiKey".to_owned(),
    };
    let turn = TurnSettings {
        name: ObjectName::new("default", "turn"),
        generation: 1,
        stun_urls: Vec::new(),
        providers: vec![ProviderSettings::Metered {
            name: "relay".to_owned(),
            domain: "games.metered.live".to_owned(),
            api_key: reference.clone(),
        }],
        credential_ttl: Duration::from_mins(10),
        failure_policy: FailurePolicy::StunOnly,
    };
    let server = MeteredServer::start(key).await;
    let options = IceOptions {
        metered: Some(server.url()),
        // Only a hang reaches it.
        patience: Duration::from_mins(1),
        ..IceOptions::default()
    };
    let providers = IceProviders::new(options, IceMetrics::register(&Metrics::new()));
    let secrets = SecretStore::in_memory();
    let mut told = String::new();
    let good = (key, StatusCode::OK, None, 3);
    let wrong = ("hunter2-wrong", StatusCode::OK, None, 1);
    let garbage = (key, StatusCode::OK, Some("key-3 credential-3"), 1);
    let refusing = ("hunter2-again", StatusCode::FORBIDDEN, Some("hunter2-again"), 1);
    for (key, status, list, servers) in [good, wrong, garbage, refusing] {
        if let Some(list) = list {
            server.answer(MeteredCall::List, status, list);
        }
        secrets.put(&reference, Secret::new(key).unwrap());
        let answer = providers.servers_soon(Some(&turn), &secrets, "player", 0).await;
        assert_eq!(answer.servers.len(), servers);
        write!(told, "{answer:?} {providers:?} {}", providers.describe()).unwrap();
    }
    told += &String::from_utf8(lines.0.lock().clone()).unwrap();
    for line in [
        "TURN credential issued",
        "TURN credential not issued",
        "connecting to",
    ] {
        assert!(told.contains(line), "{line}: the log is not taken");
    }
    for secret in [
        "hunter2",
        "key-1",
        "key-3",
        "user-1",
        "credential-1",
        "credential-3",
    ] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}
