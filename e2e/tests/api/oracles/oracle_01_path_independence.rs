//! Oracle 1, path independence: whatever specs a user has applied and deleted before, the end is that of applying the last ones to an
//! empty namespace. The specs are edge cases of the schema in an order out of a seed; the end has a fixed number of pods, because
//! an autoscaled number is what it was.

use std::time::Duration;

use super::specs::{Spec, Specs, delete, furnished};
use super::state::{settled, wait_values};
use crate::faults::{Random, seed};

const RUNS: u64 = 3;
const STEPS: usize = 14;

#[tokio::test(flavor = "multi_thread")]
async fn oracle_01_the_end_does_not_depend_on_the_way() {
    let seed = seed(1);
    let kinds = Specs::all();
    let runs = (0..RUNS).map(async |number| {
        let mut random = Random(seed + number);
        let (bed, operator) = furnished("o1-long").await;
        let _pods = bed.roll_out();
        let mut way = Vec::new();
        for _ in 0..STEPS {
            let specs = random.one_of(&kinds);
            let spec = specs.any(&mut random);
            if random.below(6) == 0 {
                delete(&bed, spec.kind, spec.name).await;
                way.push(format!("{} deleted", spec.kind));
            } else if spec.apply(&bed).await.is_some() {
                way.push(spec.about.clone());
            }
            // Some are overtaken by the next.
            tokio::time::sleep(Duration::from_millis(random.below(300) as u64)).await;
        }
        let mut last: Vec<Spec> = Vec::new();
        for specs in &kinds {
            loop {
                let spec = specs.any_of_ours(&mut random).clone().fixed();
                // Some fields cannot be changed once they are set.
                if spec.apply(&bed).await.is_some() {
                    last.push(spec);
                    break;
                }
            }
        }
        let (fresh, fresh_operator) = furnished("o1-short").await;
        let _fresh_pods = fresh.roll_out();
        for spec in &last {
            assert!(spec.apply(&fresh).await.is_some(), "{}", spec.about);
        }
        for spec in &last {
            spec.done(&fresh).await;
        }
        let expected = settled(&fresh).await;
        let ends: Vec<_> = last.iter().map(|spec| &spec.about).collect();
        wait_values(
            &bed,
            &format!("run {number}: {way:#?}, at last {ends:#?}"),
            &expected,
        )
        .await;
        fresh_operator.stop().await.unwrap();
        operator.stop().await.unwrap();
    });
    futures::future::join_all(runs).await;
}
