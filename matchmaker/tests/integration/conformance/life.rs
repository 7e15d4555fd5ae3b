//! Hosts: registration, records, silence, rooms.

use std::time::Duration;

use berth_matchmaker::host::{Heartbeat, HostInfo, HostState, HostStatus};
use berth_matchmaker::store::{EventKind, Found, MOST_OFFLINE, Registered};

use super::both_stores;
use crate::support::world::{World, anywhere, constant, host, labels, pinned, room};

both_stores!(
    heartbeat_registers_and_renews,
    record_says_what_the_host_said,
    silent_host_is_lost,
    hosts_that_are_gone_are_listed_for_a_while,
    room_belongs_to_one_live_host,
    change_of_room_ends_reservations,
    host_must_sit_in_its_room,
    hosts_may_join_late_where_that_is_allowed,
    pages_follow_ids,
    tick_is_bounded,
);

async fn heartbeat_registers_and_renews(mut world: World) {
    assert_eq!(world.beat(constant("a", "us")).await, Registered::New);
    assert_eq!(world.beat(constant("a", "us")).await, Registered::Renewed);
    assert_eq!(world.hosts().await.len(), 1);
    assert_eq!(world.events(), []);
}

async fn record_says_what_the_host_said(mut world: World) {
    let strange = "id with \u{1f3ae}, blanks | r:x and \"quotes\"";
    let heartbeat = Heartbeat {
        host: host(strange),
        room: room("r:1"),
        region: "eu west/1".to_owned(),
        labels: labels([("gpu", "a \"100\""), ("\u{1f3ae}", "")]),
        status: HostStatus::Busy,
        capacity: 7,
        available: 3,
        serves: None,
        age: Duration::ZERO,
        info: HostInfo::default(),
    };
    world.beat(heartbeat).await;
    let record = world.host(strange).await;
    assert_eq!(
        (record.room, record.region.as_str(), record.status),
        (room("r:1"), "eu west/1", HostStatus::Busy)
    );
    assert_eq!((record.capacity, record.offered, record.free), (7, 3, 0));
    assert_eq!(record.labels, labels([("gpu", "a \"100\""), ("\u{1f3ae}", "")]));
    assert_eq!(record.state, HostState::Unreachable);
    assert!((29_000..=30_000).contains(&record.ttl_ms), "{}", record.ttl_ms);
    let first = record.heartbeat_ms;
    world.advance(Duration::from_secs(10)).await;
    assert!((19_000..=20_000).contains(&world.host(strange).await.ttl_ms));
    world
        .beat(Heartbeat {
            host: host(strange),
            room: room("r:1"),
            ..constant("a", "us")
        })
        .await;
    let record = world.host(strange).await;
    assert_eq!((record.region.as_str(), record.capacity), ("us", 1));
    assert_eq!(record.labels, labels([]));
    assert!(record.heartbeat_ms >= first + 10_000);
}

async fn silent_host_is_lost(mut world: World) {
    world.seated_host("a", "us").await;
    let id = anywhere();
    world.granted(id.clone()).await;
    world.advance(Duration::from_secs(29)).await;
    assert_eq!(world.counts().await.hosts["allocated"], 1);
    world.events();
    world.advance(Duration::from_secs(1)).await;
    let counts = world.counts().await;
    assert_eq!(counts.hosts.values().sum::<u64>(), 0);
    assert_eq!(
        world.events(),
        [
            (EventKind::EndedByLoss, "a".to_owned()),
            (EventKind::HostLost, "a".to_owned())
        ]
    );
    assert!(!world.release(id.id).await, "the match is over");
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    assert_eq!(world.beat(constant("a", "us")).await, Registered::New);
    world.granted(anywhere()).await;
}

async fn hosts_that_are_gone_are_listed_for_a_while(mut world: World) {
    let listed = async |world: &World| {
        let gone = world.store.offline().await.unwrap();
        let shown = gone.into_iter().map(|gone| {
            assert_eq!(gone.room, format!("room-{}", gone.host));
            (gone.host.to_string(), gone.region, gone.left)
        });
        shown.collect::<Vec<_>>()
    };
    let gone = |name: &str, left| (name.to_owned(), "us west".to_owned(), left);
    for name in ["b", "a"] {
        world.beat(constant(name, "us west")).await;
    }
    assert_eq!(listed(&world).await, []);
    assert!(world.host_leaves("b").await);
    world.advance(Duration::from_secs(31)).await;
    world.counts().await;
    assert_eq!(listed(&world).await, [gone("a", false), gone("b", true)]);
    world.beat(constant("b", "us west")).await;
    assert_eq!(listed(&world).await, [gone("a", false)]);
    world.clock.advance(Duration::from_secs(599));
    assert_eq!(listed(&world).await, [gone("a", false)]);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(listed(&world).await, []);
    // The earliest are forgotten when there are many.
    for number in 0..MOST_OFFLINE + 2 {
        world.beat(constant(&format!("h{number}"), "us west")).await;
        world.host_leaves(&format!("h{number}")).await;
        world.clock.advance(Duration::from_millis(2));
    }
    let last = world.store.offline().await.unwrap();
    assert_eq!(last.len(), MOST_OFFLINE);
    assert!(last.iter().all(|gone| gone.host != host("h0")));
}

async fn room_belongs_to_one_live_host(mut world: World) {
    world.beat(constant("a", "us")).await;
    let other = Heartbeat {
        room: room("room-a"),
        ..constant("b", "us")
    };
    assert_eq!(world.beat(other.clone()).await, Registered::RoomTaken(host("a")));
    assert_eq!(world.hosts().await.len(), 1);
    world.advance(Duration::from_secs(30)).await;
    assert_eq!(world.beat(other.clone()).await, Registered::New);
    assert_eq!(
        world.beat(constant("a", "us")).await,
        Registered::RoomTaken(host("b"))
    );
    assert_eq!(world.beat(constant("b", "us")).await, Registered::Renewed);
    assert_eq!(
        world.beat(constant("a", "us")).await,
        Registered::New,
        "b gave the room up"
    );
}

async fn change_of_room_ends_reservations(mut world: World) {
    world.seated_host("a", "us").await;
    world.granted(anywhere()).await;
    world.events();
    let elsewhere = room("elsewhere");
    world.join(&elsewhere).await;
    world
        .beat(Heartbeat {
            room: elsewhere.clone(),
            ..constant("a", "us")
        })
        .await;
    assert_eq!(world.events(), [(EventKind::EndedByRoomChange, "a".to_owned())]);
    let grant = world.granted(anywhere()).await;
    assert_eq!(grant.room, elsewhere);
    world.join(&room("room-a")).await;
    assert_eq!(
        world.counts().await.hosts["allocated"],
        1,
        "the old room means nothing any more"
    );
    world.join(&elsewhere).await;
    assert_eq!(world.counts().await.hosts["busy"], 1);
}

async fn host_must_sit_in_its_room(mut world: World) {
    world.beat(constant("a", "us")).await;
    assert_eq!(world.host("a").await.state, HostState::Unreachable);
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    assert_eq!(world.find(pinned("a")).await, Found::NoHosts);
    let seat = world.join(&room("room-a")).await;
    assert_eq!(world.counts().await.hosts["idle"], 1);
    world.leave(&room("room-a"), seat).await;
    assert_eq!(
        world.find(anywhere()).await,
        Found::NoHosts,
        "found out by the find itself"
    );
    assert_eq!(world.counts().await.hosts["unreachable"], 1);
    world.join(&room("room-a")).await;
    assert_eq!(
        world.granted(anywhere()).await.host,
        host("a"),
        "no heartbeat was needed"
    );
}

async fn hosts_may_join_late_where_that_is_allowed(mut world: World) {
    world.rules.require_host_in_room = false;
    world.beat(constant("a", "us")).await;
    world.granted(anywhere()).await;
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    let seat = world.join(&room("room-a")).await;
    assert_eq!(world.counts().await.hosts["allocated"], 1);
    let player = world.plays(&room("room-a")).await;
    assert_eq!(world.counts().await.hosts["busy"], 1);
    world.leave(&room("room-a"), player).await;
    world.advance(Duration::from_secs(5)).await;
    assert_eq!(world.counts().await.hosts["idle"], 1);
    world.leave(&room("room-a"), seat).await;
    assert_eq!(world.counts().await.hosts["idle"], 1);
}

async fn pages_follow_ids(mut world: World) {
    let names: Vec<String> = (0..600).map(|number| format!("h{number:03}")).collect();
    for name in names.iter().rev() {
        world.beat(constant(name, "us")).await;
    }
    let listed: Vec<String> = world
        .hosts()
        .await
        .iter()
        .map(|record| record.host.to_string())
        .collect();
    assert_eq!(listed, names);
    let page = world.store.page(Some(host("h300"))).await.unwrap();
    assert_eq!((page.len(), page[0].host.as_str()), (256, "h301"));
}

async fn tick_is_bounded(mut world: World) {
    for number in 0..700 {
        world.beat(constant(&format!("h{number}"), "us")).await;
    }
    world.advance(Duration::from_secs(30)).await;
    let step = world.store.tick(world.rules).await.unwrap();
    assert!(step.value.more);
    assert!((256..=512).contains(&step.events.len()), "{}", step.events.len());
    assert_eq!(world.counts().await.capacity, 0);
    assert_eq!(step.events.len() + world.events().len(), 700);
}
