//! Strategies, latencies and labels.

use std::collections::{BTreeMap, BTreeSet};

use berth_crds::settings::Strategy;
use berth_matchmaker::host::Heartbeat;
use berth_matchmaker::store::{EventKind, Found, MOST_CLASSES, Request};

use super::both_stores;
use crate::support::world::{World, anywhere, constant, in_region, labels, pinned, room};

both_stores!(
    packed_leaves_whole_hosts_empty,
    spread_takes_the_emptiest_host,
    equal_hosts_are_drawn_under_every_strategy,
    nearest_region_first,
    far_regions_serve_when_no_near_one_does,
    straying_goes_to_the_next_nearest_region,
    sample_finds_a_near_host_if_it_is_drawn,
    hosts_that_have_left_are_passed_over,
    labels_must_all_be_equal,
    strategy_and_region_hold_among_labels,
    labels_follow_the_heartbeat,
    pinned_host_must_have_the_labels,
    no_label_passes_for_another,
    labels_of_too_many_classes_are_ignored,
);

fn near(nearest: &[&str]) -> Request {
    Request {
        nearest: nearest.iter().map(|&name| name.to_owned()).collect(),
        ..anywhere()
    }
}

fn with<'a>(wanted: impl IntoIterator<Item = (&'a str, &'a str)>) -> Request {
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
fn saying<'a>(name: &str, region: &str, of_host: impl IntoIterator<Item = (&'a str, &'a str)>) -> Heartbeat {
    Heartbeat {
        labels: labels(of_host),
        ..constant(name, region)
    }
}

/// A host with these labels.
async fn labelled<'a>(
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
async fn all(world: &mut World, request: impl Fn() -> Request) -> Vec<String> {
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

async fn labels_must_all_be_equal(mut world: World) {
    assert_eq!(world.find(with([("gpu", "a100")])).await, Found::NoHosts);
    labelled(&mut world, "a", "eu", [("gpu", "a100"), ("codec", "av1")]).await;
    labelled(&mut world, "b", "us", [("gpu", "l4"), ("codec", "av1")]).await;
    labelled(
        &mut world,
        "c",
        "us",
        [("gpu", "a100"), ("codec", "h264"), ("size", "4k")],
    )
    .await;
    world.seated_host("d", "eu").await;
    for wanted in [
        vec![("gpu", "h100")],
        vec![("gpu", "l4"), ("codec", "h264")],
        vec![("gpu", "A100")],
        vec![("gpu", "")],
        vec![("GPU", "a100")],
        vec![("gpu", "a100"), ("rack", "7")],
    ] {
        assert_eq!(
            world.find(with(wanted.clone())).await,
            Found::NoneMatching,
            "{wanted:?}"
        );
    }
    for (wanted, host) in [
        (vec![("codec", "av1"), ("gpu", "a100")], "a"),
        (vec![("gpu", "a100")], "c"),
        (vec![("codec", "av1")], "b"),
    ] {
        assert_eq!(world.granted(with(wanted)).await.host.as_str(), host);
        world.counts().await;
    }
    assert_eq!(world.find(with([("codec", "av1")])).await, Found::NoneMatching);
    assert_eq!(world.granted(anywhere()).await.host.as_str(), "d");
    assert_eq!(world.find(with([("codec", "av1")])).await, Found::NoHosts);
}

async fn strategy_and_region_hold_among_labels(mut world: World) {
    for (name, region, gpu, slots) in [
        ("a", "eu", "a100", 2),
        ("b", "eu", "a100", 3),
        ("c", "us", "a100", 1),
        ("d", "eu", "l4", 9),
        ("e", "us", "l4", 9),
    ] {
        let heartbeat = Heartbeat {
            capacity: slots,
            available: slots,
            ..saying(name, region, [("gpu", gpu), ("name", name)])
        };
        world.join(&heartbeat.room).await;
        world.beat(heartbeat).await;
    }
    let a100_in = |region: &str| {
        let region = Some(region.to_owned());
        move || Request {
            region: region.clone(),
            ..with([("gpu", "a100")])
        }
    };
    assert_eq!(world.granted(a100_in("eu")()).await.host.as_str(), "b");
    world.rules.strategy = Strategy::Packed;
    let picked = all(&mut world, a100_in("eu")).await;
    assert_eq!((picked.len(), picked[4].as_str()), (5, "c"), "{picked:?}");
    assert!(picked[0] == picked[1] && picked[2] == picked[3], "{picked:?}");
    world.rules.region_weight = 1;
    let mut request = Request {
        region: Some("eu".to_owned()),
        ..with([("gpu", "l4")])
    };
    request.dice.stray = 0;
    assert_eq!(world.granted(request.clone()).await.host.as_str(), "e");
    request.labels = labels([("gpu", "l4"), ("name", "d")]);
    request.id = anywhere().id;
    assert_eq!(
        world.granted(request).await.host.as_str(),
        "d",
        "no host elsewhere fits"
    );
}

async fn labels_follow_the_heartbeat(mut world: World) {
    labelled(&mut world, "a", "eu", [("gpu", "a100")]).await;
    labelled(&mut world, "b", "eu", [("gpu", "a100")]).await;
    world.beat(saying("a", "us", [("gpu", "l4")])).await;
    world.counts().await;
    let l4 = with([("gpu", "l4")]);
    assert_eq!(world.granted(l4.clone()).await.region, "us");
    world.beat(saying("a", "us", [])).await;
    world.counts().await;
    assert!(world.release(l4.id).await);
    assert_eq!(world.find(l4).await, Found::NoneMatching);
    assert_eq!(world.granted(with([("gpu", "a100")])).await.host.as_str(), "b");
    // Another room changes nothing about them, and a host that is lost takes them along.
    let moved = Heartbeat {
        room: room("elsewhere"),
        ..saying("b", "eu", [("gpu", "a100")])
    };
    world.join(&moved.room).await;
    world.beat(moved).await;
    world.counts().await;
    world.granted(with([("gpu", "a100")])).await;
    world.advance(world.rules.heartbeat_ttl).await;
    assert_eq!(world.counts().await.capacity, 0);
}

async fn pinned_host_must_have_the_labels(mut world: World) {
    labelled(&mut world, "a", "eu", [("gpu", "a100"), ("size", "4k")]).await;
    world.seated_host("b", "eu").await;
    let pinned = |name: &str, gpu| Request {
        labels: labels([("gpu", gpu)]),
        region: Some("us".to_owned()),
        ..pinned(name)
    };
    assert_eq!(world.find(pinned("a", "l4")).await, Found::NoneMatching);
    assert_eq!(world.find(pinned("b", "a100")).await, Found::NoneMatching);
    assert_eq!(world.find(pinned("c", "a100")).await, Found::NoneMatching);
    assert_eq!(world.granted(pinned("a", "a100")).await.host.as_str(), "a");
    world.granted(anywhere()).await;
    assert_eq!(world.find(pinned("a", "l4")).await, Found::NoHosts);
}

/// Neither what stands beside a label nor what it begins or ends with is taken for it.
async fn no_label_passes_for_another(mut world: World) {
    let of_hosts = [
        vec![("b,", ":"), (",z", "")],
        vec![("a", "1\",\"b\":\"2")],
        vec![("k", "v%d+"), ("long", "value")],
        vec![("nothing\0", "\0"), ("\u{7f}\u{80}\u{ff}", "\u{10ffff}")],
    ];
    for (number, of_host) in of_hosts.iter().enumerate() {
        labelled(&mut world, &format!("h{number}"), "a:b\0\n;", of_host.clone()).await;
    }
    for wanted in [
        (":", ","),
        ("b", "2"),
        ("k", "v1"),
        ("ong", "value"),
        ("long", "val"),
        ("nothing", ""),
        ("nothing", "\0"),
        ("\u{80}\u{ff}", "\u{10ffff}"),
    ] {
        assert_eq!(
            world.find(with([wanted])).await,
            Found::NoneMatching,
            "{wanted:?}"
        );
    }
    for (number, of_host) in of_hosts.into_iter().enumerate() {
        let request = Request {
            region: Some("a:b\0\n;".to_owned()),
            ..with(of_host)
        };
        assert_eq!(world.granted(request).await.host.as_str(), format!("h{number}"));
        world.counts().await;
    }
}

async fn labels_of_too_many_classes_are_ignored(mut world: World) {
    let rack = |number: usize| format!("rack-{number}");
    for number in 0..=MOST_CLASSES {
        let rack = rack(number);
        labelled(&mut world, &format!("h{number}"), "eu", [("rack", rack.as_str())]).await;
    }
    let ignored = [(EventKind::LabelsIgnored, format!("h{MOST_CLASSES}"))];
    assert_eq!(world.events(), ignored);
    let (first, last) = (rack(0), rack(MOST_CLASSES));
    let of_last = || with([("rack", last.as_str())]);
    assert_eq!(world.find(of_last()).await, Found::NoneMatching);
    assert_eq!(
        world
            .granted(with([("rack", first.as_str())]))
            .await
            .host
            .as_str(),
        "h0"
    );
    world.counts().await;

    // A class without hosts makes room for another one.
    let renewed = saying(&format!("h{MOST_CLASSES}"), "eu", [("rack", last.as_str())]);
    world.beat(renewed.clone()).await;
    assert_eq!(world.events(), ignored, "as long as it is so, it is told");
    world.beat(constant("h0", "eu")).await;
    world.beat(renewed).await;
    assert_eq!(world.events(), []);
    assert_eq!(world.granted(of_last()).await.host, pinned("h512").host.unwrap());
    assert_eq!(all(&mut world, anywhere).await.len(), MOST_CLASSES - 1);
    world.counts().await;
}
