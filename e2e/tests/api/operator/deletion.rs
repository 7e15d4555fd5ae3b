//! What is left to the controllers of Kubernetes, which this needs: deletion, and the addresses of pods. Without nodes there are
//! no pods.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use super::bed::Bed;
use crate::server::with_controllers;

/// What a resource becomes.
pub(crate) const CHILDREN: [(&str, &str); 13] = [
    ("v1", "ServiceAccount"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("networking.k8s.io/v1", "Ingress"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
];

/// All children in the namespace, as kind and name.
pub(crate) async fn labelled(bed: &Bed) -> Vec<String> {
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=berth-operator");
    let mut found = Vec::new();
    for (api_version, kind) in CHILDREN {
        for object in bed.api(api_version, kind).list(&ours).await.unwrap() {
            found.push(format!("{kind} {}", object.metadata.name.unwrap()));
        }
    }
    found
}

/// Oracle 20, deletion.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_resource_leaves_nothing_even_without_the_operator() {
    let server = with_controllers();
    let bed = Bed::on(server, "deletion").await;
    bed.cluster("main").await;
    bed.pool("eu", "main").await;
    bed.resource("TurnConfig", "turn", servers()).await;
    let operator = bed.operator().await;
    everything_is_there(&bed).await;
    bed.ours("HostPool")
        .delete("eu", &DeleteParams::default())
        .await
        .unwrap();
    bed.wait("the pool's children to go", async || {
        let left = labelled(&bed).await;
        (!left.iter().any(|child| child.contains("eu-"))).then_some(())
    })
    .await;

    operator.stop().await.unwrap();
    for (kind, name) in [("SignalingCluster", "main"), ("TurnConfig", "turn")] {
        bed.ours(kind)
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }
    bed.wait("everything to go", async || {
        labelled(&bed).await.is_empty().then_some(())
    })
    .await;

    // A whole namespace, which nothing of ours may hold up.
    bed.cluster("main").await;
    bed.pool("eu", "main").await;
    bed.resource("TurnConfig", "turn", servers()).await;
    let operator = bed.operator().await;
    everything_is_there(&bed).await;
    operator.stop().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(bed.client.clone());
    namespaces
        .delete(&bed.namespace, &DeleteParams::default())
        .await
        .unwrap();
    bed.wait("the namespace to go", async || {
        let found = namespaces.get_opt(&bed.namespace).await.unwrap();
        found.is_none().then_some(())
    })
    .await;
}

fn servers() -> Value {
    json!({"managed": {"network": "Host", "workload": "DaemonSet"}})
}

async fn everything_is_there(bed: &Bed) {
    bed.wait_object("apps/v1", "Deployment", "main-signaling").await;
    bed.wait_object("apps/v1", "Deployment", "eu-matchmaker").await;
    bed.wait_object("apps/v1", "DaemonSet", "turn-turn").await;
}
