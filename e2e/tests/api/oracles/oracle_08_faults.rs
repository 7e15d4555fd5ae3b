//! Oracle 8, faults: refusals, broken connections before and after the server has done its work, silence, watches that break off in
//! the middle of a line or are told 410. The end is that of an undisturbed run, every call ends, the wait after failures grows
//! object by object, and other objects go on.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use parking_lot::Mutex;

use super::lives::{Outcome, live, start};
use super::script;
use super::state::State;
use crate::faults::{Asked, Edit, Fault, Network, Plan, Random, seed};
use crate::operator::bed::Bed;

/// Runs at the same time.
const ABREAST: usize = 3;
/// Faults in each run.
const FAULTS: usize = 5;
/// What writes meet, run by run.
const OF_WRITES: [&[Fault]; 6] = [
    &[Fault::Refuse(409)],
    &[Fault::Refuse(429)],
    &[Fault::Refuse(500), Fault::Refuse(503), Fault::Refuse(504)],
    &[Fault::CutBefore],
    &[Fault::CutAfter],
    &[Fault::Refuse(404), Fault::Refuse(410)],
];

async fn run(plan: Plan, expected: Option<(&str, &State)>) -> Outcome {
    let bed = Bed::new("o8").await;
    let _pods = bed.roll_out();
    let plan = Mutex::new(Some(plan));
    let plans = |_| plan.lock().take().expect("one life");
    live(&bed, plans, script::whole(&bed), expected).await
}

fn faults(outcome: &Outcome) -> usize {
    outcome.lives[0].iter().filter(|entry| entry.faulty).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_08_writes_that_fail() {
    let seed = seed(8);
    let calm = run(Plan::none(), None).await;
    let runs = OF_WRITES.map(|faults| (format!("{faults:?}"), Plan::some_writes(seed, FAULTS, faults)));
    let runs = stream::iter(runs).map(async |(what, plan)| {
        let outcome = run(plan, Some((&what, &calm.state))).await;
        (what, outcome)
    });
    for (what, outcome) in runs.buffered(ABREAST).collect::<Vec<_>>().await {
        assert_eq!(faults(&outcome), FAULTS, "{what}");
        assert_eq!(outcome.summary, calm.summary, "{what}");
    }
}

/// A read, a write, and the beginning of a watch: nothing is waited for for ever.
#[tokio::test(flavor = "multi_thread")]
async fn oracle_08_requests_that_are_never_answered() {
    let calm = run(Plan::none(), None).await;
    let once = Mutex::new(vec![
        ("get", "secrets"),
        ("patch", "services"),
        ("watch", "deployments"),
    ]);
    let plan = Plan::new(move |asked: &Asked| {
        let mut once = once.lock();
        let is = |(verb, kind): &(&str, &str)| *verb == asked.verb && *kind == asked.kind;
        let met = once.iter().position(is)?;
        once.remove(met);
        Some(Fault::Hang)
    });
    let outcome = run(plan, Some(("never answered", &calm.state))).await;
    assert_eq!(faults(&outcome), 3);
    assert_eq!(outcome.summary, calm.summary);
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_08_watches_that_break_off() {
    let seed = seed(88);
    let calm = run(Plan::none(), None).await;
    for edit in [|| Edit::Halve, || Edit::Gone] {
        let random = Mutex::new((Random(seed), 20));
        let met = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&met);
        let plan = Plan::none().editing(move |line| {
            let (random, left) = &mut *random.lock();
            // Not the first lines, so that each watch gets somewhere.
            if line.number < 2 || *left == 0 || random.below(3) != 0 {
                return Edit::Pass;
            }
            *left -= 1;
            *counted.lock() += 1;
            edit()
        });
        let outcome = run(plan, Some(("watches that break off", &calm.state))).await;
        assert_eq!(outcome.summary, calm.summary);
        assert!(*met.lock() > 5, "{} watches broke off", *met.lock());
    }
}

/// One SignalingCluster cannot be brought on; another one does not notice.
#[tokio::test(flavor = "multi_thread")]
async fn oracle_08_waits_grow_object_by_object() {
    let bed = Bed::new("o8-backoff").await;
    let _pods = bed.roll_out();
    let failing = |asked: &Asked| {
        asked.name.as_deref() == Some("bad-signaling") && asked.verb == "patch" && asked.kind == "services"
    };
    let network = Network::new(Plan::new(move |asked| {
        failing(asked).then_some(Fault::Refuse(if asked.number % 2 == 0 { 500 } else { 429 }))
    }));
    let operator = start(&bed, &network).await;
    let attempts = || -> Vec<_> {
        let log = network.log();
        log.iter()
            .filter(|entry| failing(&entry.asked))
            .map(|entry| entry.asked.at)
            .collect()
    };
    bed.cluster("bad").await;
    bed.wait("a first failure", async || (!attempts().is_empty()).then_some(()))
        .await;
    bed.cluster("good").await;
    bed.wait_condition("SignalingCluster", "good", "Ready", "True")
        .await;
    // In the first second there are events of the other children, each of them a reason to look again. Then the waits of half a second,
    // doubled with each failure, are left to themselves.
    let attempts = bed
        .wait("a wait of some seconds", async || {
            let at = attempts();
            let longest = at.windows(2).map(|pair| pair[1] - pair[0]).max()?;
            (longest >= Duration::from_millis(3200)).then_some(at.len())
        })
        .await;
    assert!(attempts < 40, "{attempts} attempts");
    operator.stop().await.unwrap();
}
