//! The table of permissions is enough, for an operator that has nothing else.

use berth_operator::leader::{LeaderOptions, Timing};
use berth_operator::rbac::{self, Scope};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use serde_json::json;

use super::bed::{Bed, Running, WRITES};

/// Lets `user` do what `rules` say in the namespace of `bed`.
pub(super) async fn grant(bed: &Bed, name: &str, user: &str, rules: Vec<PolicyRule>) {
    let metadata = ObjectMeta {
        name: Some(name.into()),
        ..ObjectMeta::default()
    };
    let api: Api<Role> = Api::namespaced(bed.client.clone(), &bed.namespace);
    let role = Role {
        metadata: metadata.clone(),
        rules: Some(rules),
    };
    api.create(&PostParams::default(), &role).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(bed.client.clone(), &bed.namespace);
    let binding = RoleBinding {
        metadata,
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".into(),
            kind: "Role".into(),
            name: name.into(),
        },
        subjects: Some(vec![Subject {
            kind: "User".into(),
            name: user.into(),
            api_group: Some("rbac.authorization.k8s.io".into()),
            namespace: None,
        }]),
    };
    bindings.create(&PostParams::default(), &binding).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_with_its_permissions_alone_is_refused_nothing() {
    let bed = Bed::new("permissions").await;
    let user = format!("system:serviceaccount:{}:berth-operator", bed.namespace);
    let kubeconfig = bed
        .server
        .kubeconfig_of(&user, &["system:serviceaccounts", "system:authenticated"])
        .unwrap();
    let mut rules = rbac::policy_rules(Scope::Watched);
    rules.extend(rbac::policy_rules(Scope::Lease));
    grant(&bed, "operator", &user, rules).await;
    let mut options = bed.options_of(&kubeconfig).await;
    options.leader = Some(LeaderOptions {
        namespace: bed.namespace.clone(),
        name: "berth-operator".into(),
        identity: "one".into(),
        timing: Timing::default(),
    });
    let operator = Running::start(options);
    let _pods = bed.roll_out();

    // Everything that makes it create, change, look at, hand over and delete.
    bed.secret("hosts", json!({"current": "x"})).await;
    bed.secret("redis", json!({"url": "redis://redis.example"})).await;
    bed.cluster("main").await;
    let pool = |more: serde_json::Value| {
        let mut spec = json!({"signalingClusterRef": {"name": "main"}});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        spec
    };
    bed.resource(
        "HostPool",
        "eu",
        pool(json!({"autoscaling": {"minReplicas": 2, "maxReplicas": 3}, "ingress": {"host": "match.example.com"}})),
    )
    .await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    bed.resource(
        "HostPool",
        "eu",
        pool(json!({"hostAuth": {"secretRef": {"name": "hosts"}}})),
    )
    .await;
    bed.edit(
        "SignalingCluster",
        "main",
        json!({
            "pdb": {"enabled": false},
            "networkPolicy": {"enabled": false},
            "redis": {"managed": null, "external": {"urlSecretRef": {"name": "redis", "key": "url"}}},
        }),
    )
    .await;
    let gone = [
        ("apps/v1", "StatefulSet", "main-redis"),
        ("v1", "Secret", "main-redis-auth"),
        ("v1", "Secret", "eu-host-secret"),
        ("autoscaling/v2", "HorizontalPodAutoscaler", "eu-matchmaker"),
        ("networking.k8s.io/v1", "Ingress", "eu-matchmaker"),
    ];
    for (api_version, kind, name) in gone {
        bed.wait(&format!("{kind} {name} to go"), async || {
            let found = bed.api(api_version, kind).get_opt(name).await.unwrap();
            found.is_none().then_some(())
        })
        .await;
    }
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;

    let refused: Vec<_> = operator
        .metrics
        .encode()
        .lines()
        .filter(|line| line.contains("code=\"403\""))
        .map(str::to_owned)
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    let written = operator.requests(&WRITES);
    for kind in [
        "leases",
        "events",
        "secrets",
        "horizontalpodautoscalers",
        "ingresses",
        "rolebindings",
    ] {
        assert!(
            written.contains_key(kind),
            "{kind} was not exercised: {written:?}"
        );
    }
    operator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_missing_is_told() {
    let bed = Bed::new("forbidden").await;
    let user = format!("operator-of-{}", bed.namespace);
    let kubeconfig = bed
        .server
        .kubeconfig_of(&user, &["system:authenticated"])
        .unwrap();
    let mut rules = rbac::policy_rules(Scope::Watched);
    for rule in &mut rules {
        if rule.resources == Some(vec!["services".into()]) {
            rule.verbs.retain(|verb| verb != "patch");
        }
    }
    grant(&bed, "operator", &user, rules).await;
    let _operator = Running::start(bed.options_of(&kubeconfig).await);
    bed.cluster("main").await;
    let stalled = bed
        .wait_condition("SignalingCluster", "main", "Stalled", "True")
        .await;
    let (_, reason, message) = &super::bed::conditions(&stalled)["Ready"];
    assert_eq!(reason, "Forbidden");
    assert!(
        message.contains("services") && message.contains("patch"),
        "{message}"
    );
    // Everything else is there.
    bed.wait_object("apps/v1", "Deployment", "main-signaling").await;
}
