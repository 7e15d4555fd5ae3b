use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const NOW_MS: u64 = 1_000_000;
const DEADLINE_MS: u64 = NOW_MS + 30_000;

fn id(number: u64) -> MatchId {
    MatchId(Uuid::from_u128(number.into()))
}

fn reservation(number: u64, base: u64) -> Reservation {
    Reservation {
        id: id(number),
        granted_us: 2000 + number,
        deadline_ms: DEADLINE_MS,
        base,
        holder: Holder::Nobody,
    }
}

fn room(last: u64, members: &[u64]) -> RoomState {
    RoomState {
        last,
        members: members.to_vec(),
    }
}

/// A host that says the same in every heartbeat.
fn offer(capacity: u32) -> Offer {
    Offer {
        capacity,
        available: capacity,
        at_us: 3000,
    }
}

/// A host that sits in its room as number 10.
fn seated() -> Slots {
    let mut slots = Slots::default();
    slots.settle(Some(&room(10, &[10])), NOW_MS);
    slots
}

const IN_ROOM: Demands = Demands {
    host_in_room: true,
    known_room: false,
};
const ANYWHERE: Demands = Demands {
    host_in_room: false,
    known_room: false,
};

fn free(slots: &mut Slots, capacity: u32, room: &RoomState) -> (HostState, u32) {
    slots.settle(Some(room), NOW_MS);
    let standing = slots.standing(&offer(capacity), Some(room), IN_ROOM);
    (standing.state, standing.free)
}

#[test]
fn one_session_from_grant_to_leave() {
    let mut slots = Slots::default();
    assert_eq!(free(&mut slots, 1, &room(10, &[10])), (HostState::Idle, 1));
    slots.grant(reservation(1, 10));
    assert_eq!(free(&mut slots, 1, &room(10, &[10])), (HostState::Allocated, 0));
    let playing = room(11, &[10, 11]);
    assert_eq!(slots.settle(Some(&playing), NOW_MS), [(id(1), Change::Joined)]);
    assert_eq!(
        slots.settle(Some(&playing), DEADLINE_MS),
        [],
        "a session outlives the deadline"
    );
    assert_eq!(
        slots.standing(&offer(1), Some(&playing), IN_ROOM).state,
        HostState::Busy
    );
    let left = room(11, &[10]);
    assert_eq!(slots.settle(Some(&left), DEADLINE_MS), [(id(1), Change::Left)]);
    assert_eq!(free(&mut slots, 1, &left), (HostState::Idle, 1));
}

#[test]
fn nobody_came() {
    let mut slots = seated();
    slots.grant(reservation(1, 10));
    assert_eq!(slots.settle(Some(&room(10, &[10])), DEADLINE_MS - 1), []);
    assert_eq!(
        slots.settle(Some(&room(10, &[10])), DEADLINE_MS),
        [(id(1), Change::Expired)]
    );
}

#[test]
fn a_visit_between_two_looks_is_seen() {
    let mut slots = seated();
    slots.grant(reservation(1, 10));
    slots.grant(reservation(2, 10));
    let changes = slots.settle(Some(&room(11, &[10])), NOW_MS);
    assert_eq!(changes, [(id(1), Change::Joined), (id(1), Change::Left)]);
    assert_eq!(
        slots.settle(Some(&room(11, &[10])), NOW_MS),
        [],
        "one number serves one reservation"
    );
    assert_eq!(slots.reservations().len(), 1);
}

#[test]
fn the_oldest_reservation_takes_the_smallest_number() {
    let mut slots = seated();
    slots.grant(reservation(2, 10));
    slots.grant(reservation(1, 10));
    slots.settle(Some(&room(11, &[10, 11])), NOW_MS);
    let holders: Vec<_> = slots
        .reservations()
        .iter()
        .map(|one| (one.id, one.holder))
        .collect();
    assert_eq!(holders, [(id(1), Holder::Player(11)), (id(2), Holder::Nobody)]);
}

#[test]
fn a_player_alone_is_not_the_host() {
    let mut slots = seated();
    slots.grant(reservation(1, 10));
    assert_eq!(free(&mut slots, 2, &room(11, &[10, 11])), (HostState::Idle, 1));
    assert_eq!(free(&mut slots, 2, &room(11, &[11])), (HostState::Unreachable, 0));
    assert_eq!(
        free(&mut slots, 2, &room(12, &[11, 12])),
        (HostState::Idle, 1),
        "the host is back"
    );
}

#[test]
fn a_host_that_reconnects_uses_up_nothing() {
    let mut slots = seated();
    slots.grant(reservation(1, 10));
    assert_eq!(free(&mut slots, 1, &room(11, &[11])), (HostState::Allocated, 0));
    assert_eq!(free(&mut slots, 1, &room(13, &[13])), (HostState::Allocated, 0));
    assert_eq!(slots.reservations()[0].holder, Holder::Nobody);
}

#[test]
fn after_a_return_of_the_host_heads_are_counted() {
    for stays in [11, 12] {
        let mut slots = seated();
        slots.grant(reservation(1, 10));
        assert_eq!(free(&mut slots, 1, &room(12, &[11, 12])), (HostState::Busy, 0));
        assert_eq!(slots.reservations()[0].holder, Holder::Somebody);
        assert_eq!(free(&mut slots, 1, &room(12, &[stays])), (HostState::Idle, 1));
        assert!(slots.reservations().is_empty());
    }
}

#[test]
fn while_heads_are_counted_one_member_stays_for_the_host() {
    let mut slots = seated();
    slots.grant(reservation(1, 10));
    slots.grant(reservation(2, 10));
    for _ in 0..2 {
        assert_eq!(
            free(&mut slots, 2, &room(12, &[11, 12])),
            (HostState::Allocated, 0)
        );
        assert_eq!(
            slots
                .standing(&offer(2), Some(&room(12, &[11, 12])), IN_ROOM)
                .waiting,
            1
        );
    }
    assert_eq!(
        free(&mut slots, 2, &room(13, &[11, 12, 13])),
        (HostState::Busy, 0)
    );
    assert_eq!(free(&mut slots, 2, &room(13, &[11, 13])), (HostState::Idle, 1));
}

#[test]
fn a_host_that_comes_while_nobody_is_expected_is_known_again() {
    let mut slots = seated();
    slots.grant(reservation(1, 10));
    assert_eq!(free(&mut slots, 1, &room(11, &[11])), (HostState::Allocated, 0));
    slots.settle(Some(&room(11, &[])), DEADLINE_MS);
    assert_eq!(free(&mut slots, 1, &room(12, &[12])), (HostState::Idle, 1));
    slots.grant(reservation(2, 12));
    assert_eq!(free(&mut slots, 1, &room(13, &[12, 13])), (HostState::Busy, 0));
    assert_eq!(slots.reservations()[0].holder, Holder::Player(13));
    assert_eq!(free(&mut slots, 1, &room(13, &[13])), (HostState::Unreachable, 0));
}

#[test]
fn who_gives_up_has_not_come() {
    let mut slots = seated();
    slots.grant(reservation(1, 10));
    slots.grant(reservation(2, 10));
    slots.settle(Some(&room(11, &[10, 11])), NOW_MS);
    assert!(slots.release(id(1)));
    let holders: Vec<_> = slots
        .reservations()
        .iter()
        .map(|one| (one.id, one.holder))
        .collect();
    assert_eq!(holders, [(id(2), Holder::Player(11))]);
    assert!(!slots.release(id(7)));
    assert!(!slots.release(id(2)), "its player is in the room");
    slots.settle(Some(&room(11, &[10])), NOW_MS);
    assert!(slots.reservations().is_empty());
}

#[test]
fn uninvited_members_take_slots_too() {
    let mut slots = Slots::default();
    assert_eq!(free(&mut slots, 2, &room(11, &[10, 11])), (HostState::Idle, 1));
    assert_eq!(
        free(&mut slots, 2, &room(13, &[10, 11, 12, 13])),
        (HostState::Busy, 0)
    );
}

#[test]
fn a_truthful_host_is_believed() {
    let mut slots = seated();
    let room = room(10, &[10]);
    let offer = |available, at_us| Offer {
        capacity: 4,
        available,
        at_us,
    };
    assert_eq!(
        slots.standing(&offer(0, 0), Some(&room), IN_ROOM).state,
        HostState::Busy
    );
    assert_eq!(slots.standing(&offer(2, 0), Some(&room), IN_ROOM).free, 2);
    slots.grant(reservation(1, 10));
    assert_eq!(
        slots.standing(&offer(2, 0), Some(&room), IN_ROOM).free,
        1,
        "it does not know of the grant"
    );
    let playing = RoomState {
        last: 11,
        members: vec![10, 11],
    };
    slots.settle(Some(&playing), NOW_MS);
    assert_eq!(
        slots.standing(&offer(2, 0), Some(&playing), IN_ROOM).free,
        1,
        "nor of the session"
    );
    assert_eq!(
        slots.standing(&offer(2, 9999), Some(&playing), IN_ROOM).free,
        2,
        "now it does"
    );
}

#[test]
fn without_occupancy_reservations_and_heartbeat_decide() {
    let mut slots = seated();
    assert_eq!(slots.standing(&offer(1), None, IN_ROOM).free, 1);
    slots.grant(reservation(1, 10));
    assert_eq!(slots.settle(None, DEADLINE_MS - 1), []);
    assert_eq!(
        slots.standing(&offer(1), None, IN_ROOM).state,
        HostState::Allocated
    );
    assert_eq!(slots.settle(None, DEADLINE_MS), [(id(1), Change::Expired)]);
    assert_eq!(slots.standing(&offer(1), None, IN_ROOM).free, 1);
}

#[test]
fn a_session_survives_the_loss_of_occupancy() {
    let mut slots = seated();
    slots.grant(reservation(1, 10));
    slots.settle(Some(&room(11, &[10, 11])), NOW_MS);
    assert_eq!(slots.settle(None, DEADLINE_MS + 1), []);
    assert_eq!(slots.standing(&offer(1), None, IN_ROOM).state, HostState::Busy);
    assert_eq!(
        slots.settle(Some(&room(11, &[10])), NOW_MS),
        [(id(1), Change::Left)]
    );
}

#[test]
fn a_room_that_was_known_a_moment_ago_is_waited_for() {
    let slots = seated();
    let demands = Demands {
        host_in_room: false,
        known_room: true,
    };
    let standing = slots.standing(&offer(1), None, demands);
    assert_eq!((standing.state, standing.free), (HostState::Unreachable, 0));
    assert_eq!(slots.standing(&offer(1), Some(&room(10, &[10])), demands).free, 1);
}

#[test]
fn hosts_may_join_late_where_that_is_allowed() {
    let slots = Slots::default();
    assert_eq!(
        slots.standing(&offer(1), Some(&room(0, &[])), IN_ROOM).state,
        HostState::Unreachable
    );
    assert_eq!(
        slots.standing(&offer(1), Some(&room(0, &[])), ANYWHERE).state,
        HostState::Idle
    );
}

proptest! {
    /// Whatever the room looks like, slots never promise more than the capacity, and settling twice changes nothing.
    #[test]
    fn never_more_than_the_capacity(
        capacity in 1u32..5,
        bases in prop::collection::vec(0u64..12, 0..5),
        members in prop::collection::btree_set(1u64..14, 0..6),
        host_in_room: bool,
    ) {
        let mut slots = seated();
        for (number, base) in (1..).zip(&bases) {
            slots.grant(reservation(number, *base));
        }
        let room = room(members.iter().max().copied().unwrap_or(0), &members.iter().copied().collect::<Vec<_>>());
        slots.settle(Some(&room), NOW_MS);
        let settled = slots.clone();
        let standing = slots.standing(&offer(capacity), Some(&room), Demands { host_in_room, known_room: false });
        if standing.free > 0 {
            prop_assert!(standing.free + standing.sessions + standing.waiting <= capacity);
        }
        let players = slots.reservations().iter().filter_map(|one| match one.holder {
            Holder::Player(join) => Some(join),
            _ => None,
        });
        let players: Vec<u64> = players.collect();
        prop_assert_eq!(players.iter().collect::<BTreeSet<_>>().len(), players.len(), "a number serves one reservation");
        prop_assert!(players.iter().all(|join| room.members.contains(join)));
        slots.settle(Some(&room), NOW_MS);
        prop_assert_eq!(settled, slots);
    }
}
