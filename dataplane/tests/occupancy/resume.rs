//! Seats of members that come back, here or at another instance: promises of both stores.

use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::{Claim, Gone, Instance, Join, Leaver, MemberId, Seat, Who};
use berth_dataplane::testing::{RedisCluster, RedisServer};

use crate::conformance::promises;
use crate::store::{Store, instance, member, members, room};

promises!(
    a_member_that_comes_back_keeps_its_number,
    a_seat_moves_and_its_old_instance_cannot_give_it_back,
    the_old_instance_cannot_assert_a_seat_that_moved,
    a_member_that_is_away_makes_room_for_a_newcomer,
    who_is_here_makes_room_for_nobody,
    roles_and_absences_are_listed,
    what_an_earlier_connection_left_behind_does_not_touch_the_seat,
);

fn claim(number: u128, at: &Instance, role: Role) -> Claim {
    Claim {
        who: Who::is(role),
        role: Some(role),
        ..Claim::new(member(number), at)
    }
}

/// What a join that must succeed answered.
struct Joined {
    join: u64,
    others: Vec<Seat>,
    reaped: Vec<Gone>,
    held: bool,
    moved_from: Option<Instance>,
    taken: u64,
}

async fn joins(store: &Store, claim: &Claim, capacity: u16) -> Joined {
    match store.seats.join(&room("r"), claim, capacity).await.unwrap() {
        Join::Joined {
            join,
            others,
            reaped,
            held,
            moved_from,
            taken,
        } => Joined {
            join,
            others,
            reaped,
            held,
            moved_from,
            taken,
        },
        other => panic!("no seat: {other:?}"),
    }
}

fn seat(joined: &Joined, claim: &Claim, away: bool) -> Seat {
    Seat {
        role: claim.role,
        who: claim.who.clone(),
        away,
        taken: joined.taken,
        ..Seat::new(claim.member, claim.instance.clone(), joined.join)
    }
}

async fn goes_away(store: &Store, joined: &Joined, claim: &Claim) {
    let seat = seat(joined, claim, true);
    store.seats.note(&room("r"), &seat).await.unwrap();
}

/// What was on its way to the store when the member came back: its leave, its absence, the assertion of its seat.
async fn what_an_earlier_connection_left_behind_does_not_touch_the_seat(store: Store) {
    let here = instance("i1");
    let player = claim(1, &here, Role::Player);
    let first = joins(&store, &player, 1).await;
    let second = joins(&store, &player, 1).await;
    assert!(second.taken > first.taken);

    let leaver = |taken| Leaver {
        taken,
        ..Leaver::new(member(1), &here)
    };
    let left = store
        .seats
        .give_back(&room("r"), &leaver(first.taken))
        .await
        .unwrap();
    assert!(!left.had_seat);
    assert_eq!(members(&left.seats), [member(1)]);

    goes_away(&store, &first, &player).await;
    let asserted = seat(&first, &player, true);
    match store.seats.assert(&room("r"), &asserted, 1).await.unwrap() {
        Join::Joined { taken, .. } => assert_eq!(taken, second.taken),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        store.seats.seats(&room("r")).await.unwrap(),
        [seat(&second, &player, false)]
    );
    let left = store
        .seats
        .give_back(&room("r"), &leaver(second.taken))
        .await
        .unwrap();
    assert!(left.had_seat && left.seats.is_empty());
}

async fn a_member_that_comes_back_keeps_its_number(store: Store) {
    let here = instance("i1");
    let player = claim(1, &here, Role::Player);
    let first = joins(&store, &player, 1).await;
    assert!(!first.held);
    goes_away(&store, &first, &player).await;
    let second = joins(&store, &player, 1).await;
    assert_eq!(
        (second.join, second.held, &second.moved_from),
        (first.join, true, &None)
    );
    assert!(
        second.taken > first.taken,
        "a later connection has a higher number"
    );
    let seats = store.seats.seats(&room("r")).await.unwrap();
    assert_eq!(seats, [seat(&second, &player, false)]);
}

async fn a_seat_moves_and_its_old_instance_cannot_give_it_back(store: Store) {
    let (old, new) = (instance("i1"), instance("i2"));
    for instance in [&old, &new] {
        store.seats.renew(instance).await.unwrap();
    }
    let first = joins(&store, &claim(1, &old, Role::Host), 2).await;
    store.sits(&room("r"), member(2), &old).await;
    let moved = joins(&store, &claim(1, &new, Role::Host), 2).await;
    assert_eq!((moved.join, moved.moved_from.as_ref()), (first.join, Some(&old)));
    assert_eq!(members(&moved.others), [member(2)]);
    let left = store.seats.leave(&room("r"), member(1), &old).await.unwrap();
    assert!(!left.had_seat);
    assert_eq!(left.seats.len(), 2);
    let left = store.seats.leave(&room("r"), member(1), &new).await.unwrap();
    assert!(left.had_seat);
    assert_eq!(members(&left.seats), [member(2)]);
}

async fn the_old_instance_cannot_assert_a_seat_that_moved(store: Store) {
    let (old, new) = (instance("i1"), instance("i2"));
    for instance in [&old, &new] {
        store.seats.renew(instance).await.unwrap();
    }
    let first = claim(1, &old, Role::Player);
    let joined = joins(&store, &first, 2).await;
    let second = claim(1, &new, Role::Player);
    let moved = joins(&store, &second, 2).await;
    let asserted = store
        .seats
        .assert(&room("r"), &seat(&joined, &first, true), 2)
        .await
        .unwrap();
    assert_eq!(asserted, Join::Elsewhere);
    let asserted = store
        .seats
        .assert(&room("r"), &seat(&moved, &second, false), 2)
        .await
        .unwrap();
    assert!(matches!(asserted, Join::Joined { taken, .. } if taken == moved.taken));
}

async fn a_member_that_is_away_makes_room_for_a_newcomer(store: Store) {
    let here = instance("i1");
    let (host, player) = (claim(1, &here, Role::Host), claim(2, &here, Role::Player));
    let (host_seat, player_seat) = (joins(&store, &host, 2).await, joins(&store, &player, 2).await);
    goes_away(&store, &host_seat, &host).await;
    goes_away(&store, &player_seat, &player).await;
    // The one of the same role goes first, though the other one came first.
    let newcomer = joins(&store, &claim(3, &here, Role::Player), 2).await;
    assert_eq!(
        newcomer.reaped,
        [Gone {
            member: member(2),
            instance: here.clone()
        }]
    );
    assert_eq!(members(&newcomer.others), [member(1)]);
    // Without a role, whoever came first.
    let newcomer = joins(&store, &Claim::new(member(4), &here), 2).await;
    let gone: Vec<MemberId> = newcomer.reaped.iter().map(|gone| gone.member).collect();
    assert_eq!(gone, [member(1)]);
    assert_eq!(store.join(&room("r"), member(5), &here, 2).await, Join::Full);
}

async fn who_is_here_makes_room_for_nobody(store: Store) {
    let here = instance("i1");
    let player = claim(1, &here, Role::Player);
    let joined = joins(&store, &player, 1).await;
    assert_eq!(store.join(&room("r"), member(2), &here, 1).await, Join::Full);
    goes_away(&store, &joined, &player).await;
    joins(&store, &player, 1).await;
    assert_eq!(store.join(&room("r"), member(2), &here, 1).await, Join::Full);
}

async fn roles_and_absences_are_listed(store: Store) {
    let here = instance("i1");
    let (host, player) = (claim(1, &here, Role::Host), claim(2, &here, Role::Player));
    let (host_seat, _) = (joins(&store, &host, 3).await, joins(&store, &player, 3).await);
    goes_away(&store, &host_seat, &host).await;
    let others = joins(&store, &Claim::new(member(3), &here), 3).await.others;
    let mut seen: Vec<_> = others
        .iter()
        .map(|seat| (seat.member, seat.role, seat.away))
        .collect();
    seen.sort_by_key(|(member, ..)| *member);
    assert_eq!(
        seen,
        [
            (member(1), Some(Role::Host), true),
            (member(2), Some(Role::Player), false)
        ]
    );
}
