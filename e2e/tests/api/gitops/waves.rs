//! Sync waves: Argo CD applies the next one when the last one is healthy, which it knows by our script alone.

use super::CLUSTER;
use super::agent::{Agent, Report};
use super::repository::Repository;
use crate::operator::bed::Bed;

const POOL: &str = "\
apiVersion: berth.dev/v1alpha1
kind: HostPool
metadata:
  name: eu
  annotations:
    argocd.argoproj.io/sync-wave: \"1\"
spec:
  signalingClusterRef:
    name: main
";

#[tokio::test(flavor = "multi_thread")]
async fn a_wave_waits_until_the_one_before_it_is_healthy() {
    let bed = Bed::new("gitops-waves").await;
    let operator = bed.operator().await;
    let repository = Repository::new();
    repository.commit("cluster.yaml", CLUSTER);
    let revision = repository.commit("pool.yaml", POOL);
    let mut agent = Agent::start(&bed, &repository, &["--limit", "2s"]);
    // No pod becomes ready as long as nobody says so: a whole sync sees the cluster on its way, and the next one finds no pool.
    let progressing = |report: &Report| {
        let health = report.health();
        health.get("SignalingCluster") == Some(&"Progressing") && health["HostPool"] == "Missing"
    };
    agent.until("a cluster on its way", progressing).await;
    let report = agent.next().await;
    assert!(progressing(&report), "{report:#?}");

    let _pods = bed.roll_out();
    let pool = bed.wait_object("berth.dev/v1alpha1", "HostPool", "eu").await;
    let cluster = bed
        .wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    let conditions = cluster.data["status"]["conditions"].as_array().unwrap();
    let ready = conditions
        .iter()
        .find(|condition| condition["type"] == "Ready")
        .unwrap();
    // Both are RFC 3339 in UTC and whole seconds, so the text is ordered as the time is.
    let created = serde_json::to_value(pool.metadata.creation_timestamp).unwrap();
    let (created, ready) = (created.as_str(), ready["lastTransitionTime"].as_str());
    assert!(created.unwrap() >= ready.unwrap(), "{created:?} {ready:?}");
    agent
        .until("both to be healthy", |report| {
            report.is_healthy(&revision, &["HostPool", "SignalingCluster"])
        })
        .await;
    operator.stop().await.unwrap();
}
