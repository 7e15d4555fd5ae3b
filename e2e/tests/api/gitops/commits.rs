//! Commits are synced, judged, undone and never fought over.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::agent::{Agent, Report};
use super::repository::Repository;
use crate::operator::bed::{Bed, Running};

const KINDS: [&str; 3] = ["HostPool", "SignalingCluster", "TurnConfig"];
const RESYNCS: usize = 5;

/// With whatever a field could be fought over for: an autoscaler, an Ingress, lists, labels of pods.
const CLUSTER: &str = "\
apiVersion: berth.dev/v1alpha1
kind: SignalingCluster
metadata:
  name: main
spec:
  publicUrl: wss://signaling.example.com
  autoscaling:
    minReplicas: 2
  ingress:
    className: nginx
  security:
    allowedOrigins:
      - https://play.example.com
  turnConfigRef:
    name: turn
";
/// Its server is asked by nobody: TLS is not spoken.
const TURN: &str = "\
apiVersion: berth.dev/v1alpha1
kind: TurnConfig
metadata:
  name: turn
spec:
  stunUrls:
    - stuns:stun.example.com
";
const POOL: &str = "\
apiVersion: berth.dev/v1alpha1
kind: HostPool
metadata:
  name: eu
spec:
  replicas: 2
  signalingClusterRef:
    name: main
  turnConfigRef:
    name: turn
  pod:
    labels:
      team: games
";

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_followed_by_client_side_apply() {
    follow_commits("gitops-client", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_followed_by_server_side_apply() {
    follow_commits("gitops-server", &["--server-side"]).await;
}

async fn follow_commits(purpose: &str, side: &[&str]) {
    let bed = Bed::new(purpose).await;
    let mut options = bed.options().await;
    options.intervals.probe = Duration::ZERO;
    let operator = Running::start(options);
    let _pods = bed.roll_out();
    let repository = Repository::new();
    repository.commit("cluster.yaml", CLUSTER);
    let revision = repository.commit("turn.yaml", TURN);
    let mut agent = Agent::start(&bed, &repository, side);
    agent
        .until("a healthy cluster", |report| {
            report.is_healthy(&revision, &KINDS[1..])
        })
        .await;

    let added = repository.commit("pool.yaml", POOL);
    let report = healthy(&mut agent, &added).await;
    belongs(&report);
    stand_still(&mut agent, &added).await;

    // The schema takes this; a URL it is not.
    let broken = repository.commit("pool.yaml", &format!("{POOL}  publicUrl: https://[::1\n"));
    let first = agent
        .until("the commit to be seen", |report| report.revision == broken)
        .await;
    for resource in &first.resources {
        let differs = resource.difference.is_some();
        assert_eq!(differs, resource.object.kind == "HostPool", "{resource:#?}");
    }
    let report = judged(&mut agent, &broken, "Degraded").await;
    let message = &report.resource("HostPool").unwrap().message;
    assert!(message.starts_with("spec.publicUrl: "), "{message}");
    belongs(&report);
    for kind in ["SignalingCluster", "TurnConfig"] {
        assert_eq!(report.health()[kind], "Healthy");
    }
    let reverted = repository.revert();
    healthy(&mut agent, &reverted).await;

    // What is paused waits for somebody, which is no failure.
    let paused = POOL.replace("replicas: 2", "replicas: 3\n  paused: true");
    let paused = repository.commit("pool.yaml", &paused);
    let report = judged(&mut agent, &paused, "Suspended").await;
    let message = &report.resource("HostPool").unwrap().message;
    assert_eq!(
        message,
        "spec.paused is true: not written Deployment eu-matchmaker"
    );
    let reverted = repository.revert();
    healthy(&mut agent, &reverted).await;

    drift_is_corrected(&bed).await;
    healthy(&mut agent, &reverted).await;
    stand_still(&mut agent, &reverted).await;
    operator.stop().await.unwrap();
}

/// Waits until all three are healthy.
async fn healthy(agent: &mut Agent, revision: &str) -> Report {
    agent
        .until("all to be healthy", |report| report.is_healthy(revision, &KINDS))
        .await
}

/// Waits until the pool has this health.
async fn judged(agent: &mut Agent, revision: &str, health: &str) -> Report {
    agent
        .until(health, |report| {
            report.revision == revision && report.health().get("HostPool") == Some(&health)
        })
        .await
}

/// The engine knows what our resources have become as theirs, and not as its own.
fn belongs(report: &Report) {
    let children: BTreeSet<_> = report
        .children
        .iter()
        .map(|child| (&*child.kind, &*child.name))
        .collect();
    for child in [
        ("Deployment", "main-signaling"),
        ("HorizontalPodAutoscaler", "main-signaling"),
        ("Ingress", "main-signaling"),
        ("StatefulSet", "main-redis"),
        ("Secret", "main-redis-auth"),
        ("Deployment", "eu-matchmaker"),
        ("NetworkPolicy", "eu-matchmaker"),
        ("PodDisruptionBudget", "eu-matchmaker"),
        ("RoleBinding", "eu-matchmaker"),
        ("Service", "eu-matchmaker"),
        ("ServiceAccount", "eu-matchmaker"),
    ] {
        assert!(children.contains(&child), "{child:?} is not in {children:#?}");
    }
    assert_eq!(report.resources.len(), KINDS.len(), "{:#?}", report.resources);
}

/// Over five resyncs, each of which applies everything again, nobody writes anything. The children are not in Git, so that there
/// is nothing to compare them with: their versions say it, and that none of them is among what the engine manages.
async fn stand_still(agent: &mut Agent, revision: &str) {
    let (before, resyncs) = agent.at_rest(RESYNCS).await;
    for report in &resyncs {
        assert!(report.is_healthy(revision, &KINDS), "{report:#?}");
        assert_eq!(report.versions(), before.versions());
        assert_eq!(report.error, None);
        for resource in &report.resources {
            assert!(resource.in_git, "{resource:#?}");
            assert_eq!(resource.difference, None, "{:#?}", resource.object);
        }
        assert_eq!(report.results.len(), KINDS.len());
        for result in &report.results {
            assert_eq!(result.status, "Synced", "{result:#?}");
        }
    }
    assert!(before.children.len() > 15, "{:#?}", before.children);
}

/// A field of a resource that Git knows is brought back by the engine, one of a child by the operator.
async fn drift_is_corrected(bed: &Bed) {
    let by_hand = PatchParams {
        field_manager: Some("somebody".into()),
        ..PatchParams::default()
    };
    bed.ours("HostPool")
        .patch("eu", &by_hand, &Patch::Merge(json!({"spec": {"replicas": 5}})))
        .await
        .unwrap();
    bed.wait("the pool to be as in Git", async || {
        let pool = bed.ours("HostPool").get("eu").await.unwrap();
        (pool.data["spec"]["replicas"] == 2).then_some(())
    })
    .await;
    let change = json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}});
    let deployments = bed.api("apps/v1", "Deployment");
    let changed = deployments
        .patch("eu-matchmaker", &by_hand, &Patch::Merge(change))
        .await
        .unwrap();
    let grace = "/spec/template/spec/terminationGracePeriodSeconds";
    assert_eq!(changed.data.pointer(grace), Some(&json!(1)));
    bed.wait("the Deployment to be as the pool says", async || {
        let deployment = deployments.get("eu-matchmaker").await.unwrap();
        (deployment.data.pointer(grace) != Some(&json!(1))).then_some(())
    })
    .await;
    bed.wait("both replicas", async || {
        let deployment = deployments.get("eu-matchmaker").await.unwrap();
        (deployment.data["spec"]["replicas"] == 2).then_some(())
    })
    .await;
}
