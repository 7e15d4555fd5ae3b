//! Which host is picked.

use std::collections::BTreeMap;

use berth_matchmaker::host::Heartbeat;
use berth_matchmaker::store::{Dice, Found, Grant, Request};

use super::both_stores;
use crate::support::world::{World, anywhere, constant, in_region, pinned};

both_stores!(
    asked_region_first_then_the_others,
    weight_shares_out_between_regions,
    every_free_host_is_as_likely,
    pinned_host_or_nothing,
    host_may_move_to_another_region,
    all_slots_and_no_more,
);

async fn asked_region_first_then_the_others(mut world: World) {
    for name in ["a", "b"] {
        world.seated_host(name, "eu").await;
    }
    world.seated_host("c", "us").await;
    let mut regions = Vec::new();
    for _ in 0..3 {
        regions.push(world.granted(in_region("eu")).await.region);
    }
    assert_eq!(regions, ["eu", "eu", "us"]);
    assert_eq!(world.find(in_region("eu")).await, Found::NoHosts);
}

/// Picks again and again from the same hosts: each grant is given back.
async fn picks(world: &mut World, rounds: u32, request: impl Fn(Dice) -> Request) -> BTreeMap<String, u32> {
    let mut picked = BTreeMap::new();
    for round in 0..rounds {
        let request = request(Dice {
            stray: round,
            region: round / 2,
            sample: round,
            host: round,
        });
        let Grant { region, .. } = world.granted(request.clone()).await;
        assert!(world.release(request.id).await);
        *picked.entry(region).or_default() += 1;
    }
    picked
}

async fn weight_shares_out_between_regions(mut world: World) {
    world.seated_host("a", "eu").await;
    world.seated_host("b", "us").await;
    for name in ["c", "d", "e"] {
        world.seated_host(name, "asia").await;
    }
    let eu = |dice| Request {
        dice,
        ..in_region("eu")
    };
    world.rules.region_weight = 100;
    assert_eq!(
        picks(&mut world, 200, eu).await,
        BTreeMap::from([("eu".to_owned(), 200)])
    );
    for (weight, in_eu) in [(1, 200), (3, 300), (99, 396)] {
        world.rules.region_weight = weight;
        assert_eq!(picks(&mut world, 400, eu).await["eu"], in_eu, "weight {weight}");
    }
    world.rules.region_weight = 1;
    let picked = picks(&mut world, 800, eu).await;
    assert_eq!(
        (picked["us"], picked["asia"]),
        (100, 300),
        "the others by their free hosts"
    );
    world.seated_host("f", "moon").await;
    let moon = |dice| Request {
        dice,
        ..in_region("nowhere")
    };
    assert_eq!(
        picks(&mut world, 60, moon).await.values().sum::<u32>(),
        60,
        "an unknown region is no refusal"
    );
}

async fn every_free_host_is_as_likely(mut world: World) {
    for number in 0..5 {
        world
            .seated_host(&format!("h{number}"), if number == 0 { "eu" } else { "us" })
            .await;
    }
    let mut picked: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..1000 {
        let request = anywhere();
        let grant = world.granted(request.clone()).await;
        world.release(request.id).await;
        *picked.entry(grant.host.to_string()).or_default() += 1;
    }
    // 200 expected each; a fair draw leaves this range once in 10^15 runs.
    assert!(
        picked.len() == 5 && picked.values().all(|count| (100..=300).contains(count)),
        "{picked:?}"
    );
}

async fn pinned_host_or_nothing(mut world: World) {
    world.seated_host("a", "eu").await;
    world.seated_host("b", "us").await;
    let grant = world
        .granted(Request {
            region: Some("eu".to_owned()),
            ..pinned("b")
        })
        .await;
    assert_eq!(grant.region, "us", "the host counts, not the region");
    assert_eq!(world.find(pinned("b")).await, Found::NoneMatching);
    assert_eq!(world.find(pinned("nobody")).await, Found::NoneMatching);
    world.granted(anywhere()).await;
    assert_eq!(world.find(pinned("b")).await, Found::NoHosts);
}

async fn host_may_move_to_another_region(mut world: World) {
    world.seated_host("a", "eu").await;
    world.seated_host("b", "us").await;
    world
        .beat(Heartbeat {
            region: "us".to_owned(),
            ..constant("a", "eu")
        })
        .await;
    assert_eq!(world.counts().await.regions.keys().collect::<Vec<_>>(), ["us"]);
    world.granted(in_region("us")).await;
    world.granted(in_region("us")).await;
    assert_eq!(world.find(in_region("us")).await, Found::NoHosts);
}

async fn all_slots_and_no_more(mut world: World) {
    let mut slots = 0;
    for number in 0..40u32 {
        let name = format!("h{number}");
        let capacity = 1 + number % 4;
        world
            .seated_host(&name, ["eu", "us", "asia"][number as usize % 3])
            .await;
        world
            .beat(Heartbeat {
                capacity,
                available: capacity,
                ..constant(&name, "eu")
            })
            .await;
        slots += u64::from(capacity);
    }
    assert_eq!(world.counts().await.free, slots);
    for left in (0..slots).rev() {
        world.granted(in_region("eu")).await;
        if left % 10 == 0 {
            assert_eq!(world.counts().await.free, left);
        }
    }
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
}
