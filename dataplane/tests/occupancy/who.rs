//! What a matchmaker sees of members: promises of both stores.

use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::{Claim, Join, MOST_DEPARTED, Seat, Who};
use berth_dataplane::testing::{RedisCluster, RedisServer};

use crate::conformance::promises;
use crate::store::{Store, instance, member, room};

promises!(
    a_token_says_who_comes,
    who_comes_without_a_token_becomes_known,
    who_has_left_a_watched_room_is_remembered,
    departures_are_bounded,
    an_id_outlives_a_connection,
);

async fn sits(store: &Store, claim: &Claim) -> Seat {
    match store.seats.join(&room("r"), claim, 64).await.unwrap() {
        Join::Joined { join, taken, .. } => Seat {
            join,
            taken,
            ..Seat::from(claim)
        },
        other => panic!("no seat: {other:?}"),
    }
}

async fn members(store: &Store) -> Vec<Who> {
    let state = store.state(&room("r")).await;
    state.members.into_iter().map(|member| member.who).collect()
}

async fn a_token_says_who_comes(store: Store) {
    let here = instance("i1");
    store.seats.renew(&here).await.unwrap();
    let proven = [
        Who::proven(Role::Host, "pc|1 \u{fc}"),
        Who::proven(Role::Player, "m-1"),
    ];
    for (number, who) in (1..).zip(&proven) {
        let claim = Claim {
            who: who.clone(),
            ..Claim::new(member(number), &here)
        };
        sits(&store, &claim).await;
    }
    assert_eq!(members(&store).await, proven);
    // Those that sit there, as signaling lists them, too: what it asserts later must not be less.
    let seats = store.seats.seats(&room("r")).await.unwrap();
    assert!(seats.iter().all(|seat| proven.contains(&seat.who)), "{seats:?}");
    assert!(seats.iter().all(|seat| seat.role.is_none()), "they speak v1");
}

async fn who_comes_without_a_token_becomes_known(store: Store) {
    let here = instance("i1");
    store.seats.renew(&here).await.unwrap();
    store.watch(&room("r"), "pool").await;
    let seat = sits(&store, &Claim::new(member(1), &here)).await;
    store.touched("pool").await;
    assert_eq!(members(&store).await, [Who::default()]);
    let seat = Seat {
        who: Who::is(Role::Player),
        taken: 0,
        ..seat
    };
    store.seats.note(&room("r"), &seat).await.unwrap();
    assert_eq!(members(&store).await, [Who::is(Role::Player)]);
    assert_eq!(store.touched("pool").await.len(), 1, "the pool is told");
    store.seats.note(&room("r"), &seat).await.unwrap();
    assert!(store.touched("pool").await.is_empty(), "that was known");
    // An assertion keeps it, in a store that lost everything too.
    store.seats.leave(&room("r"), member(1), &here).await.unwrap();
    store.seats.assert(&room("r"), &seat, 2).await.unwrap();
    assert_eq!(members(&store).await, [Who::is(Role::Player)]);
    // Nobody's seat is noted where the member does not sit.
    let elsewhere = Seat {
        instance: instance("i2"),
        who: Who::is(Role::Host),
        ..seat
    };
    store.seats.note(&room("r"), &elsewhere).await.unwrap();
    assert_eq!(members(&store).await, [Who::is(Role::Player)]);
}

async fn who_has_left_a_watched_room_is_remembered(store: Store) {
    let here = instance("i1");
    store.seats.renew(&here).await.unwrap();
    let all = [
        Who::proven(Role::Host, "pc"),
        Who::proven(Role::Player, "m-1"),
        Who::default(),
        Who::is(Role::Player),
    ];
    let mut joins = Vec::new();
    for watched in [false, true] {
        if watched {
            store.watch(&room("r"), "pool").await;
        }
        joins.clear();
        for (number, who) in (1..).zip(&all) {
            let claim = Claim {
                who: who.clone(),
                ..Claim::new(member(number), &here)
            };
            joins.push(sits(&store, &claim).await.join);
        }
        for number in 1..=4 {
            store
                .seats
                .leave(&room("r"), member(number), &here)
                .await
                .unwrap();
        }
        let departed = store.state(&room("r")).await.departed;
        let seen: Vec<_> = departed.iter().map(|one| (one.join, one.who.clone())).collect();
        let expected: Vec<_> = joins.iter().copied().zip(all.clone()).skip(1).collect();
        if watched {
            assert_eq!(seen, expected);
            assert!(departed.is_sorted_by_key(|one| one.at_us));
            assert!(departed[0].at_us >= joins[0], "both are times of one clock");
        } else {
            assert_eq!(seen, []);
        }
    }
}

async fn departures_are_bounded(store: Store) {
    let here = instance("i1");
    store.seats.renew(&here).await.unwrap();
    store.watch(&room("r"), "pool").await;
    let mut last = 0;
    for _ in 0..MOST_DEPARTED + 3 {
        last = sits(&store, &Claim::new(member(1), &here)).await.join;
        store.seats.leave(&room("r"), member(1), &here).await.unwrap();
    }
    let departed = store.state(&room("r")).await.departed;
    assert_eq!(departed.len(), MOST_DEPARTED);
    assert_eq!(departed.last().unwrap().join, last);
}

async fn an_id_outlives_a_connection(store: Store) {
    let here = instance("i1");
    store.seats.renew(&here).await.unwrap();
    let first = Claim {
        role: Some(Role::Player),
        who: Who::proven(Role::Player, "m-1"),
        ..Claim::new(member(1), &here)
    };
    let mut seat = sits(&store, &first).await;
    // What this instance knows of a connection that resumed by its secret.
    seat.who = Who::is(Role::Player);
    seat.away = true;
    store.seats.note(&room("r"), &seat).await.unwrap();
    assert_eq!(members(&store).await, [Who::proven(Role::Player, "m-1")]);
    let again = Claim {
        who: Who::is(Role::Player),
        instance: instance("i2"),
        ..first
    };
    store.seats.renew(&again.instance).await.unwrap();
    sits(&store, &again).await;
    assert_eq!(members(&store).await, [Who::proven(Role::Player, "m-1")]);
}
