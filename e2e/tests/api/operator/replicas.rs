//! The number of pods passes to an autoscaler and back, and is never wrong in between.

use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use super::bed::Bed;

/// Every count that the Deployments of the namespace ever had, in order.
#[derive(Clone, Default)]
pub(crate) struct Counts(Arc<Mutex<Vec<i32>>>);

impl Counts {
    /// Counts from here on: a Deployment that is made after this returns is seen from its first count.
    pub(crate) async fn follow(bed: &Bed) -> Self {
        let counts = Self::default();
        let seen = counts.clone();
        let api: Api<Deployment> = Api::namespaced(bed.client.clone(), &bed.namespace);
        let start = api.list(&ListParams::default()).await.unwrap();
        let from = start.metadata.resource_version.unwrap();
        tokio::spawn(async move {
            let of_the_pool = WatchParams::default()
                .fields("metadata.name=eu-matchmaker")
                .timeout(200);
            let mut events = api.watch(&of_the_pool, &from).await.unwrap().boxed();
            while let Some(Ok(event)) = events.next().await {
                if let WatchEvent::Added(found) | WatchEvent::Modified(found) = event {
                    let count = found.spec.unwrap().replicas.unwrap();
                    let mut counts = seen.0.lock().unwrap();
                    if counts.last() != Some(&count) {
                        counts.push(count);
                    }
                }
            }
        });
        counts
    }

    /// Waits until the count is `last`: the watch may be behind what another request has shown.
    pub(crate) async fn wait_last(&self, bed: &Bed, last: i32) {
        bed.wait(&format!("the count {last}"), async || {
            (self.get().last() == Some(&last)).then_some(())
        })
        .await;
    }

    /// All of them so far.
    pub(crate) fn get(&self) -> Vec<i32> {
        self.0.lock().unwrap().clone()
    }
}

/// The pool with this and nothing else in its spec.
pub(crate) async fn pool(bed: &Bed, more: Value) {
    let mut spec = json!({"signalingClusterRef": {"name": "main"}});
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    bed.resource("HostPool", "eu", spec).await;
}

/// What a HorizontalPodAutoscaler does: it writes the scale subresource.
pub(crate) async fn autoscale(bed: &Bed, count: i32) {
    let api: Api<Deployment> = Api::namespaced(bed.client.clone(), &bed.namespace);
    let params = PatchParams {
        field_manager: Some("kube-controller-manager".into()),
        ..PatchParams::default()
    };
    api.patch_scale(
        "eu-matchmaker",
        &params,
        &Patch::Merge(json!({"spec": {"replicas": count}})),
    )
    .await
    .unwrap();
}

/// Waits until the Deployment says who sets its number of pods.
pub(crate) async fn wait_annotation(bed: &Bed, value: &str) {
    bed.wait(&format!("the Deployment to be {value}"), async || {
        let found = bed
            .api("apps/v1", "Deployment")
            .get_opt("eu-matchmaker")
            .await
            .unwrap()?;
        let annotations = found.metadata.annotations.unwrap();
        (annotations["berth.dev/replicas"] == value).then_some(())
    })
    .await;
}

/// Waits until the autoscaler is there, or gone.
pub(crate) async fn wait_autoscaler(bed: &Bed, there: bool) {
    let scalers = bed.api("autoscaling/v2", "HorizontalPodAutoscaler");
    bed.wait("the autoscaler to come or go", async || {
        (scalers.get_opt("eu-matchmaker").await.unwrap().is_some() == there).then_some(())
    })
    .await;
}

const SCALING: &str = r#"{"minReplicas": 2, "maxReplicas": 9}"#;

fn scaling() -> Value {
    serde_json::from_str(SCALING).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn fixed_then_autoscaled_then_fixed_again() {
    let bed = Bed::new("handover").await;
    bed.cluster("main").await;
    let operator = bed.operator().await;
    bed.wait_object("v1", "Secret", "main-redis-auth").await;
    let counts = Counts::follow(&bed).await;
    pool(&bed, json!({"replicas": 4})).await;
    wait_annotation(&bed, "fixed").await;

    pool(&bed, json!({"replicas": 4, "autoscaling": scaling()})).await;
    wait_annotation(&bed, "autoscaled").await;
    wait_autoscaler(&bed, true).await;
    autoscale(&bed, 7).await;
    // A change of the pods while the autoscaler owns the count; `replicas` means nothing meanwhile.
    pool(
        &bed,
        json!({"replicas": 1, "autoscaling": scaling(), "pod": {"labels": {"a": "b"}}}),
    )
    .await;
    bed.wait("the new template", async || {
        let found = bed
            .api("apps/v1", "Deployment")
            .get("eu-matchmaker")
            .await
            .unwrap();
        let label = found.data.pointer("/spec/template/metadata/labels/a").cloned();
        (label == Some(json!("b"))).then_some(())
    })
    .await;
    autoscale(&bed, 6).await;

    pool(&bed, json!({"replicas": 3})).await;
    wait_annotation(&bed, "fixed").await;
    wait_autoscaler(&bed, false).await;
    counts.wait_last(&bed, 3).await;
    assert_eq!(counts.get(), [4, 7, 6, 3]);
    operator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaled_deployment_begins_with_its_floor() {
    let bed = Bed::new("floor").await;
    bed.cluster("main").await;
    let operator = bed.operator().await;
    bed.wait_object("v1", "Secret", "main-redis-auth").await;
    let counts = Counts::follow(&bed).await;
    pool(&bed, json!({"autoscaling": scaling()})).await;
    wait_annotation(&bed, "autoscaled").await;
    wait_autoscaler(&bed, true).await;
    autoscale(&bed, 5).await;
    counts.wait_last(&bed, 5).await;
    assert_eq!(counts.get(), [2, 5]);
    operator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_without_pods_begins_with_the_floor_when_it_is_autoscaled() {
    let bed = Bed::new("from-zero").await;
    bed.cluster("main").await;
    let operator = bed.operator().await;
    bed.wait_object("v1", "Secret", "main-redis-auth").await;
    let counts = Counts::follow(&bed).await;
    pool(&bed, json!({"replicas": 0})).await;
    wait_annotation(&bed, "fixed").await;
    pool(&bed, json!({"replicas": 0, "autoscaling": scaling()})).await;
    wait_annotation(&bed, "autoscaled").await;
    counts.wait_last(&bed, 2).await;
    assert_eq!(counts.get(), [0, 2]);
    operator.stop().await.unwrap();
}

/// The operator dies between the two steps: the next one finds the count held, or the first step not done, and
/// goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_was_interrupted_is_finished() {
    let bed = Bed::new("interrupted").await;
    bed.cluster("main").await;
    let first = bed.operator().await;
    pool(&bed, json!({"replicas": 4})).await;
    wait_annotation(&bed, "fixed").await;
    first.stop().await.unwrap();

    let counts = Counts::follow(&bed).await;
    // What the first step leaves behind.
    let api: Api<Deployment> = Api::namespaced(bed.client.clone(), &bed.namespace);
    let held = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "eu-matchmaker"}, "spec": {"replicas": 4}});
    api.patch(
        "eu-matchmaker",
        &PatchParams::apply("berth-operator-replicas"),
        &Patch::Apply(held),
    )
    .await
    .unwrap();
    pool(&bed, json!({"replicas": 4, "autoscaling": scaling()})).await;
    let second = bed.operator().await;
    wait_annotation(&bed, "autoscaled").await;
    wait_autoscaler(&bed, true).await;
    autoscale(&bed, 8).await;
    counts.wait_last(&bed, 8).await;
    assert_eq!(counts.get(), [4, 8]);
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scale_subresource_sets_a_fixed_count() {
    let bed = Bed::new("scale").await;
    bed.cluster("main").await;
    let operator = bed.operator().await;
    let _pods = bed.roll_out();
    pool(&bed, json!({"replicas": 2})).await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    let scaled = berth_e2e::process::output(bed.server.kubectl().args([
        "--namespace",
        &bed.namespace,
        "scale",
        "hostpool/eu",
        "--replicas=5",
    ]))
    .unwrap();
    assert!(scaled.contains("scaled"), "{scaled}");
    bed.wait("five pods", async || {
        let found = bed.ours("HostPool").get("eu").await.unwrap();
        (found.data["status"]["replicas"] == 5).then_some(())
    })
    .await;
    operator.stop().await.unwrap();
}
