//! What Git no longer has goes, and what it has become goes with it. This needs the garbage collector of Kubernetes.

use super::CLUSTER;
use super::agent::Agent;
use super::repository::Repository;
use crate::operator::bed::Bed;
use crate::operator::labelled;
use crate::server::with_controllers;

const POOL: &str = "\
apiVersion: berth.dev/v1alpha1
kind: HostPool
metadata:
  name: eu
spec:
  signalingClusterRef:
    name: main
";

/// The engine deletes in the foreground, so that the resource is there for a while, marked as being deleted: the operator must
/// not make its children anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_from_git_is_pruned_with_its_children() {
    let server = with_controllers();
    let bed = Bed::on(server, "gitops-prune").await;
    let operator = bed.operator().await;
    let repository = Repository::new();
    repository.commit("cluster.yaml", CLUSTER);
    repository.commit("pool.yaml", POOL);
    let mut agent = Agent::start(&bed, &repository, &[]);
    // There is no node, so no pod ever becomes ready.
    bed.wait_object("apps/v1", "Deployment", "eu-matchmaker").await;
    bed.wait_object("apps/v1", "Deployment", "main-signaling").await;

    let removed = repository.remove("pool.yaml");
    let report = agent
        .until("the pool to be pruned", |report| {
            let pruned = |kind: &str, status: &str| kind == "HostPool" && status == "Pruned";
            report.revision == removed
                && report
                    .results
                    .iter()
                    .any(|result| pruned(&result.kind, &result.status))
        })
        .await;
    assert_eq!(report.error, None);
    for result in &report.results {
        let expected = match &*result.kind {
            "HostPool" => ("eu", "Pruned"),
            _ => ("main", "Synced"),
        };
        assert_eq!((&*result.name, &*result.status), expected, "{}", result.message);
    }
    let report = agent
        .until("the pool to be gone", |report| {
            report.revision == removed && report.resource("HostPool").is_none()
        })
        .await;
    assert_eq!(report.error, None);
    assert_eq!(report.health()["SignalingCluster"], "Progressing");
    let of_pool = async || {
        let mut left = labelled(&bed).await;
        left.retain(|child| child.contains(" eu-"));
        left
    };
    bed.wait("the pool's children to go", async || {
        of_pool().await.is_empty().then_some(())
    })
    .await;
    operator.settle().await;
    assert_eq!(of_pool().await, [""; 0], "something was made anew");
    let left = labelled(&bed).await;
    let stays = "Deployment main-signaling".to_owned();
    assert!(left.contains(&stays), "{left:?}");
    operator.stop().await.unwrap();
}
