//! Oracle 29: what tools write on a resource to find it again is not copied to what it becomes.

use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};

use crate::operator::CHILDREN;
use crate::operator::bed::Bed;

/// Labels by which tools claim an object. A child that carried them would be pruned by them as one that Git lacks.
const LABELS: [(&str, &str); 7] = [
    ("app.kubernetes.io/instance", "tool-app"),
    ("app.kubernetes.io/managed-by", "tool-helm"),
    ("applyset.kubernetes.io/part-of", "tool-applyset"),
    ("argocd.argoproj.io/instance", "tool-argo"),
    ("helm.toolkit.fluxcd.io/name", "tool-flux-helm"),
    ("kustomize.toolkit.fluxcd.io/name", "tool-flux"),
    ("kustomize.toolkit.fluxcd.io/namespace", "tool-flux"),
];
const ANNOTATIONS: [(&str, &str); 5] = [
    ("argocd.argoproj.io/sync-wave", "5"),
    (
        "argocd.argoproj.io/tracking-id",
        "tool-argo:berth.dev/HostPool:a/b",
    ),
    ("kubectl.kubernetes.io/last-applied-configuration", "{}"),
    ("meta.helm.sh/release-name", "tool-helm"),
    ("meta.helm.sh/release-namespace", "tool-helm"),
];

fn marked(kind: &str, name: &str, spec: &Value) -> Value {
    let map = |pairs: &[(&str, &str)]| -> Value {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect()
    };
    json!({
        "apiVersion": "berth.dev/v1alpha1", "kind": kind, "spec": spec,
        "metadata": {"name": name, "labels": map(&LABELS), "annotations": map(&ANNOTATIONS)},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_29_marks_of_tools_are_not_copied_to_children() {
    let bed = Bed::new("marks-all").await;
    let way_in = json!({"className": "nginx"});
    let scaled = json!({"minReplicas": 2});
    let route = json!({"parentRefs": [{"name": "public"}]});
    let cluster = json!({
        "publicUrl": "wss://a.example.com", "ingress": way_in, "httpRoute": route, "autoscaling": scaled});
    bed.apply(marked("SignalingCluster", "main", &cluster)).await;
    let pool = json!({"signalingClusterRef": {"name": "main"}, "publicUrl": "https://b.example.com", "ingress": way_in});
    bed.apply(marked("HostPool", "eu", &pool)).await;
    let servers = json!({"managed": {"network": "Host", "workload": "DaemonSet"}});
    bed.apply(marked("TurnConfig", "turn", &servers)).await;
    let operator = bed.operator().await;
    let _pods = bed.roll_out();
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    bed.wait_object("apps/v1", "DaemonSet", "turn-turn").await;

    for (api_version, kind) in CHILDREN {
        let found: Vec<DynamicObject> = bed
            .api(api_version, kind)
            .list(&ListParams::default())
            .await
            .unwrap()
            .items;
        assert!(!found.is_empty(), "{kind}: nothing to look at");
        for child in found {
            let text = serde_json::to_string(&child).unwrap();
            // Of keys that we set ourselves the value tells whose it is.
            let foreign = LABELS[2..].iter().chain(&ANNOTATIONS).map(|(key, _)| *key);
            for mark in foreign.chain(["tool-"]) {
                assert!(!text.contains(mark), "{mark}: {text}");
            }
        }
    }
    operator.stop().await.unwrap();
}
