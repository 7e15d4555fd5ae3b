//! Every permission of the operator is needed: without any one of them, something is refused that it asks for.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_e2e::apiserver::{ApiServer, Options};
use berth_operator::leader::{LeaderOptions, Timing};
use berth_operator::metrics::Metrics;
use berth_operator::rbac::{self, Scope};
use futures::StreamExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use super::bed::{Bed, Running};
use super::permissions::grant;
use crate::server::furnished;

/// How many operators run at a time.
const AT_A_TIME: usize = 6;

/// An API server that knows lists and watches apart, because the operator has to work with both.
pub(crate) fn server(audit: bool) -> Arc<ApiServer> {
    let options = Options {
        audit,
        plain_lists: true,
        ..Options::default()
    };
    furnished(options)
}

/// Objects of someone else with names of children: group and version, kind, plural, name and what the server asks for.
fn obstacles() -> Vec<(&'static str, &'static str, &'static str, &'static str, Value)> {
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let pods = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let mut set = pods.clone();
    set["serviceName"] = json!("a");
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"});
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"});
    let access = "rbac.authorization.k8s.io/v1";
    vec![
        (
            "v1",
            "ServiceAccount",
            "serviceaccounts",
            "main-signaling",
            json!({}),
        ),
        (access, "Role", "roles", "main-signaling", json!({})),
        (
            access,
            "RoleBinding",
            "rolebindings",
            "main-signaling",
            json!({"roleRef": role}),
        ),
        ("v1", "Secret", "secrets", "main-match-key", json!({})),
        (
            "v1",
            "Service",
            "services",
            "main-signaling",
            json!({"spec": {"ports": [{"port": 1}]}}),
        ),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "networkpolicies",
            "main-signaling",
            json!({"spec": {"podSelector": {}}}),
        ),
        (
            "networking.k8s.io/v1",
            "Ingress",
            "ingresses",
            "main-signaling",
            json!({"spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 1}}}}}),
        ),
        (
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            "httproutes",
            "main-signaling",
            json!({"spec": {}}),
        ),
        (
            "policy/v1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            "main-signaling",
            json!({"spec": {"maxUnavailable": 1}}),
        ),
        (
            "apps/v1",
            "Deployment",
            "deployments",
            "main-signaling",
            json!({"spec": pods.clone()}),
        ),
        (
            "apps/v1",
            "StatefulSet",
            "statefulsets",
            "main-redis",
            json!({"spec": set}),
        ),
        (
            "apps/v1",
            "DaemonSet",
            "daemonsets",
            "short-turn",
            json!({"spec": pods}),
        ),
        (
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "eu-matchmaker",
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": target}}),
        ),
    ]
}

/// Starts an operator that is `user` by `kubeconfig`, with an election in its namespace.
pub(crate) async fn start(bed: &Bed, kubeconfig: &Path) -> Running {
    let mut options = bed.options_of(kubeconfig).await;
    options.leader = Some(LeaderOptions {
        namespace: bed.namespace.clone(),
        name: "berth-operator".into(),
        identity: "one".into(),
        timing: Timing::default(),
    });
    Running::start(options)
}

/// Lets an operator find objects of others in the way of its children, all of them or those of one plural.
pub(crate) async fn obstruct(bed: &Bed, only: Option<&str>) {
    let chosen: Vec<_> = obstacles()
        .into_iter()
        .filter(|obstacle| only.is_none_or(|plural| plural == obstacle.2))
        .collect();
    for (api_version, kind, _, name, more) in &chosen {
        let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
        object
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        bed.apply(object).await;
    }
}

/// Takes away what [`obstruct`] made, but for some plurals.
pub(crate) async fn clear(bed: &Bed, keep: &[&str]) {
    for (api_version, kind, plural, name, _) in obstacles() {
        if keep.contains(&plural) {
            continue;
        }
        // What the operator made under this name meanwhile it makes again.
        let _ = bed
            .api(api_version, kind)
            .delete(name, &DeleteParams::default())
            .await;
    }
}

/// TURN servers on nodes, of which there is one too few (see [`Bed::roll_out`]).
pub(crate) async fn turn_servers(bed: &Bed) {
    let managed = json!({"network": "Host", "workload": "DaemonSet"});
    bed.resource("TurnConfig", "short", json!({"managed": managed}))
        .await;
}

/// Everything that makes an operator create, change, look at, hand over, delete and tell.
pub(crate) async fn exercise(bed: &Bed) {
    let _pods = bed.roll_out();
    bed.enforce("baseline").await;
    turn_servers(bed).await;
    bed.wait_condition("TurnConfig", "short", "PodSecurityBlocked", "True")
        .await;
    bed.secret("hosts", json!({"current": "a secret of the hosts"}))
        .await;
    bed.secret("redis", json!({"url": "redis://redis.example"})).await;
    bed.resource(
        "TurnConfig",
        "turn",
        json!({"stunUrls": ["stun:stun.example.com"]}),
    )
    .await;
    bed.cluster("main").await;
    bed.edit(
        "SignalingCluster",
        "main",
        json!({"ingress": {"host": "play.example.com"}, "httpRoute": {"parentRefs": [{"name": "public"}]}}),
    )
    .await;
    let pool = async |more: Value| {
        let mut spec = json!({"signalingClusterRef": {"name": "main"}});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        bed.resource("HostPool", "eu", spec).await;
    };
    pool(json!({"autoscaling": {"minReplicas": 2, "maxReplicas": 3}})).await;
    bed.wait_condition("TurnConfig", "turn", "Ready", "True").await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    pool(json!({"hostAuth": {"secretRef": {"name": "hosts"}}})).await;
    bed.edit(
        "SignalingCluster",
        "main",
        json!({
            "pdb": {"enabled": false},
            "networkPolicy": {"enabled": false},
            "ingress": null,
            "httpRoute": null,
            "redis": {"managed": null, "external": {"urlSecretRef": {"name": "redis", "key": "url"}}},
        }),
    )
    .await;
    for (api_version, kind, name) in [
        ("apps/v1", "StatefulSet", "main-redis"),
        ("v1", "Secret", "main-redis-auth"),
        ("v1", "Service", "main-redis"),
        ("networking.k8s.io/v1", "NetworkPolicy", "main-signaling"),
        ("networking.k8s.io/v1", "Ingress", "main-signaling"),
        ("gateway.networking.k8s.io/v1", "HTTPRoute", "main-signaling"),
        ("policy/v1", "PodDisruptionBudget", "main-signaling"),
        ("autoscaling/v2", "HorizontalPodAutoscaler", "eu-matchmaker"),
    ] {
        bed.gone(api_version, kind, name).await;
    }
    // Its DaemonSet goes for a Deployment, and that for nothing.
    let deployment = json!({"stunUrls": ["stun:stun.example.com"], "managed": {"workload": "Deployment"}});
    bed.edit("TurnConfig", "short", deployment).await;
    bed.gone("apps/v1", "DaemonSet", "short-turn").await;
    bed.wait_condition("TurnConfig", "short", "Ready", "True").await;
    bed.edit("TurnConfig", "short", json!({"managed": null})).await;
    bed.gone("apps/v1", "Deployment", "short-turn").await;
    bed.gone("v1", "ServiceAccount", "short-turn").await;
    // A repeated event is written by a patch of the first.
    let events = bed.api("events.k8s.io/v1", "Event");
    bed.wait("an event that is repeated", async || {
        for (name, ready) in [("missing", "False"), ("turn", "True")] {
            bed.edit("HostPool", "eu", json!({"turnConfigRef": {"name": name}}))
                .await;
            bed.wait_condition("HostPool", "eu", "Ready", ready).await;
        }
        let found = events.list(&ListParams::default()).await.unwrap();
        let repeated = found.items.iter().any(|event| event.data["series"].is_object());
        repeated.then_some(())
    })
    .await;
}

/// Verb and kind of the requests that were refused.
fn refused(metrics: &Metrics) -> BTreeSet<(String, String)> {
    let text = metrics.encode();
    let label = |line: &str, name: &str| {
        let rest = line.split(&format!("{name}=\"")).nth(1).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    text.lines()
        .filter(|line| {
            line.starts_with("berth_operator_api_requests_total{") && line.contains("code=\"403\"")
        })
        .map(|line| (label(line, "verb"), label(line, "kind")))
        .collect()
}

/// What the operator is refused without `verb` on `resource`.
async fn without(
    server: Arc<ApiServer>,
    group: &str,
    resource: &str,
    verb: &str,
) -> BTreeSet<(String, String)> {
    let bed = Bed::on(server, "without").await;
    let user = format!("operator-of-{}", bed.namespace);
    let mut rules = rbac::policy_rules(Scope::Watched);
    rules.extend(rbac::policy_rules(Scope::Lease));
    // One rule for each resource, so that one of them loses the verb.
    let mut lessened = Vec::new();
    for rule in rules {
        for one in rule.resources.clone().unwrap_or_default() {
            let mut rule = rule.clone();
            if rule.api_groups == Some(vec![group.to_owned()]) && one == resource {
                rule.verbs.retain(|has| has != verb);
            }
            rule.resources = Some(vec![one]);
            if !rule.verbs.is_empty() {
                lessened.push(rule);
            }
        }
    }
    grant(&bed, "operator", &user, lessened).await;
    let kubeconfig = bed
        .server
        .kubeconfig_of(&user, &["system:authenticated"])
        .unwrap();
    // Only an object in the way makes it get one.
    if verb == "get" && group != rbac::RULES[0].group {
        obstruct(&bed, Some(resource)).await;
    }
    let operator = start(&bed, &kubeconfig).await;
    let metrics = operator.metrics.clone();
    let seen = async {
        loop {
            let refused = refused(&metrics);
            if !refused.is_empty() {
                break refused;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        refused = seen => refused,
        () = exercise(&bed) => {
            // At its end it gives the lease back; that it cannot is what is looked for.
            let _ = operator.stop().await;
            refused(&metrics)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_one_permission_something_is_refused() {
    let server = server(false);
    let mut cases = Vec::new();
    // What is granted outside namespaces has a test of its own.
    for rule in rbac::RULES.iter().filter(|rule| rule.scope != Scope::Cluster) {
        for resource in rule.resources {
            cases.extend(rule.verbs.iter().map(|verb| (rule.group, *resource, *verb)));
        }
    }
    assert!(cases.len() > 70);
    let unneeded = Mutex::new(Vec::new());
    futures::stream::iter(cases)
        .for_each_concurrent(AT_A_TIME, |(group, resource, verb)| {
            let (server, unneeded) = (Arc::clone(&server), &unneeded);
            async move {
                let refused = without(server, group, resource, verb).await;
                let plural = resource.split('/').next().unwrap();
                // To grant what it does not have itself is refused as a write of the Role.
                let expected =
                    |kind: &str| kind == plural || (group == rbac::RULES[0].group && kind == "roles");
                if !refused.iter().any(|(_, kind)| expected(kind)) {
                    unneeded
                        .lock()
                        .unwrap()
                        .push(format!("{verb} {resource}: {refused:?}"));
                }
            }
        })
        .await;
    let unneeded = unneeded.into_inner().unwrap();
    assert!(unneeded.is_empty(), "{unneeded:#?}");
}
