//! Oracle 12, hand-over of replicas: a pool goes from autoscaled to fixed and back, and the operator dies at every write of it. The
//! number of pods is only ever one that somebody wanted: never below the smallest floor, never above the maximum, and never the default of
//! the API, which is 1.

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::lives::live;
use crate::faults::{Fault, Plan, Random, seed};
use crate::operator::bed::Bed;
use crate::operator::replicas::{Counts, autoscale, pool, wait_annotation, wait_autoscaler};

const FLOOR: i32 = 3;
const MOST: i32 = 9;

fn autoscaled(floor: i32) -> Value {
    json!({"autoscaling": {"minReplicas": floor, "maxReplicas": MOST}})
}

async fn to_autoscaled(bed: &Bed, count: i32) {
    pool(bed, autoscaled(FLOOR)).await;
    wait_annotation(bed, "autoscaled").await;
    wait_autoscaler(bed, true).await;
    autoscale(bed, count).await;
}

async fn to_fixed(bed: &Bed, counts: &Counts, count: i32) {
    pool(bed, json!({"replicas": count})).await;
    wait_annotation(bed, "fixed").await;
    wait_autoscaler(bed, false).await;
    counts.wait_last(bed, count).await;
}

async fn run(purpose: &str, plans: impl Fn(usize) -> Plan) -> Vec<i32> {
    let bed = Bed::new(purpose).await;
    let counts = Counts::follow(&bed).await;
    bed.cluster("main").await;
    let script = async {
        to_autoscaled(&bed, 7).await;
        to_fixed(&bed, &counts, 4).await;
        to_autoscaled(&bed, 8).await;
        to_fixed(&bed, &counts, 5).await;
        pool(&bed, json!({"replicas": 0})).await;
        counts.wait_last(&bed, 0).await;
        to_autoscaled(&bed, 6).await;
        counts.wait_last(&bed, 6).await;
    };
    live(&bed, plans, script, None).await;
    counts.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_12_every_step_may_be_the_last() {
    // The floor at first; 4 becomes autoscaled at 4; and none becomes the floor.
    let expected = [FLOOR, 7, 4, 8, 5, 0, FLOOR, 6];
    assert_eq!(run("o12-calm", |_| Plan::none()).await, expected);
    let (after, before) = tokio::join!(
        run("o12-after", |life| Plan::at_write(
            1 + life % 2,
            Fault::CrashAfter
        )),
        run("o12-before", |life| Plan::at_write(
            2 + life % 2,
            Fault::CrashBefore
        )),
    );
    assert_eq!(after, expected, "after every write");
    assert_eq!(before, expected, "before every write");
}

/// The user changes his mind faster than the operator follows, which dies all the time.
#[tokio::test(flavor = "multi_thread")]
async fn oracle_12_whatever_the_user_wants_meanwhile() {
    const FLIPS: usize = 24;
    let seed = seed(12);
    let bed = Bed::new("o12-flips").await;
    let counts = Counts::follow(&bed).await;
    bed.cluster("main").await;
    let mut random = Random(seed);
    let script = async {
        bed.wait_object("v1", "Secret", "main-redis-auth").await;
        for _ in 0..FLIPS {
            let count = i32::try_from(random.below(4)).unwrap();
            match random.below(2) {
                0 => pool(&bed, json!({"replicas": FLOOR + count})).await,
                _ => pool(&bed, autoscaled(FLOOR + count)).await,
            }
            let pause = std::time::Duration::from_millis(random.below(400) as u64);
            tokio::time::sleep(pause).await;
        }
        to_fixed(&bed, &counts, 4).await;
    };
    let dies = Mutex::new(Random(seed + 1));
    let plans = |_| {
        let mut random = dies.lock();
        let number = 2 + random.below(4);
        Plan::at_write(number, *random.one_of(&[Fault::CrashBefore, Fault::CrashAfter]))
    };
    let outcome = live(&bed, plans, script, None).await;
    let shown = counts.get();
    println!("{} lives: {shown:?}", outcome.lives.len());
    assert!(
        shown.iter().all(|count| (FLOOR..=MOST).contains(count)),
        "{shown:?}"
    );
}
