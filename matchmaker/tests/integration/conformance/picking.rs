//! Strategies and latencies.

use std::collections::{BTreeMap, BTreeSet};

use berth_crds::settings::Strategy;
use berth_matchmaker::host::Heartbeat;
use berth_matchmaker::store::{Found, Request};

use super::both_stores;
use crate::support::world::{World, anywhere, constant, in_region, labels, room};

both_stores!(
    packed_leaves_whole_hosts_empty,
    spread_takes_the_emptiest_host,
    equal_hosts_are_drawn_under_every_strategy,
    nearest_region_first,
    far_regions_serve_when_no_near_one_does,
    straying_goes_to_the_next_nearest_region,
    sample_finds_a_near_host_if_it_is_drawn,
    hosts_that_have_left_are_passed_over,
);

fn near(nearest: &[&str]) -> Request {
    Request {
        nearest: nearest.iter().map(|&name| name.to_owned()).collect(),
        ..anywhere()
    }
}

pub(super) fn with<'a>(wanted: impl IntoIterator<Item = (&'a str, &'a str)>) -> Request {
    Request {
        labels: labels(wanted),
        ..anywhere()
    }
}

/// A host with this many slots.
async fn large(world: &mut World, name: &str, region: &str, slots: u32) {
    let heartbeat = Heartbeat {
        capacity: slots,
        available: slots,
        ..constant(name, region)
    };
    world.join(&heartbeat.room).await;
    world.beat(heartbeat).await;
}

/// The heartbeat of a host with these labels.
pub(super) fn saying<'a>(
    name: &str,
    region: &str,
    of_host: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Heartbeat {
    Heartbeat {
        labels: labels(of_host),
        ..constant(name, region)
    }
}

/// A host with these labels.
pub(super) async fn labelled<'a>(
    world: &mut World,
    name: &str,
    region: &str,
    of_host: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    let heartbeat = saying(name, region, of_host);
    world.join(&heartbeat.room).await;
    world.beat(heartbeat).await;
}

/// Names of the hosts that a request is given until it is refused.
pub(super) async fn all(world: &mut World, request: impl Fn() -> Request) -> Vec<String> {
    let mut hosts = Vec::new();
    while let Found::Granted(grant) = world.find(request()).await {
        hosts.push(grant.host.to_string());
    }
    hosts
}

async fn packed_leaves_whole_hosts_empty(mut world: World) {
    world.rules.strategy = Strategy::Packed;
    for (name, slots) in [("a", 4), ("b", 2), ("c", 4), ("d", 3)] {
        large(&mut world, name, "eu", slots).await;
    }
    let filled = all(&mut world, anywhere).await;
    assert_eq!(filled[..5], ["b", "b", "d", "d", "d"]);
    let (first, second) = filled[5..].split_at(4);
    for four in [first, second] {
        assert!(four.iter().all(|host| *host == four[0]), "{filled:?}");
    }
    assert_eq!(BTreeSet::from([&first[0], &second[0]]).len(), 2);
    world.counts().await;
}

/// What is full and what is empty follows the sessions, not the heartbeat.
async fn spread_takes_the_emptiest_host(mut world: World) {
    for (name, slots) in [("a", 2), ("b", 4)] {
        large(&mut world, name, "eu", slots).await;
    }
    assert_eq!(world.granted(anywhere()).await.host.as_str(), "b");
    let mut players = Vec::new();
    for _ in 0..3 {
        players.push(world.plays(&room("room-b")).await);
    }
    assert_eq!(world.granted(anywhere()).await.host.as_str(), "a");
    world.counts().await;
    for player in players {
        world.leave(&room("room-b"), player).await;
    }
    assert_eq!(world.granted(anywhere()).await.host.as_str(), "b");
    world.counts().await;
}

async fn equal_hosts_are_drawn_under_every_strategy(mut world: World) {
    const ROUNDS: u32 = 600;
    for (number, name) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
        let region = ["eu", "us"][number % 2];
        labelled(
            &mut world,
            name,
            region,
            [("gpu", "a100"), ("rack", ["1", "2"][number % 2])],
        )
        .await;
    }
    for strategy in [Strategy::Packed, Strategy::Spread, Strategy::Sample { size: 2 }] {
        world.rules.strategy = strategy;
        for wanted in [anywhere, || with([("gpu", "a100")])] {
            let mut picked: BTreeMap<String, u32> = BTreeMap::new();
            for _ in 0..ROUNDS {
                let request = wanted();
                let grant = world.granted(request.clone()).await;
                world.release(request.id).await;
                *picked.entry(grant.host.to_string()).or_default() += 1;
            }
            // 100 expected each; a fair draw leaves this range once in 10^8 runs.
            assert!(
                picked.len() == 6 && picked.values().all(|count| (50..=160).contains(count)),
                "{strategy:?}: {picked:?}"
            );
        }
    }
}

async fn nearest_region_first(mut world: World) {
    for (name, region) in [
        ("a", "eu"),
        ("b", "us"),
        ("c", "asia"),
        ("d", "us"),
        ("e", "moon"),
    ] {
        world.seated_host(name, region).await;
    }
    let mut regions = Vec::new();
    while let Found::Granted(grant) = world
        .find(Request {
            region: Some("asia".to_owned()),
            ..near(&["nowhere", "us", "eu"])
        })
        .await
    {
        regions.push(grant.region);
    }
    assert_eq!(regions, ["asia", "us", "us", "eu", "moon"]);
}

async fn far_regions_serve_when_no_near_one_does(mut world: World) {
    large(&mut world, "a", "eu", 1).await;
    large(&mut world, "b", "us", 3).await;
    large(&mut world, "c", "asia", 2).await;
    world.rules.strategy = Strategy::Packed;
    let request = || Request {
        region: Some("moon".to_owned()),
        ..near(&["mars"])
    };
    assert_eq!(
        all(&mut world, request).await,
        ["a", "c", "c", "b", "b", "b"],
        "regions that nobody named are one"
    );
}

async fn straying_goes_to_the_next_nearest_region(mut world: World) {
    for (name, region) in [("a", "eu"), ("b", "us"), ("c", "asia")] {
        world.seated_host(name, region).await;
    }
    world.rules.region_weight = 1;
    for (stray, nearest, expected) in [
        (1, vec!["asia"], "eu"),
        (0, vec!["asia"], "asia"),
        (0, vec!["nowhere", "us"], "us"),
    ] {
        let mut request = Request {
            region: Some("eu".to_owned()),
            ..near(&nearest)
        };
        request.dice.stray = stray;
        assert_eq!(
            world.granted(request.clone()).await.region,
            expected,
            "{nearest:?}"
        );
        world.release(request.id).await;
    }
    let mut request = near(&["eu"]);
    request.dice.stray = 0;
    assert_eq!(
        world.granted(request).await.region,
        "eu",
        "what nobody asked for is not strayed from"
    );
}

async fn sample_finds_a_near_host_if_it_is_drawn(mut world: World) {
    world.seated_host("a", "eu").await;
    world.seated_host("b", "us").await;
    for name in ["c", "d", "e", "f"] {
        labelled(&mut world, name, "asia", [("disk", name)]).await;
    }
    // Of six hosts, two are drawn: eu is among them in 1/3, us but not eu in 4/15, neither in 6/15 of all cases.
    world.rules.strategy = Strategy::Sample { size: 2 };
    let mut picked: BTreeMap<String, u32> = BTreeMap::new();
    for step in 0..300u32 {
        let mut request = Request {
            region: Some("eu".to_owned()),
            ..near(&["us"])
        };
        request.dice.sample = step * (u32::MAX / 300);
        let grant = world.granted(request.clone()).await;
        world.release(request.id).await;
        *picked.entry(grant.region).or_default() += 1;
    }
    let near_to = |region: &str, count: u32| picked[region].abs_diff(count) <= 1;
    assert!(
        near_to("eu", 100) && near_to("us", 80) && near_to("asia", 120),
        "{picked:?}"
    );
    world.rules.strategy = Strategy::Sample { size: 1000 };
    for region in ["eu", "us", "asia"] {
        let request = Request {
            region: Some("eu".to_owned()),
            ..near(&["us"])
        };
        assert_eq!(world.granted(request).await.region, region);
    }
    // The sample is one of hosts that fit.
    world.rules.strategy = Strategy::Sample { size: 1 };
    let last = world
        .hosts()
        .await
        .into_iter()
        .find(|record| record.free > 0)
        .unwrap();
    let request = Request {
        labels: last.labels.clone(),
        ..in_region("eu")
    };
    assert_eq!(world.granted(request).await.host, last.host);
}

/// More have left than a find looks after on its way, so it meets them in the index.
async fn hosts_that_have_left_are_passed_over(mut world: World) {
    let mut seats = Vec::new();
    for number in 0..150 {
        let heartbeat = saying(
            &format!("h{number}"),
            "eu",
            [("gpu", "a100"), ("rack", ["1", "2"][number % 2])],
        );
        seats.push((heartbeat.room.clone(), world.join(&heartbeat.room).await));
        world.beat(heartbeat).await;
    }
    labelled(&mut world, "small", "us", [("gpu", "a100")]).await;
    let large = Heartbeat {
        capacity: 3,
        available: 3,
        ..saying("large", "us", [("gpu", "a100")])
    };
    world.join(&large.room).await;
    world.beat(large).await;
    let eu = || Request {
        region: Some("eu".to_owned()),
        ..with([("gpu", "a100")])
    };
    let near_eu = || near(&["eu"]);
    let wanted: [fn() -> Request; 4] = [eu, near_eu, anywhere, || with([("gpu", "a100")])];
    for strategy in [Strategy::Packed, Strategy::Spread, Strategy::Sample { size: 3 }] {
        world.rules.strategy = strategy;
        for request in wanted {
            for (room, seat) in &mut seats {
                world.leave(room, *seat).await;
            }
            let request = request();
            let grant = world.granted(request.clone()).await;
            match strategy {
                Strategy::Packed => assert_eq!(grant.host.as_str(), "small", "{request:?}"),
                Strategy::Spread => assert_eq!(grant.host.as_str(), "large", "{request:?}"),
                Strategy::Sample { .. } => assert_eq!(grant.region, "us", "{request:?}"),
            }
            world.counts().await;
            world.release(request.id).await;
            for (room, seat) in &mut seats {
                *seat = world.join(room).await;
            }
            world.counts().await;
        }
    }
}
