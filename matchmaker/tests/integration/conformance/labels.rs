//! Labels of hosts and finds.

use berth_crds::settings::Strategy;
use berth_matchmaker::host::Heartbeat;
use berth_matchmaker::store::{EventKind, Found, MOST_CLASSES, Request};

use super::both_stores;
use super::picking::{all, labelled, saying, with};
use crate::support::world::{World, anywhere, constant, labels, pinned, room};

both_stores!(
    labels_must_all_be_equal,
    strategy_and_region_hold_among_labels,
    labels_follow_the_heartbeat,
    pinned_host_must_have_the_labels,
    no_label_passes_for_another,
    labels_of_too_many_classes_are_ignored,
);

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
