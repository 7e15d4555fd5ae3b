//! The health script by itself, over a table of statuses, and what kstatus says of the same ones.

use serde_json::{Value, json};

use super::argocd_cm;
use super::judge::judge;

const KINDS: [&str; 3] = ["SignalingCluster", "HostPool", "TurnConfig"];

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": format!("says {kind}")})
}

/// A status that speaks of the newest generation.
fn seen(conditions: &[(&str, &str, &str)]) -> Value {
    let conditions: Vec<_> = conditions
        .iter()
        .map(|(kind, status, reason)| condition(kind, status, reason))
        .collect();
    json!({"observedGeneration": 3, "conditions": conditions})
}

const READY: [(&str, &str, &str); 3] = [
    ("Ready", "True", "UpToDate"),
    ("Reconciling", "False", "UpToDate"),
    ("Stalled", "False", "UpToDate"),
];
const WAITING: [(&str, &str, &str); 3] = [
    ("Ready", "False", "RollingOut"),
    ("Reconciling", "True", "RollingOut"),
    ("Stalled", "False", "RollingOut"),
];
const STALLED: [(&str, &str, &str); 3] = [
    ("Ready", "False", "InvalidSpec"),
    ("Reconciling", "False", "InvalidSpec"),
    ("Stalled", "True", "InvalidSpec"),
];
const HELD: [(&str, &str, &str); 4] = [
    ("Paused", "True", "Paused"),
    ("Ready", "False", "Paused"),
    ("Reconciling", "True", "Paused"),
    ("Stalled", "False", "Paused"),
];

/// What it is, the status, and the verdicts: health, message, kstatus.
#[rustfmt::skip] // A table to read.
fn table() -> Vec<(&'static str, Value, [&'static str; 3])> {
    let behind = |mut status: Value| { status["observedGeneration"] = json!(2); status };
    let also = |conditions: &[_], more: &[_]| seen(&[conditions, more].concat());
    let default = json!({"conditions": [condition("Ready", "Unknown", "Pending")]});
    let paused = ("Paused", "True", "Paused");
    vec![
        // An empty status is none that our schema leaves; kstatus has its own opinion of it.
        ("no status", Value::Null, ["Progressing", "Waiting for the operator", "Current"]),
        ("nothing in it", json!({}), ["Progressing", "Waiting for the operator", "Current"]),
        ("no condition", seen(&[]), ["Progressing", "Waiting for the operator", "Current"]),
        ("the schema's default", default, ["Progressing", "Waiting for the operator", "InProgress"]),
        ("on the way", seen(&WAITING), ["Progressing", "says Ready", "InProgress"]),
        ("ready", seen(&READY), ["Healthy", "says Ready", "Current"]),
        ("stalled", seen(&STALLED), ["Degraded", "says Stalled", "Failed"]),
        ("ready, before an edit", behind(seen(&READY)), ["Progressing", "Waiting for the operator to see the last change", "InProgress"]),
        ("stalled, before an edit", behind(seen(&STALLED)), ["Progressing", "Waiting for the operator to see the last change", "InProgress"]),
        ("held back", seen(&HELD), ["Suspended", "says Paused", "InProgress"]),
        ("held back, before an edit", behind(seen(&HELD)), ["Progressing", "Waiting for the operator to see the last change", "InProgress"]),
        ("paused and as it should be", also(&READY, &[paused]), ["Healthy", "says Ready", "Current"]),
        ("paused while pods go away", also(&WAITING, &[paused]), ["Progressing", "says Ready", "InProgress"]),
        ("paused with a wrong spec", also(&STALLED, &[paused]), ["Degraded", "says Stalled", "Failed"]),
        ("no host yet", also(&READY, &[("HostsAvailable", "False", "NoHosts")]), ["Healthy", "says Ready", "Current"]),
        ("few free slots", also(&READY, &[("CapacityLow", "True", "SlotsBelowMinimum")]), ["Healthy", "says Ready", "Current"]),
        ("silent servers", also(&READY, &[("ServersReachable", "False", "ServersSilent")]), ["Healthy", "says Ready", "Current"]),
    ]
}

#[test]
fn the_health_script_and_kstatus_give_each_status_its_verdict() {
    let mut objects = Vec::new();
    let mut expected = Vec::new();
    for kind in KINDS {
        for (what, status, verdict) in table() {
            objects.push(json!({
                "apiVersion": "berth.dev/v1alpha1", "kind": kind,
                "metadata": {"name": "eu", "generation": 3}, "status": status,
            }));
            expected.push((format!("{kind}: {what}"), verdict));
        }
        objects.push(json!({
            "apiVersion": "berth.dev/v1alpha1", "kind": kind, "status": seen(&READY),
            "metadata": {"name": "eu", "generation": 3, "deletionTimestamp": "2026-01-01T00:00:00Z"},
        }));
        expected.push((
            format!("{kind}: being deleted"),
            ["Progressing", "Pending deletion", "Terminating"],
        ));
    }
    let verdicts = judge(&objects);
    for ((what, expected), found) in expected.iter().zip(&verdicts) {
        let found = [&*found.health, &*found.message, &*found.kstatus];
        assert_eq!(found, *expected, "{what}");
    }
}

/// Argo CD runs a script per kind; a kind without one would have no health at all.
#[test]
fn every_kind_has_the_same_script() {
    let text = std::fs::read_to_string(argocd_cm()).unwrap();
    let scripts: serde_json::Value = serde_yaml::from_str(&text).unwrap();
    let scripts = scripts["data"].as_object().unwrap();
    assert_eq!(scripts.len(), KINDS.len());
    let first = scripts.values().next().unwrap();
    for kind in KINDS {
        let key = format!("resource.customizations.health.berth.dev_{kind}");
        assert_eq!(&scripts[&key], first, "{kind}");
    }
}
