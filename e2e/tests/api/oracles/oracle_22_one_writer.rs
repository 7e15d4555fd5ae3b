//! Oracle 22, one writer: a leader that is cut off from the API server, and does not know it, writes nothing after its lease, and what it had
//! begun is not done later either; the next one writes only then. Requests are recorded with their times. (Crash, hand-over
//! and theft of the lease: `operator/leader.rs`. The times of a lease are measured on each process's own monotonic clock, so a skew of
//! wall clocks has nothing to act on.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_operator::OperatorError;
use serde_json::json;

use super::lives::start_with;
use crate::faults::{Entry, Fault, Network, Plan};
use crate::operator::bed::Bed;
use crate::operator::leader::{candidate, wait_holder};

#[tokio::test(flavor = "multi_thread")]
async fn oracle_22_a_leader_that_is_cut_off_writes_nothing_more() {
    let bed = Bed::new("o22").await;
    let _pods = bed.roll_out();
    let cut = Arc::new(AtomicBool::new(false));
    let is_cut = Arc::clone(&cut);
    // Everything is swallowed, watches that are open go on: it sees each edit, and would like to act on it.
    let first_network = Network::new(Plan::new(move |_| {
        is_cut.load(Ordering::Relaxed).then_some(Fault::Hang)
    }));
    let options = candidate(&bed, "first").await;
    let first = start_with(&bed, &first_network, |given| given.leader = options.leader).await;
    wait_holder(&bed, "first").await;
    bed.cluster("main").await;
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    let second_network = Network::new(Plan::none());
    let options = candidate(&bed, "second").await;
    let second = start_with(&bed, &second_network, |given| given.leader = options.leader).await;

    cut.store(true, Ordering::Relaxed);
    bed.edit("SignalingCluster", "main", json!({"replicas": 5})).await;
    wait_holder(&bed, "second").await;
    // It is heard again, and has to end.
    cut.store(false, Ordering::Relaxed);
    let ended = first.ended().await;
    assert!(matches!(ended, Err(OperatorError::LeaseLost(_))), "{ended:?}");
    bed.wait("five pods", async || {
        let found = bed.ours("SignalingCluster").get("main").await.unwrap();
        (found.data["status"]["readyReplicas"] == 5).then_some(())
    })
    .await;
    let writes = |log: Vec<Entry>| {
        log.into_iter()
            .filter(|entry| entry.asked.is_write() && !entry.faulty)
    };
    let last = writes(first_network.log())
        .map(|entry| entry.asked.at)
        .max()
        .unwrap();
    let next = writes(second_network.log())
        .map(|entry| entry.asked.at)
        .min()
        .unwrap();
    assert!(last < next, "two wrote at a time");
    second.stop().await.unwrap();
}
