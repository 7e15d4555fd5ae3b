//! ICE servers of a provider that issues credentials, and what a player gets while it fails.

use std::time::Duration;

use axum::http::StatusCode;
use berth_crds::api::{ApiKeySecretRef, FailurePolicy, MeteredProvider, TurnConfigSpec, TurnProvider};
use berth_crds::settings::SecretRef;
use berth_dataplane::ice::IceOptions;
use berth_dataplane::secrets::Secret;
use berth_dataplane::testing::{MeteredCall, MeteredServer};
use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::server::{Served, view};

const KEY: &str = "metered-key";
const STUN: &str = "stun:stun.example.com:3478";

/// A matchmaker with a free host, and its provider.
async fn served(policy: FailurePolicy, patience: Duration) -> (Served, MeteredServer) {
    let provider = MeteredServer::start(KEY).await;
    let relay = TurnProvider {
        name: "relay".to_owned(),
        shared_secret: None,
        fixed: None,
        metered: Some(MeteredProvider {
            domain: "games".to_owned(),
            api_key_secret_ref: ApiKeySecretRef {
                name: "metered".to_owned(),
                key: None,
            },
        }),
    };
    let turn = TurnConfigSpec {
        stun_urls: vec![STUN.to_owned()],
        providers: vec![relay],
        credential_ttl_seconds: 600,
        failure_policy: policy,
        ..TurnConfigSpec::default()
    };
    let ice = IceOptions {
        metered: Some(provider.url()),
        patience,
        ..IceOptions::default()
    };
    let served = Served::with_ice(view(Some(turn)), ice).await;
    served.seated_host("a").await;
    (served, provider)
}

/// Only a hang reaches it.
const PATIENT: Duration = Duration::from_mins(1);

fn put_key(served: &Served) {
    let reference = SecretRef {
        name: "metered".to_owned(),
        key: "apiKey".to_owned(),
    };
    served.secrets.put(&reference, Secret::new(KEY).unwrap());
}

fn refused(answer: &Answer) {
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    assert_eq!(
        answer.json(),
        json!({"error": "ICE servers temporarily unavailable"})
    );
}

/// The servers of the first credential, after the STUN server of the TurnConfig.
fn issued() -> Value {
    let mut servers = vec![json!({"urls": STUN})];
    servers.extend(MeteredServer::servers(1).as_array().unwrap().iter().cloned());
    Value::Array(servers)
}

#[tokio::test]
async fn players_share_what_the_provider_issued() {
    let (served, provider) = served(FailurePolicy::Fail, PATIENT).await;
    put_key(&served);
    served.seated_host("b").await;
    for _ in 0..2 {
        let found = served.find(&json!({})).await.json();
        assert_eq!(found["iceServers"], issued());
    }
    assert_eq!((provider.made(), provider.listed()), (vec![600], 1));
    let ice = served.ask("/statusz").await.json()["ice"][0].clone();
    assert_eq!(
        (&ice["turnConfig"], &ice["provider"], &ice["circuit"]),
        (&json!("default/turn"), &json!("relay"), &json!("closed"))
    );
    assert!(!ice.to_string().contains(KEY), "{ice}");
}

#[tokio::test]
async fn stun_is_left_while_the_provider_fails() {
    for hangs in [false, true] {
        let patience = if hangs { Duration::from_millis(50) } else { PATIENT };
        let (served, provider) = served(FailurePolicy::StunOnly, patience).await;
        put_key(&served);
        provider.hold(hangs);
        provider.answer(MeteredCall::List, StatusCode::INTERNAL_SERVER_ERROR, "");
        let answer = served.find(&json!({})).await;
        assert_eq!(
            (answer.status, &answer.json()["iceServers"]),
            (200, &json!([{"urls": STUN}]))
        );
        let metrics = served.ask("/metrics").await.body;
        assert!(metrics.contains("berth_ice_left_out_total{provider=\"relay\"} 1"));
    }
}

#[tokio::test]
async fn with_the_policy_fail_a_failure_costs_no_slot() {
    let (served, provider) = served(FailurePolicy::Fail, PATIENT).await;
    let free = async || {
        let counts = served.ask("/counts").await.json();
        assert_eq!(
            (&counts["hosts"]["allocated"], &counts["slots"]["available"]),
            (&json!(0), &json!(1))
        );
    };
    // The key is missing.
    refused(&served.find(&json!({})).await);
    free().await;
    provider.answer(MeteredCall::Make, StatusCode::INTERNAL_SERVER_ERROR, "");
    put_key(&served);
    for _ in 0..5 {
        refused(&served.find(&json!({})).await);
    }
    free().await;
    let metrics = served.ask("/metrics").await.body;
    for line in [
        "berth_finds_total{result=\"no_ice_servers\"} 6",
        "berth_finds_total{result=\"granted\"} 0",
        "berth_ice_left_out_total{provider=\"relay\"} 6",
        "berth_ice_failures_total{provider=\"relay\",reason=\"secret\"} 1",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line}");
    }
    // Another policy is in force at once, and the slot is there for it.
    let mut changed = (*served.settings.get()).clone();
    if let Some(turn) = &mut changed.turn {
        turn.failure_policy = FailurePolicy::StunOnly;
    }
    served.settings.replace(changed);
    assert_eq!(served.find(&json!({})).await.status, 200);
}

/// Who waits for a provider holds no slot, so one who goes away meanwhile has lost none.
#[tokio::test]
async fn who_waits_for_a_provider_holds_no_slot() {
    let (served, provider) = served(FailurePolicy::Fail, PATIENT).await;
    provider.hold(true);
    put_key(&served);
    let request = json!({});
    let mut waiting = Box::pin(served.find(&request));
    let asked = async {
        while provider.made().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        served.ask("/counts").await.json()
    };
    let counts = tokio::select! {
        counts = asked => counts,
        answer = &mut waiting => panic!("{} before the provider answered", answer.status),
    };
    assert_eq!(counts["slots"]["available"], 1);
    provider.hold(false);
    assert_eq!(waiting.await.json()["iceServers"], issued());
}
