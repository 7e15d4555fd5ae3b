//! Runs of the operator that end early, one after the other, while a user goes on with what he does.

use std::pin::pin;

use berth_operator::Options;

use super::state::{State, state, wait_state};
use crate::faults::{Entry, Network, Plan, Summary};
use crate::operator::bed::{Bed, Running};

/// More lives than any script has writes.
const MOST_LIVES: usize = 150;

/// What came of a script.
pub(super) struct Outcome {
    /// How often each object was created and deleted, in all lives.
    pub(super) summary: Summary,
    /// What is there in the end.
    pub(super) state: State,
    /// What was sent in each life.
    pub(super) lives: Vec<Vec<Entry>>,
}

impl Outcome {
    /// How many writes were sent, whether or not they arrived.
    pub(super) fn sent_writes(&self) -> usize {
        let all = self.lives.iter().flatten();
        all.filter(|entry| entry.asked.is_write()).count()
    }
}

/// Starts an operator in the namespace of `bed` behind `network`.
pub(super) async fn start(bed: &Bed, network: &Network) -> Running {
    start_with(bed, network, |_| {}).await
}

/// The same, with other options.
pub(super) async fn start_with(bed: &Bed, network: &Network, change: impl FnOnce(&mut Options)) -> Running {
    let mut options = bed.options().await;
    options.wire = Some(network.layer());
    change(&mut options);
    Running::start(options)
}

/// Lets the operator work while `script` goes on; each life, counted from 0, has a network with the plan that `plans` gives. With
/// `expected`, waits until that state is reached; else it is the state in which everything has settled.
pub(super) async fn live(
    bed: &Bed,
    plans: impl Fn(usize) -> Plan,
    script: impl Future<Output = ()>,
    expected: Option<(&str, &State)>,
) -> Outcome {
    let mut network = Network::new(plans(0));
    let mut operator = start(bed, &network).await;
    let mut networks = vec![network.clone()];
    let whole = async {
        script.await;
        if let Some((what, expected)) = expected {
            wait_state(bed, what, expected).await;
        }
    };
    let mut whole = pin!(whole);
    loop {
        tokio::select! {
            () = &mut whole => break,
            () = network.crash() => {}
        }
        drop(operator);
        assert!(
            networks.len() < MOST_LIVES,
            "each life does something, so this ends; the last ones: {:#?}",
            last_writes(&networks[networks.len() - 6..])
        );
        network = Network::new(plans(networks.len()));
        operator = start(bed, &network).await;
        networks.push(network.clone());
    }
    if expected.is_none() {
        operator.settle().await;
    }
    let state = state(bed).await;
    operator.stop().await.unwrap();
    let mut summary = Summary::default();
    let lives: Vec<_> = networks.iter().map(Network::log).collect();
    for log in &lives {
        summary.add(log);
    }
    Outcome {
        summary,
        state,
        lives,
    }
}

/// What was written in each of these lives.
fn last_writes(networks: &[Network]) -> Vec<Vec<String>> {
    let told = |entry: &Entry| format!("{} {} {:?}", entry.asked.verb, entry.object(), entry.code);
    let of_life = |network: &Network| {
        let log = network.log();
        log.iter()
            .filter(|entry| entry.asked.is_write())
            .map(told)
            .collect()
    };
    networks.iter().map(of_life).collect()
}
