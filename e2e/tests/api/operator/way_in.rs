//! The way in from outside the cluster: an Ingress that follows its resource, and goes when it is wanted no longer.

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::bed::{Bed, WRITES};

const API: &str = "networking.k8s.io/v1";

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_follows_its_resource_and_is_written_once() {
    let bed = Bed::new("ingress").await;
    bed.resource(
        "SignalingCluster",
        "main",
        json!({"publicUrl": "wss://signaling.example.com/ws", "ingress": {"tls": {"secretName": "signaling-tls"}}}),
    )
    .await;
    bed.resource(
        "HostPool",
        "eu",
        json!({
            "signalingClusterRef": {"name": "main"},
            "publicUrl": "https://match.example.com",
            "ingress": {"className": "nginx", "annotations": {"example.com/timeout": "3600"}},
        }),
    )
    .await;
    let operator = bed.operator().await;
    let _pods = bed.roll_out();
    let signaling = bed.wait_object(API, "Ingress", "main-signaling").await;
    let rule = &signaling.data["spec"]["rules"][0];
    assert_eq!(rule["host"], "signaling.example.com");
    assert_eq!(rule["http"]["paths"][0]["path"], "/ws");
    assert_eq!(signaling.data["spec"]["tls"][0]["secretName"], "signaling-tls");
    let matchmaker = bed.wait_object(API, "Ingress", "eu-matchmaker").await;
    assert_eq!(matchmaker.data["spec"]["ingressClassName"], "nginx");
    assert_eq!(matchmaker.annotations()["example.com/timeout"], "3600");
    // The port of an Ingress is one of its Service's.
    for (name, ingress) in [("main-signaling", &signaling), ("eu-matchmaker", &matchmaker)] {
        let service = bed.wait_object("v1", "Service", name).await;
        let backend = &ingress.data["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
        assert_eq!(backend["name"], name);
        assert_eq!(backend["port"]["name"], service.data["spec"]["ports"][0]["name"]);
    }
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    operator.settle().await;
    assert_eq!(operator.requests(&WRITES)["ingresses"], 2);

    // The public URL is hot, and so is the way to it.
    bed.edit(
        "SignalingCluster",
        "main",
        json!({"publicUrl": "wss://other.example.com/ws"}),
    )
    .await;
    let ingresses = bed.api(API, "Ingress");
    let host_is = async |host: &str| {
        bed.wait(&format!("the host {host}"), async || {
            let found = ingresses.get("main-signaling").await.unwrap();
            (found.data["spec"]["rules"][0]["host"] == host).then_some(())
        })
        .await;
    };
    host_is("other.example.com").await;
    let broken = Patch::Json::<()>(
        serde_json::from_value(
            json!([{"op": "replace", "path": "/spec/rules/0/host", "value": "elsewhere.example.com"}]),
        )
        .unwrap(),
    );
    ingresses
        .patch("main-signaling", &PatchParams::default(), &broken)
        .await
        .unwrap();
    host_is("other.example.com").await;

    bed.edit("SignalingCluster", "main", json!({"ingress": null}))
        .await;
    bed.wait("the Ingress to go", async || {
        let found = ingresses.get_opt("main-signaling").await.unwrap();
        found.is_none().then_some(())
    })
    .await;
    assert!(ingresses.get_opt("eu-matchmaker").await.unwrap().is_some());
    operator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_of_somebody_else_is_left_alone_and_told() {
    let bed = Bed::new("ingress-taken").await;
    bed.apply(json!({
        "apiVersion": API, "kind": "Ingress", "metadata": {"name": "main-signaling"},
        "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}},
    }))
    .await;
    bed.resource(
        "SignalingCluster",
        "main",
        json!({"publicUrl": "wss://signaling.example.com", "ingress": {}}),
    )
    .await;
    let operator = bed.operator().await;
    let stalled = bed
        .wait_condition("SignalingCluster", "main", "Stalled", "True")
        .await;
    let (_, reason, message) = &super::bed::conditions(&stalled)["Ready"];
    assert_eq!(reason, "NameConflict");
    assert!(message.contains("Ingress main-signaling"), "{message}");
    let found = bed.api(API, "Ingress").get("main-signaling").await.unwrap();
    assert_eq!(found.data["spec"].get("rules"), None);
    operator.stop().await.unwrap();
}
