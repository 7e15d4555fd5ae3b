//! What a user does in most oracles: everything there is, an autoscaled pool, and then an edit by which objects go.

use serde_json::json;

use crate::operator::bed::{Bed, conditions};

/// Everything is made, and ready.
pub(super) async fn make(bed: &Bed) {
    bed.secret("coturn", json!({"secret": "x"})).await;
    bed.resource(
        "TurnConfig",
        "turn",
        json!({"providers": [{"name": "coturn", "sharedSecret": {
            "urls": ["turn:turn.example.com"], "secretRef": {"name": "coturn"}}}]}),
    )
    .await;
    bed.cluster("main").await;
    bed.resource(
        "HostPool",
        "eu",
        json!({
            "signalingClusterRef": {"name": "main"},
            "turnConfigRef": {"name": "turn"},
            "autoscaling": {"minReplicas": 2, "maxReplicas": 9},
        }),
    )
    .await;
    ready(bed).await;
}

/// The pool has a fixed number of pods again, and policies and a budget are not wanted any more.
pub(super) async fn shrink(bed: &Bed) {
    let fixed = json!({"autoscaling": null, "replicas": 3, "pdb": {"enabled": false}});
    bed.edit("HostPool", "eu", fixed).await;
    bed.edit(
        "SignalingCluster",
        "main",
        json!({"networkPolicy": {"enabled": false}}),
    )
    .await;
    ready(bed).await;
}

/// Both.
pub(super) async fn whole(bed: &Bed) {
    make(bed).await;
    shrink(bed).await;
}

/// Waits until the status of each resource says that its present generation is ready and followed.
pub(super) async fn ready(bed: &Bed) {
    for (kind, name) in [
        ("TurnConfig", "turn"),
        ("SignalingCluster", "main"),
        ("HostPool", "eu"),
    ] {
        bed.wait(&format!("{kind} {name} to be ready"), async || {
            let found = bed.ours(kind).get(name).await.unwrap();
            let told = conditions(&found);
            let is = |condition: &str| told.get(condition).is_none_or(|(is, _, _)| is == "True");
            let current = found.data["status"]["observedGeneration"].as_i64() == found.metadata.generation;
            let ready = told.get("Ready").is_some_and(|(is, _, _)| is == "True");
            (current && ready && is("SettingsApplied")).then_some(())
        })
        .await;
    }
}
