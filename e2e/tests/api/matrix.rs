//! The chart with every combination of its switches: the same each time, taken by the API server, and safe.

use std::collections::BTreeSet;
use std::fs;

use serde_yaml::Value;

use crate::chart::{MATRIX, of_kind};
use crate::helm::{Helm, documents};
use crate::server::{complaint, shared};

/// Switches of the chart: what can be on or off, each with the arguments for either.
const SWITCHES: [[&str; 2]; 8] = [
    ["replicas=1", "replicas=2"],
    ["watchNamespaces=null", "watchNamespaces={one,two}"],
    ["crds.install=true", "crds.install=false"],
    ["crds.keep=true", "crds.keep=false"],
    ["networkPolicy.enabled=true", "networkPolicy.enabled=false"],
    ["rbac.aggregate=true", "rbac.aggregate=false"],
    ["alerts.enabled=false", "alerts.enabled=true"],
    [
        "metrics.podMonitor.enabled=false,dashboard.enabled=false",
        "metrics.podMonitor.enabled=true,dashboard.enabled=true",
    ],
];

#[test]
fn every_combination_of_switches_renders_the_same_twice_and_fits_the_server() {
    let (server, helm) = (shared(), Helm::new());
    for namespace in ["berth-system", "one", "two"] {
        // Another test may have made it.
        let _ = complaint(server.kubectl().args(["create", "namespace", namespace]));
    }
    let mut distinct = BTreeSet::new();
    for combination in 0..1_u32 << SWITCHES.len() {
        let chosen: Vec<_> = SWITCHES
            .iter()
            .enumerate()
            .map(|(bit, values)| format!("--set={}", values[(combination >> bit & 1) as usize]))
            .collect();
        let chosen: Vec<_> = chosen.iter().map(String::as_str).collect();
        let rendered = helm.template(&chosen).unwrap();
        assert_eq!(rendered, helm.template(&chosen).unwrap(), "{chosen:?}");
        let mut names = BTreeSet::new();
        for object in documents(&rendered) {
            let metadata = &object["metadata"];
            let name = ["kind", "namespace", "name"].map(|field| {
                let value = if field == "kind" {
                    &object[field]
                } else {
                    &metadata[field]
                };
                value.as_str().unwrap_or_default().to_owned()
            });
            assert!(names.insert(name), "an object twice: {chosen:?}");
            distinct.insert(serde_yaml::to_string(&object).unwrap());
        }
    }
    // The kinds of the Prometheus operator are not served here.
    let known: Vec<_> = distinct
        .iter()
        .filter(|object| !object.starts_with("apiVersion: monitoring.coreos.com"))
        .map(String::as_str)
        .collect();
    assert!(
        known.len() < distinct.len() && known.len() > 20,
        "{}",
        known.len()
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rendered.yaml");
    fs::write(&file, known.join("---\n")).unwrap();
    let mut apply = server.kubectl();
    apply.args([
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--validate=strict",
    ]);
    assert_eq!(
        complaint(apply.arg("--warnings-as-errors").arg("-f").arg(&file)),
        None
    );
}

#[test]
fn pods_pass_where_the_restricted_standard_is_enforced() {
    let (server, helm) = (shared(), Helm::new());
    let namespace = "restricted";
    for arguments in [
        vec!["create", "namespace", namespace],
        vec![
            "label",
            "namespace",
            namespace,
            "pod-security.kubernetes.io/enforce=restricted",
        ],
    ] {
        assert_eq!(complaint(server.kubectl().args(arguments)), None);
    }
    let folder = tempfile::tempdir().unwrap();
    let create = |pod: &Value| {
        let file = folder.path().join("pod.yaml");
        fs::write(&file, serde_yaml::to_string(pod).unwrap()).unwrap();
        let mut create = server.kubectl();
        complaint(
            create
                .args(["create", "--namespace", namespace, "--dry-run=server", "-f"])
                .arg(file),
        )
    };
    for values in MATRIX {
        let objects = helm.objects(values);
        let template = &of_kind(&objects, "Deployment")[0]["spec"]["template"];
        let mut pod: Value =
            serde_yaml::from_str("{apiVersion: v1, kind: Pod, metadata: {name: pod}}").unwrap();
        pod["spec"] = template["spec"].clone();
        // The class is one that other namespaces may not use.
        pod["spec"].as_mapping_mut().unwrap().remove("priorityClassName");
        let container = &pod["spec"]["containers"][0];
        for (of, what) in [("requests", "cpu"), ("limits", "memory")] {
            assert!(
                !container["resources"][of][what].is_null(),
                "{values:?}: no {of}.{what}"
            );
        }
        assert_eq!(create(&pod), None, "{values:?}");
        pod["spec"]["containers"][0]["securityContext"] = Value::Null;
        assert!(
            create(&pod).unwrap().contains("restricted"),
            "the standard is not enforced"
        );
    }
}
