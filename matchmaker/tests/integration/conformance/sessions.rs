//! Sessions: what hosts in the field do, from grant to leave.

use std::time::Duration;

use berth_dataplane::match_token::Role;
use berth_matchmaker::host::{Heartbeat, HostStatus};
use berth_matchmaker::slots::Change;
use berth_matchmaker::store::{EventKind, Found};

use super::both_stores;
use crate::support::world::{World, anywhere, constant, host, pinned, room};

both_stores!(
    constant_heartbeat_through_a_session,
    player_who_never_comes,
    late_grants_after_the_deadline,
    capacity_is_shared_by_sessions_and_reservations,
    truthful_host_is_believed,
    released_match_frees_its_slot,
    host_that_reconnects_keeps_its_reservation,
    player_who_is_alone_is_not_the_host,
    match_tokens_tell_players_apart,
    reload_finds_its_seat,
    host_that_leaves_during_a_session_is_not_offered,
    without_signaling_reservations_decide,
    uninvited_player_takes_the_slot,
    occupancy_that_is_expected_is_waited_for,
);

fn joined() -> EventKind {
    EventKind::Reservation(Change::Joined)
}

fn left() -> EventKind {
    EventKind::Reservation(Change::Left)
}

fn expired() -> EventKind {
    EventKind::Reservation(Change::Expired)
}

async fn constant_heartbeat_through_a_session(mut world: World) {
    world.seated_host("a", "us").await;
    assert_eq!(world.granted(anywhere()).await.host, host("a"));
    for _ in 0..3 {
        world.beat(constant("a", "us")).await;
        assert_eq!(
            world.find(anywhere()).await,
            Found::NoHosts,
            "granted, and the player on the way"
        );
    }
    let player = world.plays(&room("room-a")).await;
    for _ in 0..100 {
        world.advance(Duration::from_secs(1)).await;
        world.beat(constant("a", "us")).await;
        assert_eq!(
            world.find(anywhere()).await,
            Found::NoHosts,
            "in the middle of the session"
        );
        assert_eq!(world.find(pinned("a")).await, Found::NoHosts);
    }
    world.leave(&room("room-a"), player).await;
    for _ in 0..5 {
        assert_eq!(world.find(anywhere()).await, Found::NoHosts, "it may be a reload");
        world.advance(Duration::from_secs(1)).await;
        world.beat(constant("a", "us")).await;
    }
    assert_eq!(world.granted(anywhere()).await.host, host("a"), "free again");
    let kinds: Vec<EventKind> = world.events().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [joined(), left()]);
}

async fn player_who_never_comes(mut world: World) {
    world.seated_host("a", "us").await;
    world.granted(anywhere()).await;
    world.advance(Duration::from_secs(29)).await;
    world.beat(constant("a", "us")).await;
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    world.advance(Duration::from_secs(1)).await;
    world.granted(anywhere()).await;
    assert_eq!(world.events(), [(expired(), "a".to_owned())]);
}

async fn late_grants_after_the_deadline(mut world: World) {
    world.rules.deadline = Duration::from_secs(5);
    world.seated_host("a", "us").await;
    for _ in 0..4 {
        world.granted(anywhere()).await;
        assert_eq!(world.find(anywhere()).await, Found::NoHosts);
        world.advance(Duration::from_secs(5)).await;
    }
    assert_eq!(world.counts().await.hosts["idle"], 1, "a tick ends what is over");
    assert_eq!(world.events().len(), 4);
}

async fn capacity_is_shared_by_sessions_and_reservations(mut world: World) {
    let four = || Heartbeat {
        capacity: 4,
        available: 4,
        ..constant("a", "us")
    };
    world.seated_host("a", "us").await;
    world.beat(four()).await;
    let mut players = Vec::new();
    for free in [3, 2] {
        world.granted(anywhere()).await;
        players.push(world.plays(&room("room-a")).await);
        world.beat(four()).await;
        let counts = world.counts().await;
        assert_eq!((counts.free, counts.taken), (free, 4 - free));
    }
    world.granted(anywhere()).await;
    world.granted(anywhere()).await;
    assert_eq!(world.counts().await.taken, 4, "reservations too");
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    world.leave(&room("room-a"), players.pop().unwrap()).await;
    assert_eq!(world.find(anywhere()).await, Found::NoHosts, "held");
    world.advance(Duration::from_secs(5)).await;
    world.granted(anywhere()).await;
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    world.advance(Duration::from_secs(29)).await;
    world.beat(four()).await;
    world.advance(Duration::from_secs(1)).await;
    let counts = world.counts().await;
    assert_eq!(
        (counts.free, counts.taken),
        (3, 1),
        "three reservations are over, one session goes on"
    );
    world.leave(&room("room-a"), players.pop().unwrap()).await;
    assert_eq!(world.counts().await.taken, 0);
}

async fn truthful_host_is_believed(mut world: World) {
    world.seated_host("a", "us").await;
    let busy = Heartbeat {
        status: HostStatus::Busy,
        available: 0,
        ..constant("a", "us")
    };
    world.beat(busy).await;
    assert_eq!(world.counts().await.hosts["busy"], 1);
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    world
        .beat(Heartbeat {
            capacity: 4,
            available: 1,
            ..constant("a", "us")
        })
        .await;
    world.granted(anywhere()).await;
    assert_eq!(
        world.find(anywhere()).await,
        Found::NoHosts,
        "the lower number counts"
    );
}

async fn released_match_frees_its_slot(mut world: World) {
    world.seated_host("a", "us").await;
    let request = anywhere();
    world.granted(request.clone()).await;
    assert!(world.release(request.id).await);
    assert!(!world.release(request.id).await);
    assert_eq!(world.counts().await.free, 1);
    world.granted(anywhere()).await;
    assert_eq!(world.events(), [(EventKind::Released, "a".to_owned())]);
}

async fn host_that_reconnects_keeps_its_reservation(mut world: World) {
    let seat = world.seated_host("a", "us").await;
    world.granted(anywhere()).await;
    world.leave(&room("room-a"), seat).await;
    let seat = world.join(&room("room-a")).await;
    world.counts().await;
    assert_eq!(world.events(), [], "a host that comes back is not the player");
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    let player = world.plays(&room("room-a")).await;
    assert_eq!(world.counts().await.hosts["busy"], 1);
    world.says(&room("room-a"), seat, Role::Host).await;
    world.leave(&room("room-a"), player).await;
    world.advance(Duration::from_secs(5)).await;
    assert_eq!(world.counts().await.hosts["idle"], 1);
}

/// The defect of the first slice: the player was taken for the host, and a second one sent to a room without a host.
async fn player_who_is_alone_is_not_the_host(mut world: World) {
    let seat = world.seated_host("a", "us").await;
    world.granted(anywhere()).await;
    world.leave(&room("room-a"), seat).await;
    world.plays(&room("room-a")).await;
    for _ in 0..10 {
        world.beat(constant("a", "us")).await;
        assert_eq!(world.find(anywhere()).await, Found::NoHosts);
        world.advance(Duration::from_secs(7)).await;
        world.beat(constant("a", "us")).await;
    }
    assert_eq!(world.counts().await.hosts["unreachable"], 1);
}

async fn match_tokens_tell_players_apart(mut world: World) {
    let two = Heartbeat {
        capacity: 2,
        available: 2,
        ..constant("a", "us")
    };
    world.proves(&room("room-a"), Role::Host, "a").await;
    world.beat(two).await;
    let (first, second) = (anywhere(), anywhere());
    world.granted(first.clone()).await;
    world.granted(second.clone()).await;
    let player = world
        .proves(&room("room-a"), Role::Player, &second.id.to_string())
        .await;
    world.counts().await;
    world.leave(&room("room-a"), player).await;
    world.advance(Duration::from_secs(5)).await;
    world.counts().await;
    assert!(!world.release(second.id).await, "it is over");
    assert!(world.release(first.id).await, "its player has not come");
}

async fn reload_finds_its_seat(mut world: World) {
    world.seated_host("a", "us").await;
    world.granted(anywhere()).await;
    let mut player = world.plays(&room("room-a")).await;
    for _ in 0..3 {
        world.advance(Duration::from_secs(20)).await;
        world.beat(constant("a", "us")).await;
        world.leave(&room("room-a"), player).await;
        world.advance(Duration::from_secs(4)).await;
        assert_eq!(world.find(anywhere()).await, Found::NoHosts);
        player = world.plays(&room("room-a")).await;
        world.advance(Duration::from_secs(10)).await;
        world.beat(constant("a", "us")).await;
        assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    }
    let kinds: Vec<EventKind> = world.events().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [joined()], "one session");
}

async fn host_that_leaves_during_a_session_is_not_offered(mut world: World) {
    let seat = world.seated_host("a", "us").await;
    world.granted(anywhere()).await;
    let player = world.plays(&room("room-a")).await;
    world.counts().await;
    world.leave(&room("room-a"), seat).await;
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    assert_eq!(world.counts().await.hosts["unreachable"], 1);
    world.join(&room("room-a")).await;
    assert_eq!(
        world.counts().await.hosts["busy"],
        1,
        "the host is back, the session goes on"
    );
    world.leave(&room("room-a"), player).await;
    world.advance(Duration::from_secs(5)).await;
    assert_eq!(world.counts().await.hosts["idle"], 1);
}

async fn without_signaling_reservations_decide(mut world: World) {
    world.signaling_ends().await;
    world.beat(constant("a", "us")).await;
    let counts = world.counts().await;
    assert!(!counts.occupancy_known);
    assert_eq!(
        counts.hosts["idle"], 1,
        "nobody can tell whether it sits in its room"
    );
    world.granted(anywhere()).await;
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    world.advance(Duration::from_secs(29)).await;
    world.beat(constant("a", "us")).await;
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    world.advance(Duration::from_secs(1)).await;
    world.granted(anywhere()).await;
    world.signaling_lives().await;
    world.beat(constant("a", "us")).await;
    assert_eq!(world.counts().await.hosts["unreachable"], 1);
}

async fn occupancy_that_is_expected_is_waited_for(mut world: World) {
    world.seated_host("a", "us").await;
    world.seated_host("b", "us").await;
    world.granted(pinned("b")).await;
    let player = world.plays(&room("room-b")).await;
    world.counts().await;
    world.rules.expect_occupancy = true;
    world.signaling_ends().await;
    for _ in 0..3 {
        assert_eq!(world.find(anywhere()).await, Found::NotNow);
        assert_eq!(world.find(pinned("a")).await, Found::NotNow);
    }
    world.signaling_lives().await;
    assert_eq!(
        world.granted(anywhere()).await.host,
        host("a"),
        "it kept its place"
    );
    assert_eq!(world.find(anywhere()).await, Found::NoHosts, "so did the session");
    world.leave(&room("room-b"), player).await;
    world.advance(Duration::from_secs(5)).await;
    assert_eq!(world.granted(anywhere()).await.host, host("b"));
}

async fn uninvited_player_takes_the_slot(mut world: World) {
    world.seated_host("a", "us").await;
    let player = world.plays(&room("room-a")).await;
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    world.leave(&room("room-a"), player).await;
    world.granted(anywhere()).await;
}
