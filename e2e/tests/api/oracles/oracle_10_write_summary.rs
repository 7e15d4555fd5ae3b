//! Oracle 10, write summary: under a mix of all faults at once every object is created and deleted exactly as often as without
//! faults. An end state hides that something was deleted and made anew on the way; this does not.

use futures::StreamExt;
use futures::stream;
use parking_lot::Mutex;

use super::lives::{Outcome, live};
use super::script;
use super::state::State;
use crate::faults::{Edit, Fault, Plan, Random, seed};
use crate::operator::bed::Bed;

const SEEDS: u64 = 6;
const ABREAST: usize = 3;
const FAULTS: &[Fault] = &[
    Fault::Refuse(409),
    Fault::Refuse(500),
    Fault::CutBefore,
    Fault::CutAfter,
    Fault::CrashBefore,
    Fault::CrashAfter,
];

/// A life with some faults, in which watches break off, tell everything twice, or forget.
fn plan(seed: u64) -> Plan {
    let random = Mutex::new((Random(seed), 15));
    Plan::some_writes(seed, 4, FAULTS).editing(move |line| {
        let (random, left) = &mut *random.lock();
        if line.number < 2 || *left == 0 || random.below(4) != 0 {
            return Edit::Pass;
        }
        *left -= 1;
        match random.below(3) {
            0 => Edit::Halve,
            1 => Edit::Gone,
            _ => Edit::Twice,
        }
    })
}

async fn run(purpose: &str, plans: impl Fn(usize) -> Plan, expected: Option<(&str, &State)>) -> Outcome {
    let bed = Bed::new(purpose).await;
    let _pods = bed.roll_out();
    live(&bed, plans, script::whole(&bed), expected).await
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_10_faults_make_and_delete_nothing_twice() {
    let seed = seed(10);
    let calm = run("o10-calm", |_| Plan::none(), None).await;
    let runs = stream::iter(0..SEEDS).map(async |number| {
        let what = format!("run {number}");
        // The first lives are disturbed; then there must be an end.
        let plans = |life: usize| match life {
            0..4 => plan(seed * 1000 + number * 10 + life as u64),
            _ => Plan::none(),
        };
        let outcome = run("o10", plans, Some((&what, &calm.state))).await;
        (what, outcome)
    });
    for (what, outcome) in runs.buffered(ABREAST).collect::<Vec<_>>().await {
        assert_eq!(outcome.summary, calm.summary, "{what}");
        let faulty = outcome
            .lives
            .iter()
            .flatten()
            .filter(|entry| entry.faulty)
            .count();
        println!("{what}: {} lives, {faulty} faults", outcome.lives.len());
        assert!(faulty > 0, "{what}");
    }
}
