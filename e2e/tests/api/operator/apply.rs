//! What is written: every object once, by one field manager, and again only when it differs.

use berth_e2e::process;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use super::bed::{Bed, WRITES, conditions};

/// Children of a SignalingCluster with managed Redis: account, role, binding, two secrets, three services, two policies, budget,
/// `StatefulSet`, Deployment.
const CLUSTER_CHILDREN: u64 = 13;
/// Children of a HostPool: account, role, binding, two secrets, service, policy, budget, Deployment.
const POOL_CHILDREN: u64 = 9;

#[tokio::test(flavor = "multi_thread")]
async fn every_child_takes_one_request() {
    let bed = Bed::new("first").await;
    bed.cluster("main").await;
    bed.pool("eu", "main").await;
    let operator = bed.operator().await;
    let _pods = bed.roll_out();
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;

    let made = operator.requests(&["create", "patch", "update", "delete", "get"]);
    let children: u64 = made
        .iter()
        .filter(|(kind, _)| *kind != "events")
        .map(|(_, count)| count)
        .sum();
    assert_eq!(children, CLUSTER_CHILDREN + POOL_CHILDREN, "{made:?}");
    operator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn children_have_one_field_manager_and_status_another() {
    let bed = Bed::new("managers").await;
    bed.cluster("main").await;
    let _operator = bed.operator().await;
    let _pods = bed.roll_out();
    let cluster = bed
        .wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    for (api_version, kind, name) in [
        ("apps/v1", "Deployment", "main-signaling"),
        ("apps/v1", "StatefulSet", "main-redis"),
        ("v1", "Service", "main-redis-headless"),
        ("rbac.authorization.k8s.io/v1", "Role", "main-signaling"),
        ("networking.k8s.io/v1", "NetworkPolicy", "main-redis"),
        ("policy/v1", "PodDisruptionBudget", "main-signaling"),
    ] {
        let child = bed.api(api_version, kind).get(name).await.unwrap();
        let managers: Vec<_> = child
            .managed_fields()
            .iter()
            .filter(|entry| entry.subresource.is_none())
            .map(|entry| (entry.manager.clone().unwrap(), entry.operation.clone().unwrap()))
            .collect();
        assert_eq!(
            managers,
            [("berth-operator".to_owned(), "Apply".to_owned())],
            "{kind} {name}"
        );
        let owner = &child.owner_references()[0];
        assert_eq!(Some(&owner.uid), cluster.uid().as_ref());
    }
    let of_status: Vec<_> = cluster
        .managed_fields()
        .iter()
        .filter(|entry| entry.subresource.as_deref() == Some("status"))
        .map(|entry| entry.manager.clone().unwrap())
        .collect();
    assert_eq!(of_status, ["berth-operator-status"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_repaired_by_one_write() {
    let bed = Bed::new("drift").await;
    bed.cluster("main").await;
    let operator = bed.operator().await;
    let _pods = bed.roll_out();
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    let before = operator.requests(&WRITES);

    let services = bed.api("v1", "Service");
    let broken = json!({"spec": {"selector": {"app.kubernetes.io/name": "nobody"}}});
    let vandal = PatchParams::default();
    services
        .patch("main-signaling", &vandal, &Patch::Merge(broken))
        .await
        .unwrap();
    bed.wait("the selector to be repaired", async || {
        let service = services.get("main-signaling").await.unwrap();
        (service.data["spec"]["selector"]["app.kubernetes.io/name"] == "signaling").then_some(())
    })
    .await;
    let policies = bed.api("networking.k8s.io/v1", "NetworkPolicy");
    policies
        .delete("main-redis", &DeleteParams::default())
        .await
        .unwrap();
    bed.wait_object("networking.k8s.io/v1", "NetworkPolicy", "main-redis")
        .await;
    let roles = bed.api("rbac.authorization.k8s.io/v1", "Role");
    let wider = json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    roles
        .patch("main-signaling", &vandal, &Patch::Merge(wider))
        .await
        .unwrap();
    bed.wait("the role to be narrow again", async || {
        let role = roles.get("main-signaling").await.unwrap();
        (role.data["rules"][0]["apiGroups"] == json!(["berth.dev"])).then_some(())
    })
    .await;

    // What the server shows may be ahead of the answer that is counted.
    operator.settle().await;
    let after = operator.requests(&WRITES);
    for kind in ["services", "networkpolicies", "roles"] {
        assert_eq!(after[kind] - before[kind], 1, "{kind}");
    }
    operator.stop().await.unwrap();
}

/// Oracle 11, ownership.
#[tokio::test(flavor = "multi_thread")]
async fn fields_of_others_survive_and_fields_that_are_dropped_go() {
    let bed = Bed::new("others").await;
    bed.resource(
        "SignalingCluster",
        "main",
        json!({
            "publicUrl": "ws://signaling.example.com",
            "service": {"annotations": {"cloud.example/lb": "internal"}},
            "pod": {"nodeSelector": {"pool": "games"}},
        }),
    )
    .await;
    let _operator = bed.operator().await;
    let service = bed.wait_object("v1", "Service", "main-signaling").await;
    assert_eq!(service.annotations()["cloud.example/lb"], "internal");
    bed.apply(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "main-signaling", "labels": {"team": "players"}, "annotations": {"mesh": "on"}},
    }))
    .await;

    bed.cluster("main").await;
    let service = bed
        .wait("the annotation to go", async || {
            let service = bed.api("v1", "Service").get("main-signaling").await.unwrap();
            (!service.annotations().contains_key("cloud.example/lb")).then_some(service)
        })
        .await;
    assert_eq!(service.labels()["team"], "players");
    assert_eq!(service.annotations()["mesh"], "on");
    bed.wait("the node selector to go", async || {
        let deployment = bed
            .api("apps/v1", "Deployment")
            .get("main-signaling")
            .await
            .unwrap();
        let selector = deployment.data.pointer("/spec/template/spec/nodeSelector");
        selector.is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quantities_in_another_notation_are_no_drift() {
    let bed = Bed::new("quantities").await;
    bed.resource(
        "SignalingCluster",
        "main",
        json!({
            "publicUrl": "ws://signaling.example.com",
            "redis": {"managed": {"persistence": "AppendOnly", "storageSize": "1024Mi", "maxMemory": "0.25Gi"}},
            "pod": {"resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"memory": "2e9"}}},
        }),
    )
    .await;
    let first = bed.operator().await;
    let _pods = bed.roll_out();
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    first.stop().await.unwrap();

    let mut options = bed.options().await;
    options.intervals.resync = std::time::Duration::from_millis(200);
    let second = super::bed::Running::start(options);
    bed.wait("a few looks", async || {
        let exported = second.metrics.encode();
        let looks = exported
            .lines()
            .filter(|line| line.starts_with("berth_operator_reconcile_total"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
        (looks.sum::<u32>() >= 5).then_some(())
    })
    .await;
    assert_eq!(second.writes(), 0, "{:?}", second.requests(&WRITES));
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wanted_no_longer_is_deleted_but_redis_only_after_the_rollout() {
    let bed = Bed::new("prune").await;
    bed.cluster("main").await;
    let _operator = bed.operator().await;
    let pods = bed.roll_out();
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    drop(pods);

    bed.secret(
        "redis",
        json!({"url": "rediss://user:password@redis.example:6380"}),
    )
    .await;
    bed.edit(
        "SignalingCluster",
        "main",
        json!({
            "networkPolicy": {"enabled": false},
            "pdb": {"enabled": false},
            "redis": {"managed": null, "external": {"urlSecretRef": {"name": "redis", "key": "url"}}},
        }),
    )
    .await;
    for (api_version, kind) in [
        ("networking.k8s.io/v1", "NetworkPolicy"),
        ("policy/v1", "PodDisruptionBudget"),
    ] {
        bed.wait("policies and budget to go", async || {
            let found = bed
                .api(api_version, kind)
                .list(&ListParams::default())
                .await
                .unwrap();
            found.items.is_empty().then_some(())
        })
        .await;
    }
    let sets = bed.api("apps/v1", "StatefulSet");
    assert!(
        sets.get_opt("main-redis").await.unwrap().is_some(),
        "the old pods still use it"
    );

    let _pods = bed.roll_out();
    let secrets = bed.api("v1", "Secret");
    bed.wait("Redis to go", async || {
        let gone = sets.get_opt("main-redis").await.unwrap().is_none()
            && secrets.get_opt("main-redis-auth").await.unwrap().is_none();
        gone.then_some(())
    })
    .await;
    assert!(
        secrets.get_opt("redis").await.unwrap().is_some(),
        "not ours to delete"
    );
    let cluster = bed
        .wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    assert_eq!(cluster.data["status"]["redis"]["endpoint"], "redis.example:6380");
    assert!(!serde_json::to_string(&cluster).unwrap().contains("password"));
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_secrets_are_made_once() {
    let bed = Bed::new("secrets").await;
    bed.cluster("main").await;
    bed.pool("eu", "main").await;
    let first = bed.operator().await;
    let _pods = bed.roll_out();
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    let secrets = bed.api("v1", "Secret");
    let value = async |name: &str, key: &str| {
        let secret = secrets.get(name).await.unwrap();
        secret.data["data"][key].as_str().unwrap().to_owned()
    };
    let password = value("main-redis-auth", "password").await;
    assert_ne!(password, value("main-match-key", "current").await);
    // 32 bytes in base64url, and that in base64.
    assert_eq!(password.len(), 60);
    first.stop().await.unwrap();

    // A rotation by hand, and a restart of the operator: both are left alone.
    let rotated = json!({"stringData": {"current": "new", "previous": "old"}});
    secrets
        .patch("eu-host-secret", &PatchParams::default(), &Patch::Merge(rotated))
        .await
        .unwrap();
    let second = bed.operator().await;
    bed.resource(
        "HostPool",
        "eu",
        json!({"signalingClusterRef": {"name": "main"}, "replicas": 3}),
    )
    .await;
    bed.wait("the edit to be seen", async || {
        let pool = bed.ours("HostPool").get("eu").await.unwrap();
        (pool.data["status"]["replicas"] == 3).then_some(())
    })
    .await;
    assert_eq!(value("main-redis-auth", "password").await, password);
    assert_eq!(value("eu-host-secret", "current").await, "bmV3");
    assert_eq!(second.requests(&WRITES).get("secrets"), None);

    // One that is gone is made anew.
    secrets
        .delete("main-match-key", &DeleteParams::default())
        .await
        .unwrap();
    bed.wait_object("v1", "Secret", "main-match-key").await;
    second.stop().await.unwrap();
}

/// Oracle 29, label hygiene.
#[tokio::test(flavor = "multi_thread")]
async fn marks_of_other_tools_are_not_copied_and_a_second_apply_changes_nothing() {
    let bed = Bed::new("marks").await;
    let manifest = format!(
        "apiVersion: berth.dev/v1alpha1\nkind: SignalingCluster\nmetadata:\n  name: main\n  namespace: {}\n  labels:\n    \
         argocd.argoproj.io/instance: app\n    app.kubernetes.io/managed-by: Helm\nspec:\n  publicUrl: ws://signaling.example.com\n",
        bed.namespace
    );
    let folder = std::env::temp_dir().join(format!("{}.yaml", bed.namespace));
    std::fs::write(&folder, manifest).unwrap();
    let apply = |kubectl: &mut std::process::Command| {
        process::output(kubectl.args(["apply", "-f"]).arg(&folder)).unwrap()
    };
    apply(&mut bed.server.kubectl());
    let _operator = bed.operator().await;
    let _pods = bed.roll_out();
    let before = bed
        .wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    let told = apply(&mut bed.server.kubectl());
    assert!(told.contains("unchanged"), "{told}");
    std::fs::remove_file(&folder).unwrap();
    let after = bed.ours("SignalingCluster").get("main").await.unwrap();
    assert_eq!(before.metadata.generation, after.metadata.generation);
    assert_eq!(conditions(&before), conditions(&after));

    for (api_version, kind) in [
        ("apps/v1", "Deployment"),
        ("v1", "Service"),
        ("v1", "ServiceAccount"),
    ] {
        for child in bed
            .api(api_version, kind)
            .list(&ListParams::default())
            .await
            .unwrap()
        {
            let text = serde_json::to_string(&child.metadata).unwrap();
            assert!(
                !text.contains("argocd") && !text.contains("last-applied"),
                "{text}"
            );
        }
    }
}
