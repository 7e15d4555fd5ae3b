//! What is in a namespace, in a form in which two runs can be compared: without uids, versions, times, generations, the
//! namespace's own name and the bytes of Secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::operator::CHILDREN;
use crate::operator::bed::{Bed, PATIENCE};

/// Our kinds.
const OURS: [(&str, &str); 3] = [
    ("berth.dev/v1alpha1", "SignalingCluster"),
    ("berth.dev/v1alpha1", "HostPool"),
    ("berth.dev/v1alpha1", "TurnConfig"),
];

/// Our kinds, and all kinds of children.
pub(super) fn kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
    OURS.into_iter().chain(CHILDREN)
}

/// Objects by kind and name.
pub(super) type State = BTreeMap<String, Value>;

/// What is in the namespace of `bed`.
pub(super) async fn state(bed: &Bed) -> State {
    let mut objects = Vec::new();
    for (api_version, kind) in kinds() {
        let found = bed.api(api_version, kind).list(&ListParams::default()).await;
        objects.extend(found.unwrap().into_iter().map(|object| (kind, object)));
    }
    let uids: Vec<_> = objects
        .iter()
        .map(|(kind, object)| {
            (
                object.uid().unwrap(),
                format!("uid of {kind} {}", object.name_any()),
            )
        })
        .collect();
    let masked = objects.into_iter().map(|(kind, object)| {
        let mut value = serde_json::to_value(&object).unwrap();
        mask(&mut value);
        if kind == "Secret" {
            for (_, value) in value["data"].as_object_mut().into_iter().flatten() {
                *value = json!("(bytes)");
            }
        }
        let mut text = value.to_string().replace(&bed.namespace, "NAMESPACE");
        for (uid, name) in &uids {
            text = text.replace(uid, name);
        }
        let name = format!("{kind} {}", object.name_any());
        (name, serde_json::from_str(&text).unwrap())
    });
    masked.collect()
}

/// What is in the namespace of `bed` when it has not changed for a while.
pub(super) async fn settled(bed: &Bed) -> State {
    let end = Instant::now() + PATIENCE;
    let mut before = state(bed).await;
    loop {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let found = state(bed).await;
        if found == before {
            return found;
        }
        assert!(Instant::now() < end, "it does not settle");
        before = found;
    }
}

/// Waits until the namespace of `bed` is in the state `expected`, and stays in it for a moment.
pub(super) async fn wait_state(bed: &Bed, what: &str, expected: &State) {
    wait(bed, what, expected, |state| state).await;
}

/// The same, whoever manages which field: others have had their hands in it.
pub(super) async fn wait_values(bed: &Bed, what: &str, expected: &State) {
    let without_managers = |mut state: State| {
        for object in state.values_mut() {
            object["metadata"]["managedFields"].take();
        }
        state
    };
    wait(bed, what, &without_managers(expected.clone()), without_managers).await;
}

async fn wait(bed: &Bed, what: &str, expected: &State, view: impl Fn(State) -> State) {
    let end = Instant::now() + PATIENCE;
    let mut agreed = 0;
    loop {
        let found = view(state(bed).await);
        let differs = differences(expected, &found);
        agreed = if differs.is_empty() { agreed + 1 } else { 0 };
        if agreed == 2 {
            return;
        }
        assert!(
            Instant::now() < end,
            "{what}: the end is another one:\n{}",
            differs.join("\n")
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Where two states differ.
pub(super) fn differences(expected: &State, found: &State) -> Vec<String> {
    let mut list = Vec::new();
    let names: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    for name in names {
        match (expected.get(name), found.get(name)) {
            (Some(left), Some(right)) => compare(name, left, right, &mut list),
            (Some(_), None) => list.push(format!("{name} is missing")),
            _ => list.push(format!("{name} is too much")),
        }
    }
    list
}

fn compare(path: &str, expected: &Value, found: &Value, list: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: BTreeSet<_> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let side = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                compare(&format!("{path} {key}"), &side(left), &side(right), list);
            }
        }
        (left, right) if left == right => {}
        (left, right) => list.push(format!("{path}: expected {left}, found {right}")),
    }
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for key in [
                "resourceVersion",
                "creationTimestamp",
                "generation",
                "observedGeneration",
                "lastTransitionTime",
                "time",
                "clusterIP",
                "clusterIPs",
                "nodePort",
                "berth.dev/desired-hash",
            ] {
                map.remove(key);
            }
            if let Some(Value::Array(managers)) = map.get_mut("managedFields") {
                managers.sort_by_key(|entry| {
                    ["manager", "operation", "subresource"].map(|part| entry[part].to_string())
                });
            }
            map.values_mut().for_each(mask);
        }
        Value::Array(list) => list.iter_mut().for_each(mask),
        _ => {}
    }
}
