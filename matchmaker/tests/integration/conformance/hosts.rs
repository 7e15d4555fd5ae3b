//! Hosts beside their heartbeats: what they tell of themselves, that they drain, that they leave.

use std::time::Duration;

use berth_matchmaker::host::{Heartbeat, HostInfo, HostState, HostStatus};
use berth_matchmaker::slots::Change;
use berth_matchmaker::store::{EventKind, Found, HostRecord, MOST_DRAINED, Registered};
use serde_json::json;

use super::both_stores;
use crate::support::world::{Kind, World, anywhere, constant, keys, pinned, room};

both_stores!(
    info_is_kept_until_it_changes,
    info_ends_with_its_host,
    status_between_heartbeats,
    host_that_says_draining_gets_nobody,
    status_prolongs_no_life,
    host_that_leaves_is_forgotten,
    host_that_leaves_may_come_back,
    drained_host_serves_to_the_end,
    drain_outlives_heartbeats_and_absence,
    unreachable_comes_before_draining,
    only_what_is_known_can_be_drained,
);

fn telling(name: &str, game: &str) -> Heartbeat {
    let info = json!({
        "publicIp": "192.0.2.1", "fqdn": "a.example.com", "gameInfo": {"name": game, "specs": [1, {"x": null}]},
        "ports": {"game": {"port": 7777, "protocol": "UDP"}}, "location": {"city": "Oslo", "latitude": 59.91},
    });
    Heartbeat {
        info: serde_json::from_value(info).unwrap(),
        ..constant(name, "us")
    }
}

async fn told(world: &World, name: &str) -> HostInfo {
    HostInfo::from_text(&world.host(name).await.info)
}

async fn info_is_kept_until_it_changes(mut world: World) {
    for game in ["chess", "chess", "go", "chess"] {
        let heartbeat = telling("a", game);
        world.beat(heartbeat.clone()).await;
        assert_eq!(told(&world, "a").await, heartbeat.info);
    }
    world.beat(constant("b", "us")).await;
    assert_eq!(world.host("b").await.info, "");
    // A change of room is none of the info.
    let elsewhere = Heartbeat {
        room: room("elsewhere"),
        ..telling("a", "chess")
    };
    world.beat(elsewhere.clone()).await;
    assert_eq!(told(&world, "a").await, elsewhere.info);
    world.beat(constant("a", "us")).await;
    assert_eq!(world.host("a").await.info, "", "it tells nothing any more");
}

async fn info_ends_with_its_host(mut world: World) {
    for leaves in [true, false] {
        world.beat(telling("a", "chess")).await;
        if leaves {
            world.host_leaves("a").await;
        } else {
            world.advance(Duration::from_secs(30)).await;
            world.counts().await;
        }
        world.beat(constant("a", "us")).await;
        assert_eq!(world.host("a").await.info, "");
        world.host_leaves("a").await;
    }
}

/// Status, what the host offered, and free slots.
async fn stands(world: &World, name: &str) -> (HostStatus, u32, u32) {
    let record = world.host(name).await;
    (record.status, record.offered, record.free)
}

async fn status_between_heartbeats(mut world: World) {
    world.seated_host("a", "us").await;
    let offering = |available| Heartbeat {
        capacity: 4,
        available,
        ..constant("a", "us")
    };
    world.beat(offering(3)).await;
    for (status, offered, free) in [
        (HostStatus::Idle, 3, 3),
        (HostStatus::Busy, 0, 0),
        (HostStatus::Idle, 4, 4),
        (HostStatus::Allocated, 0, 0),
    ] {
        assert!(world.says_status("a", status).await);
        assert_eq!(stands(&world, "a").await, (status, offered, free));
        assert_eq!(world.counts().await.free, u64::from(free));
        let found = world.find(anywhere()).await;
        assert_eq!(matches!(found, Found::Granted(_)), free > 0, "{status:?}");
        if free > 0 {
            let taken = world.host("a").await.reservations[0].id;
            world.release(taken).await;
        }
    }
    world.beat(offering(2)).await;
    assert_eq!(
        stands(&world, "a").await,
        (HostStatus::Idle, 2, 2),
        "the heartbeat counts"
    );
    assert!(!world.says_status("nobody", HostStatus::Idle).await);
}

async fn host_that_says_draining_gets_nobody(mut world: World) {
    let drains = Heartbeat {
        status: HostStatus::Draining,
        ..constant("a", "us")
    };
    for by_heartbeat in [true, false] {
        world.seated_host("a", "us").await;
        if by_heartbeat {
            world.beat(drains.clone()).await;
        } else {
            world.says_status("a", HostStatus::Draining).await;
        }
        let HostRecord {
            state, free, drained, ..
        } = world.host("a").await;
        assert_eq!((state, free, drained), (HostState::Draining, 0, false));
        assert_eq!(world.find(anywhere()).await, Found::NoHosts);
        assert_eq!(world.find(pinned("a")).await, Found::NoHosts);
        let counts = world.counts().await;
        assert_eq!(
            (counts.hosts["draining"], counts.free, counts.capacity),
            (1, 0, 1)
        );
        // Its next plain heartbeat, or word, ends that.
        if by_heartbeat {
            world.beat(constant("a", "us")).await;
        } else {
            world.says_status("a", HostStatus::Idle).await;
        }
        world.granted(anywhere()).await;
        world.host_leaves("a").await;
        world.events();
        for member in world.seats.seats(&room("room-a")).await.unwrap() {
            world.leave(&room("room-a"), member.member).await;
        }
    }
}

async fn status_prolongs_no_life(mut world: World) {
    world.seated_host("a", "us").await;
    let before = world.host("a").await.heartbeat_ms;
    world.advance(Duration::from_secs(29)).await;
    assert!(world.says_status("a", HostStatus::Idle).await);
    assert_eq!(world.host("a").await.heartbeat_ms, before);
    world.advance(Duration::from_secs(1)).await;
    assert!(!world.says_status("a", HostStatus::Idle).await);
    assert_eq!(world.events(), [(EventKind::HostLost, "a".to_owned())]);
}

async fn host_that_leaves_is_forgotten(mut world: World) {
    world.seated_host("a", "us").await;
    let request = anywhere();
    world.granted(request.clone()).await;
    world.events();
    assert!(world.host_leaves("a").await);
    let a = "a".to_owned();
    assert_eq!(
        world.events(),
        [(EventKind::EndedByLeave, a.clone()), (EventKind::HostLeft, a)]
    );
    assert!(!world.release(request.id).await, "the match is over");
    assert!(world.hosts().await.is_empty());
    let counts = world.counts().await;
    assert_eq!((counts.capacity, counts.regions.len()), (0, 0));
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    assert!(!world.host_leaves("a").await);
    // Nobody claims its room any more.
    let heir = Heartbeat {
        room: room("room-a"),
        ..constant("b", "us")
    };
    assert_eq!(world.beat(heir).await, Registered::New);
    // Silent hosts are lost and cannot leave.
    world.advance(Duration::from_secs(30)).await;
    assert!(!world.host_leaves("b").await);
    assert_eq!(world.events(), [(EventKind::HostLost, "b".to_owned())]);
}

async fn host_that_leaves_may_come_back(mut world: World) {
    world.seated_host("a", "us").await;
    world.granted(anywhere()).await;
    let player = world.plays(&room("room-a")).await;
    world.counts().await;
    world.events();
    world.leave(&room("room-a"), player).await;
    world.advance(Duration::from_secs(5)).await;
    world.host_leaves("a").await;
    let a = || "a".to_owned();
    assert_eq!(
        world.events(),
        [
            (EventKind::Reservation(Change::Left), a()),
            (EventKind::HostLeft, a())
        ],
        "what was over is told as what it was"
    );
    assert_eq!(world.beat(constant("a", "us")).await, Registered::New);
    world.granted(anywhere()).await;
    world.plays(&room("room-a")).await;
    assert_eq!(world.counts().await.hosts["busy"], 1, "its room is watched again");
}

async fn drained_host_serves_to_the_end(mut world: World) {
    world.seated_host("a", "us").await;
    world
        .beat(Heartbeat {
            capacity: 2,
            available: 2,
            ..constant("a", "us")
        })
        .await;
    world.granted(anywhere()).await;
    assert!(world.drain("a", true).await);
    let record = world.host("a").await;
    assert_eq!(
        (record.state, record.free, record.drained),
        (HostState::Draining, 0, true)
    );
    assert_eq!((record.reservations.len(), record.status), (1, HostStatus::Idle));
    let counts = world.counts().await;
    assert_eq!(
        (counts.hosts["draining"], counts.free, counts.capacity),
        (1, 0, 2)
    );
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    // The one who was promised a slot still comes, and its session is told as any other.
    world.events();
    let player = world.plays(&room("room-a")).await;
    assert_eq!(world.counts().await.hosts["draining"], 1);
    world.leave(&room("room-a"), player).await;
    world.counts().await;
    world.advance(Duration::from_secs(5)).await;
    world.counts().await;
    let kinds: Vec<EventKind> = world.events().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [Change::Joined, Change::Left].map(EventKind::Reservation));
    assert!(world.drain("a", false).await);
    assert_eq!(world.counts().await.free, 2);
    world.granted(anywhere()).await;
}

async fn drain_outlives_heartbeats_and_absence(mut world: World) {
    world.seated_host("a", "us").await;
    world.drain("a", true).await;
    let elsewhere = Heartbeat {
        room: room("elsewhere"),
        ..constant("a", "us")
    };
    world.join(&room("elsewhere")).await;
    for heartbeat in [constant("a", "us"), elsewhere, constant("a", "us")] {
        world.beat(heartbeat).await;
        assert_eq!(world.host("a").await.state, HostState::Draining);
    }
    world.says_status("a", HostStatus::Idle).await;
    assert_eq!(
        world.host("a").await.state,
        HostState::Draining,
        "its word does not end it"
    );
    world.advance(Duration::from_secs(30)).await;
    assert_eq!(world.counts().await.capacity, 0);
    assert_eq!(world.beat(constant("a", "us")).await, Registered::New);
    assert_eq!(world.counts().await.hosts["draining"], 1, "it was silent");
    world.host_leaves("a").await;
    world.beat(constant("a", "us")).await;
    assert_eq!(world.counts().await.hosts["draining"], 1, "it had left");
    world.host_leaves("a").await;
    assert!(world.drain("a", false).await, "it is put back while it is gone");
    world.beat(constant("a", "us")).await;
    assert_eq!(world.counts().await.hosts["idle"], 1);
}

async fn unreachable_comes_before_draining(mut world: World) {
    let seat = world.seated_host("a", "us").await;
    world.drain("a", true).await;
    world.leave(&room("room-a"), seat).await;
    assert_eq!(world.counts().await.hosts["unreachable"], 1);
    world.drain("a", false).await;
    assert_eq!(world.counts().await.hosts["unreachable"], 1);
    world.says_status("a", HostStatus::Draining).await;
    assert_eq!(world.counts().await.hosts["unreachable"], 1);
    world.join(&room("room-a")).await;
    assert_eq!(world.counts().await.hosts["draining"], 1);
}

async fn only_what_is_known_can_be_drained(mut world: World) {
    assert!(!world.drain("a", true).await);
    assert!(!world.drain("a", false).await);
    world.seated_host("a", "us").await;
    assert!(
        world.drain("a", false).await,
        "it is alive, and in service already"
    );
    assert_eq!(world.counts().await.hosts["idle"], 1);
    for _ in 0..2 {
        assert!(world.drain("a", true).await);
    }
    world.advance(Duration::from_secs(30)).await;
    assert!(!world.drain("a", true).await, "it is silent");
}

/// What the Redis of a world answers to a command on a key of its pool.
fn ask(world: &World, command: &str, key: &str, rest: &str) -> String {
    let (redis, _) = world.redis.as_ref().unwrap();
    let answer = redis.command(&format!("{command} {}{key}{rest}", keys().pool("eu")));
    answer.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn unchanged_info_is_written_once() {
    let mut world = World::new(Kind::Redis).await;
    let written = |world: &World| world.redis.as_ref().unwrap().0.calls("set");
    for _ in 0..5 {
        world.beat(telling("a", "chess")).await;
    }
    assert_eq!(written(&world), 1);
    world.beat(telling("a", "go")).await;
    assert_eq!(written(&world), 2);
    // What was evicted is written again.
    assert_eq!(ask(&world, "DEL", "info:a", ""), ":1");
    world.beat(telling("a", "go")).await;
    assert_eq!(told(&world, "a").await, telling("a", "go").info);
    for _ in 0..5 {
        world.beat(constant("b", "us")).await;
    }
    assert_eq!(written(&world), 3);
    assert_eq!(ask(&world, "EXISTS", "info:b", ""), ":0");
    world.host_leaves("a").await;
    assert_eq!(ask(&world, "EXISTS", "info:a", ""), ":0");
}

#[tokio::test]
async fn remembered_drains_are_bounded() {
    let mut world = World::new(Kind::Redis).await;
    for thousand in 0..MOST_DRAINED / 1000 {
        let numbers = thousand * 1000..(thousand + 1) * 1000;
        let gone: Vec<String> = numbers.map(|number| format!("{number} gone{number}")).collect();
        let rest = format!(" {}", gone.join(" "));
        assert_eq!(ask(&world, "ZADD", "drained", &rest), ":1000");
    }
    world.seated_host("a", "us").await;
    assert!(world.drain("a", true).await);
    assert_eq!(ask(&world, "ZCARD", "drained", ""), format!(":{MOST_DRAINED}"));
    assert!(!world.drain("gone0", false).await, "the oldest one is forgotten");
    assert!(world.drain("gone1", false).await);
    assert_eq!(world.counts().await.hosts["draining"], 1);
}
