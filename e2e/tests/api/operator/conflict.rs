//! Objects of someone else with the name of a child.

use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;

use super::bed::{Bed, conditions};

/// Oracle 11, ownership.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_not_ours_is_never_taken_over() {
    let bed = Bed::new("conflict").await;
    // One that our watches do not show, and would merge without a conflict; one that looks like ours.
    let account = bed
        .apply(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "main-signaling"}}))
        .await;
    let service = bed
        .apply(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "main-redis", "labels": {"app.kubernetes.io/managed-by": "berth-operator"}},
            "spec": {"ports": [{"port": 1}]},
        }))
        .await;
    let secret = bed
        .apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "main-match-key"}}))
        .await;
    bed.cluster("main").await;
    let _operator = bed.operator().await;
    let _pods = bed.roll_out();
    let stalled = bed
        .wait_condition("SignalingCluster", "main", "Stalled", "True")
        .await;
    assert_eq!(conditions(&stalled)["Ready"].1, "NameConflict");

    // What does not need them is applied, what does is not.
    bed.wait_object("v1", "Service", "main-signaling").await;
    bed.wait_object("v1", "Secret", "main-redis-auth").await;
    let deployments = bed.api("apps/v1", "Deployment");
    assert!(deployments.get_opt("main-signaling").await.unwrap().is_none());
    for (kind, before) in [
        ("ServiceAccount", account),
        ("Service", service),
        ("Secret", secret),
    ] {
        let after = bed.api("v1", kind).get(&before.name_any()).await.unwrap();
        assert_eq!(before.resource_version(), after.resource_version(), "{kind}");
    }

    for (kind, name) in [
        ("ServiceAccount", "main-signaling"),
        ("Service", "main-redis"),
        ("Secret", "main-match-key"),
    ] {
        bed.api("v1", kind)
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn children_of_a_deleted_namesake_are_waited_for() {
    let bed = Bed::new("namesake").await;
    bed.cluster("main").await;
    let first = bed.operator().await;
    bed.wait_object("apps/v1", "Deployment", "main-signaling").await;
    first.stop().await.unwrap();
    // Nobody collects garbage here, so the children stay when their owner goes.
    bed.ours("SignalingCluster")
        .delete("main", &DeleteParams::default())
        .await
        .unwrap();
    let successor = bed.cluster("main").await;
    let _second = bed.operator().await;
    let waiting = bed
        .wait_condition("SignalingCluster", "main", "Reconciling", "True")
        .await;
    assert_eq!(conditions(&waiting)["Ready"].1, "WaitingForDeletion");
    let services = bed.api("v1", "Service");
    let old = services.get("main-signaling").await.unwrap();
    assert_ne!(Some(&old.owner_references()[0].uid), successor.uid().as_ref());

    services
        .delete("main-signaling", &DeleteParams::default())
        .await
        .unwrap();
    bed.wait("the successor's own", async || {
        let new = services.get_opt("main-signaling").await.unwrap()?;
        (Some(&new.owner_references()[0].uid) == successor.uid().as_ref()).then_some(())
    })
    .await;
}
