//! TURN servers that Berth runs: what a TurnConfig becomes, and what is told of it.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::bed::{Bed, WRITES, conditions};

/// A TurnConfig whose pods have addresses of their own.
fn by_node_port() -> Value {
    json!({
        "externalAddress": "203.0.113.7",
        "service": {"type": "NodePort"},
        "metrics": {"enabled": true},
    })
}

/// As someone who knows no free port of the server writes it: the node port is chosen by the test server's range.
fn with_port(mut managed: Value, port: u16) -> Value {
    managed["service"]["nodePort"] = json!(port);
    managed
}

async fn managed(bed: &Bed, name: &str, managed: Value) {
    bed.resource("TurnConfig", name, json!({"managed": managed}))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_config_becomes_servers_and_its_consumers_share_their_secret() {
    let bed = Bed::new("turn-pod").await;
    let operator = bed.operator().await;
    let _pods = bed.roll_out();
    managed(&bed, "turn", with_port(by_node_port(), 31_478)).await;
    bed.cluster("main").await;
    let pool = json!({"signalingClusterRef": {"name": "main"}, "turnConfigRef": {"name": "turn"}});
    bed.resource("HostPool", "eu", pool).await;
    let ready = bed.wait_condition("TurnConfig", "turn", "Ready", "True").await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    assert_eq!(conditions(&ready)["PodSecurityBlocked"].0, "False");

    for (api_version, kind, name) in [
        ("v1", "ServiceAccount", "turn-turn"),
        ("v1", "Service", "turn-turn"),
        ("networking.k8s.io/v1", "NetworkPolicy", "turn-turn"),
        ("policy/v1", "PodDisruptionBudget", "turn-turn"),
        ("apps/v1", "Deployment", "turn-turn"),
    ] {
        let found = bed.wait_object(api_version, kind, name).await;
        assert_eq!(found.owner_references()[0].kind, "TurnConfig", "{kind}");
        assert_eq!(found.labels()["berth.dev/turn-config"], "turn", "{kind}");
    }
    let secret = bed.wait_object("v1", "Secret", "turn-turn-secret").await;
    assert!(secret.data["data"]["secret"].as_str().unwrap().len() > 40);
    let matchmaker = bed.wait_object("apps/v1", "Deployment", "eu-matchmaker").await;
    let template = matchmaker.data["spec"]["template"].to_string();
    assert!(
        template.contains("/etc/berth/secrets/turn-turn-secret"),
        "{template}"
    );
    let status = &bed.ours("TurnConfig").get("turn").await.unwrap().data["status"];
    assert_eq!(status["managed"]["readyReplicas"], 1);
    assert_eq!(status["managed"]["addresses"], json!([]));

    // What the server made of it is what was rendered.
    operator.settle().await;
    let before = operator.requests(&WRITES);
    bed.edit("TurnConfig", "turn", json!({"credentialTtlSeconds": 600}))
        .await;
    bed.wait("the new generation to be told", async || {
        let found = bed.ours("TurnConfig").get("turn").await.unwrap();
        (found.data["status"]["observedGeneration"] == found.metadata.generation.unwrap()).then_some(())
    })
    .await;
    operator.settle().await;
    let written = |mut counted: BTreeMap<String, u64>| {
        // What follows is told.
        counted.retain(|kind, _| !["turnconfigs", "hostpools", "events"].contains(&&**kind));
        counted
    };
    assert_eq!(
        written(operator.requests(&WRITES)),
        written(before),
        "a child was written"
    );

    // Another number of servers restarts nobody.
    let template = async || {
        let found = bed.wait_object("apps/v1", "Deployment", "turn-turn").await;
        (
            found.data["spec"]["replicas"].clone(),
            found.data["spec"]["template"].clone(),
        )
    };
    let (_, before) = template().await;
    bed.edit("TurnConfig", "turn", json!({"managed": {"replicas": 3}}))
        .await;
    bed.wait("three servers", async || {
        let (replicas, after) = template().await;
        assert_eq!(after, before);
        (replicas == 3).then_some(())
    })
    .await;

    // Without them nothing of them is left, and the consumers let go of the secret.
    bed.edit(
        "TurnConfig",
        "turn",
        json!({"managed": null, "stunUrls": ["stun:stun.example.com"]}),
    )
    .await;
    for (api_version, kind, name) in [
        ("apps/v1", "Deployment", "turn-turn"),
        ("v1", "ServiceAccount", "turn-turn"),
        ("v1", "Service", "turn-turn"),
        ("v1", "Secret", "turn-turn-secret"),
        ("networking.k8s.io/v1", "NetworkPolicy", "turn-turn"),
        ("policy/v1", "PodDisruptionBudget", "turn-turn"),
    ] {
        bed.gone(api_version, kind, name).await;
    }
    bed.wait("a matchmaker without the secret", async || {
        let matchmaker = bed.wait_object("apps/v1", "Deployment", "eu-matchmaker").await;
        let template = matchmaker.data["spec"]["template"].to_string();
        (!template.contains("turn-turn-secret")).then_some(())
    })
    .await;
    let ready = bed.wait_condition("TurnConfig", "turn", "Ready", "True").await;
    assert_eq!(ready.data["status"].get("managed"), None);
    operator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_of_ready_servers_are_told() {
    let bed = Bed::new("turn-host").await;
    let operator = bed.operator().await;
    let _pods = bed.roll_out();
    managed(&bed, "turn", json!({"network": "Host", "workload": "DaemonSet"})).await;
    bed.wait_condition("TurnConfig", "turn", "Ready", "True").await;
    let service = bed.wait_object("v1", "Service", "turn-turn-nodes").await;
    assert_eq!(service.data["spec"]["clusterIP"], "None");
    let set = bed.wait_object("apps/v1", "DaemonSet", "turn-turn").await;
    assert_eq!(set.data["spec"]["template"]["spec"]["hostNetwork"], true);
    let told = async |expected: &[&str]| {
        bed.wait(&format!("addresses {expected:?}"), async || {
            let found = bed.ours("TurnConfig").get("turn").await.unwrap();
            (found.data["status"]["managed"]["addresses"] == json!(expected)).then_some(())
        })
        .await;
    };
    told(&[]).await;
    let at = |addresses: &[&str]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    bed.endpoints("turn", "turn", &at(&["192.0.2.2", "192.0.2.1"]))
        .await;
    told(&["192.0.2.1", "192.0.2.2"]).await;
    bed.endpoints("turn", "turn", &at(&["192.0.2.2"])).await;
    told(&["192.0.2.2"]).await;

    operator.settle().await;
    let before = operator.requests(&WRITES);
    let looks = operator.requests(&["get"]);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(operator.requests(&WRITES), before);
    assert_eq!(
        operator.requests(&["get"]),
        looks,
        "nobody asks for a namespace at rest"
    );

    // The ports of a node are free only when the other has gone.
    bed.edit(
        "TurnConfig",
        "turn",
        json!({"managed": {"workload": "Deployment"}}),
    )
    .await;
    bed.gone("apps/v1", "DaemonSet", "turn-turn").await;
    bed.wait_object("apps/v1", "Deployment", "turn-turn").await;
    bed.wait_condition("TurnConfig", "turn", "Ready", "True").await;
    operator.stop().await.unwrap();
}

/// What the Deployment controller says when the namespace refuses the pods.
async fn refuse(bed: &Bed, name: &str, refused: bool) {
    let deployments: Api<Deployment> = Api::namespaced(bed.client.clone(), &bed.namespace);
    let found = bed.wait_object("apps/v1", "Deployment", name).await;
    let message = "pods \"turn-turn-1\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)";
    let failure =
        json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]);
    let status = json!({"status": {
        "observedGeneration": found.metadata.generation,
        "conditions": if refused { failure } else { json!([]) },
    }});
    deployments
        .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_lets_no_pod_into_the_network_of_its_node_is_told_of() {
    let bed = Bed::new("turn-blocked").await;
    let operator = bed.operator().await;
    managed(&bed, "turn", json!({"network": "Host"})).await;
    refuse(&bed, "turn-turn", true).await;
    let label = "pod-security.kubernetes.io/enforce: privileged";
    let blocked = async |name: &str| {
        let found = bed
            .wait_condition("TurnConfig", name, "PodSecurityBlocked", "True")
            .await;
        let told = conditions(&found);
        assert!(told["PodSecurityBlocked"].2.contains(label), "{told:?}");
        assert!(told["PodSecurityBlocked"].2.contains(&bed.namespace), "{told:?}");
        for (kind, status) in [("Ready", "False"), ("Stalled", "True"), ("Reconciling", "False")] {
            assert_eq!(told[kind].0, status, "{kind}");
            assert_eq!(told[kind].1, "PodSecurityBlocked", "{kind}");
        }
    };
    blocked("turn").await;
    refuse(&bed, "turn-turn", false).await;
    bed.wait_condition("TurnConfig", "turn", "PodSecurityBlocked", "False")
        .await;

    // A DaemonSet says nothing of it, so the label of the namespace does.
    bed.enforce("restricted").await;
    let _pods = bed.roll_out();
    managed(&bed, "short", json!({"network": "Host", "workload": "DaemonSet"})).await;
    blocked("short").await;
    bed.wait_condition("TurnConfig", "turn", "Ready", "True").await;
    bed.enforce("privileged").await;
    // Its controller makes the pods, and that is seen.
    bed.edit("TurnConfig", "short", json!({"managed": {"realm": "other"}}))
        .await;
    let found = bed
        .wait_condition("TurnConfig", "short", "PodSecurityBlocked", "False")
        .await;
    assert_eq!(conditions(&found)["Ready"].1, "RollingOut");
    operator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_wait_for_their_certificate_and_a_pause_for_nobody() {
    let bed = Bed::new("turn-tls").await;
    let operator = bed.operator().await;
    let _pods = bed.roll_out();
    let managed_spec = json!({"network": "Host", "tls": {"secretName": "turn-tls"}});
    managed(&bed, "turn", managed_spec).await;
    let missing = bed
        .wait_condition("TurnConfig", "turn", "ResolvedRefs", "False")
        .await;
    assert_eq!(
        conditions(&missing)["ResolvedRefs"].2,
        "Secret turn-tls does not exist"
    );
    bed.wait_object("v1", "Service", "turn-turn-nodes").await;
    let deployments = bed.api("apps/v1", "Deployment");
    assert!(deployments.get_opt("turn-turn").await.unwrap().is_none());
    bed.secret("turn-tls", json!({"tls.crt": "x", "tls.key": "y"}))
        .await;
    bed.wait_condition("TurnConfig", "turn", "Ready", "True").await;
    operator.settle().await;

    bed.edit(
        "TurnConfig",
        "turn",
        json!({"paused": true, "managed": {"replicas": 2}}),
    )
    .await;
    let paused = bed.wait_condition("TurnConfig", "turn", "Paused", "True").await;
    let held = "spec.paused is true: not written Deployment turn-turn";
    assert_eq!(conditions(&paused)["Paused"].2, held);
    assert_eq!(conditions(&paused)["Ready"].1, "Paused");
    let found = bed.wait_object("apps/v1", "Deployment", "turn-turn").await;
    assert_eq!(found.data["spec"]["replicas"], 1);
    bed.edit("TurnConfig", "turn", json!({"paused": false})).await;
    bed.wait("two servers", async || {
        let found = bed.wait_object("apps/v1", "Deployment", "turn-turn").await;
        (found.data["spec"]["replicas"] == 2).then_some(())
    })
    .await;
    operator.stop().await.unwrap();
}
