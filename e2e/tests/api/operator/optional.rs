//! APIs that not every Kubernetes cluster has come and go while the operator runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_e2e::apiserver::{ApiServer, Options};
use berth_e2e::process;
use berth_operator::rbac::{self, Scope};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject};
use kube::Api;
use kube::api::{DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::bed::{Bed, Running, conditions};
use super::needed;
use crate::server::{install_definitions, install_http_routes};

const GATEWAY: &str = "gateway.networking.k8s.io/v1";
const SCALING: &str = "autoscaling/v2";

/// Kubeconfig of a user who may do what `rules` say, everywhere.
async fn user(bed: &Bed, name: &str, rules: Vec<PolicyRule>) -> PathBuf {
    let metadata = ObjectMeta {
        name: Some(name.into()),
        ..ObjectMeta::default()
    };
    let role = ClusterRole {
        metadata: metadata.clone(),
        rules: Some(rules),
        ..ClusterRole::default()
    };
    let all: Api<ClusterRole> = Api::all(bed.client.clone());
    all.create(&PostParams::default(), &role).await.unwrap();
    let binding = ClusterRoleBinding {
        metadata,
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".into(),
            kind: "ClusterRole".into(),
            name: name.into(),
        },
        subjects: Some(vec![Subject {
            kind: "User".into(),
            name: name.into(),
            api_group: Some("rbac.authorization.k8s.io".into()),
            namespace: None,
        }]),
    };
    let bindings: Api<ClusterRoleBinding> = Api::all(bed.client.clone());
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    bed.server.kubeconfig_of(name, &["system:authenticated"]).unwrap()
}

/// An operator of the whole cluster.
async fn everywhere(bed: &Bed, kubeconfig: &Path) -> Running {
    let mut options = bed.options_of(kubeconfig).await;
    options.namespaces = Vec::new();
    Running::start(options)
}

/// Requests for a kind that were answered with `code`.
fn answered(operator: &Running, code: u16, kind: &str) -> u64 {
    let metrics = operator.metrics.encode();
    let lines = metrics.lines().filter(|line| {
        line.starts_with("berth_operator_api_requests_total{")
            && line.contains(&format!("code=\"{code}\""))
            && line.contains(&format!("kind=\"{kind}\""))
    });
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

async fn wait_reason(bed: &Bed, condition: &str, status: &str, reason: &str) -> DynamicObject {
    bed.wait(&format!("{condition}={status} {reason}"), async || {
        let found = bed.ours("SignalingCluster").get("main").await.unwrap();
        let told = conditions(&found).get(condition).cloned()?;
        (told.0 == status && told.1 == reason).then_some(found)
    })
    .await
}

async fn wait_metrics(bed: &Bed, number: usize) -> Value {
    bed.wait(&format!("{number} metrics of the autoscaler"), async || {
        let api = bed.api(SCALING, "HorizontalPodAutoscaler");
        let found = api.get_opt("main-signaling").await.unwrap()?;
        let metrics = found.data["spec"]["metrics"].clone();
        (metrics.as_array().unwrap().len() == number).then_some(metrics)
    })
    .await
}

/// What the controller of an object tells of it.
async fn report(bed: &Bed, api_version: &str, kind: &str, status: Value) {
    let api = bed.api(api_version, kind);
    let report = Patch::Merge(json!({"status": status}));
    api.patch_status("main-signaling", &PatchParams::default(), &report)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn optional_apis_are_used_when_they_come_and_missed_when_they_go() {
    let server = Arc::new(ApiServer::start(Options::default()).unwrap());
    install_definitions(&server);
    let bed = Bed::on(Arc::clone(&server), "optional").await;
    let rules = [Scope::Watched, Scope::Cluster].map(rbac::policy_rules).concat();
    let kubeconfig = user(&bed, "operator", rules).await;
    let operator = everywhere(&bed, &kubeconfig).await;
    let _pods = bed.roll_out();
    bed.resource(
        "SignalingCluster",
        "main",
        json!({
            "publicUrl": "wss://signaling.example.com",
            "autoscaling": {"targetConnectionsPerPod": 100},
            "httpRoute": {"parentRefs": [{"name": "public", "sectionName": "https"}]},
        }),
    )
    .await;
    wait_reason(&bed, "RouteAccepted", "False", "GatewayApiMissing").await;
    wait_reason(&bed, "Ready", "False", "GatewayApiMissing").await;
    wait_reason(&bed, "AutoscalingLimited", "True", "CustomMetricsMissing").await;
    wait_metrics(&bed, 1).await;

    install_http_routes(&server);
    bed.wait_object(GATEWAY, "HTTPRoute", "main-signaling").await;
    wait_reason(&bed, "RouteAccepted", "Unknown", "RoutePending").await;
    wait_reason(&bed, "Ready", "True", "UpToDate").await;
    let parent = |accepted: &str| {
        json!({"parents": [{
            "parentRef": {"name": "public", "sectionName": "https"}, "controllerName": "example.com/gateway",
            "conditions": [{"type": "Accepted", "status": accepted, "observedGeneration": 1, "reason": "NoMatchingParent",
                "message": "no such listener", "lastTransitionTime": "2024-01-01T00:00:00Z"}],
        }]})
    };
    report(&bed, GATEWAY, "HTTPRoute", parent("False")).await;
    let refused = wait_reason(&bed, "Ready", "False", "RouteRefused").await;
    assert_eq!(
        conditions(&refused)["RouteAccepted"].2,
        "Gateway public: NoMatchingParent: no such listener"
    );
    report(&bed, GATEWAY, "HTTPRoute", parent("True")).await;
    wait_reason(&bed, "RouteAccepted", "True", "RouteAccepted").await;

    // Without a Service behind it the API server takes it for one of its own, and so for available.
    let metrics = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1beta2.custom.metrics.k8s.io"},
        "spec": {"group": "custom.metrics.k8s.io", "version": "v1beta2", "groupPriorityMinimum": 100, "versionPriority": 100},
    });
    let file = bed.server.audit_log().with_file_name("metrics.json");
    std::fs::write(&file, metrics.to_string()).unwrap();
    process::output(server.kubectl().args(["apply", "-f"]).arg(&file)).unwrap();
    let metrics = wait_metrics(&bed, 2).await;
    assert_eq!(
        metrics[1]["pods"]["metric"]["name"],
        "signaling_active_connections"
    );
    let condition = json!({"type": "ScalingActive", "status": "False", "reason": "FailedGetPodsMetric",
        "message": "no such metric", "lastTransitionTime": "2024-01-01T00:00:00Z"});
    let blind = json!({"desiredReplicas": 2, "currentMetrics": [], "conditions": [condition]});
    report(&bed, SCALING, "HorizontalPodAutoscaler", blind).await;
    let limited = wait_reason(&bed, "AutoscalingLimited", "True", "AutoscalerBlind").await;
    assert_eq!(conditions(&limited)["AutoscalingLimited"].2, "no such metric");
    assert_eq!(conditions(&limited)["Ready"].0, "True");

    process::output(server.kubectl().args(["delete", "-f"]).arg(&file)).unwrap();
    wait_metrics(&bed, 1).await;
    wait_reason(&bed, "AutoscalingLimited", "True", "CustomMetricsMissing").await;
    let metrics = operator.metrics.encode();
    let refused: Vec<_> = metrics
        .lines()
        .filter(|line| line.contains("code=\"403\""))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    let definition = "customresourcedefinition/httproutes.gateway.networking.k8s.io";
    process::output(server.kubectl().args(["delete", definition])).unwrap();
    wait_reason(&bed, "RouteAccepted", "False", "GatewayApiMissing").await;
    operator.settle().await;
    let failed = answered(&operator, 404, "httproutes");
    operator.settle().await;
    assert_eq!(
        answered(&operator, 404, "httproutes"),
        failed,
        "it goes on asking"
    );
    operator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_permission_outside_namespaces_is_needed() {
    let server = needed::server(false);
    let bed = Bed::on(server, "outside").await;
    for rule in rbac::RULES.iter().filter(|rule| rule.scope == Scope::Cluster) {
        for verb in rule.verbs {
            let plural = rule.resources[0];
            let mut rules = [Scope::Watched, Scope::Cluster].map(rbac::policy_rules).concat();
            for other in &mut rules {
                if other.resources == Some(vec![plural.to_owned()]) {
                    other.verbs.retain(|has| has != verb);
                }
            }
            rules.retain(|rule| !rule.verbs.is_empty());
            let kubeconfig = user(&bed, &format!("without-{verb}-{plural}"), rules).await;
            let operator = everywhere(&bed, &kubeconfig).await;
            bed.wait(&format!("a refusal without {verb} {plural}"), async || {
                (answered(&operator, 403, plural) > 0).then_some(())
            })
            .await;
        }
    }
}
