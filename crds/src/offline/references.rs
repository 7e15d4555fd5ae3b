//! References among the resources at hand. What is missing may be in the cluster already, so nothing here is an error.

use std::collections::HashSet;

use serde_json::Value;

use super::Resource;
use super::finding::{Finding, Findings, Stage};
use super::structural::join;

/// Where a kind names another resource of Berth: kind, pointer to the name, path, kind of the other.
const REFERENCES: [(&str, &str, &str, &str); 3] = [
    (
        "SignalingCluster",
        "/spec/turnConfigRef/name",
        "spec.turnConfigRef.name",
        "TurnConfig",
    ),
    (
        "HostPool",
        "/spec/signalingClusterRef/name",
        "spec.signalingClusterRef.name",
        "SignalingCluster",
    ),
    (
        "HostPool",
        "/spec/turnConfigRef/name",
        "spec.turnConfigRef.name",
        "TurnConfig",
    ),
];

/// The field that names a key of a Secret, and its default.
type Key = (&'static str, &'static str);

/// Where a Secret is named: the field around the reference, the reference, and its keys with their defaults; an empty
/// default means that the key must be given.
const SECRETS: [(&str, &str, &[Key]); 7] = [
    ("jwt", "secretRef", &[("currentKey", "current")]),
    ("jwks", "caSecretRef", &[("key", "")]),
    ("hostAuth", "secretRef", &[("currentKey", "current")]),
    ("external", "urlSecretRef", &[("key", "")]),
    ("external", "caSecretRef", &[("key", "")]),
    ("sharedSecret", "secretRef", &[("key", "secret")]),
    (
        "static",
        "secretRef",
        &[("usernameKey", "username"), ("credentialKey", "credential")],
    ),
];

/// Warns of references to resources that are not at hand, of Secrets at hand that lack a key, and of
/// resources that are given twice.
pub(super) fn check(resources: &[Resource], findings: &mut Vec<Finding>) {
    let mut seen = HashSet::new();
    for resource in resources {
        let mut found = resource.findings();
        let identity = &resource.identity;
        if !seen.insert((&identity.kind, &identity.namespace, &identity.name)) {
            found.warning(
                Stage::References,
                "metadata.name",
                "is given more than once: the last one wins",
            );
        }
        for (_, pointer, path, kind) in REFERENCES.iter().filter(|(from, ..)| *from == identity.kind) {
            let name = resource.value.pointer(pointer).and_then(Value::as_str);
            if let Some(name) = name.filter(|name| sibling(resources, resource, kind, name).is_none()) {
                let message = format!("no {kind} {name} among the given files");
                found.warning(Stage::References, path, message);
            }
        }
        if !resource.is_secret() {
            secrets(resources, resource, "spec", &resource.value["spec"], &mut found);
        }
        findings.append(&mut found.into_vec());
    }
}

/// Looks for references to Secrets in the field at `path`; a Secret that is not at hand is nobody's fault.
fn secrets(resources: &[Resource], of: &Resource, path: &str, value: &Value, found: &mut Findings) {
    let around = path.rsplit('.').next().unwrap_or_default();
    for (_, field, keys) in SECRETS.iter().filter(|(parent, ..)| *parent == around) {
        let reference = &value[*field];
        let name = reference["name"].as_str().unwrap_or_default();
        let Some(secret) = sibling(resources, of, "Secret", name) else {
            continue;
        };
        for (key_field, usual) in *keys {
            let key = reference[*key_field].as_str().unwrap_or(usual);
            let holds = |part: &str| secret.value[part].get(key).is_some();
            if !key.is_empty() && !holds("data") && !holds("stringData") {
                let message = format!("the Secret {name} has no key {key}");
                found.warning(Stage::References, &format!("{path}.{field}"), message);
            }
        }
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                secrets(resources, of, &join(path, name), value, found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                secrets(resources, of, &format!("{path}[{index}]"), value, found);
            }
        }
        _ => {}
    }
}

fn sibling<'a>(resources: &'a [Resource], of: &Resource, kind: &str, name: &str) -> Option<&'a Resource> {
    resources.iter().find(|other| {
        let identity = &other.identity;
        identity.kind == kind && identity.name == name && identity.namespace == of.identity.namespace
    })
}
