//! At rest nothing is written and nothing is asked for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::bed::{Bed, Running, WRITES};

async fn everything(bed: &Bed) {
    bed.secret("coturn", json!({"secret": "x"})).await;
    bed.cluster("main").await;
    bed.resource(
        "TurnConfig",
        "turn",
        json!({"providers": [{"name": "coturn", "sharedSecret": {
            "urls": ["turn:turn.example.com"], "secretRef": {"name": "coturn"}}}]}),
    )
    .await;
    bed.resource(
        "HostPool",
        "eu",
        json!({"signalingClusterRef": {"name": "main"}, "turnConfigRef": {"name": "turn"}, "statusIntervalSeconds": 1}),
    )
    .await;
}

/// Reconciles that ended well, of all kinds.
fn looks(operator: &Running) -> u64 {
    let metrics = operator.metrics.encode();
    metrics
        .lines()
        .filter(|line| line.starts_with("berth_operator_reconcile_total") && line.contains("result=\"done\""))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// Oracle 3, quiescence. Resyncs every half second, so that each counts as ten minutes.
#[tokio::test(flavor = "multi_thread")]
async fn resyncs_and_a_restart_write_nothing_and_ask_nothing() {
    let bed = Bed::new("rest").await;
    everything(&bed).await;
    let mut options = bed.options().await;
    options.intervals.resync = Duration::from_millis(500);
    let first = Running::start(options.clone());
    let _pods = bed.roll_out();
    for (kind, name) in [
        ("SignalingCluster", "main"),
        ("HostPool", "eu"),
        ("TurnConfig", "turn"),
    ] {
        bed.wait_condition(kind, name, "Ready", "True").await;
    }
    let all = [&WRITES[..], &["get", "list"]].concat();
    first.settle().await;
    let (requests, looked) = (first.requests(&all), looks(&first));
    bed.wait("many resyncs", async || {
        (looks(&first) > looked + 18).then_some(())
    })
    .await;
    assert_eq!(first.requests(&all), requests);
    first.stop().await.unwrap();

    let second = Running::start(options);
    bed.wait("every resource to be looked at", async || {
        (looks(&second) > 8).then_some(())
    })
    .await;
    assert_eq!(second.requests(&WRITES), BTreeMap::new());
    // The Secret of the TurnConfig is looked into once per start.
    assert_eq!(second.requests(&["get"]), [("secrets".to_owned(), 1)].into());
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_followed_at_once_and_by_no_more_than_it_takes() {
    let bed = Bed::new("edit").await;
    everything(&bed).await;
    let operator = bed.operator().await;
    let _pods = bed.roll_out();
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    operator.settle().await;
    let before = operator.requests(&["create", "patch", "delete", "update"]);

    let began = Instant::now();
    bed.resource(
        "SignalingCluster",
        "main",
        json!({"publicUrl": "ws://signaling.example.com", "pod": {"labels": {"a": "b"}}}),
    )
    .await;
    let deployments = bed.api("apps/v1", "Deployment");
    bed.wait("the new template", async || {
        let found = deployments.get("main-signaling").await.unwrap();
        (found.data.pointer("/spec/template/metadata/labels/a") == Some(&json!("b"))).then_some(())
    })
    .await;
    println!("from edit to write: at most {:?}", began.elapsed());
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    operator.settle().await;
    let after = operator.requests(&["create", "patch", "delete", "update"]);
    for (kind, count) in after.iter().filter(|(kind, _)| *kind != "events") {
        let expected = u64::from(kind == "deployments");
        assert_eq!(count - before.get(kind).unwrap_or(&0), expected, "{kind}");
    }
    operator.stop().await.unwrap();
}
