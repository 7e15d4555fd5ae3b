//! Oracle 5, stale reads: an operator that starts against a server whose cache is behind, and one that takes over while its watches are
//! late, deletes nothing and sets no earlier number of pods on what was so once.
//!
//! A single API server is never behind itself, so the network plays it: where a request allows an answer of the past (version 0), the
//! list has our resources as they were; and events of our resources can be held back.

use std::sync::Arc;

use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::lives::{start, start_with};
use super::state::{settled, wait_state};
use crate::faults::{Edit, Fault, Line, Network, Plan};
use crate::operator::bed::{Bed, Running};
use crate::operator::leader::{candidate, wait_holder};

const OURS: [&str; 3] = ["signalingclusters", "hostpools", "turnconfigs"];

/// At first there are few pods and no policies and budgets.
async fn few(bed: &Bed) {
    let less = json!({"networkPolicy": {"enabled": false}, "pdb": {"enabled": false}, "replicas": 2});
    let mut spec = json!({"publicUrl": "ws://signaling.example.com"});
    spec.as_object_mut()
        .unwrap()
        .extend(less.as_object().unwrap().clone());
    bed.resource("SignalingCluster", "main", spec).await;
    let mut spec = json!({"signalingClusterRef": {"name": "main"}});
    spec.as_object_mut()
        .unwrap()
        .extend(less.as_object().unwrap().clone());
    bed.resource("HostPool", "eu", spec).await;
    ready(bed, 2).await;
}

/// Then there are more.
async fn many(bed: &Bed) {
    let more = json!({"networkPolicy": {"enabled": true}, "pdb": {"enabled": true}, "replicas": 5});
    bed.edit("SignalingCluster", "main", more.clone()).await;
    bed.edit("HostPool", "eu", more).await;
    ready(bed, 5).await;
}

async fn ready(bed: &Bed, replicas: i64) {
    for (kind, name) in [("SignalingCluster", "main"), ("HostPool", "eu")] {
        bed.wait(&format!("{name} to have {replicas} pods"), async || {
            let found = bed.ours(kind).get(name).await.unwrap();
            let current = found.data["status"]["observedGeneration"].as_i64() == found.metadata.generation;
            (current && found.data["status"]["readyReplicas"] == replicas).then_some(())
        })
        .await;
        bed.wait_condition(kind, name, "Ready", "True").await;
    }
}

fn is_news_of_ours(line: &Line) -> bool {
    OURS.contains(&&*line.asked.kind) && line.is_news()
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_05_a_start_against_a_server_that_is_behind() {
    let bed = Bed::new("o5-start").await;
    let _pods = bed.roll_out();
    let first = start(&bed, &Network::new(Plan::none())).await;
    few(&bed).await;
    let mut past = Vec::new();
    for (kind, name) in [("SignalingCluster", "main"), ("HostPool", "eu")] {
        past.push(bed.ours(kind).get(name).await.unwrap());
    }
    let past: Arc<Vec<Value>> = Arc::new(
        past.iter()
            .map(|old| serde_json::to_value(old).unwrap())
            .collect(),
    );
    many(&bed).await;
    let before = settled(&bed).await;
    first.stop().await.unwrap();

    let network = Network::new(Plan::none().editing(move |line| {
        let query = line.asked.uri.query().unwrap_or_default();
        let may_be_old = query.split('&').any(|part| part == "resourceVersion=0");
        if line.listed || !may_be_old || !is_news_of_ours(line) {
            return Edit::Pass;
        }
        let same = |old: &&Value| old["metadata"]["uid"] == line.event["object"]["metadata"]["uid"];
        match past.iter().find(same) {
            Some(old) => Edit::Replace(json!({"type": "ADDED", "object": old})),
            None => Edit::Pass,
        }
    }));
    let second = start(&bed, &network).await;
    bed.wait("it to look at everything", async || {
        second
            .metrics
            .encode()
            .contains("berth_operator_reconcile_total")
            .then_some(())
    })
    .await;
    settled(&bed).await;
    wait_state(&bed, "a start against a server that is behind", &before).await;
    let writes = network.writes();
    assert!(writes.is_empty(), "{writes:#?}");
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_05_a_successor_whose_watches_are_late() {
    let bed = Bed::new("o5-late").await;
    let _pods = bed.roll_out();
    let first = Running::start(candidate(&bed, "first").await);
    wait_holder(&bed, "first").await;
    few(&bed).await;
    let (gate, closed) = watch::channel(false);
    let network = Network::new(
        Plan::new(|asked| {
            // Everything that the first one leaves behind is as it should be.
            (asked.verb == "delete").then_some(Fault::Refuse(500))
        })
        .editing(move |line| {
            if line.listed && is_news_of_ours(line) {
                Edit::Wait(closed.clone())
            } else {
                Edit::Pass
            }
        }),
    );
    let candidate = candidate(&bed, "second").await;
    let second = start_with(&bed, &network, |options| options.leader = candidate.leader).await;
    bed.wait("the second one to wait for the lease", async || {
        let log = network.log();
        log.iter().any(|entry| entry.asked.kind == "leases").then_some(())
    })
    .await;
    many(&bed).await;
    let before = settled(&bed).await;
    first.stop().await.unwrap();
    wait_holder(&bed, "second").await;
    bed.wait("it to look at everything", async || {
        second
            .metrics
            .encode()
            .contains("berth_operator_reconcile_total")
            .then_some(())
    })
    .await;
    settled(&bed).await;
    wait_state(&bed, "a successor whose watches are late", &before).await;
    gate.send_replace(true);
    let writes: Vec<_> = network
        .log()
        .into_iter()
        .filter(|entry| entry.asked.is_write())
        .collect();
    assert!(writes.is_empty(), "{writes:#?}");
    let deployment = bed.wait_object("apps/v1", "Deployment", "eu-matchmaker").await;
    assert_eq!(
        deployment.data["spec"]["replicas"],
        5,
        "{}",
        deployment.name_any()
    );
    second.stop().await.unwrap();
}
