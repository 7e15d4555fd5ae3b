//! What the operator says, at every step.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::json;

use super::bed::{Bed, conditions};

/// What tools that judge by kstatus make of a resource.
/// <https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/status/generic.go>
fn kstatus(object: &DynamicObject) -> &'static str {
    let told = conditions(object);
    let is = |kind: &str, status: &str| told.get(kind).is_some_and(|(is, _, _)| is == status);
    if object.data["status"]["observedGeneration"].as_i64() != object.metadata.generation
        && !object.data["status"]["observedGeneration"].is_null()
    {
        return "InProgress";
    }
    if is("Reconciling", "True") {
        return "InProgress";
    }
    if is("Stalled", "True") {
        return "Failed";
    }
    match told.get("Ready") {
        Some((status, _, _)) if status == "True" => "Current",
        Some(_) => "InProgress",
        None => "Current",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_in_progress_to_current_and_never_healthy_too_early() {
    let bed = Bed::new("kstatus").await;
    let fresh = bed.cluster("main").await;
    assert_eq!(kstatus(&fresh), "InProgress", "before any operator saw it");
    let _operator = bed.operator().await;
    bed.wait_object("apps/v1", "Deployment", "main-signaling").await;
    let waiting = bed
        .wait_condition("SignalingCluster", "main", "Reconciling", "True")
        .await;
    assert_eq!(kstatus(&waiting), "InProgress");
    assert_eq!(conditions(&waiting)["Ready"].0, "False");
    assert_eq!(conditions(&waiting)["RedisReady"].1, "RedisNotReady");

    let _pods = bed.roll_out();
    let ready = bed
        .wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    assert_eq!(kstatus(&ready), "Current");
    let told = conditions(&ready);
    for (kind, status) in [
        ("Reconciling", "False"),
        ("Stalled", "False"),
        ("Available", "True"),
        ("RedisReady", "True"),
        ("ResolvedRefs", "True"),
        ("SecurityWarnings", "True"),
        ("SettingsApplied", "True"),
    ] {
        assert_eq!(told[kind].0, status, "{kind}");
    }
    let status = &ready.data["status"];
    assert_eq!(status["observedGeneration"].as_i64(), ready.metadata.generation);
    assert_eq!(status["readyReplicas"], 2);
    assert_eq!(status["image"], "berth:test");
    assert_eq!(
        status["selector"],
        "app.kubernetes.io/instance=main,app.kubernetes.io/name=signaling"
    );
    assert_eq!(
        status["redis"],
        json!({"endpoint": format!("main-redis.{}.svc:6379", bed.namespace), "ready": true})
    );
}

/// Every version of the resource that the server ever showed: `Ready=True` speaks of the newest generation, and the time
/// of the last transition changes exactly with the status.
#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_the_status_is_honest() {
    let bed = Bed::new("honest").await;
    let versions = follow(&bed, "SignalingCluster").await;
    bed.cluster("main").await;
    let _operator = bed.operator().await;
    let _pods = bed.roll_out();
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    // Another pod template, then back; a field that no pod depends on.
    for spec in [
        json!({"publicUrl": "ws://signaling.example.com", "pod": {"labels": {"a": "b"}}}),
        json!({"publicUrl": "ws://signaling.example.com"}),
        json!({"publicUrl": "ws://signaling.example.com", "rateLimits": {"connectionsPerIp": 7}}),
    ] {
        let edited = bed.resource("SignalingCluster", "main", spec).await;
        bed.wait("the edit to be in force", async || {
            let found = bed.ours("SignalingCluster").get("main").await.unwrap();
            let seen = found.data["status"]["observedGeneration"].as_i64() == edited.metadata.generation;
            (seen && conditions(&found)["Ready"].0 == "True").then_some(())
        })
        .await;
    }

    let versions = versions.finish().await;
    assert!(versions.len() > 6, "{}", versions.len());
    let mut states = Vec::new();
    for version in &versions {
        if conditions(version)
            .get("Ready")
            .is_some_and(|ready| ready.0 == "True")
        {
            let conditions = version.data["status"]["conditions"].as_array().unwrap();
            let ready = conditions
                .iter()
                .find(|condition| condition["type"] == "Ready")
                .unwrap();
            assert_eq!(
                ready["observedGeneration"], version.data["status"]["observedGeneration"],
                "{ready}"
            );
        }
        if states.last() != Some(&kstatus(version)) {
            states.push(kstatus(version));
        }
    }
    assert_eq!(states[..2], ["InProgress", "Current"]);
    assert!(!states.contains(&"Failed"), "{states:?}");
    for pair in versions.windows(2) {
        for kind in ["Ready", "Reconciling", "Stalled", "Available", "RedisReady"] {
            let [before, after] = [&pair[0], &pair[1]].map(|version| transition(version, kind));
            if let (Some(before), Some(after)) = (before, after) {
                let same_status = before.0 == after.0;
                assert!(
                    !same_status || before.1 == after.1,
                    "{kind}: {before:?} {after:?}"
                );
            }
        }
    }
}

fn transition(version: &DynamicObject, kind: &str) -> Option<(String, String)> {
    let conditions = version.data["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    Some((
        found["status"].to_string(),
        found["lastTransitionTime"].to_string(),
    ))
}

/// See [`follow`].
pub(crate) struct Follower {
    stop: tokio_util::sync::CancellationToken,
    task: tokio::task::JoinHandle<Vec<DynamicObject>>,
}

impl Follower {
    /// Every version that there was, oldest first.
    pub(crate) async fn finish(self) -> Vec<DynamicObject> {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

/// Collects every version of the objects of a kind.
pub(crate) async fn follow(bed: &Bed, kind: &str) -> Follower {
    use futures::StreamExt;
    use kube::api::{WatchEvent, WatchParams};
    let api = bed.ours(kind);
    let start = api.list(&kube::api::ListParams::default()).await.unwrap();
    let from = start.metadata.resource_version.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        let mut events = api
            .watch(&WatchParams::default().timeout(200), &from)
            .await
            .unwrap()
            .boxed();
        let mut versions = Vec::new();
        loop {
            tokio::select! {
                () = stopped.cancelled() => return versions,
                event = events.next() => match event.unwrap().unwrap() {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => versions.push(object),
                    _ => {}
                }
            }
        }
    });
    Follower { stop, task }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_kubernetes_gave_up_is_stalled_and_heals() {
    let bed = Bed::new("stuck").await;
    bed.cluster("main").await;
    let _operator = bed.operator().await;
    let deployments = bed.api("apps/v1", "Deployment");
    let deployment = bed.wait_object("apps/v1", "Deployment", "main-signaling").await;
    let stuck = json!({"status": {
        "observedGeneration": deployment.metadata.generation, "replicas": 2, "updatedReplicas": 2, "unavailableReplicas": 2,
        "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
            "message": "ReplicaSet has timed out progressing."}],
    }});
    deployments
        .patch_status(
            "main-signaling",
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(stuck),
        )
        .await
        .unwrap();
    let stalled = bed
        .wait_condition("SignalingCluster", "main", "Stalled", "True")
        .await;
    assert_eq!(kstatus(&stalled), "Failed");
    assert_eq!(conditions(&stalled)["Ready"].1, "RolloutStuck");

    let _pods = bed.roll_out();
    // What the stand-in reports keeps the old condition, as a Deployment does until its controller removes it.
    bed.resource(
        "SignalingCluster",
        "main",
        json!({"publicUrl": "ws://signaling.example.com", "image": "berth:better"}),
    )
    .await;
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_turns_are_told_by_events() {
    let bed = Bed::new("events").await;
    bed.cluster("main").await;
    let _operator = bed.operator().await;
    let _pods = bed.roll_out();
    let cluster = bed
        .wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    let reasons = bed
        .wait("the event of readiness", async || {
            let events = bed.api("events.k8s.io/v1", "Event");
            let found = events.list(&kube::api::ListParams::default()).await.unwrap();
            let reasons: BTreeSet<_> = found
                .iter()
                .filter(|event| event.data["regarding"]["uid"].as_str() == cluster.uid().as_deref())
                .map(|event| event.data["reason"].as_str().unwrap().to_owned())
                .collect();
            reasons.contains("UpToDate").then_some(reasons)
        })
        .await;
    // Whoever is fast skips some of them.
    let turns = ["RedisNotReady", "RollingOut", "SettingsPending", "UpToDate"];
    assert!(
        reasons.iter().all(|reason| turns.contains(&&**reason)),
        "{reasons:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_gets_past_the_schema_is_stalled_with_the_field() {
    let bed = Bed::new("invalid").await;
    // The pattern of the schema takes this; a URL it is not.
    bed.resource("SignalingCluster", "main", json!({"publicUrl": "ws://[::1"}))
        .await;
    let _operator = bed.operator().await;
    let stalled = bed
        .wait_condition("SignalingCluster", "main", "Stalled", "True")
        .await;
    let (_, reason, message) = &conditions(&stalled)["Stalled"];
    assert_eq!(reason, "InvalidSpec");
    assert!(message.starts_with("spec.publicUrl: "), "{message}");
    let deployments = bed.api("apps/v1", "Deployment");
    assert!(deployments.get_opt("main-signaling").await.unwrap().is_none());

    bed.cluster("main").await;
    tokio::time::timeout(
        Duration::from_mins(1),
        bed.wait_condition("SignalingCluster", "main", "Stalled", "False"),
    )
    .await
    .unwrap();
}
