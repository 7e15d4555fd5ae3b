//! Oracle 27: what the operator asks the API server is what the Roles of the chart grant, and all of it.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::helm::Helm;
use crate::operator::bed::Bed;
use crate::operator::needed::{clear, exercise, obstruct, server, start, turn_servers};
use crate::server::complaint;

/// Group, resource and verb.
type Permission = [String; 3];

/// A request of the operator as the server wrote it down.
#[derive(Debug)]
struct Request {
    permission: Permission,
    namespace: String,
    code: u64,
}

fn requests(log: &str, user: &str) -> Vec<Request> {
    let mut requests = Vec::new();
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let object = &event["objectRef"];
        if event["user"]["username"] != user || object.is_null() {
            continue;
        }
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let mut resource = text("resource");
        if let Some(part) = object["subresource"].as_str() {
            resource = format!("{resource}/{part}");
        }
        requests.push(Request {
            permission: [
                text("apiGroup"),
                resource,
                event["verb"].as_str().unwrap().to_owned(),
            ],
            namespace: text("namespace"),
            code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
        });
    }
    requests
}

fn granted(role: &serde_yaml::Value) -> BTreeSet<Permission> {
    let words = |rule: &serde_yaml::Value, field: &str| -> Vec<String> {
        let words = rule[field].as_sequence().unwrap().iter();
        words.map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut granted = BTreeSet::new();
    for rule in role["rules"].as_sequence().unwrap() {
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                for verb in words(rule, "verbs") {
                    granted.insert([group.clone(), resource.clone(), verb]);
                }
            }
        }
    }
    granted
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_27_the_roles_grant_what_is_asked_for_and_nothing_else() {
    let server = server(true);
    let bed = Bed::on(server, "oracle-27").await;
    let scope = [
        format!("--set=watchNamespaces={{{}}},crds.install=false", bed.namespace),
        format!("--namespace={}", bed.namespace),
    ];
    let objects = Helm::new().objects(&scope.each_ref().map(String::as_str));
    let kind = |object: &serde_yaml::Value| object["kind"].as_str().unwrap().to_owned();
    assert!(
        objects
            .iter()
            .all(|object| !kind(object).starts_with("ClusterRole"))
    );
    let access: Vec<_> = objects
        .iter()
        .filter(|object| ["ServiceAccount", "Role", "RoleBinding"].contains(&kind(object).as_str()))
        .map(|object| serde_yaml::to_string(object).unwrap())
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.yaml");
    fs::write(&file, access.join("---\n")).unwrap();
    assert_eq!(
        complaint(bed.server.kubectl().arg("apply").arg("-f").arg(&file)),
        None
    );
    let account = objects
        .iter()
        .find(|object| kind(object) == "ServiceAccount")
        .unwrap();
    let account = account["metadata"]["name"].as_str().unwrap();
    let user = format!("system:serviceaccount:{}:{account}", bed.namespace);
    let groups = ["system:serviceaccounts", "system:authenticated"];
    let kubeconfig = bed.server.kubeconfig_of(&user, &groups).unwrap();

    obstruct(&bed, None).await;
    let operator = start(&bed, &kubeconfig).await;
    turn_servers(&bed).await;
    let spec = json!({"publicUrl": "ws://signaling.example.com", "ingress": {}, "httpRoute": {"parentRefs": [{"name": "public"}]}});
    bed.resource("SignalingCluster", "main", spec).await;
    bed.wait_condition("SignalingCluster", "main", "Stalled", "True")
        .await;
    // What pods need comes first, so only then is there a look at what has pods.
    let last = [
        "deployments",
        "statefulsets",
        "daemonsets",
        "horizontalpodautoscalers",
    ];
    clear(&bed, &last).await;
    bed.wait("a look at what has pods", async || {
        let looks = operator.requests(&["get"]);
        last[..3]
            .iter()
            .all(|plural| looks.contains_key(*plural))
            .then_some(())
    })
    .await;
    let scaled = json!({
        "signalingClusterRef": {"name": "main"},
        "autoscaling": {"minReplicas": 2, "maxReplicas": 3},
    });
    bed.resource("HostPool", "eu", scaled).await;
    bed.wait_condition("HostPool", "eu", "Stalled", "True").await;
    clear(&bed, &[]).await;
    exercise(&bed).await;
    operator.stop().await.unwrap();

    let roles: Vec<_> = objects.iter().filter(|object| kind(object) == "Role").collect();
    let granted: BTreeSet<_> = roles.into_iter().flat_map(granted).collect();
    let asked = requests(&fs::read_to_string(bed.server.audit_log()).unwrap(), &user);
    let mut exercised = BTreeSet::new();
    for request in &asked {
        assert_ne!(request.code, 403, "{request:?}");
        assert_eq!(request.namespace, bed.namespace, "{request:?}");
        assert!(
            granted.contains(&request.permission),
            "{request:?} is not granted"
        );
        exercised.insert(request.permission.clone());
        // An apply that makes an object takes both.
        let [group, resource, verb] = &request.permission;
        if verb == "patch" && request.code == 201 {
            exercised.insert([group.clone(), resource.clone(), "create".into()]);
        }
        // Nobody grants what they do not have.
        if resource == "roles" && request.code == 201 {
            for ours in ["signalingclusters", "hostpools", "turnconfigs"] {
                exercised.insert(["berth.dev".into(), ours.into(), "get".into()]);
            }
        }
    }
    let unused: Vec<_> = granted.difference(&exercised).collect();
    assert!(unused.is_empty(), "granted and never used: {unused:?}");
}
