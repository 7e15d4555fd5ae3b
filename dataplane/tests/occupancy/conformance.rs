//! What both stores promise. Each promise is kept by each store.

use std::collections::BTreeSet;
use std::time::Duration;

use berth_dataplane::occupancy::{Join, Seat};
use berth_dataplane::testing::{RedisCluster, RedisServer};

use crate::store::{Store, instance, member, members, room};

/// Runs each promise against both stores. On a cluster all in one test: each has a name and so a slot of its own.
macro_rules! promises {
    ($($name:ident),* $(,)?) => {
        mod in_memory {
            $(#[tokio::test] async fn $name() { super::$name(super::Store::memory()).await; })*
        }
        mod on_redis {
            $(#[tokio::test] async fn $name() {
                let server = super::RedisServer::start();
                super::$name(super::Store::shared(&server).await).await;
            })*
        }
        #[tokio::test]
        async fn on_a_cluster() {
            let cluster = RedisCluster::start();
            $($name(Store::shared(&cluster).await).await;)*
            // A few names may have missed a node.
            let served = |node: &RedisServer| node.calls("evalsha") > 0;
            for _ in 0..100 {
                if cluster.nodes().iter().all(served) {
                    break;
                }
                $crate::conformance::one_more(&cluster).await;
            }
            assert!(cluster.nodes().iter().all(served), "not spread over the nodes");
        }
        #[tokio::test]
        async fn for_a_user_with_no_further_rights() {
            let server = RedisServer::start();
            $($name(Store::narrow(&server).await).await;)*
            let log = server.command("ACL LOG");
            assert!(log.starts_with("*0\r\n"), "{log}");
        }
    };
}

pub(crate) use promises;

/// Asks something of a store under another name.
pub(crate) async fn one_more(cluster: &RedisCluster) {
    let store = Store::shared(cluster).await;
    store.sits(&room("r"), member(1), &instance("i1")).await;
}

promises!(
    join_numbers_rise_and_others_are_listed,
    a_room_has_its_capacity_and_no_more,
    a_seat_is_taken_once_and_given_back_once,
    an_asserted_seat_keeps_its_number,
    a_lowered_capacity_takes_no_seat_away,
    a_room_that_begins_anew_starts_above,
    members_are_seen_with_their_numbers,
    changes_of_watched_rooms_are_told_to_their_pool,
    room_of_two_pools_is_watched_by_both,
    occupancy_is_known_while_an_instance_lives,
);

async fn join_numbers_rise_and_others_are_listed(store: Store) {
    let (room, here) = (room("r"), instance("i1"));
    let (first, others) = store.sits(&room, member(1), &here).await;
    assert!(others.is_empty());
    assert_eq!(
        store.sits(&room, member(2), &here).await,
        (first + 1, vec![member(1)])
    );
    assert_eq!(
        store.sits(&room, member(3), &here).await,
        (first + 2, vec![member(1), member(2)])
    );
    // Numbers are not given out twice.
    assert_eq!(store.leave(&room, member(3), &here).await, [member(1), member(2)]);
    assert_eq!(store.sits(&room, member(4), &here).await.0, first + 3);
    let seats = store.seats.seats(&room).await.unwrap();
    assert_eq!(members(&seats), [member(1), member(2), member(4)]);
    assert!(seats.iter().all(|seat| seat.instance == here));
}

async fn a_room_has_its_capacity_and_no_more(store: Store) {
    let (small, other, here) = (room("small"), room("other"), instance("i1"));
    assert!(matches!(
        store.join(&small, member(1), &here, 2).await,
        Join::Joined { .. }
    ));
    assert!(matches!(
        store.join(&small, member(2), &here, 2).await,
        Join::Joined { .. }
    ));
    assert_eq!(store.join(&small, member(3), &here, 2).await, Join::Full);
    assert!(matches!(
        store.join(&other, member(3), &here, 2).await,
        Join::Joined { .. }
    ));
    store.leave(&small, member(1), &here).await;
    assert!(matches!(
        store.join(&small, member(4), &here, 2).await,
        Join::Joined { .. }
    ));
    assert_eq!(store.join(&small, member(1), &here, 2).await, Join::Full);
}

async fn a_seat_is_taken_once_and_given_back_once(store: Store) {
    let (room, here) = (room("r"), instance("i1"));
    let (first, _) = store.sits(&room, member(1), &here).await;
    assert_eq!(store.sits(&room, member(1), &here).await, (first, vec![]));
    store.sits(&room, member(2), &here).await;
    for _ in 0..2 {
        assert_eq!(store.leave(&room, member(1), &here).await, [member(2)]);
    }
    assert!(
        store
            .leave(&crate::store::room("never"), member(1), &here)
            .await
            .is_empty()
    );
    assert_eq!(members(&store.seats.seats(&room).await.unwrap()), [member(2)]);
}

async fn an_asserted_seat_keeps_its_number(store: Store) {
    let (room, here) = (room("r"), instance("i1"));
    let (first, _) = store.sits(&room, member(1), &here).await;
    store.sits(&room, member(2), &here).await;
    let seat = Seat::new(member(1), here.clone(), first);
    for leave_first in [false, true] {
        if leave_first {
            store.leave(&room, member(1), &here).await;
        }
        match store.seats.assert(&room, &seat, 2).await.unwrap() {
            Join::Joined {
                join, others, reaped, ..
            } => {
                assert_eq!((join, members(&others), reaped), (first, vec![member(2)], vec![]));
            }
            other => panic!("there is a seat: {other:?}"),
        }
    }
    // Somebody else has taken it.
    store.leave(&room, member(1), &here).await;
    let (third, _) = store.sits(&room, member(3), &here).await;
    assert_eq!(third, first + 2);
    assert_eq!(store.seats.assert(&room, &seat, 2).await.unwrap(), Join::Full);
}

async fn a_lowered_capacity_takes_no_seat_away(store: Store) {
    let (room, here) = (room("r"), instance("i1"));
    let (first, _) = store.sits(&room, member(1), &here).await;
    store.sits(&room, member(2), &here).await;
    let seat = Seat::new(member(1), here.clone(), first);
    assert!(matches!(
        store.seats.assert(&room, &seat, 1).await.unwrap(),
        Join::Joined { .. }
    ));
    assert_eq!(store.join(&room, member(3), &here, 1).await, Join::Full);
}

async fn a_room_that_begins_anew_starts_above(store: Store) {
    let (room, here) = (room("r"), instance("i1"));
    let mut last = 0;
    for number in 1..20 {
        let (join, _) = store.sits(&room, member(number), &here).await;
        assert!(join > last, "{join} after {last}");
        last = join;
        store.leave(&room, member(number), &here).await;
    }
}

async fn members_are_seen_with_their_numbers(store: Store) {
    let (room, here) = (room("r"), instance("i1"));
    assert_eq!(store.state(&room).await.last, 0);
    let (first, _) = store.sits(&room, member(9), &here).await;
    store.sits(&room, member(1), &here).await;
    store.sits(&room, member(5), &here).await;
    store.leave(&room, member(1), &here).await;
    let (state, numbers) = (store.state(&room).await, store.numbers(&room).await);
    assert_eq!((state.last, numbers), (first + 2, vec![first, first + 2]));
}

async fn changes_of_watched_rooms_are_told_to_their_pool(store: Store) {
    let (watched, other, here) = (room("watched"), room("other"), instance("i1"));
    let told = |rooms: &[&str]| {
        rooms
            .iter()
            .map(|room| (*room).to_owned())
            .collect::<BTreeSet<_>>()
    };
    store.sits(&watched, member(1), &here).await;
    assert_eq!(store.touched("eu").await, told(&[]));
    store.watch(&watched, "eu").await;
    store.watch(&other, "us").await;
    assert_eq!(
        (store.touched("eu").await, store.touched("us").await),
        (told(&["watched"]), told(&["other"]))
    );
    store.sits(&watched, member(2), &here).await;
    assert_eq!(
        (store.touched("eu").await, store.touched("us").await),
        (told(&["watched"]), told(&[]))
    );
    store.leave(&watched, member(2), &here).await;
    assert_eq!(store.touched("eu").await, told(&["watched"]));
    // Who is not there changes nothing by leaving.
    store.leave(&watched, member(2), &here).await;
    assert_eq!(store.touched("eu").await, told(&[]));
    // The last number stays to be seen after the last member.
    let before = store.state(&watched).await.last;
    store.leave(&watched, member(1), &here).await;
    assert_eq!(store.touched("eu").await, told(&["watched"]));
    let state = store.state(&watched).await;
    assert_eq!((state.last, state.members), (before, vec![]));
}

async fn room_of_two_pools_is_watched_by_both(store: Store) {
    let (shared, here) = (room("shared"), instance("i1"));
    store.seats.renew(&here).await.unwrap();
    let told = |changed: bool| BTreeSet::from_iter(changed.then(|| "shared".to_owned()));
    // One name is the beginning of the other.
    for pool in ["eu", "eu2", "eu"] {
        store.watch(&shared, pool).await;
    }
    let mut members = 0..;
    for (ended, eu, eu2) in [
        (None, true, true),
        (Some("eu"), false, true),
        (Some("eu2"), false, false),
    ] {
        if let Some(pool) = ended {
            store.unwatch(&shared, pool).await;
        }
        store.touched("eu").await;
        store.touched("eu2").await;
        let departed_before = store.state(&shared).await.departed.len();
        let newcomer = member(members.next().unwrap());
        store.sits(&shared, newcomer, &here).await;
        assert_eq!(
            (store.touched("eu").await, store.touched("eu2").await),
            (told(eu), told(eu2)),
            "after {ended:?}"
        );
        store.leave(&shared, newcomer, &here).await;
        let departed = store.state(&shared).await.departed.len();
        assert_eq!(departed > departed_before, eu || eu2, "after {ended:?}");
    }
}

async fn occupancy_is_known_while_an_instance_lives(store: Store) {
    let here = instance("i1");
    assert!(!store.known().await);
    store.seats.renew(&here).await.unwrap();
    assert!(store.known().await);
    store.seats.release(&here, Duration::ZERO).await.unwrap();
    assert!(!store.known().await);
}
