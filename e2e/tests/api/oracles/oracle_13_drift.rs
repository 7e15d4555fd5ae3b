//! Oracle 13, drift: whatever field of whatever child somebody changes, and whichever child somebody deletes, is repaired with exactly
//! one write. Fields are those that were rendered, values are made from those that stand there.
//!
//! Left out: the contents of generated Secrets, which are never touched again; owner references, because an object without ours is not ours; and
//! the keys of lists that several parties may write (a port, a container), because an element with another key is an addition of
//! somebody else.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use super::lives::start;
use super::state::{kinds, state, wait_values};
use crate::faults::{Network, Plan, Random, seed};
use crate::operator::bed::Bed;

/// Times that one field of every child is changed.
const ROUNDS: usize = 6;
/// Fields that are tried until the server takes a change.
const TRIES: usize = 12;

/// Everything that there can be, the pool with a fixed number of pods.
async fn make(bed: &Bed) {
    bed.resource(
        "SignalingCluster",
        "main",
        json!({
            "publicUrl": "wss://signaling.example.com/ws",
            "ingress": {"tls": {"secretName": "signaling-tls"}},
            "autoscaling": {"minReplicas": 2, "maxReplicas": 9},
        }),
    )
    .await;
    bed.pool("eu", "main").await;
    for (kind, name) in [("SignalingCluster", "main"), ("HostPool", "eu")] {
        bed.wait_condition(kind, name, "Ready", "True").await;
    }
}

/// The fields of `value`, as JSON pointers.
fn leaves(value: &Value, pointer: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                leaves(value, &format!("{pointer}/{key}"), found);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                leaves(value, &format!("{pointer}/{index}"), found);
            }
        }
        _ => found.push(pointer.to_owned()),
    }
}

fn may_change(pointer: &str) -> bool {
    let parts: Vec<_> = pointer.split('/').skip(1).collect();
    let in_list = parts
        .iter()
        .rev()
        .nth(1)
        .is_some_and(|part| part.parse::<usize>().is_ok());
    let is_key = [
        "name",
        "port",
        "protocol",
        "containerPort",
        "mountPath",
        "topologyKey",
        "whenUnsatisfiable",
    ]
    .contains(&parts[parts.len() - 1]);
    match &parts[..] {
        ["apiVersion" | "kind"]
        | ["metadata", "name" | "namespace" | "uid" | "resourceVersion"]
        | ["metadata", "ownerReferences", ..]
        | ["metadata", "annotations", "berth.dev~1replicas"] => false,
        _ => !(in_list && is_key),
    }
}

/// Another value of the same type.
fn other(value: &Value) -> Value {
    match value {
        Value::Bool(is) => json!(!is),
        Value::Number(number) => json!(number.as_i64().unwrap() + 1),
        Value::String(text) if text.starts_with(|first: char| first.is_ascii_digit()) => {
            json!(format!("1{text}"))
        }
        Value::String(text) => json!(format!("{text}x")),
        other => other.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_13_what_is_changed_or_deleted_is_repaired_by_one_write() {
    let mut random = Random(seed(13));
    let bed = Bed::new("o13").await;
    let _pods = bed.roll_out();
    let network = Network::new(Plan::none());
    let operator = start(&bed, &network).await;
    make(&bed).await;
    operator.settle().await;
    let before = state(&bed).await;
    // What was rendered is what was sent last.
    let rendered: BTreeMap<_, _> = network
        .writes()
        .into_iter()
        .filter(|entry| entry.asked.verb == "patch")
        .map(|entry| {
            (
                entry.object(),
                serde_json::from_slice::<Value>(&entry.body).unwrap(),
            )
        })
        .collect();
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=berth-operator");

    let mut changed = BTreeSet::new();
    for round in 0..ROUNDS {
        let written = network.writes().len();
        let mut touched = BTreeMap::new();
        for (api_version, kind) in kinds().filter(|(_, kind)| *kind != "Secret") {
            let api = bed.api(api_version, kind);
            for object in api.list(&ours).await.unwrap() {
                let name = object.name_any();
                let id = format!("{} {name}", plural(kind));
                let Some(rendered) = rendered.get(&id) else {
                    panic!("{id} was never written: {:?}", rendered.keys());
                };
                let mut fields = Vec::new();
                leaves(rendered, "", &mut fields);
                fields.retain(|field| may_change(field));
                random.shuffle(&mut fields);
                for field in fields.iter().take(TRIES) {
                    let mut value = serde_json::to_value(api.get(&name).await.unwrap()).unwrap();
                    let Some(found) = value.pointer_mut(field) else {
                        continue;
                    };
                    *found = other(found);
                    let object = serde_json::from_value(value).unwrap();
                    let answer = api.replace(&name, &PostParams::default(), &object).await;
                    // What cannot be changed, or not so, is tried elsewhere.
                    if answer.is_ok() {
                        changed.insert(format!("{kind} {field}"));
                        touched.insert(id, field.clone());
                        break;
                    }
                }
            }
        }
        wait_values(&bed, &format!("round {round}: {touched:#?}"), &before).await;
        let mut writes = BTreeMap::new();
        for entry in &network.writes()[written..] {
            *writes.entry(entry.object()).or_insert(0) += 1;
        }
        writes.retain(|object, _| rendered.contains_key(object) && !object.starts_with("signalingclusters"));
        let expected: BTreeMap<_, _> = touched.keys().map(|id| (id.clone(), 1)).collect();
        assert_eq!(writes, expected, "{touched:#?}");
    }
    println!("{} fields were changed", changed.len());

    // The Deployment that an autoscaler owns is made in three steps: oracle 12.
    let written = network.writes().len();
    let mut deleted = BTreeMap::new();
    for (api_version, kind) in kinds() {
        let api = bed.api(api_version, kind);
        for object in api.list(&ours).await.unwrap() {
            let name = object.name_any();
            if name == "main-signaling" && kind == "Deployment" {
                continue;
            }
            api.delete(&name, &DeleteParams::default()).await.unwrap();
            deleted.insert(format!("{} {name}", plural(kind)), 1);
        }
    }
    wait_values(&bed, "after everything was deleted", &before).await;
    let mut writes = BTreeMap::new();
    for entry in &network.writes()[written..] {
        *writes.entry(entry.object()).or_insert(0) += 1;
    }
    writes.retain(|object, _| deleted.contains_key(object));
    assert_eq!(writes, deleted);
    operator.stop().await.unwrap();
}

fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    match lower.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if lower.ends_with('s') => format!("{lower}es"),
        None => format!("{lower}s"),
    }
}
