//! What must be done about a child, given what is known of it.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::verdict::{Verdict, agreement, verdict};
use super::*;
use crate::cluster::{ChildView, Children};
use berth_crds::settings::ObjectName;

fn owner() -> Owner {
    Owner {
        api_version: "berth.dev/v1alpha1".into(),
        kind: "HostPool".into(),
        namespace: "ns".into(),
        name: "eu".into(),
        uid: Some("u".into()),
    }
}

fn reference(uid: &str) -> Value {
    json!([{"apiVersion": "berth.dev/v1alpha1", "kind": "HostPool", "name": "eu", "uid": uid, "controller": true}])
}

fn desired() -> SealedChild {
    let object: Service = serde_json::from_value(json!({
        "metadata": {"name": "s", "namespace": "ns", "ownerReferences": reference("u")},
        "spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "protocol": "TCP"}]},
    }))
    .unwrap();
    Child::Service(object).seal().unwrap().unwrap()
}

/// What a server makes of it: defaults, and a version.
fn stored(version: &str) -> Value {
    let mut value = desired().value;
    value["metadata"]["uid"] = json!("s");
    value["metadata"]["resourceVersion"] = json!(version);
    value["spec"]["clusterIP"] = json!("10.0.0.1");
    value["spec"]["ports"][0]["targetPort"] = json!(80);
    value
}

fn view(live: Option<Value>) -> ChildView {
    let children = Children::default();
    if let Some(live) = live {
        let object: Service = serde_json::from_value(live).unwrap();
        children.put(&ObjectName::new("ns", "s"), object);
    }
    children.view("ns", &desired().id, Instant::now())
}

fn judge(view: &ChildView) -> Verdict {
    verdict(&desired(), view, &owner()).unwrap()
}

#[test]
fn what_is_not_there_is_created_once() {
    assert_eq!(judge(&view(None)), Verdict::Create);
    let mut written = view(None);
    written.in_flight = Some(desired().hash);
    assert_eq!(judge(&written), Verdict::InFlight);
    written.in_flight = Some("of something older".into());
    assert_eq!(judge(&written), Verdict::Create);
}

#[test]
fn what_agrees_is_left_alone() {
    let mut seen = view(Some(stored("1")));
    let Verdict::Agrees(found) = judge(&seen) else {
        panic!("{:?}", judge(&seen));
    };
    seen.agreement = Some(Arc::new(found.clone()));
    assert_eq!(judge(&seen), Verdict::Same);
    // Another version, for example a status: it still agrees, and that is remembered.
    let mut newer = view(Some(stored("2")));
    newer.agreement = Some(Arc::new(found));
    assert!(
        matches!(judge(&newer), Verdict::Agrees(found) if found.resource_version.as_deref() == Some("2"))
    );
}

#[test]
fn a_change_of_ours_or_of_someone_else_is_an_update() {
    let mut older = stored("1");
    older["metadata"]["annotations"][names::DESIRED_HASH] = json!("older");
    assert_eq!(judge(&view(Some(older))), Verdict::Update);
    let mut drifted = stored("2");
    drifted["spec"]["selector"]["more"] = json!("narrow");
    assert_eq!(judge(&view(Some(drifted.clone()))), Verdict::Update);
    let mut known = view(Some(drifted));
    known.agreement = Some(Arc::new(agreement(&desired(), &stored("1")).unwrap()));
    assert_eq!(judge(&known), Verdict::Update);
}

/// A server may keep a value in a notation that we cannot foresee. After one write its answer is the measure.
#[test]
fn what_the_server_answered_is_no_drift() {
    let mut normalised = stored("1");
    normalised["spec"]["ports"][0]["protocol"] = json!("tcp");
    assert_eq!(judge(&view(Some(normalised.clone()))), Verdict::Update);
    let mut seen = view(Some(normalised.clone()));
    seen.agreement = Some(Arc::new(agreement(&desired(), &normalised).unwrap()));
    assert_eq!(judge(&seen), Verdict::Same);
}

#[test]
fn objects_of_others_are_not_ours() {
    let mut unowned = stored("1");
    unowned["metadata"]["ownerReferences"] = json!([]);
    assert_eq!(judge(&view(Some(unowned))), Verdict::NotOurs);
    let mut of_another = stored("1");
    of_another["metadata"]["ownerReferences"][0]["name"] = json!("us");
    of_another["metadata"]["ownerReferences"][0]["uid"] = json!("other");
    assert_eq!(judge(&view(Some(of_another))), Verdict::NotOurs);
    // A reference that does not control is no ownership.
    let mut shared = stored("1");
    shared["metadata"]["ownerReferences"][0]["controller"] = json!(false);
    assert_eq!(judge(&view(Some(shared))), Verdict::NotOurs);
}

#[test]
fn what_is_on_its_way_out_is_waited_for() {
    let mut former = stored("1");
    former["metadata"]["ownerReferences"] = reference("of the deleted namesake");
    assert_eq!(judge(&view(Some(former))), Verdict::Leaving);
    let mut deleted = stored("1");
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(judge(&view(Some(deleted))), Verdict::Leaving);
}

#[test]
fn an_answer_becomes_the_measure_when_the_watch_shows_the_object() {
    let children = Children::default();
    let (child, now) = (desired(), Instant::now());
    let answer = stored("5");
    children.wrote("ns", &child.id, agreement(&child, &answer).unwrap(), now);
    let object: Service = serde_json::from_value(answer).unwrap();
    children.put(&ObjectName::new("ns", "s"), object);
    assert_eq!(judge(&children.view("ns", &child.id, now)), Verdict::Same);
}

#[test]
fn a_child_waits_for_what_it_cannot_do_without() {
    assert!(needs(ChildKind::Deployment, ChildKind::Secret));
    assert!(needs(ChildKind::HorizontalPodAutoscaler, ChildKind::Deployment));
    assert!(needs(ChildKind::HorizontalPodAutoscaler, ChildKind::Secret));
    assert!(!needs(ChildKind::Deployment, ChildKind::Service));
    assert!(!needs(ChildKind::Service, ChildKind::Deployment));
    for kind in ChildKind::ALL {
        for before in ChildKind::ALL.into_iter().filter(|other| needs(kind, *other)) {
            assert!(before < kind, "{before:?} is applied before {kind:?}");
        }
    }
}
