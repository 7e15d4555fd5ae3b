//! The Helm chart: what it renders fits the operator, and a real API server takes it.

use std::collections::BTreeSet;
use std::fs;

use berth_e2e::apiserver::{ApiServer, Options};
use berth_e2e::process;
use berth_operator::args::{Args, COTURN_IMAGE, REDIS_IMAGE};
use berth_operator::logs::Format;
use berth_operator::rbac::{Scope, policy_rules};
use clap::Parser;
use serde_yaml::Value;

use crate::helm::{Helm, chart};
use crate::server::{complaint, install_definitions, repository, shared};

/// Values that touch every branch of the templates.
pub(crate) const MATRIX: [&[&str]; 5] = [
    &[],
    &["--set=replicas=3,networkPolicy.enabled=false,crds.keep=false,image.pullPolicy=Always"],
    &["--set=watchNamespaces={one,two},crds.install=false,logLevel=debug,fullnameOverride=other"],
    &[
        "--set=priorityClassName=system-cluster-critical,nameOverride=games,image.tag=1.2.3",
        "--set-json=tolerations=[{\"key\":\"games\",\"operator\":\"Exists\"}]",
        "--set-json=nodeSelector={\"kubernetes.io/arch\":\"amd64\"}",
        "--set-json=imagePullSecrets=[{\"name\":\"registry\"}]",
    ],
    &[
        "--set=image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "--set-json=podLabels={\"team\":\"games\"}",
        "--set-json=podAnnotations={\"example.com/a\":\"b\"}",
        "--set-json=serviceAccount={\"annotations\":{\"example.com/role\":\"berth\"}}",
        "--set-json=resources={\"requests\":{\"cpu\":1},\"limits\":{\"memory\":\"1Gi\"}}",
    ],
];

fn values() -> Value {
    serde_yaml::from_str(&fs::read_to_string(chart().join("values.yaml")).unwrap()).unwrap()
}

/// The objects of one kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// Permissions one by one: group, resource, names of objects, verb.
fn permissions(rules: &Value) -> BTreeSet<[String; 4]> {
    let words = |rule: &Value, field: &str| -> Vec<String> {
        let words = rule[field].as_sequence().into_iter().flatten();
        words.map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut permissions = BTreeSet::new();
    for rule in rules.as_sequence().unwrap() {
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                for verb in words(rule, "verbs") {
                    let names = words(rule, "resourceNames").join(" ");
                    permissions.insert([group.clone(), resource.clone(), names, verb]);
                }
            }
        }
    }
    permissions
}

fn needed(scope: Scope) -> BTreeSet<[String; 4]> {
    permissions(&serde_yaml::to_value(policy_rules(scope)).unwrap())
}

/// The `ClusterRole` of the operator itself.
fn operators(objects: &[Value]) -> &Value {
    let mut roles = of_kind(objects, "ClusterRole").into_iter();
    roles
        .find(|role| role["metadata"]["name"].as_str().unwrap().ends_with("-operator"))
        .unwrap()
}

fn arguments(objects: &[Value]) -> Vec<String> {
    let container = &of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    let words = ["command", "args"].map(|field| container[field].as_sequence().unwrap());
    words
        .into_iter()
        .flatten()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_roles_grant_what_the_operator_needs_and_no_more() {
    let helm = Helm::new();
    let everywhere = helm.objects(&[]);
    assert_eq!(
        permissions(&operators(&everywhere)["rules"]),
        &needed(Scope::Watched) | &needed(Scope::Cluster)
    );
    assert_eq!(of_kind(&everywhere, "ClusterRoleBinding").len(), 1);
    let roles = of_kind(&everywhere, "Role");
    assert_eq!(roles.len(), 1, "the leader's alone");
    assert_eq!(permissions(&roles[0]["rules"]), needed(Scope::Lease));
    assert_eq!(roles[0]["metadata"]["namespace"], "berth-system");

    let some = helm.objects(&["--set=watchNamespaces={one,two}"]);
    assert_eq!(
        of_kind(&some, "ClusterRole").len() + of_kind(&some, "ClusterRoleBinding").len(),
        0
    );
    for namespace in ["one", "two"] {
        let roles = of_kind(&some, "Role");
        let role = roles
            .iter()
            .find(|role| role["metadata"]["namespace"] == namespace)
            .unwrap();
        assert_eq!(permissions(&role["rules"]), needed(Scope::Watched), "{namespace}");
        let bound = of_kind(&some, "RoleBinding").into_iter().any(|binding| {
            binding["metadata"]["namespace"] == namespace
                && binding["roleRef"]["name"] == role["metadata"]["name"]
                && binding["subjects"][0]["namespace"] == "berth-system"
        });
        assert!(bound, "{namespace}");
    }
}

#[test]
fn the_operator_understands_its_arguments() {
    let helm = Helm::new();
    let args = Args::try_parse_from(arguments(&helm.objects(&[]))).unwrap();
    let values = values();
    assert_eq!(
        args.image,
        format!(
            "{}:{}",
            values["image"]["repository"].as_str().unwrap(),
            env!("CARGO_PKG_VERSION")
        )
    );
    assert_eq!(args.redis_image, values["redisImage"].as_str().unwrap());
    assert_eq!(args.redis_image, REDIS_IMAGE, "one default of the Redis image");
    assert_eq!(args.coturn_image, values["coturnImage"].as_str().unwrap());
    assert_eq!(args.coturn_image, COTURN_IMAGE, "one default of the coturn image");
    assert_eq!(args.lease_namespace.as_deref(), Some("berth-system"));
    assert!(args.leader_elect);
    assert_eq!(args.listen.port(), 8080);
    assert!(
        args.namespaces.iter().all(String::is_empty),
        "{:?}",
        args.namespaces
    );

    let changed = helm.objects(&[
        "--set=watchNamespaces={one,two},logLevel=warn,image.pullPolicy=Never,redisImage=r:1,coturnImage=c:1,logFormat=text",
        "--set=imagePullSecrets[0].name=one,imagePullSecrets[1].name=two",
    ]);
    let args = Args::try_parse_from(arguments(&changed)).unwrap();
    assert_eq!(args.namespaces, ["one", "two"]);
    assert_eq!(args.log_level, "warn");
    assert_eq!(args.image_pull_policy.as_str(), "Never");
    assert_eq!(args.redis_image, "r:1");
    assert_eq!(args.coturn_image, "c:1");
    assert_eq!(args.log_format, Format::Text);
    assert_eq!(args.image_pull_secret, ["one", "two"]);
}

#[test]
fn the_image_is_that_of_the_chart_in_every_spelling() {
    let helm = Helm::new();
    let image = |arguments: &[&str]| {
        let objects = helm.objects(arguments);
        let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
        pod["containers"][0]["image"].as_str().unwrap().to_owned()
    };
    let digest = format!("sha256:{}", "a".repeat(64));
    assert_eq!(
        image(&["--set=image.repository=r.example.com:5000/b"]),
        "r.example.com:5000/b:0.1.0"
    );
    assert_eq!(image(&["--set=image.repository=r/b,image.tag=x"]), "r/b:x");
    assert_eq!(
        image(&[&format!(
            "--set=image.repository=r/b,image.tag=x,image.digest={digest}"
        )]),
        format!("r/b@{digest}")
    );
}

#[test]
fn chart_and_program_have_one_version() {
    let chart: Value =
        serde_yaml::from_str(&fs::read_to_string(chart().join("Chart.yaml")).unwrap()).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}

/// Values that hold what names they like.
const OPEN: [&str; 2] = ["resources", "dashboard.labels"];

/// Every value, as `image.tag`.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Mapping(fields) if !fields.is_empty() && !OPEN.contains(&path) => {
            for (name, value) in fields {
                let name = name.as_str().unwrap();
                let path = if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}.{name}")
                };
                leaves(value, &path, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn values_are_documented_and_others_are_refused() {
    let (readme, helm) = (
        fs::read_to_string(chart().join("README.md")).unwrap(),
        Helm::new(),
    );
    let mut found = Vec::new();
    leaves(&values(), "", &mut found);
    assert!(found.len() > 20, "{found:?}");
    for path in &found {
        assert!(
            readme.contains(&format!("| `{path}` |")),
            "{path} is not in the README of the chart"
        );
        // Closed at every level: a misspelt value changes nothing silently.
        let misspelt = helm.template(&[&format!("--set={path}x=1")]).unwrap_err();
        assert!(misspelt.contains("is not allowed"), "{path}x: {misspelt}");
    }
    for row in readme.lines().filter_map(|line| line.strip_prefix("| `")) {
        let path = row.split('`').next().unwrap();
        assert!(
            found.iter().any(|value| value == path),
            "{path} is no value of the chart"
        );
    }
    for wrong in [
        "replicas=-1",
        "logLevel=loud",
        "redisImage=",
        "image.digest=abc",
        "watchNamespaces={A}",
    ] {
        assert!(helm.template(&[&format!("--set={wrong}")]).is_err(), "{wrong}");
    }
}

/// Every value that the schema knows, as `image.tag`; fails where it is open, or says nothing of one.
fn described(schema: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    assert_eq!(schema["additionalProperties"], false, "{path} is open");
    for (name, property) in schema["properties"].as_object().unwrap() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        assert!(
            property["description"]
                .as_str()
                .is_some_and(|text| text.len() > 5),
            "{path}"
        );
        if property["properties"].is_object() && !OPEN.contains(&path.as_str()) {
            described(property, &path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn the_schema_has_every_value_and_no_other() {
    let schema = fs::read_to_string(chart().join("values.schema.json")).unwrap();
    let (mut known, mut present) = (Vec::new(), Vec::new());
    described(&serde_json::from_str(&schema).unwrap(), "", &mut known);
    leaves(&values(), "", &mut present);
    // Helm's own.
    known.retain(|path| path != "global");
    known.sort();
    present.sort();
    assert_eq!(known, present);
}

#[test]
fn helm_has_nothing_to_complain_about() {
    let helm = Helm::new();
    for values in MATRIX {
        let mut lint = helm.command();
        let lint = complaint(lint.args(["lint", "--strict"]).arg(chart()).args(values));
        assert_eq!(lint, None, "{values:?}");
    }
}

#[test]
fn the_definitions_in_the_chart_are_the_generated_ones() {
    let helm = Helm::new();
    let kept = helm.objects(&[]);
    let definitions = of_kind(&kept, "CustomResourceDefinition");
    assert_eq!(definitions.len(), 3);
    for crd in berth_crds::generate::definitions() {
        let name = crd.metadata.name.clone().unwrap();
        let rendered = definitions
            .iter()
            .find(|object| object["metadata"]["name"] == name.as_str())
            .unwrap();
        let spec: serde_json::Value = serde_json::to_value(&rendered["spec"]).unwrap();
        let expected: serde_json::Value = serde_json::to_value(&crd.spec).unwrap();
        // Numbers lose their fraction on the way through Helm: 200.0 is 200.
        assert_eq!(whole(spec), whole(expected), "{name}");
        assert_eq!(
            rendered["metadata"]["annotations"]["helm.sh/resource-policy"],
            "keep"
        );
    }
    let dropped = helm.objects(&["--set=crds.keep=false"]);
    assert!(
        of_kind(&dropped, "CustomResourceDefinition")
            .iter()
            .all(|crd| crd["metadata"]["annotations"].is_null())
    );
    assert!(
        of_kind(
            &helm.objects(&["--set=crds.install=false"]),
            "CustomResourceDefinition"
        )
        .is_empty()
    );
}

fn whole(mut value: serde_json::Value) -> serde_json::Value {
    match &mut value {
        serde_json::Value::Number(number) => value = format!("{:.3}", number.as_f64().unwrap()).into(),
        serde_json::Value::Array(items) => {
            for item in items {
                *item = whole(item.take());
            }
        }
        serde_json::Value::Object(fields) => {
            for field in fields.values_mut() {
                *field = whole(field.take());
            }
        }
        _ => {}
    }
    value
}

#[test]
fn the_server_takes_every_object_and_pod_security_has_no_objection() {
    let (server, helm) = (shared(), Helm::new());
    for namespace in ["berth-system", "one", "two"] {
        // Another test may have made it.
        let _ = complaint(server.kubectl().args(["create", "namespace", namespace]));
        let label = [
            "label",
            "namespace",
            namespace,
            "pod-security.kubernetes.io/warn=restricted",
        ];
        assert_eq!(complaint(server.kubectl().args(label)), None);
    }
    let folder = tempfile::tempdir().unwrap();
    for values in MATRIX {
        let file = folder.path().join("rendered.yaml");
        fs::write(&file, helm.template(values).unwrap()).unwrap();
        let mut apply = server.kubectl();
        apply.args([
            "create",
            "--dry-run=server",
            "--validate=strict",
            "--warnings-as-errors",
            "-f",
        ]);
        // The definitions are there already, which is no fault of the chart.
        let complaint = complaint(apply.arg(&file)).unwrap_or_default();
        let complaints: Vec<_> = complaint
            .lines()
            .filter(|line| !line.contains("AlreadyExists"))
            .collect();
        assert!(complaints.is_empty(), "{values:?}: {complaints:?}");
    }
}

#[test]
fn uninstall_keeps_the_definitions_and_what_was_made_of_them() {
    let (server, helm) = (ApiServer::start(Options::default()).unwrap(), Helm::new());
    let run = |arguments: &[&str]| {
        let mut command = helm.command();
        command
            .arg("--kubeconfig")
            .arg(server.kubeconfig())
            .args(["--namespace", "berth-system"]);
        process::output(command.args(arguments)).unwrap()
    };
    let folder = chart();
    let folder = folder.to_str().unwrap();
    let notes = run(&["install", "berth", folder, "--create-namespace"]);
    assert!(
        notes.contains("leaves the CustomResourceDefinitions and all resources"),
        "{notes}"
    );
    let local = repository().join("examples/local");
    process::wait_for(
        "the kinds to be served",
        std::time::Duration::from_mins(1),
        || Ok(process::succeeds(server.kubectl().args(["apply", "-f"]).arg(&local)).then_some(())),
    )
    .unwrap();
    run(&["upgrade", "berth", folder, "--set=logLevel=debug"]);
    run(&["uninstall", "berth"]);
    let get =
        |what: &[&str]| process::output(server.kubectl().args(["get", "-o", "name"]).args(what)).unwrap();
    assert_eq!(get(&["crd"]).lines().count(), 3);
    assert_eq!(
        get(&["signalingclusters,hostpools,turnconfigs"]).lines().count(),
        3
    );
    assert_eq!(
        get(&[
            "deployments,clusterroles",
            "--all-namespaces",
            "-l",
            "app.kubernetes.io/part-of=berth"
        ]),
        ""
    );
    // The same name finds its definitions again; another takes them over when it is told to.
    run(&["install", "berth", folder]);
    run(&["uninstall", "berth"]);
    let other = ["install", "other", folder];
    let mut refused = helm.command();
    refused.arg("--kubeconfig").arg(server.kubeconfig());
    let refused = complaint(refused.args(["--namespace", "berth-system"]).args(other)).unwrap();
    assert!(refused.contains("release-name"), "{refused}");
    run(&["install", "other", folder, "--take-ownership"]);
    run(&["upgrade", "other", folder]);
    assert_eq!(
        get(&["signalingclusters,hostpools,turnconfigs"]).lines().count(),
        3
    );
}

#[test]
fn definitions_may_be_applied_first() {
    let (server, helm) = (ApiServer::start(Options::default()).unwrap(), Helm::new());
    install_definitions(&server);
    let folder = chart();
    let run = |arguments: &[&str]| {
        let mut command = helm.command();
        command.arg("--kubeconfig").arg(server.kubeconfig());
        command.args(["--namespace", "berth-system"]).args(arguments);
        process::output(command.arg(&folder)).unwrap()
    };
    let notes = run(&[
        "install",
        "berth",
        "--create-namespace",
        "--set=crds.install=false",
    ]);
    assert!(notes.contains("are not part of this release"), "{notes}");
    run(&["upgrade", "berth", "--set=crds.install=false"]);
}
