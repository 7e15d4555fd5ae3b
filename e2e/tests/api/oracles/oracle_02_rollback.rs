//! Oracle 2, rollback: from A to B and back to A is A, also when no pod of B ever became ready. B is any edge case of the schema with an
//! image that there is not.

use serde_json::json;

use super::specs::{Specs, furnished};
use super::state::{settled, wait_values};
use crate::faults::{Random, seed};

const ROUNDS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn oracle_02_back_is_as_before() {
    let mut random = Random(seed(2));
    let kinds = Specs::all();
    let (bed, operator) = furnished("o2").await;
    let mut pods = bed.roll_out();
    let plain: Vec<_> = kinds.iter().map(|specs| specs.plain().clone().fixed()).collect();
    for spec in &plain {
        spec.apply(&bed).await.unwrap();
    }
    for spec in &plain {
        spec.done(&bed).await;
    }
    let before = settled(&bed).await;
    let mut rounds = 0;
    while rounds < ROUNDS {
        let which = random.below(kinds.len());
        let mut other = kinds[which].any(&mut random).clone().fixed();
        if other.kind != "TurnConfig" {
            other.resource["spec"]["image"] = json!("nowhere.example.com/nothing:none");
        }
        drop(pods);
        let applied = other.apply(&bed).await.is_some();
        if applied {
            other.looked_at(&bed).await;
        }
        plain[which].apply(&bed).await.unwrap();
        pods = bed.roll_out();
        if applied {
            rounds += 1;
            wait_values(&bed, &format!("back from {}", other.about), &before).await;
        }
    }
    drop(pods);
    operator.stop().await.unwrap();
}
