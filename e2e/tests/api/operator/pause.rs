//! `spec.paused`: what a resource has become is left as it is, and the status says what is therefore not as the spec says.

use kube::api::{DeleteParams, DynamicObject, ListParams};
use serde_json::json;

use super::bed::{Bed, WRITES, conditions};

async fn wait_paused(bed: &Bed, name: &str, message: &str) -> DynamicObject {
    bed.wait(&format!("{name}: {message}"), async || {
        let found = bed.ours("HostPool").get(name).await.unwrap();
        let is = conditions(&found)
            .get("Paused")
            .is_some_and(|(status, _, text)| status == "True" && text == message);
        is.then_some(found)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_pool_is_left_as_it_is() {
    let bed = Bed::new("paused").await;
    bed.cluster("main").await;
    let operator = bed.operator().await;
    let _pods = bed.roll_out();
    bed.pool("eu", "main").await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    operator.settle().await;

    bed.edit("HostPool", "eu", json!({"paused": true})).await;
    let nothing = "spec.paused is true: nothing is written";
    wait_paused(&bed, "eu", nothing).await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    operator.settle().await;
    let mut before = operator.requests(&WRITES);
    // Another count in the Deployment, and a PodDisruptionBudget that is not wanted.
    let change = json!({"replicas": 3, "pdb": {"enabled": false}});
    bed.edit("HostPool", "eu", change).await;
    let policies = bed.api("networking.k8s.io/v1", "NetworkPolicy");
    policies
        .delete("eu-matchmaker", &DeleteParams::default())
        .await
        .unwrap();
    let held = "spec.paused is true: not written NetworkPolicy eu-matchmaker, \
                PodDisruptionBudget eu-matchmaker, Deployment eu-matchmaker";
    let found = wait_paused(&bed, "eu", held).await;
    let told = conditions(&found);
    assert_eq!((&*told["Ready"].0, &*told["Ready"].1), ("False", "Paused"));
    assert_eq!((&*told["Reconciling"].0, &*told["Stalled"].0), ("True", "False"));
    operator.settle().await;
    let mut after = operator.requests(&WRITES);
    // The status and events are told as ever.
    for counted in [&mut before, &mut after] {
        counted.retain(|kind, _| !["hostpools", "events", "leases"].contains(&&**kind));
    }
    assert_eq!(after, before, "something was written");
    let deployment = bed.wait_object("apps/v1", "Deployment", "eu-matchmaker").await;
    assert_eq!(deployment.data["spec"]["replicas"], 2);
    bed.wait_object("policy/v1", "PodDisruptionBudget", "eu-matchmaker")
        .await;

    bed.edit("HostPool", "eu", json!({"paused": false})).await;
    bed.wait_object("networking.k8s.io/v1", "NetworkPolicy", "eu-matchmaker")
        .await;
    let found = bed.wait_condition("HostPool", "eu", "Paused", "False").await;
    assert_eq!(conditions(&found)["Paused"].1, "NotPaused");
    bed.wait("three pods and no budget", async || {
        let deployment = bed.wait_object("apps/v1", "Deployment", "eu-matchmaker").await;
        let budgets = bed.api("policy/v1", "PodDisruptionBudget");
        let gone = budgets.get_opt("eu-matchmaker").await.unwrap().is_none();
        (deployment.data["spec"]["replicas"] == 3 && gone).then_some(())
    })
    .await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    operator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_from_the_start_becomes_nothing() {
    let bed = Bed::new("paused-first").await;
    let operator = bed.operator().await;
    let _pods = bed.roll_out();
    let paused = json!({"publicUrl": "ws://signaling.example.com", "paused": true});
    bed.resource("SignalingCluster", "main", paused).await;
    let found = bed
        .wait_condition("SignalingCluster", "main", "Paused", "True")
        .await;
    assert_eq!(conditions(&found)["Ready"].1, "Paused");
    operator.settle().await;
    for (api_version, kind) in [
        ("apps/v1", "Deployment"),
        ("v1", "Secret"),
        ("v1", "ServiceAccount"),
    ] {
        let api = bed.api(api_version, kind);
        let ours = api.list(&ListParams::default()).await.unwrap().items;
        let named = |object: &DynamicObject| {
            object
                .metadata
                .name
                .as_deref()
                .is_some_and(|name| name.starts_with("main"))
        };
        assert!(!ours.iter().any(named), "{ours:?}");
    }
    bed.edit("SignalingCluster", "main", json!({"paused": false}))
        .await;
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    operator.stop().await.unwrap();
}
