//! `berth validate`, `berth crds` and `berth docs api` as a person or a pipeline runs them.

// Clippy's exception for tests does not reach the helpers of a test program.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const POOL: &str = "\
apiVersion: berth.dev/v1alpha1
kind: HostPool
metadata: {name: pool}
spec: {signalingClusterRef: {name: main}}
";

fn berth(arguments: &[&str], folder: &TempDir) -> Output {
    let mut berth = Command::new(env!("CARGO_BIN_EXE_berth"));
    berth.args(arguments).current_dir(folder.path()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_wrong_field_is_named_with_its_file_and_the_exit_code_tells() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pool.yaml"), POOL).unwrap();
    fs::write(
        folder.path().join("wrong.yaml"),
        POOL.replace("spec: {", "spec: {replicas: 201, "),
    )
    .unwrap();

    let right = berth(&["validate", "pool.yaml"], &folder);
    assert_eq!(right.status.code(), Some(0));
    assert_eq!(
        text(&right.stdout),
        "pool.yaml: HostPool/pool: warning: spec.signalingClusterRef.name: no SignalingCluster main among the given files\n"
    );
    let wrong = berth(&["validate", "wrong.yaml"], &folder);
    assert_eq!(wrong.status.code(), Some(1));
    let lines: Vec<_> = text(&wrong.stdout).lines().collect();
    assert_eq!(
        lines[0],
        "wrong.yaml: HostPool/pool: spec.replicas: must be from 0 to 200, is 201"
    );
    assert_eq!(
        text(&wrong.stderr),
        "resources of Berth: 1, errors: 1, warnings: 1\n"
    );
}

#[test]
fn folders_and_standard_input_are_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), POOL).unwrap();
    fs::write(
        folder.path().join("b.json"),
        "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\"}",
    )
    .unwrap();
    fs::write(folder.path().join("c.txt"), "not a manifest").unwrap();
    let read = berth(&["validate", "."], &folder);
    assert_eq!(read.status.code(), Some(0), "{read:?}");
    assert!(
        text(&read.stdout).contains("./b.json: ConfigMap/: note: not a kind of Berth"),
        "{read:?}"
    );

    let mut piped = Command::new(env!("CARGO_BIN_EXE_berth"))
        .args(["validate", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    piped.stdin.take().unwrap().write_all(b"a: [").unwrap();
    let piped = piped.wait_with_output().unwrap();
    assert_eq!(piped.status.code(), Some(1));
    assert!(
        text(&piped.stdout).starts_with("standard input: document 1: "),
        "{piped:?}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let absent = berth(&["validate", "absent.yaml"], &folder);
    assert_eq!(absent.status.code(), Some(1));
    assert!(
        text(&absent.stderr).starts_with("error: absent.yaml: "),
        "{absent:?}"
    );
    let empty = berth(&["validate", "."], &folder);
    assert_eq!(empty.status.code(), Some(1));
    assert!(text(&empty.stderr).contains("no *.yaml"), "{empty:?}");
}

#[test]
fn required_tls_without_proxies_is_refused_with_the_reason() {
    let cluster = |proxies: &str| {
        format!(
            "apiVersion: berth.dev/v1alpha1\nkind: SignalingCluster\nmetadata: {{name: a}}\n\
             spec: {{publicUrl: 'wss://a', security: {{requireWss: true{proxies}}}}}\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("without.yaml"), cluster("")).unwrap();
    let right = cluster(", trustedProxyCidrs: [10.0.0.0/8]");
    fs::write(folder.path().join("with.yaml"), right).unwrap();
    let refused = berth(&["validate", "without.yaml"], &folder);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let reason = "only a trusted proxy can say that a connection came by TLS";
    let named = text(&refused.stdout)
        .lines()
        .any(|line| line.contains("spec.security.trustedProxyCidrs: ") && line.contains(reason));
    assert!(named, "{refused:?}");
    assert_eq!(berth(&["validate", "with.yaml"], &folder).status.code(), Some(0));
}

#[test]
fn what_may_not_change_is_compared_with_the_old_state() {
    let cluster = |class: &str| {
        format!(
            "apiVersion: berth.dev/v1alpha1\nkind: SignalingCluster\nmetadata: {{name: a}}\n\
             spec: {{publicUrl: 'ws://a', redis: {{managed: {{storageClassName: {class}}}}}}}\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("old.yaml"), cluster("slow")).unwrap();
    fs::write(folder.path().join("new.yaml"), cluster("fast")).unwrap();
    assert_eq!(berth(&["validate", "new.yaml"], &folder).status.code(), Some(0));
    let changed = berth(&["validate", "--old", "old.yaml", "new.yaml"], &folder);
    assert_eq!(changed.status.code(), Some(1), "{changed:?}");
    assert!(
        text(&changed.stdout).contains("storageClassName cannot be changed"),
        "{changed:?}"
    );
}

#[test]
fn the_definitions_and_the_reference_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let crds = berth(&["crds"], &folder);
    assert_eq!(crds.status.code(), Some(0));
    let documents: Vec<serde_yaml::Value> = text(&crds.stdout)
        .split("---\n")
        .map(|document| serde_yaml::from_str(document).unwrap())
        .collect();
    let names: Vec<_> = documents
        .iter()
        .map(|document| document["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "signalingclusters.berth.dev",
            "hostpools.berth.dev",
            "turnconfigs.berth.dev"
        ]
    );
    let docs = berth(&["docs", "api"], &folder);
    assert_eq!(docs.status.code(), Some(0));
    assert!(text(&docs.stdout).contains("# API reference"));
}
