//! Who is looked at when something changes.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use kube::core::error_boundary::InvalidObject;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::render::{ChildId, ChildKind};

fn parse<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn name(text: &str) -> ObjectName {
    ObjectName::new("ns", text)
}

fn pool(generation: i64, version: &str) -> Change<DeserializeGuard<HostPool>> {
    Change::Present(DeserializeGuard(Ok(parse(json!({
        "apiVersion": "berth.dev/v1alpha1", "kind": "HostPool",
        "metadata": {"name": "eu", "namespace": "ns", "uid": "u", "generation": generation, "resourceVersion": version,
            "managedFields": [{"manager": "someone"}]},
        "spec": {"signalingClusterRef": {"name": "main"}, "turnConfigRef": {"name": "turn"}},
    })))))
}

fn turn(generation: i64) -> Change<DeserializeGuard<TurnConfig>> {
    Change::Present(DeserializeGuard(Ok(parse(json!({
        "apiVersion": "berth.dev/v1alpha1", "kind": "TurnConfig",
        "metadata": {"name": "turn", "namespace": "ns", "generation": generation},
        "spec": {"providers": [{"name": "a", "sharedSecret": {"urls": ["turn:a"], "secretRef": {"name": "coturn"}}}]},
    })))))
}

fn cluster_resource() -> Change<DeserializeGuard<SignalingCluster>> {
    Change::Present(DeserializeGuard(Ok(parse(json!({
        "apiVersion": "berth.dev/v1alpha1", "kind": "SignalingCluster",
        "metadata": {"name": "main", "namespace": "ns", "generation": 1},
        "spec": {"publicUrl": "ws://a"},
    })))))
}

fn secret(text: &str, version: &str) -> Change<PartialObjectMeta<Secret>> {
    Change::Present(parse(json!({
        "metadata": {"name": text, "namespace": "ns", "resourceVersion": version},
    })))
}

fn service(version: &str, owner: &str) -> Change<Service> {
    Change::Present(parse(json!({
        "metadata": {"name": "eu-matchmaker", "namespace": "ns", "uid": "s", "resourceVersion": version, "ownerReferences": [{
            "apiVersion": "berth.dev/v1alpha1", "kind": "HostPool", "name": owner, "uid": "u", "controller": true}]},
    })))
}

/// Names in the queues of clusters, pools and TurnConfigs; the queues are empty then.
async fn queued(cluster: &Cluster) -> [Vec<String>; 3] {
    async fn drain<K: MainKind>(registry: &Registry<K>) -> Vec<String> {
        use futures::StreamExt;
        let waiting = registry.queue.len();
        registry
            .queue
            .stream()
            .take(waiting)
            .map(|name| name.name)
            .collect()
            .await
    }
    [
        drain(&cluster.signaling_clusters).await,
        drain(&cluster.host_pools).await,
        drain(&cluster.turn_configs).await,
    ]
}

fn none() -> [Vec<String>; 3] {
    <[Vec<String>; 3]>::default()
}

fn only(index: usize, name: &str) -> [Vec<String>; 3] {
    let mut expected = none();
    expected[index] = vec![name.to_owned()];
    expected
}

#[tokio::test]
async fn a_status_or_a_repeated_version_wakes_nobody() {
    let cluster = Cluster::default();
    cluster.on_resource(pool(1, "1"));
    assert_eq!(queued(&cluster).await, only(1, "eu"));
    cluster.on_resource(pool(1, "2"));
    assert_eq!(queued(&cluster).await, none());
    cluster.on_resource(pool(2, "3"));
    assert_eq!(queued(&cluster).await, only(1, "eu"));
    let stored = cluster.host_pools.get(&name("eu")).unwrap();
    assert!(stored.metadata.managed_fields.is_none());

    cluster.on_child(service("1", "eu"));
    assert_eq!(queued(&cluster).await, only(1, "eu"));
    cluster.on_child(service("1", "eu"));
    assert_eq!(queued(&cluster).await, none());
}

#[tokio::test]
async fn what_a_pool_names_wakes_it_however_indirectly() {
    let cluster = Cluster::default();
    cluster.on_resource(turn(1));
    cluster.on_resource(pool(1, "1"));
    cluster.on_resource(cluster_resource());
    queued(&cluster).await;

    cluster.on_secret(secret("coturn", "1"));
    let [clusters, pools, turns] = queued(&cluster).await;
    assert_eq!(
        (clusters, pools, turns),
        (vec![], vec!["eu".into()], vec!["turn".into()])
    );
    cluster.on_secret(secret("coturn", "1"));
    assert_eq!(queued(&cluster).await, none());
    cluster.on_secret(secret("main-match-key", "1"));
    let [clusters, pools, _] = queued(&cluster).await;
    assert_eq!((clusters, pools), (vec!["main".into()], vec!["eu".into()]));
    cluster.on_secret(secret("of-nobody", "1"));
    assert_eq!(queued(&cluster).await, none());
    cluster.on_resource::<SignalingCluster>(Change::Gone(name("main")));
    assert_eq!(queued(&cluster).await, only(1, "eu"));
}

#[tokio::test]
async fn a_turn_config_counts_those_that_name_it() {
    let cluster = Cluster::default();
    cluster.on_resource(turn(1));
    queued(&cluster).await;
    cluster.on_resource(pool(1, "1"));
    assert_eq!(queued(&cluster).await[2], ["turn"]);
    let node = Node::TurnConfig(name("turn"));
    assert_eq!(cluster.consumers(&node), 1);
    cluster.on_resource::<HostPool>(Change::Gone(name("eu")));
    assert_eq!(queued(&cluster).await, only(2, "turn"));
    assert_eq!(cluster.consumers(&node), 0);
}

#[tokio::test]
async fn one_resource_that_cannot_be_read_hurts_no_other() {
    let cluster = Cluster::default();
    cluster.on_resource(pool(1, "1"));
    queued(&cluster).await;
    let mut metadata = ObjectMeta::default();
    (metadata.name, metadata.namespace) = (Some("eu".into()), Some("ns".into()));
    let invalid = InvalidObject {
        error: "missing field".into(),
        metadata,
    };
    cluster.on_resource::<HostPool>(Change::Present(DeserializeGuard(Err(invalid))));
    assert_eq!(cluster.host_pools.undecodable(), 1);
    assert_eq!(queued(&cluster).await, none());
    assert!(
        cluster.host_pools.get(&name("eu")).is_some(),
        "its last good version stays"
    );
    cluster.on_resource(pool(2, "3"));
    assert_eq!(cluster.host_pools.undecodable(), 0);
}

#[tokio::test]
async fn nothing_is_remembered_of_what_is_gone() {
    let cluster = Cluster::default();
    cluster.on_resource(pool(1, "1"));
    let resource = cluster.host_pools.get(&name("eu")).unwrap();
    cluster.host_pools.failed(&name("eu"), Instant::now());
    cluster.on_resource::<HostPool>(Change::Gone(name("eu")));
    assert!(cluster.host_pools.attempts(&name("eu")).is_none());
    // A reconcile that was on its way when the resource went.
    cluster.host_pools.failed(&name("eu"), Instant::now());
    let status = berth_crds::api::HostPoolStatus::default();
    cluster.host_pools.wrote_status(&name("eu"), &resource, status);
    assert!(cluster.host_pools.attempts(&name("eu")).is_none());
    assert_eq!(queued(&cluster).await[1], Vec::<String>::new());
}

#[test]
fn a_written_status_counts_until_the_watch_shows_another_version() {
    let cluster = Cluster::default();
    cluster.on_resource(pool(1, "1"));
    let resource = cluster.host_pools.get(&name("eu")).unwrap();
    let status = berth_crds::api::HostPoolStatus {
        replicas: 7,
        ..Default::default()
    };
    cluster.host_pools.wrote_status(&name("eu"), &resource, status);
    assert_eq!(cluster.host_pools.last_status(&name("eu"), &resource).replicas, 7);
    cluster.on_resource(pool(1, "2"));
    let newer = cluster.host_pools.get(&name("eu")).unwrap();
    assert_eq!(cluster.host_pools.last_status(&name("eu"), &newer).replicas, 0);
}

#[test]
fn a_write_is_in_flight_until_the_watch_shows_it_or_too_long_has_passed() {
    let cluster = Cluster::default();
    let id = ChildId::new(ChildKind::Service, "eu-matchmaker");
    let now = Instant::now();
    let agreement = |version: &str| Agreement {
        hash: "h".into(),
        resource_version: Some(version.into()),
        projection: [0; 32],
    };
    cluster.children.wrote("ns", &id, agreement("2"), now);
    let in_flight = |after| cluster.children.view("ns", &id, now + after).in_flight;
    assert_eq!(in_flight(Duration::ZERO).as_deref(), Some("h"));
    assert_eq!(in_flight(Duration::from_mins(1)), None);
    cluster.on_child(service("2", "eu"));
    let view = cluster.children.view("ns", &id, now);
    assert_eq!(view.in_flight, None);
    assert_eq!(*view.agreement.unwrap(), agreement("2"));

    // The watch was faster than the answer.
    cluster.on_child(service("3", "eu"));
    cluster.children.wrote("ns", &id, agreement("3"), now);
    assert_eq!(cluster.children.view("ns", &id, now).in_flight, None);
}

#[test]
fn children_are_found_by_their_owner() {
    let cluster = Cluster::default();
    let id = ChildId::new(ChildKind::Service, "eu-matchmaker");
    cluster.on_child(service("1", "eu"));
    assert_eq!(cluster.children.owned_by("u"), [id.clone()].into());
    let orphaned: Service = parse(json!({
        "metadata": {"name": "eu-matchmaker", "namespace": "ns", "uid": "s", "resourceVersion": "2"},
    }));
    cluster.on_child(Change::Present(orphaned));
    assert!(cluster.children.owned_by("u").is_empty());
    cluster.on_child(service("3", "eu"));
    cluster.on_child::<Service>(Change::Gone(name("eu-matchmaker")));
    assert!(cluster.children.owned_by("u").is_empty());
    assert_eq!(cluster.children.len(), 0);
}
