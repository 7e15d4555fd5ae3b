//! Things that a resource names and that are not there, or go.

use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::bed::{Bed, conditions};

async fn pool_with_everything(bed: &Bed) {
    bed.resource(
        "HostPool",
        "eu",
        json!({
            "signalingClusterRef": {"name": "main"},
            "turnConfigRef": {"name": "turn"},
            "hostAuth": {"secretRef": {"name": "hosts"}},
        }),
    )
    .await;
}

async fn turn_config(bed: &Bed) {
    bed.resource(
        "TurnConfig",
        "turn",
        json!({"providers": [{"name": "coturn", "sharedSecret": {
            "urls": ["turn:turn.example.com"], "secretRef": {"name": "coturn"}}}]}),
    )
    .await;
}

/// Waits until the resource is not ready for `reason`, and says so in a message that begins with `message`.
async fn reason(bed: &Bed, kind: &str, name: &str, reason: &str, message: &str) {
    let told = bed
        .wait(&format!("{kind} {name}: {reason}: {message}"), async || {
            let told = conditions(&bed.ours(kind).get(name).await.unwrap());
            let (_, found, text) = told.get("ResolvedRefs")?;
            (found == reason && text.starts_with(message)).then_some(told)
        })
        .await;
    assert_eq!(told["Ready"].0, "False");
    assert_eq!(told["Ready"].1, reason);
    assert_eq!(
        told["Stalled"].0, "False",
        "it heals without a change of the resource"
    );
    let text = serde_json::to_string(&told).unwrap();
    assert!(!text.contains("not.a.redis"), "a value of a Secret: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_missing_is_named_and_no_pod_is_made_before() {
    let bed = Bed::new("missing").await;
    let _operator = bed.operator().await;
    let _pods = bed.roll_out();
    pool_with_everything(&bed).await;
    reason(
        &bed,
        "HostPool",
        "eu",
        "SignalingClusterNotFound",
        "SignalingCluster main does not exist; TurnConfig turn does not exist",
    )
    .await;
    // What needs no reference is there already.
    bed.wait_object("v1", "Service", "eu-matchmaker").await;

    bed.cluster("main").await;
    reason(&bed, "HostPool", "eu", "TurnConfigNotFound", "").await;
    turn_config(&bed).await;
    reason(&bed, "TurnConfig", "turn", "SecretNotFound", "").await;
    reason(
        &bed,
        "HostPool",
        "eu",
        "SecretNotFound",
        "Secret coturn does not exist; Secret hosts does not exist",
    )
    .await;
    bed.secret("coturn", json!({"other": "x"})).await;
    bed.secret("hosts", json!({"current": ""})).await;
    reason(
        &bed,
        "HostPool",
        "eu",
        "SecretKeyMissing",
        "Secret coturn has no value under key secret; Secret hosts has no value under key current",
    )
    .await;
    let deployments = bed.api("apps/v1", "Deployment");
    assert!(deployments.get_opt("eu-matchmaker").await.unwrap().is_none());

    bed.secret("coturn", json!({"secret": "x"})).await;
    bed.secret("hosts", json!({"current": "x"})).await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    let turn = bed.wait_condition("TurnConfig", "turn", "Ready", "True").await;
    assert_eq!(turn.data["status"]["consumers"], 1);
}

/// Oracle 17, missing dependency later.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_missing_later_leaves_running_pods_alone() {
    let bed = Bed::new("lost").await;
    let _operator = bed.operator().await;
    let _pods = bed.roll_out();
    bed.secret("coturn", json!({"secret": "x"})).await;
    bed.secret("hosts", json!({"current": "x"})).await;
    bed.cluster("main").await;
    turn_config(&bed).await;
    pool_with_everything(&bed).await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    let deployments = bed.api("apps/v1", "Deployment");
    let before = deployments.get("eu-matchmaker").await.unwrap();

    let turns = bed.ours("TurnConfig");
    turns.delete("turn", &DeleteParams::default()).await.unwrap();
    reason(&bed, "HostPool", "eu", "TurnConfigNotFound", "").await;
    turn_config(&bed).await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;

    let secrets = bed.api("v1", "Secret");
    let emptied = json!({"data": {"secret": null}});
    secrets
        .patch("coturn", &PatchParams::default(), &Patch::Merge(emptied))
        .await
        .unwrap();
    reason(&bed, "HostPool", "eu", "SecretKeyMissing", "").await;
    bed.secret("coturn", json!({"secret": "y"})).await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;

    let clusters = bed.ours("SignalingCluster");
    clusters.delete("main", &DeleteParams::default()).await.unwrap();
    reason(&bed, "HostPool", "eu", "SignalingClusterNotFound", "").await;

    let after = deployments.get("eu-matchmaker").await.unwrap();
    assert_eq!(before.metadata.generation, after.metadata.generation);
    assert_eq!(before.uid(), after.uid());
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_a_cluster_are_looked_at_too() {
    let bed = Bed::new("cluster-secrets").await;
    let _operator = bed.operator().await;
    let _pods = bed.roll_out();
    bed.secret("redis", json!({"url": "https://not.a.redis"})).await;
    bed.resource(
        "SignalingCluster",
        "main",
        json!({
            "publicUrl": "ws://signaling.example.com",
            "turnConfigRef": {"name": "turn"},
            "auth": {"mode": "Jwt", "jwt": {"secretRef": {"name": "jwt"}}},
            "redis": {"external": {"urlSecretRef": {"name": "redis", "key": "url"}}},
        }),
    )
    .await;
    let told = async |why, message| reason(&bed, "SignalingCluster", "main", why, message).await;
    told(
        "TurnConfigNotFound",
        "TurnConfig turn does not exist; Secret jwt does not exist; Secret redis key url is not",
    )
    .await;
    turn_config(&bed).await;
    // Signaling hands out ICE servers, so its pods mount the Secrets of the TurnConfig.
    told(
        "SecretNotFound",
        "Secret coturn does not exist; Secret jwt does not exist; Secret redis key url is not",
    )
    .await;
    bed.secret("coturn", json!({"secret": "x"})).await;
    told("SecretNotFound", "Secret jwt does not exist").await;
    bed.secret("jwt", json!({"current": "x"})).await;
    told("RedisUrlInvalid", "Secret redis key url").await;
    let deployments = bed.api("apps/v1", "Deployment");
    assert!(deployments.get_opt("main-signaling").await.unwrap().is_none());
    bed.secret("redis", json!({"url": "redis://redis.example"})).await;
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
}

/// In production no pod is made with a secret that everybody knows; in development it is, and the status warns.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_secret_that_everybody_knows_is_for_development() {
    let bed = Bed::new("weak-secret").await;
    let _operator = bed.operator().await;
    let _pods = bed.roll_out();
    bed.cluster("main").await;
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    bed.secret("hosts", json!({"current": "HELLO-MFS"})).await;
    bed.resource(
        "HostPool",
        "eu",
        json!({"signalingClusterRef": {"name": "main"}, "hostAuth": {"secretRef": {"name": "hosts"}}}),
    )
    .await;
    let stalled = bed.wait_condition("HostPool", "eu", "Stalled", "True").await;
    let told = conditions(&stalled);
    assert_eq!(told["Ready"].1, "WeakHostSecret");
    let message = &told["Stalled"].2;
    assert!(message.starts_with("Secret hosts has a placeholder"), "{message}");
    assert!(
        message.contains("key current") && !message.contains("HELLO"),
        "{message}"
    );
    let deployments = bed.api("apps/v1", "Deployment");
    assert!(deployments.get_opt("eu-matchmaker").await.unwrap().is_none());

    let development = |environment: &str| json!({"environment": environment});
    bed.edit("SignalingCluster", "main", development("Development"))
        .await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    let warned = bed
        .wait_condition("HostPool", "eu", "SecurityWarnings", "True")
        .await;
    assert_eq!(conditions(&warned)["SecurityWarnings"].1, "WeakHostSecret");

    bed.secret("hosts", json!({"current": "own"})).await;
    bed.wait_condition("HostPool", "eu", "SecurityWarnings", "False")
        .await;
    bed.edit("SignalingCluster", "main", development("Production"))
        .await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
}

/// Oracle 18, secret rotation.
#[tokio::test(flavor = "multi_thread")]
async fn new_contents_of_a_secret_change_no_pod() {
    let bed = Bed::new("rotation").await;
    let operator = bed.operator().await;
    let _pods = bed.roll_out();
    bed.secret("hosts", json!({"current": "one"})).await;
    bed.cluster("main").await;
    bed.resource(
        "HostPool",
        "eu",
        json!({"signalingClusterRef": {"name": "main"}, "hostAuth": {"secretRef": {"name": "hosts"}}}),
    )
    .await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    let deployments = bed.api("apps/v1", "Deployment");
    operator.settle().await;
    let before = deployments.get("eu-matchmaker").await.unwrap();
    let writes = operator.writes();
    let reads = |operator: &super::bed::Running| operator.requests(&["get"])["secrets"];
    let read = reads(&operator);

    bed.secret("hosts", json!({"current": "two", "previous": "one"}))
        .await;
    bed.wait("the Secret to be looked at once more", async || {
        (reads(&operator) > read).then_some(())
    })
    .await;
    let after = deployments.get("eu-matchmaker").await.unwrap();
    assert_eq!(before.resource_version(), after.resource_version());
    assert_eq!(operator.writes(), writes);
    operator.stop().await.unwrap();
}
