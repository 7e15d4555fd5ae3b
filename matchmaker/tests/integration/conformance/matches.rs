//! Matches after their grant: asked for again, got again, given up, named by their host.

use std::time::Duration;

use berth_dataplane::match_token::Role;
use berth_matchmaker::host::{Heartbeat, MatchId};
use berth_matchmaker::slots::{Asked, Change};
use berth_matchmaker::store::{EventKind, Found, Held, Released, Request};
use uuid::Uuid;

use super::both_stores;
use crate::support::world::{World, anywhere, constant, pinned, room};

both_stores!(
    a_repeated_find_is_granted_once,
    a_repeated_find_of_another_request_is_a_conflict,
    a_match_is_found_until_it_is_over,
    why_a_match_ended_is_known,
    who_gives_up_frees_the_slot,
    who_gives_up_in_the_room_holds_nothing,
    a_host_is_told_who_comes,
    a_host_names_its_matches,
    a_room_has_its_capacity,
);

fn repeatable(asked: u64) -> Request {
    Request {
        asked: Some(Asked(asked)),
        ..anywhere()
    }
}

async fn a_repeated_find_is_granted_once(mut world: World) {
    for name in ["a", "b"] {
        world.seated_host(name, "us").await;
    }
    let request = repeatable(u64::MAX);
    let grant = world.granted(request.clone()).await;
    for _ in 0..5 {
        assert_eq!(world.granted(request.clone()).await, grant);
    }
    assert_eq!(world.counts().await.free, 1);
    // Also when no host is free any more, and after the player has come.
    let other = repeatable(0);
    assert_ne!(world.granted(other).await.host, grant.host);
    assert_eq!(world.granted(request.clone()).await, grant);
    let player = world.plays(&grant.room).await;
    assert_eq!(world.granted(request.clone()).await, grant);
    world.leave(&grant.room, player).await;
    world.advance(Duration::from_secs(5)).await;
    let over = EventKind::Reservation(Change::Left);
    assert_eq!(
        world.find(request).await,
        Found::Over(over),
        "one key is one match"
    );
}

async fn a_repeated_find_of_another_request_is_a_conflict(mut world: World) {
    world.seated_host("a", "us").await;
    let request = repeatable(1);
    world.granted(request.clone()).await;
    for asked in [Some(Asked(2)), Some(Asked(0))] {
        let other = Request {
            asked,
            ..request.clone()
        };
        assert_eq!(world.find(other).await, Found::Conflict);
    }
}

async fn a_match_is_found_until_it_is_over(mut world: World) {
    world.seated_host("a", "us").await;
    let request = anywhere();
    let grant = world.granted(request.clone()).await;
    assert_eq!(world.look_up(request.id).await, Held::Live(grant.clone()));
    let player = world.plays(&grant.room).await;
    for _ in 0..3 {
        world.advance(Duration::from_secs(20)).await;
        world.beat(constant("a", "us")).await;
        assert_eq!(world.look_up(request.id).await, Held::Live(grant.clone()));
    }
    world.leave(&grant.room, player).await;
    world.advance(Duration::from_secs(4)).await;
    assert_eq!(world.look_up(request.id).await, Held::Live(grant));
    world.advance(Duration::from_secs(1)).await;
    let over = Held::Over(EventKind::Reservation(Change::Left));
    assert_eq!(
        world.look_up(request.id).await,
        over,
        "found out by the look itself"
    );
    assert_eq!(world.look_up(MatchId(Uuid::nil())).await, Held::Unknown);
}

async fn why_a_match_ended_is_known(mut world: World) {
    for name in ["moves", "dies", "waits"] {
        world.seated_host(name, "us").await;
    }
    let [moves, dies, waits] = ["moves", "dies", "waits"].map(pinned);
    for request in [&moves, &dies, &waits] {
        world.granted(request.clone()).await;
    }
    let elsewhere = Heartbeat {
        room: room("elsewhere"),
        ..constant("moves", "us")
    };
    world.beat(elsewhere).await;
    world.advance(Duration::from_secs(15)).await;
    world.beat(constant("waits", "us")).await;
    world.advance(Duration::from_secs(15)).await;
    for (request, why) in [
        (moves, EventKind::EndedByRoomChange),
        (dies, EventKind::EndedByLoss),
        (waits, EventKind::Reservation(Change::Expired)),
    ] {
        assert_eq!(world.look_up(request.id).await, Held::Over(why));
        assert_eq!(world.released(request.id).await, Released::Over(why));
    }
}

async fn who_gives_up_frees_the_slot(mut world: World) {
    world.seated_host("a", "us").await;
    let request = anywhere();
    world.granted(request.clone()).await;
    assert_eq!(world.released(request.id).await, Released::Released);
    assert_eq!(
        world.released(request.id).await,
        Released::Over(EventKind::Released)
    );
    assert_eq!(world.events(), [(EventKind::Released, "a".to_owned())]);
    assert_eq!(world.released(MatchId(Uuid::nil())).await, Released::Unknown);
    // Whose player somebody without a token is, is not clear where two could come.
    let two = Heartbeat {
        capacity: 2,
        available: 2,
        ..constant("a", "us")
    };
    world.beat(two).await;
    let (first, second) = (anywhere(), anywhere());
    world.granted(first.clone()).await;
    world.granted(second.clone()).await;
    world.plays(&room("room-a")).await;
    for request in [first, second] {
        assert_eq!(world.released(request.id).await, Released::Stays);
    }
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
}

async fn who_gives_up_in_the_room_holds_nothing(mut world: World) {
    world.seated_host("a", "us").await;
    let request = anywhere();
    world.granted(request.clone()).await;
    let player = world.plays(&room("room-a")).await;
    assert_eq!(world.released(request.id).await, Released::Released);
    assert_eq!(
        world.find(anywhere()).await,
        Found::NoHosts,
        "it still sits there"
    );
    world.leave(&room("room-a"), player).await;
    world.granted(anywhere()).await;
}

async fn a_host_is_told_who_comes(mut world: World) {
    let two = || Heartbeat {
        capacity: 2,
        available: 2,
        ..constant("a", "us")
    };
    world.seated_host("a", "us").await;
    assert_eq!(world.beaten(two()).await.reservations, []);
    let (first, second) = (anywhere(), anywhere());
    world.granted(first.clone()).await;
    world.granted(second.clone()).await;
    world
        .proves(&room("room-a"), Role::Player, &second.id.to_string())
        .await;
    let told = world.beaten(two()).await.reservations;
    let seen: Vec<_> = told.iter().map(|one| (one.id, one.is_used())).collect();
    assert_eq!(seen, [(first.id, false), (second.id, true)]);
    let record = world.host("a").await;
    assert_eq!(told, record.reservations, "the same as in the list");
}

async fn a_host_names_its_matches(mut world: World) {
    // Nobody sees who sits in the room: the host's word decides.
    world.signaling_ends().await;
    let naming = |serves: Vec<MatchId>| Heartbeat {
        serves: Some(serves),
        ..constant("a", "us")
    };
    world.beat(constant("a", "us")).await;
    let request = anywhere();
    world.granted(request.clone()).await;
    for _ in 0..5 {
        world.beat(naming(vec![request.id, MatchId(Uuid::nil())])).await;
        assert_eq!(world.find(anywhere()).await, Found::NoHosts);
        world.advance(Duration::from_secs(20)).await;
    }
    world.beat(naming(Vec::new())).await;
    world.advance(Duration::from_secs(5)).await;
    world.granted(anywhere()).await;
    let kinds: Vec<EventKind> = world.events().into_iter().map(|(kind, _)| kind).collect();
    let expected = [Change::Joined, Change::Left].map(EventKind::Reservation);
    assert_eq!(kinds, expected);
}

async fn a_room_has_its_capacity(mut world: World) {
    world.rules.players = 1;
    world.seated_host("a", "us").await;
    let many = Heartbeat {
        capacity: 4,
        available: 4,
        ..constant("a", "us")
    };
    world.beat(many).await;
    world.granted(anywhere()).await;
    assert_eq!(
        world.find(anywhere()).await,
        Found::NoHosts,
        "a second player would find the room full"
    );
}
