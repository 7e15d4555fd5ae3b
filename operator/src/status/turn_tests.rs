//! What is told of TURN servers that Berth runs.

use berth_crds::TurnConfig;
use berth_crds::api::TurnConfigStatus;
use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::render::{ChildId, ChildKind};

const REFUSED: &str = "pods \"turn-turn-5d\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true)";

fn config(managed: &serde_json::Value) -> TurnConfig {
    serde_json::from_value(json!({
        "apiVersion": "berth.dev/v1alpha1", "kind": "TurnConfig",
        "metadata": {"name": "turn", "namespace": "games", "generation": 3},
        "spec": {"managed": managed},
    }))
    .unwrap()
}

fn on_nodes(workload: &str) -> TurnConfig {
    config(&json!({"network": "Host", "workload": workload}))
}

/// Two servers that are ready.
fn complete() -> Rollout {
    Rollout {
        image: Some("coturn:test".into()),
        ..super::tests::complete()
    }
}

fn facts() -> TurnConfigFacts {
    TurnConfigFacts {
        missing: Some(Vec::new()),
        servers: ServerFacts {
            deployment: Some(complete()),
            daemon_set: Some(complete()),
            applied: Some("h".into()),
            addresses: vec!["10.0.0.1".into(), "10.0.0.2".into()],
            enforced: None,
        },
        ..TurnConfigFacts::default()
    }
}

fn tell(resource: &TurnConfig, facts: &TurnConfigFacts) -> TurnConfigStatus {
    let now = Timestamp::from_second(1).unwrap();
    let status = turn_config(resource, &TurnConfigStatus::default(), facts, None, now);
    assert_eq!(
        turn_config(resource, &status, facts, None, Timestamp::from_second(9).unwrap()),
        status,
        "what has not changed is told in the same words"
    );
    status
}

/// Truth and reason of a condition.
fn told(status: &TurnConfigStatus, kind: ConditionType) -> Option<(&str, &str)> {
    let found = find(&status.conditions, kind)?;
    Some((&found.status, &found.reason))
}

#[test]
fn servers_are_told_of_when_berth_runs_them() {
    let status = tell(&on_nodes("Deployment"), &facts());
    assert_eq!(told(&status, ConditionType::Ready), Some(("True", "UpToDate")));
    assert_eq!(
        told(&status, ConditionType::Available),
        Some(("True", "PodsAvailable"))
    );
    assert_eq!(
        told(&status, ConditionType::PodSecurityBlocked),
        Some(("False", "PodsAdmitted"))
    );
    let managed = status.managed.unwrap();
    assert_eq!((managed.replicas, managed.ready_replicas), (2, 2));
    assert_eq!(managed.addresses, ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(managed.image.as_deref(), Some("coturn:test"));

    let own = tell(&config(&json!({"externalAddress": "203.0.113.7"})), &facts());
    let nowhere: [String; 0] = [];
    assert_eq!(
        own.managed.unwrap().addresses,
        nowhere,
        "their addresses are those of pods"
    );

    let mut others = on_nodes("Deployment");
    others.spec.managed = None;
    let status = tell(&others, &facts());
    assert_eq!(status.managed, None);
    for kind in [ConditionType::Available, ConditionType::PodSecurityBlocked] {
        assert_eq!(told(&status, kind), None, "{kind:?}");
    }
}

#[test]
fn addresses_are_bounded() {
    let mut facts = facts();
    facts.servers.addresses = (0..100).map(|host| format!("10.0.0.{host}")).collect();
    let addresses = tell(&on_nodes("DaemonSet"), &facts).managed.unwrap().addresses;
    assert_eq!(addresses, &facts.servers.addresses[..16]);
}

#[test]
fn they_are_ready_when_they_are_rolled_out() {
    let mut facts = facts();
    for break_it in [
        (|servers: &mut ServerFacts| servers.deployment = None) as fn(&mut ServerFacts),
        |servers| servers.applied = Some("other".into()),
        |servers| servers.deployment.as_mut().unwrap().ready = 1,
    ] {
        let before = facts.servers.clone();
        break_it(&mut facts.servers);
        let status = tell(&on_nodes("Deployment"), &facts);
        assert_eq!(told(&status, ConditionType::Ready), Some(("False", "RollingOut")));
        assert_eq!(
            told(&status, ConditionType::Reconciling),
            Some(("True", "RollingOut"))
        );
        // The other object counts for nothing.
        let status = tell(&on_nodes("DaemonSet"), &facts);
        let ready = facts.servers.applied.as_deref() == Some("h");
        assert_eq!(told(&status, ConditionType::Ready).unwrap().0 == "True", ready);
        facts.servers = before;
    }
}

#[test]
fn a_namespace_that_refuses_them_is_named_with_the_label_to_set() {
    let mut of_deployment = facts();
    let refused = Rollout {
        replicas: 0,
        updated: 0,
        ready: 0,
        available: 0,
        ..complete()
    };
    of_deployment.servers.deployment = Some(Rollout {
        refused: Some(REFUSED.into()),
        ..refused.clone()
    });
    let mut of_set = facts();
    of_set.servers.daemon_set = Some(refused);
    of_set.servers.enforced = Some("restricted".into());
    for (workload, facts) in [("Deployment", &of_deployment), ("DaemonSet", &of_set)] {
        let status = tell(&on_nodes(workload), facts);
        for kind in [ConditionType::PodSecurityBlocked, ConditionType::Stalled] {
            assert_eq!(
                told(&status, kind),
                Some(("True", "PodSecurityBlocked")),
                "{workload}"
            );
        }
        assert_eq!(
            told(&status, ConditionType::Ready),
            Some(("False", "PodSecurityBlocked"))
        );
        let message = &find(&status.conditions, ConditionType::Ready).unwrap().message;
        for part in [
            "namespace games",
            "pod-security.kubernetes.io/enforce: privileged",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }

    // For other reasons they may be missing for a while.
    let blocked = |workload: &str, facts: &TurnConfigFacts| {
        told(
            &tell(&on_nodes(workload), facts),
            ConditionType::PodSecurityBlocked,
        )
        .unwrap()
        .0 == "True"
    };
    let mut quota = of_deployment.clone();
    quota.servers.deployment.as_mut().unwrap().refused = Some("exceeded quota".into());
    assert!(!blocked("Deployment", &quota));
    for level in [None, Some("privileged".to_owned())] {
        of_set.servers.enforced = level;
        assert!(!blocked("DaemonSet", &of_set));
    }
    of_set.servers.enforced = Some("baseline".into());
    assert!(blocked("DaemonSet", &of_set));
    of_set.servers.daemon_set.as_mut().unwrap().replicas = 2;
    assert!(!blocked("DaemonSet", &of_set), "they are all there");
}

#[test]
fn a_paused_turn_config_says_what_waits() {
    let mut resource = on_nodes("DaemonSet");
    resource.spec.paused = true;
    let mut facts = facts();
    assert_eq!(
        told(&tell(&resource, &facts), ConditionType::Ready),
        Some(("True", "UpToDate"))
    );
    facts.held = vec![ChildId::new(ChildKind::DaemonSet, "turn-turn")];
    let status = tell(&resource, &facts);
    assert_eq!(told(&status, ConditionType::Ready), Some(("False", "Paused")));
    let paused = find(&status.conditions, ConditionType::Paused).unwrap();
    assert_eq!(
        paused.message,
        "spec.paused is true: not written DaemonSet turn-turn"
    );
}

#[test]
fn what_the_controllers_say_is_read() {
    let deployment = serde_json::from_value(json!({
        "metadata": {"generation": 2},
        "spec": {"selector": {}, "template": {}, "replicas": 1},
        "status": {"observedGeneration": 2, "conditions": [
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetCreated"},
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": REFUSED}]},
    }))
    .unwrap();
    let read = Rollout::of_deployment(&deployment);
    assert_eq!((read.refused.as_deref(), read.stuck), (Some(REFUSED), None));
    let set = serde_json::from_value(json!({
        "metadata": {"generation": 2, "annotations": {"berth.dev/desired-hash": "h"}},
        "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c", "image": "coturn:test"}]}}},
        "status": {"observedGeneration": 2, "desiredNumberScheduled": 3, "currentNumberScheduled": 2,
            "updatedNumberScheduled": 2, "numberReady": 1, "numberAvailable": 1, "numberMisscheduled": 0},
    }))
    .unwrap();
    let mut read = Rollout::of_daemon_set(&set);
    assert!(read.lacks_pods() && !read.is_complete());
    let seen = (
        read.desired,
        read.replicas,
        read.updated,
        read.ready,
        read.available,
    );
    assert_eq!(seen, (3, 2, 2, 1, 1));
    assert_eq!((&*read.hash, read.image.as_deref()), ("h", Some("coturn:test")));
    read.observed = false;
    assert!(!read.lacks_pods());
}
