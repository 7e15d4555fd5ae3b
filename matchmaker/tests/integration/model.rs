//! Random histories against a trivial model: no slot twice, none leaked past its deadline.
//!
//! Hosts and players come with a match token or without; those without show who they are later: players offer before the
//! clock moves on, hosts answer when they like. Players leave and come back, or do not. Hosts are *steady* where they keep their
//! seat while a player is on the way: then the store must agree with the model exactly. *Restless* hosts leave and return
//! whenever they like, which looks like a player: then the store may promise less than there is, but never more.
//!
//! Where several players of a host have no token, one may be taken for another who has not come, or has left. No slot is lost
//! or granted twice by that, but after a player has left, its seat may not be held.
//!
//! Hosts take their leave, say what they do, and are taken out of service; finds come again with their key, and several come at once through
//! different matchmakers.
//!
//! On Redis three matchmakers are asked in turn; each may start again at any time, and Redis may come back empty.

mod actors;
mod players;
mod truth;
mod words;

use berth_matchmaker::host::HostStatus;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::support::world::{Kind, World};
use actors::Actors;

/// One thing that happens. Numbers choose among what is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Beat {
        host: usize,
        truthful: bool,
    },
    Find {
        region: bool,
        pinned: Option<usize>,
    },
    PlayerJoins {
        choice: usize,
        token: bool,
    },
    PlayersOffer,
    HostAnswers(usize),
    PlayerLeaves(usize),
    Release(usize),
    HostLeaves(usize),
    HostReturns {
        host: usize,
        token: bool,
    },
    Advance {
        seconds: u64,
    },
    Drain {
        host: usize,
        drain: bool,
    },
    /// A host takes its leave of the matchmaker.
    Goodbye(usize),
    Says {
        host: usize,
        status: HostStatus,
    },
    /// A find comes again with its key.
    Again(usize),
    /// Several finds and a heartbeat at once.
    Rush {
        finds: u64,
        host: usize,
    },
    /// A matchmaker starts again.
    Restart(usize),
    /// Redis comes back empty.
    Loss,
    Tick,
}

fn op() -> impl Strategy<Value = Op> {
    let host = 0usize..4;
    prop_oneof![
        6 => (host.clone(), any::<bool>()).prop_map(|(host, truthful)| Op::Beat { host, truthful }),
        6 => (any::<bool>(), prop::option::weighted(0.2, host.clone()))
            .prop_map(|(region, pinned)| Op::Find { region, pinned }),
        6 => (0usize..8, any::<bool>()).prop_map(|(choice, token)| Op::PlayerJoins { choice, token }),
        2 => Just(Op::PlayersOffer),
        1 => host.clone().prop_map(Op::HostAnswers),
        4 => (0usize..8).prop_map(Op::PlayerLeaves),
        1 => (0usize..8).prop_map(Op::Release),
        1 => host.clone().prop_map(Op::HostLeaves),
        2 => (host.clone(), any::<bool>()).prop_map(|(host, token)| Op::HostReturns { host, token }),
        1 => (host.clone(), prop::bool::weighted(0.4)).prop_map(|(host, drain)| Op::Drain { host, drain }),
        1 => host.clone().prop_map(Op::Goodbye),
        1 => (host.clone(), status()).prop_map(|(host, status)| Op::Says { host, status }),
        2 => (0usize..8).prop_map(Op::Again),
        2 => (2u64..5, host).prop_map(|(finds, host)| Op::Rush { finds, host }),
        3 => (1u64..16).prop_map(|seconds| Op::Advance { seconds }),
        2 => Just(Op::Tick),
        1 => (0usize..3).prop_map(Op::Restart),
        1 => Just(Op::Loss),
    ]
}

fn status() -> impl Strategy<Value = HostStatus> {
    prop_oneof![
        2 => Just(HostStatus::Idle),
        1 => Just(HostStatus::Busy),
        1 => Just(HostStatus::Draining),
    ]
}

/// Who comes with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tokens {
    All,
    None,
    Some,
}

fn tokens() -> impl Strategy<Value = Tokens> {
    prop_oneof![Just(Tokens::All), Just(Tokens::None), Just(Tokens::Some)]
}

const CASES: u32 = 1500;
const CASES_ON_REDIS: u32 = 100;

fn histories(cases: u32, kind: Kind, steady: bool) {
    let runtime = Runtime::new().unwrap();
    let mut world = runtime.block_on(World::new(kind));
    if let Kind::Redis = kind {
        runtime.block_on(world.serve_by(3));
    }
    let world = Mutex::new(world);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(
            &(prop::collection::vec(op(), 1..80), tokens()),
            |(ops, tokens)| {
                runtime.block_on(async {
                    let mut world = world.lock().await;
                    match kind {
                        Kind::Redis => world.reset().await,
                        Kind::Memory => *world = World::new(kind).await,
                    }
                    let mut actors = Actors::new(&mut world, steady, tokens).await;
                    for op in &ops {
                        actors.act(*op).await?;
                    }
                    actors.end().await
                })
            },
        )
        .unwrap();
}

#[test]
fn steady_hosts_in_memory() {
    histories(CASES, Kind::Memory, true);
}

#[test]
fn steady_hosts_on_redis() {
    histories(CASES_ON_REDIS, Kind::Redis, true);
}

#[test]
fn restless_hosts_in_memory() {
    histories(CASES, Kind::Memory, false);
}

#[test]
fn restless_hosts_on_redis() {
    histories(CASES_ON_REDIS, Kind::Redis, false);
}
