//! Oracle 16, dependency order: pool, TurnConfig, SignalingCluster and Secrets are made in all 24 orders. The end is the same; until then the
//! pool says what is missing, and no pod is made that could not start.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::lives::start_with;
use super::state::{State, differences, state};
use crate::faults::{Network, Plan};
use crate::operator::bed::{Bed, PATIENCE, conditions};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Pool,
    Turn,
    Cluster,
    Secrets,
}

fn orders(left: &[Part]) -> Vec<Vec<Part>> {
    if left.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in left {
        let rest: Vec<_> = left.iter().copied().filter(|part| part != first).collect();
        for mut order in orders(&rest) {
            order.insert(0, *first);
            all.push(order);
        }
    }
    all
}

async fn make(bed: &Bed, part: Part, set: &str) {
    match part {
        Part::Pool => {
            let spec = json!({
                "signalingClusterRef": {"name": format!("main-{set}")},
                "turnConfigRef": {"name": format!("turn-{set}")},
                "hostAuth": {"secretRef": {"name": format!("hosts-{set}")}},
            });
            bed.resource("HostPool", &format!("eu-{set}"), spec).await;
        }
        Part::Turn => {
            let spec = json!({"providers": [{"name": "coturn", "sharedSecret": {
                "urls": ["turn:turn.example.com"], "secretRef": {"name": format!("coturn-{set}")}}}]});
            bed.resource("TurnConfig", &format!("turn-{set}"), spec).await;
        }
        Part::Cluster => drop(bed.cluster(&format!("main-{set}")).await),
        Part::Secrets => {
            bed.secret(&format!("coturn-{set}"), json!({"secret": "x"})).await;
            bed.secret(&format!("hosts-{set}"), json!({"current": "x"})).await;
        }
    }
}

/// Waits until the pool names what is missing, and nothing else.
async fn names_missing(bed: &Bed, set: &str, made: &[Part]) {
    let there = |part| made.contains(&part);
    let mut missing = Vec::new();
    if !there(Part::Cluster) {
        missing.push(format!("SignalingCluster main-{set} does not exist"));
    }
    if !there(Part::Turn) {
        missing.push(format!("TurnConfig turn-{set} does not exist"));
    }
    // Secrets are looked for when it is known which ones.
    if there(Part::Cluster) && !there(Part::Secrets) {
        missing.push(format!("Secret hosts-{set} does not exist"));
    }
    bed.wait(&format!("{set} to miss {missing:?}"), async || {
        let found = bed.ours("HostPool").get(&format!("eu-{set}")).await.unwrap();
        let told = conditions(&found);
        let (is, _, message) = told.get("ResolvedRefs")?;
        let names = missing.iter().all(|part| message.contains(part));
        let more = message.matches("does not exist").count() > missing.len() + 1;
        (is == "False" && names && !more).then_some(())
    })
    .await;
    let deployments = bed.api("apps/v1", "Deployment");
    let pods = deployments
        .get_opt(&format!("eu-{set}-matchmaker"))
        .await
        .unwrap();
    assert!(pods.is_none(), "{set}: {made:?}");
}

/// What belongs to one set, under a common name.
fn of_set(state: &State, set: &str) -> State {
    let mine = state.iter().filter(|(name, _)| name.contains(set));
    let common = |text: &str| text.replace(set, "SET");
    let renamed: BTreeMap<String, Value> = mine
        .map(|(name, value)| {
            (
                common(name),
                serde_json::from_str(&common(&value.to_string())).unwrap(),
            )
        })
        .collect();
    renamed
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_16_all_orders_have_one_end() {
    let bed = Bed::new("o16").await;
    let _pods = bed.roll_out();
    let network = Network::new(Plan::none());
    let operator = start_with(&bed, &network, |options| options.intervals.probe = Duration::ZERO).await;
    let orders = orders(&[Part::Pool, Part::Turn, Part::Cluster, Part::Secrets]);
    let named: Vec<_> = orders
        .iter()
        .enumerate()
        .map(|(number, order)| (format!("q{number:02}q"), order))
        .collect();
    assert_eq!(named.len(), 24);
    let making = named.iter().map(async |(set, order)| {
        for (index, part) in order.iter().enumerate() {
            make(&bed, *part, set).await;
            let made = &order[..=index];
            if made.contains(&Part::Pool) && made.len() < 4 {
                names_missing(&bed, set, made).await;
            }
        }
        for (kind, name) in [
            ("HostPool", "eu"),
            ("SignalingCluster", "main"),
            ("TurnConfig", "turn"),
        ] {
            bed.wait_condition(kind, &format!("{name}-{set}"), "Ready", "True")
                .await;
        }
    });
    futures::future::join_all(making).await;
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let all = state(&bed).await;
        let first = of_set(&all, &named[0].0);
        assert!(first.len() > 25, "{:?}", first.keys());
        let differs: Vec<_> = named
            .iter()
            .flat_map(|(set, order)| {
                let found = differences(&first, &of_set(&all, set));
                found.into_iter().map(move |line| format!("{order:?}: {line}"))
            })
            .collect();
        if differs.is_empty() {
            break;
        }
        assert!(std::time::Instant::now() < end, "{}", differs.join("\n"));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    operator.stop().await.unwrap();
}
