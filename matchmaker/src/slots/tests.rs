use std::collections::BTreeSet;

use berth_dataplane::occupancy::{Departed, RoomMember};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const HOST: &str = "pc";
const NOW_MS: u64 = 1_000_000;
const DEADLINE_MS: u64 = NOW_MS + 30_000;
const TERMS: Terms = Terms {
    hold_ms: 5000,
    grace_ms: 0,
    doubt_ms: 30_000,
    players: 64,
    host_in_room: true,
    known_room: false,
};

fn id(number: u64) -> MatchId {
    MatchId(Uuid::from_u128(number.into()))
}

fn reservation(number: u64, base: u64) -> Reservation {
    Reservation {
        id: id(number),
        granted_us: NOW_MS * 1000 + number,
        deadline_ms: DEADLINE_MS,
        base,
        holder: Holder::Nobody,
        joined_us: 0,
        left_ms: 0,
        asked: None,
    }
}

fn unknown(join: u64) -> RoomMember {
    RoomMember {
        join,
        who: Who::default(),
    }
}

fn host_at(join: u64) -> RoomMember {
    RoomMember {
        join,
        who: Who::is(Role::Host),
    }
}

fn player(join: u64) -> RoomMember {
    RoomMember {
        join,
        who: Who::is(Role::Player),
    }
}

/// The player whose token names this match.
fn player_of(join: u64, number: u64) -> RoomMember {
    RoomMember {
        join,
        who: Who::proven(Role::Player, &id(number).to_string()),
    }
}

fn room(last: u64, members: &[RoomMember]) -> RoomState {
    RoomState {
        last,
        members: members.to_vec(),
        departed: Vec::new(),
    }
}

fn without(state: &RoomState, join: u64, at_ms: u64) -> RoomState {
    let mut state = state.clone();
    for member in state.members.extract_if(.., |member| member.join == join) {
        state.departed.push(Departed {
            join,
            who: member.who,
            at_us: at_ms * 1000,
        });
    }
    state
}

/// A pool's host with its slots, and what is seen of it.
struct Host {
    slots: Slots,
    offer: Offer,
    terms: Terms,
}

impl Host {
    fn new(capacity: u32) -> Self {
        let offer = Offer {
            capacity,
            available: capacity,
            at_us: NOW_MS * 1000,
        };
        Self {
            slots: Slots::default(),
            offer,
            terms: TERMS,
        }
    }

    /// One that sits in its room as number 10 and has said nothing yet.
    fn seated(capacity: u32) -> Self {
        let mut host = Self::new(capacity);
        host.at(NOW_MS, &room(10, &[unknown(10)]));
        host
    }

    fn grant(&mut self, number: u64, base: u64) {
        self.slots.grant(reservation(number, base));
    }

    /// What changes with this look.
    fn at(&mut self, now_ms: u64, room: &RoomState) -> Changes {
        self.slots.settle(&self.look(now_ms, Some(room)))
    }

    fn look<'a>(&self, now_ms: u64, room: Option<&'a RoomState>) -> Look<'a> {
        Look {
            host: HOST,
            room,
            now_us: now_ms * 1000,
            terms: self.terms,
        }
    }

    /// Where it stands after this look.
    fn stands(&mut self, now_ms: u64, room: &RoomState) -> (HostState, u32) {
        self.at(now_ms, room);
        let standing = self.slots.standing(&self.offer, &self.look(now_ms, Some(room)));
        (standing.state, standing.free)
    }

    fn due(&self, now_ms: u64, room: &RoomState) -> Option<u64> {
        self.slots.due_ms(&self.look(now_ms, Some(room)))
    }

    fn release(&mut self, number: u64) -> bool {
        self.slots.release(id(number))
    }

    fn holders(&self) -> Vec<(MatchId, Option<u64>)> {
        let reservations = self.slots.reservations().iter();
        reservations.map(|one| (one.id, one.join())).collect()
    }
}

const BUSY: (HostState, u32) = (HostState::Busy, 0);
const ALLOCATED: (HostState, u32) = (HostState::Allocated, 0);
const UNREACHABLE: (HostState, u32) = (HostState::Unreachable, 0);

fn idle(free: u32) -> (HostState, u32) {
    (HostState::Idle, free)
}

#[test]
fn one_session_from_grant_to_the_end_of_the_hold() {
    let mut host = Host::seated(1);
    let alone = room(10, &[unknown(10)]);
    assert_eq!(host.stands(NOW_MS, &alone), idle(1));
    host.grant(1, 10);
    assert_eq!(host.stands(NOW_MS, &alone), ALLOCATED);
    assert_eq!(host.due(NOW_MS, &alone), Some(DEADLINE_MS));
    let playing = room(11, &[unknown(10), player(11)]);
    assert_eq!(host.at(NOW_MS + 1000, &playing), [(id(1), Change::Joined)]);
    assert_eq!(
        host.stands(DEADLINE_MS, &playing),
        BUSY,
        "a session outlives the deadline"
    );
    assert_eq!(host.due(DEADLINE_MS, &playing), None);
    let left = without(&playing, 11, DEADLINE_MS + 1000);
    assert_eq!(
        host.stands(DEADLINE_MS + 2000, &left),
        ALLOCATED,
        "its slot is held"
    );
    assert_eq!(
        host.due(DEADLINE_MS + 2000, &left),
        Some(DEADLINE_MS + 6000),
        "from when it left"
    );
    assert_eq!(host.at(DEADLINE_MS + 5999, &left), []);
    assert_eq!(host.at(DEADLINE_MS + 6000, &left), [(id(1), Change::Left)]);
    assert_eq!(host.stands(DEADLINE_MS + 6000, &left), idle(1));
}

#[test]
fn nobody_came() {
    let mut host = Host::seated(1);
    host.grant(1, 10);
    let alone = room(10, &[unknown(10)]);
    assert_eq!(host.at(DEADLINE_MS - 1, &alone), []);
    assert_eq!(host.at(DEADLINE_MS, &alone), [(id(1), Change::Expired)]);
}

#[test]
fn a_reload_finds_its_seat() {
    for back in [player(12), player_of(12, 1)] {
        let mut host = Host::seated(1);
        host.grant(1, 10);
        let playing = room(11, &[unknown(10), player(11)]);
        host.at(DEADLINE_MS, &playing);
        let left = without(&playing, 11, DEADLINE_MS);
        assert_eq!(host.at(DEADLINE_MS + 1000, &left), []);
        let mut again = left.clone();
        (again.last, again.members) = (12, vec![unknown(10), back]);
        assert_eq!(host.at(DEADLINE_MS + 5000, &again), [], "nothing began or ended");
        assert_eq!(host.stands(DEADLINE_MS + 60_000, &again), BUSY);
        assert_eq!(host.holders(), [(id(1), Some(12))]);
    }
}

/// The defect of counting heads: a player alone was taken for the host.
#[test]
fn a_player_alone_is_not_the_host() {
    let mut host = Host::seated(1);
    host.grant(1, 10);
    let nobody = without(&room(10, &[unknown(10)]), 10, NOW_MS);
    assert_eq!(host.stands(NOW_MS, &nobody), UNREACHABLE);
    let mut alone = nobody.clone();
    (alone.last, alone.members) = (11, vec![unknown(11)]);
    assert_eq!(
        host.stands(NOW_MS + 1000, &alone),
        UNREACHABLE,
        "it may be the player"
    );
    alone.members = vec![player(11)];
    assert_eq!(host.stands(NOW_MS + 1100, &alone), UNREACHABLE, "it is");
    assert_eq!(host.holders(), [(id(1), Some(11))]);
    for now_ms in [DEADLINE_MS, DEADLINE_MS + 100_000] {
        assert_eq!(host.stands(now_ms, &alone), UNREACHABLE);
    }
    (alone.last, alone.members) = (12, vec![player(11), unknown(12)]);
    assert_eq!(
        host.stands(DEADLINE_MS + 100_000, &alone),
        BUSY,
        "the host is back"
    );
}

#[test]
fn who_says_nothing_for_long_is_the_host() {
    let mut host = Host::seated(1);
    host.grant(1, 10);
    let alone = room(11, &[unknown(11)]);
    assert_eq!(host.stands(NOW_MS + 1000, &alone), UNREACHABLE);
    assert_eq!(host.due(NOW_MS + 1000, &alone), Some(DEADLINE_MS));
    assert_eq!(
        host.stands(DEADLINE_MS, &alone),
        UNREACHABLE,
        "it came a second after the grant"
    );
    assert_eq!(host.due(DEADLINE_MS, &alone), Some(DEADLINE_MS + 1000));
    assert_eq!(host.stands(DEADLINE_MS + 1000, &alone), idle(1));
    // Nobody is expected: whoever comes is the host at once.
    let mut host = Host::new(1);
    assert_eq!(host.stands(NOW_MS, &alone), idle(1));
}

#[test]
fn a_host_that_answers_is_known() {
    let mut host = Host::seated(1);
    host.grant(1, 10);
    let both = room(12, &[unknown(11), player(12)]);
    host.at(NOW_MS, &both);
    assert_eq!(
        host.holders(),
        [(id(1), Some(12))],
        "the one that offers is the player"
    );
    let answered = room(12, &[host_at(11), player(12)]);
    assert_eq!(host.stands(NOW_MS, &answered), BUSY);
    assert_eq!(host.stands(NOW_MS, &room(12, &[player(12)])), UNREACHABLE);
}

#[test]
fn a_second_socket_of_the_host_uses_up_nothing() {
    let mut host = Host::seated(1);
    host.grant(1, 10);
    // Before it has said anything it is taken for the player.
    let both = room(11, &[unknown(10), unknown(11)]);
    assert_eq!(host.stands(NOW_MS, &both), BUSY);
    assert_eq!(host.holders(), [(id(1), Some(11))]);
    // It leaves without a word: the player may still come.
    let left = without(&both, 11, NOW_MS + 1000);
    assert_eq!(host.stands(NOW_MS + 20_000, &left), ALLOCATED);
    assert_eq!(host.stands(DEADLINE_MS, &left), idle(1));
    // Or it answers: then the reservation waits again.
    host.grant(2, 11);
    let third = room(12, &[unknown(10), unknown(12)]);
    assert_eq!(host.stands(NOW_MS, &third), BUSY);
    let answered = room(12, &[unknown(10), host_at(12)]);
    host.at(NOW_MS, &answered);
    assert_eq!(host.holders(), [(id(2), None)]);
    // And is the host when the first socket is gone.
    assert_eq!(host.stands(DEADLINE_MS, &room(12, &[host_at(12)])), idle(1));
}

#[test]
fn who_came_while_the_host_was_there_is_not_the_host_at_once() {
    let mut host = Host::seated(2);
    let uninvited = room(11, &[unknown(10), unknown(11)]);
    assert_eq!(host.stands(NOW_MS, &uninvited), idle(1));
    let alone = room(11, &[unknown(11)]);
    assert_eq!(host.stands(NOW_MS, &alone), UNREACHABLE);
    assert_eq!(
        host.stands(NOW_MS + 30_000, &alone),
        idle(2),
        "or it would have offered by now"
    );
}

#[test]
fn a_token_decides_whose_player_comes() {
    let mut host = Host::seated(2);
    host.grant(1, 10);
    host.grant(2, 10);
    host.at(NOW_MS, &room(11, &[unknown(10), player_of(11, 2)]));
    assert_eq!(host.holders(), [(id(1), None), (id(2), Some(11))]);
    // A stranger's token is nobody's, and takes a slot all the same.
    let state = room(12, &[unknown(10), player_of(11, 2), player_of(12, 9)]);
    host.at(NOW_MS, &state);
    assert_eq!(host.holders(), [(id(1), None), (id(2), Some(11))]);
    assert_eq!(host.stands(DEADLINE_MS, &state), BUSY);
    // Whoever was taken for the player before is not, once the right one comes.
    let mut host = Host::seated(2);
    host.grant(1, 10);
    host.grant(2, 10);
    host.at(NOW_MS, &room(11, &[unknown(10), player(11)]));
    assert_eq!(host.holders(), [(id(1), Some(11)), (id(2), None)]);
    host.at(NOW_MS, &room(12, &[unknown(10), player(11), player_of(12, 1)]));
    assert_eq!(host.holders(), [(id(1), Some(12)), (id(2), Some(11))]);
}

#[test]
fn a_host_is_proven_by_its_token() {
    let proven = |join, name: &str| RoomMember {
        join,
        who: Who::proven(Role::Host, name),
    };
    let mut host = Host::new(1);
    assert_eq!(host.stands(NOW_MS, &room(10, &[proven(10, HOST)])), idle(1));
    // Its second connection, before the first one is noticed to be dead.
    assert_eq!(
        host.stands(NOW_MS, &room(11, &[proven(10, HOST), proven(11, HOST)])),
        idle(1)
    );
    assert_eq!(
        host.stands(NOW_MS, &room(12, &[proven(12, "another")])),
        UNREACHABLE
    );
    // Without a proof only one of them is believed.
    assert_eq!(host.stands(NOW_MS, &room(14, &[host_at(13), host_at(14)])), BUSY);
}

#[test]
fn a_visit_between_two_looks_is_seen() {
    let mut host = Host::seated(2);
    host.grant(1, 10);
    host.grant(2, 10);
    let visited = without(&room(11, &[unknown(10), player(11)]), 11, NOW_MS + 2000);
    assert_eq!(host.at(NOW_MS + 3000, &visited), [(id(1), Change::Joined)]);
    // Either may have been the visitor, so neither ends early.
    assert_eq!(host.at(NOW_MS + 7000, &visited), []);
    assert_eq!(
        host.holders(),
        [(id(1), Some(11)), (id(2), None)],
        "one visit serves one reservation"
    );
    assert_eq!(
        host.at(DEADLINE_MS, &visited),
        [(id(1), Change::Left), (id(2), Change::Expired)]
    );
    // By its token, whatever came first.
    let mut host = Host::seated(2);
    host.grant(1, 10);
    host.grant(2, 10);
    let visited = without(&room(11, &[unknown(10), player_of(11, 2)]), 11, NOW_MS);
    assert_eq!(host.at(NOW_MS + 1000, &visited), [(id(2), Change::Joined)]);
}

#[test]
fn what_ends_first_is_taken_first() {
    let mut host = Host::seated(2);
    host.grant(1, 10);
    let playing = room(11, &[unknown(10), player(11)]);
    host.at(NOW_MS, &playing);
    let left = without(&playing, 11, NOW_MS);
    host.at(NOW_MS, &left);
    host.grant(2, 11);
    // Both are open: one for five seconds more, the other for thirty.
    let mut again = left.clone();
    (again.last, again.members) = (12, vec![unknown(10), player(12)]);
    host.at(NOW_MS + 1000, &again);
    assert_eq!(host.holders(), [(id(1), Some(12)), (id(2), None)]);
    assert_eq!(
        host.stands(NOW_MS + 10_000, &again),
        ALLOCATED,
        "nobody else gets the slot of the other one"
    );
}

#[test]
fn who_was_taken_for_another_loses_nobody_a_slot() {
    let mut host = Host::seated(2);
    host.grant(1, 10);
    host.grant(2, 10);
    // The second one's player comes first, without a token, and again with one.
    let playing = room(11, &[unknown(10), player(11)]);
    host.at(NOW_MS, &playing);
    let mut again = without(&playing, 11, NOW_MS);
    host.at(NOW_MS, &again);
    (again.last, again.members) = (12, vec![unknown(10), player_of(12, 2)]);
    assert_eq!(
        host.stands(NOW_MS + 6000, &again),
        ALLOCATED,
        "the first one may still come"
    );
    assert_eq!(host.stands(DEADLINE_MS, &again), idle(1));
}

#[test]
fn the_last_deadline_is_kept_for_who_may_still_come() {
    let mut host = Host::seated(3);
    host.grant(1, 10);
    for number in [2, 3] {
        host.slots.grant(Reservation {
            deadline_ms: DEADLINE_MS + 3000,
            ..reservation(number, 10)
        });
    }
    // The player of the third one comes and goes, and that of the first one comes, both without a token. Then that of the third one is
    // there again and shows it. That of the second one has not come, but the first one has nobody.
    let both = room(12, &[unknown(10), player(11), player(12)]);
    host.at(NOW_MS, &both);
    let mut playing = without(&both, 11, NOW_MS);
    host.at(NOW_MS, &playing);
    (playing.last, playing.members) = (13, vec![unknown(10), player(12), player_of(13, 3)]);
    assert_eq!(host.stands(DEADLINE_MS + 2999, &playing), ALLOCATED);
    assert_eq!(host.stands(DEADLINE_MS + 3000, &playing), idle(1));
}

#[test]
fn who_came_and_went_while_the_host_was_away_may_come_again() {
    let mut host = Host::new(1);
    host.terms.grace_ms = 60_000;
    host.grant(1, 10);
    let visited = without(&room(11, &[unknown(11)]), 11, DEADLINE_MS - 1000);
    assert_eq!(host.at(DEADLINE_MS, &visited), []);
    assert_eq!(host.at(DEADLINE_MS + 3999, &visited), []);
    assert_eq!(host.at(DEADLINE_MS + 4000, &visited), [(id(1), Change::Expired)]);
    // Who has shown that it is a player is held for that long after every visit.
    host.grant(2, 11);
    let playing = room(12, &[player(12)]);
    host.at(NOW_MS, &playing);
    let mut left = without(&playing, 12, DEADLINE_MS + 1000);
    host.at(DEADLINE_MS + 1000, &left);
    left.departed.push(Departed {
        join: 13,
        who: Who::default(),
        at_us: (DEADLINE_MS + 4000) * 1000,
    });
    assert_eq!(host.at(DEADLINE_MS + 8999, &left), []);
    assert_eq!(host.at(DEADLINE_MS + 9000, &left), [(id(2), Change::Left)]);
}

#[test]
fn who_gives_up_has_not_come() {
    let mut host = Host::seated(2);
    host.grant(1, 10);
    host.grant(2, 10);
    let playing = room(11, &[unknown(10), player(11)]);
    host.at(NOW_MS, &playing);
    assert!(!host.release(7));
    assert!(!host.release(1), "whoever plays there keeps the seat");
    assert!(!host.release(2), "and may be the one who gives up here");
    let left = without(&playing, 11, NOW_MS);
    assert!(!host.release(1), "it finds its seat again");
    assert_eq!(
        host.stands(DEADLINE_MS - 1, &left),
        ALLOCATED,
        "the other one may still come, and nobody knows which one it is"
    );
    assert_eq!(host.stands(DEADLINE_MS, &left), idle(2));
    // Where only one is open, or a token says it, it is clear who gives up.
    host.grant(4, 11);
    assert!(host.release(4));
    for (join, came) in [(12, player(12)), (13, player_of(13, 3))] {
        host.grant(3, join - 1);
        let playing = room(join, &[unknown(10), came]);
        host.at(NOW_MS, &playing);
        assert!(host.release(3));
        assert_eq!(
            host.stands(NOW_MS, &playing),
            idle(1),
            "it sits there all the same"
        );
        assert_eq!(
            host.stands(NOW_MS, &without(&playing, join, NOW_MS)),
            idle(2),
            "and holds nothing"
        );
    }
}

#[test]
fn uninvited_members_take_slots_too() {
    let mut host = Host::new(2);
    assert_eq!(
        host.stands(NOW_MS, &room(11, &[unknown(10), unknown(11)])),
        idle(1)
    );
    let many = room(13, &[unknown(10), unknown(11), player(12), unknown(13)]);
    assert_eq!(host.stands(NOW_MS, &many), BUSY);
}

#[test]
fn a_room_has_its_capacity() {
    let mut host = Host::seated(4);
    host.terms.players = 1;
    assert_eq!(host.stands(NOW_MS, &room(10, &[unknown(10)])), idle(1));
    assert_eq!(host.stands(NOW_MS, &room(11, &[unknown(10), player(11)])), BUSY);
    let look = host.look(NOW_MS, None);
    assert_eq!(
        host.slots.standing(&host.offer, &look).free,
        4,
        "nobody knows which rooms these are"
    );
}

#[test]
fn a_truthful_host_is_believed() {
    let mut host = Host::seated(4);
    let alone = room(10, &[unknown(10)]);
    let mut free = |available, at_us, now_ms, state: &RoomState| {
        host.at(now_ms, state);
        let offer = Offer {
            capacity: 4,
            available,
            at_us,
        };
        if available == 9 {
            host.grant(1, 10);
        }
        host.slots.standing(&offer, &host.look(now_ms, Some(state))).free
    };
    assert_eq!(free(0, 0, NOW_MS, &alone), 0);
    assert_eq!(free(2, 0, NOW_MS, &alone), 2);
    free(9, 0, NOW_MS, &alone);
    assert_eq!(free(2, 0, NOW_MS, &alone), 1, "it does not know of the grant");
    let playing = room(11, &[unknown(10), player(11)]);
    let joined_ms = NOW_MS + 10_000;
    assert_eq!(
        free(2, NOW_MS * 1000 + 99, joined_ms, &playing),
        1,
        "nor of the session"
    );
    assert_eq!(free(2, joined_ms * 1000, joined_ms, &playing), 2, "now it does");
}

#[test]
fn a_host_that_leaves_is_handed_out_for_the_grace() {
    let mut host = Host::seated(1);
    host.terms.grace_ms = 5000;
    let nobody = room(10, &[]);
    assert_eq!(host.stands(NOW_MS, &nobody), idle(1));
    assert_eq!(host.due(NOW_MS, &nobody), Some(NOW_MS + 5000));
    assert_eq!(host.stands(NOW_MS + 4999, &nobody), idle(1));
    assert_eq!(host.stands(NOW_MS + 5000, &nobody), UNREACHABLE);
    assert_eq!(host.due(NOW_MS + 5000, &nobody), None);
    assert_eq!(
        host.stands(NOW_MS + 9000, &room(11, &[unknown(11)])),
        idle(1),
        "it is back"
    );
    assert_eq!(
        host.stands(NOW_MS + 9000, &room(12, &[player(12)])),
        BUSY,
        "gone again, and a player is there"
    );
    assert_eq!(
        host.stands(NOW_MS + 14_000, &room(12, &[player(12)])),
        UNREACHABLE
    );
    host.terms.host_in_room = false;
    assert_eq!(host.stands(NOW_MS + 99_000, &nobody), idle(1));
}

#[test]
fn a_host_may_name_its_matches() {
    let mut host = Host::seated(2);
    host.grant(1, 10);
    host.grant(2, 10);
    let alone = room(10, &[unknown(10)]);
    assert_eq!(
        host.slots.name(Some(&[id(1), id(9)]), NOW_MS * 1000),
        [(id(1), Change::Joined)]
    );
    assert_eq!(
        host.stands(DEADLINE_MS, &alone),
        idle(1),
        "the other one is over, this one is not"
    );
    assert_eq!(host.slots.name(Some(&[id(1)]), DEADLINE_MS * 1000), []);
    host.slots.name(Some(&[]), DEADLINE_MS * 1000);
    assert_eq!(host.stands(DEADLINE_MS + 4999, &alone), idle(1));
    assert_eq!(host.at(DEADLINE_MS + 5000, &alone), [(id(1), Change::Left)]);
    // Who says nothing of its matches any more ends them at their deadlines.
    host.grant(4, 10);
    host.slots.name(Some(&[id(4)]), NOW_MS * 1000);
    host.slots.name(None, (DEADLINE_MS - 1) * 1000);
    assert!(host.slots.reservations()[0].is_used());
    host.slots.name(None, DEADLINE_MS * 1000);
    assert_eq!(host.at(DEADLINE_MS + 5000, &alone), [(id(4), Change::Left)]);
    // What the room shows counts more.
    host.grant(3, 10);
    let playing = room(11, &[unknown(10), player(11)]);
    host.at(NOW_MS, &playing);
    host.slots.name(Some(&[]), NOW_MS * 1000);
    assert_eq!(host.stands(DEADLINE_MS, &playing), idle(1));
    assert_eq!(host.holders(), [(id(3), Some(11))]);
}

#[test]
fn without_occupancy_reservations_and_heartbeat_decide() {
    let mut host = Host::seated(1);
    let standing = |host: &mut Host, now_ms| {
        let changes = host.slots.settle(&host.look(now_ms, None));
        let standing = host.slots.standing(&host.offer, &host.look(now_ms, None));
        (changes, standing.state)
    };
    assert_eq!(standing(&mut host, NOW_MS), (vec![], HostState::Idle));
    host.grant(1, 10);
    assert_eq!(
        standing(&mut host, DEADLINE_MS - 1),
        (vec![], HostState::Allocated)
    );
    let expired = vec![(id(1), Change::Expired)];
    assert_eq!(standing(&mut host, DEADLINE_MS), (expired, HostState::Idle));
    // A session that nobody sees any more is not believed for ever.
    host.grant(2, 10);
    host.at(NOW_MS, &room(11, &[unknown(10), player(11)]));
    assert_eq!(standing(&mut host, NOW_MS), (vec![], HostState::Allocated));
    let left = vec![(id(2), Change::Left)];
    assert_eq!(standing(&mut host, NOW_MS + 5000), (left, HostState::Idle));
}

#[test]
fn a_room_that_was_known_a_moment_ago_is_waited_for() {
    let mut host = Host::seated(1);
    host.terms.known_room = true;
    host.grant(1, 10);
    let playing = room(11, &[unknown(10), player(11)]);
    host.at(NOW_MS, &playing);
    let look = host.look(DEADLINE_MS, None);
    assert_eq!(host.slots.settle(&look), [], "the session goes on");
    let standing = host.slots.standing(&host.offer, &look);
    assert_eq!(
        (standing.state, standing.free, standing.sessions),
        (HostState::Busy, 0, 1)
    );
    assert_eq!(host.stands(DEADLINE_MS, &playing), BUSY);
}

fn members() -> impl Strategy<Value = Vec<RoomMember>> {
    let who = prop_oneof![
        3 => Just(Who::default()),
        2 => Just(Who::is(Role::Player)),
        1 => Just(Who::is(Role::Host)),
        2 => (1u64..6).prop_map(|number| Who::proven(Role::Player, &id(number).to_string())),
        1 => Just(Who::proven(Role::Host, HOST)),
    ];
    prop::collection::btree_map(1u64..14, who, 0..6).prop_map(|members| {
        members
            .into_iter()
            .map(|(join, who)| RoomMember { join, who })
            .collect()
    })
}

proptest! {
    /// Whatever the room looks like, slots never promise more than the capacity, and settling twice changes nothing.
    #[test]
    fn never_more_than_the_capacity(
        capacity in 1u32..5,
        bases in prop::collection::vec(0u64..12, 0..5),
        members in members(),
        host_in_room: bool,
    ) {
        let mut host = Host::seated(capacity);
        host.terms.host_in_room = host_in_room;
        for (number, base) in (1..).zip(&bases) {
            host.grant(number, *base);
        }
        let room = room(members.last().map_or(0, |member| member.join), &members);
        host.at(NOW_MS, &room);
        let settled = host.slots.clone();
        let standing = host.slots.standing(&host.offer, &host.look(NOW_MS, Some(&room)));
        if standing.free > 0 {
            prop_assert!(standing.free + standing.sessions + standing.waiting <= capacity);
        }
        let players: Vec<u64> = host.slots.reservations().iter().filter_map(Reservation::join).collect();
        prop_assert_eq!(players.iter().collect::<BTreeSet<_>>().len(), players.len(), "a member serves one reservation");
        prop_assert!(players.iter().all(|join| room.members.iter().any(|member| member.join == *join)));
        host.at(NOW_MS, &room);
        prop_assert_eq!(settled, host.slots);
    }
}
