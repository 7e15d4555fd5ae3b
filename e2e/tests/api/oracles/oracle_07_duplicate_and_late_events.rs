//! Oracle 7, duplicate, reordered and late events: every event twice, and each kind behind the others by a time of its own. The end is that
//! of an undisturbed run, and no child is written more often than there.

use std::collections::BTreeMap;
use std::time::Duration;

use super::lives::live;
use super::script;
use crate::faults::{Edit, Plan, Random, seed};
use crate::operator::bed::Bed;

/// Kinds of children and of ours.
const KINDS: usize = 13;
const RUNS: u64 = 3;

/// Writes of children: what is told of our resources depends on when something was seen.
fn writes(outcome: &super::lives::Outcome) -> BTreeMap<String, usize> {
    let mut writes = BTreeMap::new();
    for entry in outcome.lives.iter().flatten().filter(|entry| entry.is_done()) {
        if entry.asked.verb != "patch-status" {
            *writes.entry(entry.object()).or_default() += 1;
        }
    }
    writes
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_07_events_twice_and_out_of_order_write_nothing_more() {
    let seed = seed(7);
    let run = async |plan: Plan, expected| {
        let bed = Bed::new("o7").await;
        let _pods = bed.roll_out();
        live(&bed, |_| plan.clone(), script::whole(&bed), expected).await
    };
    let calm = run(Plan::none(), None).await;
    let twice = run(
        Plan::none().editing(|_| Edit::Twice),
        Some(("everything twice", &calm.state)),
    )
    .await;
    assert_eq!(writes(&twice), writes(&calm));
    let late = (0..RUNS).map(|number| {
        let mut random = Random(seed + number);
        // Up to two thirds of a second, by the first letters of the kind.
        let delays: Vec<_> = (0..KINDS).map(|_| random.below(7) as u64 * 100).collect();
        let plan = Plan::none().editing(move |line| {
            let letters = line.asked.kind.bytes().map(usize::from).sum::<usize>();
            let delay = Duration::from_millis(delays[letters % KINDS]);
            if line.listed && line.is_news() {
                Edit::Late(delay)
            } else {
                Edit::Pass
            }
        });
        run(plan, Some(("kinds behind each other", &calm.state)))
    });
    for late in futures::future::join_all(late).await {
        assert_eq!(late.summary, calm.summary);
        assert_eq!(writes(&late), writes(&calm));
    }
}
