//! One of several operators writes; the next takes over.

use std::time::{Duration, Instant};

use berth_operator::leader::{LeaderOptions, Timing};
use berth_operator::{OperatorError, Options};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::bed::{Bed, Running};

/// The usual times in a fifth.
const TIMING: Timing = Timing {
    duration: Duration::from_secs(3),
    renew_deadline: Duration::from_secs(2),
    retry: Duration::from_millis(400),
};

/// Options of an operator that takes part in the election of its namespace.
pub(crate) async fn candidate(bed: &Bed, identity: &str) -> Options {
    let mut options = bed.options().await;
    options.leader = Some(LeaderOptions {
        namespace: bed.namespace.clone(),
        name: "berth-operator".into(),
        identity: identity.into(),
        timing: TIMING,
    });
    options
}

async fn holder(bed: &Bed) -> Option<String> {
    let api: Api<Lease> = Api::namespaced(bed.client.clone(), &bed.namespace);
    let lease = api.get_opt("berth-operator").await.unwrap()?;
    lease.spec?.holder_identity
}

/// Waits until this one leads.
pub(crate) async fn wait_holder(bed: &Bed, identity: &str) {
    bed.wait(&format!("{identity} to lead"), async || {
        (holder(bed).await.as_deref() == Some(identity)).then_some(())
    })
    .await;
}

/// Writes that are not the election's.
fn writes(operator: &Running) -> u64 {
    let requests = operator.requests(&super::bed::WRITES);
    requests
        .iter()
        .filter(|(kind, _)| *kind != "leases")
        .map(|(_, count)| count)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_ends_hands_over_at_once() {
    let bed = Bed::new("hand-over").await;
    let first = Running::start(candidate(&bed, "first").await);
    wait_holder(&bed, "first").await;
    let second = Running::start(candidate(&bed, "second").await);
    bed.cluster("main").await;
    bed.wait_object("apps/v1", "Deployment", "main-signaling").await;
    assert_eq!(writes(&second), 0, "it does not lead");

    first.stop().await.unwrap();
    wait_holder(&bed, "second").await;
    bed.cluster("other").await;
    bed.wait_object("apps/v1", "Deployment", "other-signaling").await;
    second.stop().await.unwrap();
    assert_eq!(holder(&bed).await, None, "given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_is_replaced_after_its_lease() {
    let bed = Bed::new("crash").await;
    let first = Running::start(candidate(&bed, "first").await);
    wait_holder(&bed, "first").await;
    let second = Running::start(candidate(&bed, "second").await);
    bed.wait("the second to look", async || {
        second
            .requests(&["get"])
            .get("leases")
            .copied()
            .filter(|looks| *looks > 1)
    })
    .await;
    drop(first);
    let died = Instant::now();
    wait_holder(&bed, "second").await;
    assert!(died.elapsed() >= TIMING.renew_deadline, "{:?}", died.elapsed());
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_loses_its_lease_ends_and_writes_nothing_more() {
    let bed = Bed::new("stolen").await;
    let first = Running::start(candidate(&bed, "first").await);
    wait_holder(&bed, "first").await;
    bed.cluster("main").await;
    bed.wait_object("apps/v1", "Deployment", "main-signaling").await;

    let api: Api<Lease> = Api::namespaced(bed.client.clone(), &bed.namespace);
    let stolen = json!({"spec": {"holderIdentity": "thief"}});
    api.patch("berth-operator", &PatchParams::default(), &Patch::Merge(stolen))
        .await
        .unwrap();
    let metrics = first.metrics.clone();
    let ended = first.ended().await;
    assert!(matches!(ended, Err(OperatorError::LeaseLost(_))), "{ended:?}");
    assert!(metrics.encode().contains("berth_operator_leader 0"));
    bed.cluster("other").await;
    assert_eq!(
        holder(&bed).await.as_deref(),
        Some("thief"),
        "it is not given back either"
    );
    let deployments = bed.api("apps/v1", "Deployment");
    assert!(deployments.get_opt("other-signaling").await.unwrap().is_none());
}
