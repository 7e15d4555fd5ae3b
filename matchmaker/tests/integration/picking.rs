//! Random hosts and finds against a trivial model: whoever is picked fits, and no better host did.

use std::collections::BTreeMap;

use berth_crds::settings::Strategy as Picking;
use berth_matchmaker::host::Heartbeat;
use berth_matchmaker::store::{Dice, Found, HostRecord, Request};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::support::world::{Kind, World, anywhere, constant, host, room};

const HOSTS: usize = 8;
const CASES: u32 = 200;
const CASES_ON_REDIS: u32 = 30;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Op {
    Beat {
        host: usize,
        region: &'static str,
        labels: BTreeMap<String, String>,
        capacity: u32,
        available: u32,
    },
    Find {
        request: Request,
        picking: Picking,
        weight: u32,
    },
    /// Gives the oldest match up.
    Release,
    /// A host leaves its room, or returns.
    Walk(usize),
}

fn region() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["eu", "us", "asia", "eu:"])
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let (key, value) = (
        prop::sample::select(vec!["gpu", "codec"]),
        prop::sample::select(vec!["a", "b"]),
    );
    prop::collection::btree_map(key.prop_map(str::to_owned), value.prop_map(str::to_owned), 0..3)
}

fn request() -> impl Strategy<Value = Request> {
    let dice = any::<[u32; 4]>().prop_map(|[stray, region, sample, host]| Dice {
        stray: stray % 4,
        region,
        sample,
        host,
    });
    let nearest = prop::sample::subsequence(vec!["asia", "moon", "us"], 0..=3).prop_shuffle();
    let pinned = prop::option::weighted(0.1, 0..HOSTS);
    let parts = (prop::option::of(region()), nearest, labels(), pinned, dice);
    parts.prop_map(|(region, nearest, labels, pinned, dice)| {
        let nearest = nearest.into_iter().filter(|name| region != Some(*name));
        Request {
            region: region.map(str::to_owned),
            nearest: nearest.map(str::to_owned).collect(),
            labels,
            host: pinned.map(|number| host(&format!("h{number}"))),
            dice,
            ..anywhere()
        }
    })
}

fn op() -> impl Strategy<Value = Op> {
    let beat = (0..HOSTS, region(), labels(), 1u32..5, 0u32..5);
    let beat = beat.prop_map(|(host, region, labels, capacity, available)| Op::Beat {
        host,
        region,
        labels,
        capacity,
        available: available.min(capacity),
    });
    let picking = prop_oneof![
        Just(Picking::Packed),
        Just(Picking::Spread),
        (1u32..5).prop_map(|size| Picking::Sample { size }),
    ];
    let weight = prop::sample::select(vec![1u32, 3, 100]);
    let find = (request(), picking, weight).prop_map(|(request, picking, weight)| Op::Find {
        request,
        picking,
        weight,
    });
    prop_oneof![
        4 => beat,
        6 => find,
        1 => Just(Op::Release),
        1 => (0..HOSTS).prop_map(Op::Walk),
    ]
}

fn has_labels(record: &HostRecord, request: &Request) -> bool {
    let wanted = |(key, value)| record.labels.get(key) == Some(value);
    request.labels.iter().all(wanted)
}

/// The hosts that may be picked out of those that have a free slot; nobody if none fits.
fn allowed<'a>(
    free: &[&'a HostRecord],
    request: &Request,
    picking: Picking,
    weight: u32,
) -> Vec<&'a HostRecord> {
    let mut fitting: Vec<&HostRecord> = free
        .iter()
        .copied()
        .filter(|record| has_labels(record, request))
        .collect();
    if let Some(pin) = &request.host {
        fitting.retain(|record| record.host == *pin);
        return fitting;
    }
    let asked = request.region.as_deref();
    let elsewhere = fitting.iter().any(|record| asked != Some(&record.region));
    let mut order: Vec<&str> = asked
        .into_iter()
        .chain(request.nearest.iter().map(String::as_str))
        .collect();
    let mut strays = false;
    if weight < 100 && request.dice.stray.is_multiple_of(weight + 1) && elsewhere && asked.is_some() {
        let before = fitting.len();
        fitting.retain(|record| asked != Some(&record.region));
        strays = fitting.len() < before;
        order.remove(0);
    }
    let best = |hosts: Vec<&'a HostRecord>| -> Vec<&'a HostRecord> {
        let free = hosts.iter().map(|record| record.free);
        let best = match picking {
            Picking::Packed => free.min(),
            Picking::Spread => free.max(),
            Picking::Sample { .. } => return hosts,
        };
        hosts
            .into_iter()
            .filter(|record| Some(record.free) == best)
            .collect()
    };
    let inside = |region: &str| -> Vec<&'a HostRecord> {
        let those = fitting.iter().copied().filter(|record| record.region == region);
        those.collect()
    };
    let near = order.into_iter().map(inside).find(|hosts| !hosts.is_empty());
    match (near, picking) {
        // A sample may have missed the near ones, unless it has all hosts.
        (Some(near), Picking::Sample { size }) if size as usize >= fitting.len() => near,
        (_, Picking::Sample { .. }) => fitting,
        (Some(near), _) => best(near),
        // Another region was drawn.
        (None, _) if strays => {
            let mut regions: Vec<&str> = fitting.iter().map(|record| record.region.as_str()).collect();
            regions.sort_unstable();
            regions.dedup();
            regions
                .into_iter()
                .flat_map(|region| best(inside(region)))
                .collect()
        }
        (None, _) => best(fitting),
    }
}

async fn run(world: &mut World, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut seats = Vec::new();
    let mut matches = Vec::new();
    for number in 0..HOSTS {
        seats.push(Some(world.join(&room(&format!("room-h{number}"))).await));
    }
    for op in ops {
        match op {
            Op::Beat {
                host,
                region,
                labels,
                capacity,
                available,
            } => {
                let heartbeat = Heartbeat {
                    labels: labels.clone(),
                    capacity: *capacity,
                    available: *available,
                    ..constant(&format!("h{host}"), region)
                };
                world.beat(heartbeat).await;
            }
            Op::Find {
                request,
                picking,
                weight,
            } => {
                world.rules.strategy = *picking;
                world.rules.region_weight = *weight;
                world.counts().await;
                let hosts = world.hosts().await;
                let free: Vec<&HostRecord> = hosts.iter().filter(|record| record.free > 0).collect();
                let allowed = allowed(&free, request, *picking, *weight);
                // Each find is one of its own.
                let request = Request {
                    id: anywhere().id,
                    ..request.clone()
                };
                let found = world.find(request.clone()).await;
                let right = match &found {
                    Found::Granted(grant) => allowed.iter().any(|record| record.host == grant.host),
                    Found::NoHosts => free.is_empty(),
                    Found::NoneMatching => !free.is_empty() && allowed.is_empty(),
                    Found::NotNow | Found::Conflict | Found::Over(_) => false,
                };
                prop_assert!(
                    right,
                    "{found:?} for {request:?} by {picking:?}, weight {weight}, of {hosts:#?}"
                );
                if let Found::Granted(_) = found {
                    matches.push(request.id);
                }
            }
            Op::Release => {
                if !matches.is_empty() {
                    world.release(matches.remove(0)).await;
                }
            }
            Op::Walk(number) => {
                let room = room(&format!("room-h{number}"));
                match seats[*number].take() {
                    Some(seat) => world.leave(&room, seat).await,
                    None => seats[*number] = Some(world.join(&room).await),
                }
            }
        }
    }
    world.counts().await;
    Ok(())
}

fn histories(cases: u32, kind: Kind) {
    let runtime = Runtime::new().unwrap();
    let world = Mutex::new(runtime.block_on(World::new(kind)));
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&prop::collection::vec(op(), 1..50), |ops| {
            runtime.block_on(async {
                let mut world = world.lock().await;
                match kind {
                    Kind::Redis => world.reset().await,
                    Kind::Memory => *world = World::new(kind).await,
                }
                run(&mut world, &ops).await
            })
        })
        .unwrap();
}

#[test]
fn in_memory() {
    histories(CASES, Kind::Memory);
}

#[test]
fn on_redis() {
    histories(CASES_ON_REDIS, Kind::Redis);
}
