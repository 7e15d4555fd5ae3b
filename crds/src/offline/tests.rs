//! What must hold of the definitions so that they can be judged offline, and cases that a file of the corpus cannot show.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::Value;

use super::structural::children;
use super::{Finding, Level, Source, Stage, Validator};
use crate::generate;

fn schemas() -> Vec<JSONSchemaProps> {
    let versions = generate::definitions()
        .into_iter()
        .flat_map(|crd| crd.spec.versions);
    versions
        .filter_map(|version| version.schema?.open_api_v3_schema)
        .collect()
}

fn source(text: &str) -> Source {
    Source {
        name: "test.yaml".into(),
        text: text.into(),
    }
}

fn check(text: &str) -> Vec<Finding> {
    Validator::new().unwrap().check(&[source(text)], &[]).findings
}

fn lines(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

const TURN: &str = "
apiVersion: berth.dev/v1alpha1
kind: TurnConfig
metadata: {name: turn}
spec: {stunUrls: ['stun:stun.example.com:3478']}
";

#[test]
fn the_schemas_use_no_keyword_that_is_not_checked() {
    const CHECKED: [&str; 26] = [
        "additionalProperties",
        "default",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "nullable",
        "pattern",
        "properties",
        "required",
        "title",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-validations",
        // Only in the status, which is not judged.
        "x-kubernetes-preserve-unknown-fields",
    ];
    // The API server ignores these two for integers; `date-time` occurs in the status only.
    const FORMATS: [&str; 3] = ["int32", "int64", "date-time"];
    fn walk(schema: &JSONSchemaProps, found: &mut BTreeSet<String>) {
        let Value::Object(node) = serde_json::to_value(schema).unwrap() else {
            panic!("a schema is an object");
        };
        found.extend(node.into_iter().map(|(keyword, _)| keyword));
        if let Some(format) = &schema.format {
            assert!(
                FORMATS.contains(&format.as_str()),
                "format {format} is not checked"
            );
        }
        children(schema).for_each(|child| walk(child, found));
    }
    let mut found = BTreeSet::new();
    for schema in schemas() {
        walk(&schema, &mut found);
    }
    found.retain(|keyword| !CHECKED.contains(&keyword.as_str()));
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn no_rule_inside_a_list_looks_back() {
    // The CEL library pairs old and new items by position, the API server by the keys of the list.
    fn walk(schema: &JSONSchemaProps, inside: bool) {
        for rule in schema.x_kubernetes_validations.iter().flatten() {
            assert!(!(inside && rule.rule.contains("oldSelf")), "{}", rule.rule);
        }
        let inside = inside || schema.items.is_some();
        children(schema).for_each(|child| walk(child, inside));
    }
    for schema in schemas() {
        walk(&schema, false);
    }
}

#[test]
fn a_rule_on_changes_holds_against_the_old_file_only() {
    let cluster = |size: &str| {
        source(&format!(
            "
apiVersion: berth.dev/v1alpha1
kind: SignalingCluster
metadata: {{name: a}}
spec: {{publicUrl: 'ws://a', redis: {{managed: {{storageSize: {size}}}}}}}
"
        ))
    };
    let validator = Validator::new().unwrap();
    let change = |old: &str, new: &str| validator.check(&[cluster(new)], &[cluster(old)]).findings;
    assert_eq!(validator.check(&[cluster("2Gi")], &[]).findings, []);
    assert_eq!(change("1Gi", "1Gi"), []);
    let findings = change("1Gi", "2Gi");
    assert_eq!(
        lines(&findings),
        [
            "test.yaml: SignalingCluster/a: spec.redis.managed: persistence and storageSize cannot be changed while the managed Redis exists"
        ]
    );
}

#[test]
fn other_kinds_are_passed_over_with_a_note() {
    let findings = check(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\n",
    );
    assert_eq!(
        lines(&findings),
        ["test.yaml: ConfigMap/a: note: not a kind of Berth, passed over"]
    );
}

#[test]
fn a_kind_or_version_that_the_group_does_not_have_is_an_error() {
    assert_eq!(
        lines(&check(
            "apiVersion: berth.dev/v1alpha1\nkind: Hostpool\nmetadata: {name: a}"
        )),
        ["test.yaml: Hostpool/a: kind: must be one of HostPool, SignalingCluster, TurnConfig"]
    );
    assert_eq!(
        lines(&check(
            "apiVersion: berth.dev/v1\nkind: HostPool\nmetadata: {name: a}"
        )),
        ["test.yaml: HostPool/a: apiVersion: must be berth.dev/v1alpha1"]
    );
    assert_eq!(
        lines(&check("hello: world")),
        ["test.yaml: document 1: apiVersion and kind must be set"]
    );
}

#[test]
fn one_bad_document_does_not_hide_the_others() {
    let findings = check(&format!(
        "a: [1\n---\n{TURN}  wrong: 1\n---\n# nothing\n---\nb: 1\nb: 2\n"
    ));
    let stages: Vec<_> = findings
        .iter()
        .map(|finding| (finding.resource.as_str(), finding.stage))
        .collect();
    assert_eq!(
        stages,
        [
            ("document 1", Stage::Document),
            ("document 2", Stage::Document),
            ("document 3", Stage::Document)
        ],
        "{findings:?}"
    );
    assert!(findings[2].message.contains("line 13"), "{}", findings[2].message);
}

#[test]
fn a_misspelt_field_gets_a_hint() {
    let findings = check(&TURN.replace("stunUrls", "stunurl"));
    assert_eq!(
        lines(&findings)[0],
        "test.yaml: TurnConfig/turn: spec.stunurl: unknown field, did you mean stunUrls?"
    );
}

#[test]
fn references_that_are_not_at_hand_are_warnings() {
    let pool = "
apiVersion: berth.dev/v1alpha1
kind: HostPool
metadata: {name: pool}
spec:
  signalingClusterRef: {name: main}
  turnConfigRef: {name: turn}
  hostAuth: {secretRef: {name: hosts}}
---
apiVersion: v1
kind: Secret
metadata: {name: hosts}
stringData: {secret: a}
";
    let findings = check(&format!("{pool}\n---{TURN}"));
    assert_eq!(
        lines(&findings),
        [
            "test.yaml: HostPool/pool: warning: spec.signalingClusterRef.name: no SignalingCluster main among the given files",
            "test.yaml: HostPool/pool: warning: spec.hostAuth.secretRef: the Secret hosts has no key current",
        ]
    );
    assert!(findings.iter().all(|finding| finding.level == Level::Warning));
}

#[test]
fn the_items_of_a_list_are_judged_each() {
    let findings = check(
        "{apiVersion: v1, kind: List, items: [{apiVersion: berth.dev/v1alpha1, kind: TurnConfig, metadata: {name: A}, spec: {stunUrls: ['stun:a']}}]}",
    );
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].path, "metadata.name");
}

#[test]
fn a_word_that_kubectl_reads_otherwise_is_a_warning_and_kubectls_reading_decides() {
    let findings = check(&TURN.replace("{name: turn}", "{name: turn, labels: {beta: on}}"));
    assert_eq!(
        lines(&findings),
        [
            "test.yaml: document 1: warning: metadata.labels.beta: kubectl reads true here, a service reading the file \"on\": quote the word",
            "test.yaml: TurnConfig/turn: metadata.labels.beta: must be a string, is true: quote it",
        ]
    );
}
