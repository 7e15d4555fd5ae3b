//! Oracle 3, quiescence: once everything is stable nothing is written, however often a child's status ticks, and a burst of events of
//! children is at most one look at each owner. (Resyncs and a restart of the operator: `operator/rest.rs`.)

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::lives::start_with;
use super::script;
use crate::faults::{Network, Plan};
use crate::operator::bed::{Bed, Running};

const BURSTS: u64 = 3;
const TICKS: usize = 10;
/// Long enough that no pause between two ticks of a burst ends it, on a slow machine too.
const DEBOUNCE: Duration = Duration::from_secs(3);

fn looks(operator: &Running) -> u64 {
    let metrics = operator.metrics.encode();
    let counted = metrics
        .lines()
        .filter(|line| line.starts_with("berth_operator_reconcile_total"));
    counted
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_03_ticks_of_children_write_nothing_and_a_burst_is_one_look() {
    let bed = Bed::new("o3").await;
    let _pods = bed.roll_out();
    let network = Network::new(Plan::none());
    let operator = start_with(&bed, &network, |options| options.intervals.debounce = DEBOUNCE).await;
    script::make(&bed).await;
    operator.settle().await;
    // What the debounce still holds back.
    tokio::time::sleep(DEBOUNCE * 2).await;
    operator.settle().await;
    let (written, looked) = (network.writes().len(), looks(&operator));
    for burst in 1..=BURSTS {
        for tick in 0..TICKS {
            let condition = json!({"status": {"conditions": [{
                "type": "Progressing", "status": "True", "reason": "Tick", "message": format!("{burst}.{tick}")}]}});
            for (kind, name) in [
                ("Deployment", "main-signaling"),
                ("Deployment", "eu-matchmaker"),
                ("StatefulSet", "main-redis"),
            ] {
                bed.api("apps/v1", kind)
                    .patch_status(name, &PatchParams::default(), &Patch::Merge(&condition))
                    .await
                    .unwrap();
            }
        }
        bed.wait("both owners to be looked at", async || {
            (looks(&operator) >= looked + 2 * burst).then_some(())
        })
        .await;
    }
    tokio::time::sleep(DEBOUNCE * 2).await;
    assert_eq!(
        looks(&operator) - looked,
        2 * BURSTS,
        "one look at each owner per burst"
    );
    assert_eq!(
        network.writes().len(),
        written,
        "{:#?}",
        &network.writes()[written..]
    );
    operator.stop().await.unwrap();
}
