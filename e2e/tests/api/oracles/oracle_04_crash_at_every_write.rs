//! Oracle 4, crash at every write: wherever the operator dies, its successor reaches the state that an undisturbed run reaches,
//! and no object was created or deleted more often than there.

use super::lives::{Outcome, live};
use super::script;
use super::state::State;
use crate::faults::{Fault, Plan, Random, Summary, seed};
use crate::operator::bed::Bed;

/// Runs with one crash each, at a write and on a side of it that come out of the seed.
const SINGLE: usize = 6;

async fn run(purpose: &str, plans: impl Fn(usize) -> Plan, expected: Option<(&str, &State)>) -> Outcome {
    let bed = Bed::new(purpose).await;
    let _pods = bed.roll_out();
    live(&bed, plans, script::whole(&bed), expected).await
}

/// Every life ends at a write, on one side of it or the other; so each write is once the last of a life.
#[tokio::test(flavor = "multi_thread")]
async fn oracle_04_every_write_may_be_the_last() {
    let calm = run("o4-calm", |_| Plan::none(), None).await;
    let (state, summary) = (&calm.state, &calm.summary);
    assert!(!summary.deleted.is_empty(), "{summary:?}");
    // Not always at the first one: the first step of a hand-over of replicas is repeated until somebody comes to the second.
    let after = |life| Plan::at_write(1 + life % 2, Fault::CrashAfter);
    let before = |life| Plan::at_write(2 + life % 2, Fault::CrashBefore);
    let (after, before) = tokio::join!(
        run("o4-after", after, Some(("after every write", state))),
        run("o4-before", before, Some(("before every write", state))),
    );
    println!(
        "{} writes undisturbed; {} lives that ended after, {} that ended before a write",
        calm.sent_writes(),
        after.lives.len() - 1,
        before.lives.len() - 1,
    );
    for outcome in [&after, &before] {
        assert!(
            outcome.lives.len() > summary.created.len() / 2,
            "it hardly ever died"
        );
        assert_same(&outcome.summary, summary);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_04_one_crash_anywhere() {
    let mut random = Random(seed(4));
    let calm = run("o4-calm", |_| Plan::none(), None).await;
    let writes = calm.sent_writes();
    for _ in 0..SINGLE {
        let number = 1 + random.below(writes);
        let fault = *random.one_of(&[Fault::CrashBefore, Fault::CrashAfter]);
        let what = format!("{fault:?} {number}");
        let plans = |life| match life {
            0 => Plan::at_write(number, fault),
            _ => Plan::none(),
        };
        let outcome = run("o4-once", plans, Some((&what, &calm.state))).await;
        assert_same(&outcome.summary, &calm.summary);
    }
}

fn assert_same(found: &Summary, expected: &Summary) {
    assert_eq!(found, expected, "objects were made or deleted more or less often");
}
