//! Rooms of one process.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use berth_crds::settings::RoomId;
use parking_lot::Mutex;

use super::{
    Claim, Departed, Gone, Instance, Join, Leaver, Left, MOST_DEPARTED, MemberId, Renewal, RoomMember,
    RoomState, Seat, Who,
};
use crate::match_token::Role;

/// Rooms of one process; clones share them.
#[derive(Clone, Default)]
pub struct MemoryRooms {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Only rooms with members: a room begins anew when somebody joins it again.
    rooms: HashMap<RoomId, Room>,
    /// Watched rooms and the pools that watch each.
    watched: HashMap<RoomId, BTreeSet<String>>,
    /// Watched rooms whose members changed, by pool. Bounded by the watched rooms.
    touched: HashMap<String, BTreeSet<RoomId>>,
    /// Highest join number given out in any room: one that begins anew within the same µs starts above it.
    highest: u64,
    /// A signaling server runs in this process.
    live: bool,
}

#[derive(Default)]
struct Room {
    last: u64,
    seats: Vec<Seat>,
    departed: VecDeque<Departed>,
}

impl MemoryRooms {
    /// See [`super::Seats::join`].
    pub fn join(&self, room: &RoomId, claim: &Claim, capacity: u16) -> Join {
        self.seat(room, claim.into(), capacity)
    }

    /// See [`super::Seats::assert`].
    pub fn assert(&self, room: &RoomId, seat: &Seat, capacity: u16) -> Join {
        self.seat(room, seat.clone(), capacity)
    }

    /// Seats a member; with join number 0, under a new one.
    fn seat(&self, id: &RoomId, mut seat: Seat, capacity: u16) -> Join {
        let mut state = self.state.lock();
        let state = &mut *state;
        // Only a seat makes a room: whoever is refused leaves none behind.
        let fresh = Room::default();
        let room = state.rooms.get(id).unwrap_or(&fresh);
        let held = room.seats.iter().find(|held| held.member == seat.member).cloned();
        let known = held.as_ref().map_or(0, |held| held.taken);
        if held
            .as_ref()
            .is_some_and(|held| seat.join > 0 && held.instance != seat.instance && known > seat.taken)
        {
            return Join::Elsewhere;
        }
        if seat.join > 0
            && let Some(later) = held.as_ref().filter(|held| held.taken > seat.taken)
        {
            // Of a later connection than the one that is asserted.
            (seat.role, seat.away, seat.who) = (later.role, later.away, later.who.clone());
        } else if let Some(held) = &held
            && seat.who.id.is_none()
        {
            // Who comes back by its secret needs no token again.
            seat.who.id.clone_from(&held.who.id);
        }
        seat.taken = seat.taken.max(known);
        if seat.join == 0 {
            seat.taken = now_micros().max(seat.taken + 1);
        }
        let taken = seat.taken;
        let others = room.seats.len() - usize::from(held.is_some());
        let mut reaped = Vec::new();
        // Who sits keeps the seat, also where the capacity was lowered meanwhile.
        if held.is_none() && others >= usize::from(capacity) {
            let evicted = room.evictable(&seat).filter(|_| others == usize::from(capacity));
            let Some(evicted) = evicted else {
                return Join::Full;
            };
            reaped.push(evicted);
        }
        let is_watched = state.watched.contains_key(id);
        let room = state.rooms.entry(id.clone()).or_default();
        room.unseat(is_watched, |held| {
            reaped.iter().any(|gone| gone.member == held.member)
        });
        let is_new = room.last == 0;
        if is_new {
            // Also where a seat of an earlier life is asserted: numbers given out since must not be given out again.
            room.last = now_micros().max(state.highest + 1);
        }
        seat.join = match &held {
            Some(held) => held.join,
            None if seat.join > 0 => seat.join,
            None if is_new => room.last,
            None => room.last + 1,
        };
        room.last = room.last.max(seat.join);
        state.highest = state.highest.max(seat.join);
        let join = seat.join;
        let moved_from = held
            .as_ref()
            .map(|held| held.instance.clone())
            .filter(|held| *held != seat.instance);
        room.seats.retain(|held| held.member != seat.member);
        let others = room.seats.clone();
        room.seats.push(seat);
        state.touch(id);
        Join::Joined {
            join,
            others,
            reaped,
            held: held.is_some(),
            moved_from,
            taken,
        }
    }

    /// See [`super::Seats::note`].
    pub fn note(&self, id: &RoomId, seat: &Seat) {
        let mut state = self.state.lock();
        let room = state.rooms.get_mut(id);
        let held = room.and_then(|room| {
            room.seats
                .iter_mut()
                .find(|held| held.member == seat.member && held.instance == seat.instance)
                // Who speaks v1 has one connection alone.
                .filter(|held| held.role.is_none() || held.taken == seat.taken)
        });
        let Some(held) = held else { return };
        held.away = seat.away;
        // An id stays: who comes back by its secret needs no token again.
        let who = Who {
            role: seat.who.role,
            id: seat.who.id.clone().or_else(|| held.who.id.clone()),
        };
        if held.who != who {
            held.who = who;
            state.touch(id);
        }
    }

    /// See [`super::Seats::leave`].
    pub fn leave(&self, id: &RoomId, member: MemberId, instance: &Instance) -> Left {
        self.give_back(id, &Leaver::new(member, instance))
    }

    /// See [`super::Seats::give_back`].
    pub fn give_back(&self, id: &RoomId, leaver: &Leaver<'_>) -> Left {
        let mut state = self.state.lock();
        let mut left = Left {
            had_seat: false,
            seats: Vec::new(),
        };
        let is_watched = state.watched.contains_key(id);
        let Some(room) = state.rooms.get_mut(id) else {
            return left;
        };
        left.had_seat = room.unseat(is_watched, |seat| {
            seat.member == leaver.member && seat.instance == *leaver.instance && seat.taken <= leaver.taken
        });
        left.seats.clone_from(&room.seats);
        if !left.had_seat {
            return left;
        }
        // The matchmaker has to see the last join number until it looked at the room.
        if left.seats.is_empty() && !is_watched {
            state.rooms.remove(id);
        }
        state.touch(id);
        left
    }

    /// See [`super::Seats::seats`].
    pub fn seats(&self, room: &RoomId) -> Vec<Seat> {
        self.state
            .lock()
            .rooms
            .get(room)
            .map(|room| room.seats.clone())
            .unwrap_or_default()
    }

    /// See [`super::Seats::renew`]: in one process a lease cannot lapse.
    pub fn renew(&self) -> Renewal {
        self.state.lock().live = true;
        Renewal::default()
    }

    /// See [`super::Seats::release`].
    pub fn release(&self) {
        self.state.lock().live = false;
    }

    /// Whether a signaling server keeps these rooms. Without one, an empty room says nothing about its host.
    pub fn known(&self) -> bool {
        self.state.lock().live
    }

    /// The members of a room.
    pub fn room_state(&self, room: &RoomId) -> RoomState {
        let state = self.state.lock();
        state.rooms.get(room).map(Room::state).unwrap_or_default()
    }

    /// From now on changes of `room` are told to `pool`.
    pub fn watch(&self, room: &RoomId, pool: &str) {
        let mut state = self.state.lock();
        let pools = state.watched.entry(room.clone()).or_default();
        pools.insert(pool.to_owned());
        let touched = state.touched.entry(pool.to_owned()).or_default();
        touched.insert(room.clone());
    }

    /// Ends the watch of `room` by `pool`.
    pub fn unwatch(&self, room: &RoomId, pool: &str) {
        let mut state = self.state.lock();
        let Some(pools) = state.watched.get_mut(room) else {
            return;
        };
        pools.remove(pool);
        if pools.is_empty() {
            state.watched.remove(room);
            if state.rooms.get(room).is_some_and(|room| room.seats.is_empty()) {
                state.rooms.remove(room);
            }
        }
    }

    /// Takes up to `most` rooms of `pool` whose members changed since they were last taken.
    pub fn take_touched(&self, pool: &str, most: usize) -> Vec<RoomId> {
        let mut state = self.state.lock();
        let Some(touched) = state.touched.get_mut(pool) else {
            return Vec::new();
        };
        let taken: Vec<RoomId> = touched.iter().take(most).cloned().collect();
        for room in &taken {
            touched.remove(room);
        }
        taken
    }
}

impl State {
    fn touch(&mut self, room: &RoomId) {
        for pool in self.watched.get(room).into_iter().flatten() {
            self.touched.entry(pool.clone()).or_default().insert(room.clone());
        }
    }
}

impl Room {
    /// The member whose connection is away and who has to make room for a newcomer, if there is one: one of the same role
    /// before others, because it may be the same person, and then who joined first.
    fn evictable(&self, newcomer: &Seat) -> Option<Gone> {
        let away = self.seats.iter().filter(|seat| seat.away);
        let same = |seat: &Seat| newcomer.role.is_some() && seat.role == newcomer.role;
        let evicted = away.min_by_key(|seat| (!same(seat), seat.join))?;
        Some(Gone {
            member: evicted.member,
            instance: evicted.instance.clone(),
        })
    }

    /// Takes seats away; whether there was one.
    fn unseat(&mut self, is_watched: bool, whose: impl Fn(&Seat) -> bool) -> bool {
        let before = self.seats.len();
        for seat in self.seats.extract_if(.., |seat| whose(seat)) {
            if is_watched && seat.who.role != Some(Role::Host) {
                self.departed.truncate(MOST_DEPARTED - 1);
                self.departed.push_front(Departed {
                    join: seat.join,
                    who: seat.who,
                    at_us: now_micros(),
                });
            }
        }
        self.seats.len() < before
    }

    fn state(&self) -> RoomState {
        let member = |seat: &Seat| RoomMember {
            join: seat.join,
            who: seat.who.clone(),
        };
        let mut members: Vec<RoomMember> = self.seats.iter().map(member).collect();
        members.sort_unstable_by_key(|member| member.join);
        RoomState {
            last: self.last,
            members,
            departed: self.departed.iter().rev().cloned().collect(),
        }
    }
}

fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// Many lives of a room within one µs of the clock.
    #[test]
    fn a_room_that_begins_anew_at_once_starts_above() {
        let (rooms, room) = (MemoryRooms::default(), RoomId::parse("r", 64).unwrap());
        let (member, here) = (MemberId(Uuid::from_u128(1)), Instance::new("i1", 1));
        let mut last = 0;
        for _ in 0..20_000 {
            let Join::Joined { join, .. } = rooms.join(&room, &Claim::new(member, &here), 1) else {
                panic!("there is a seat")
            };
            assert!(join > last, "{join} after {last}");
            last = join;
            rooms.leave(&room, member, &here);
        }
    }

    /// Whoever may guess rooms in which he gets no seat must not fill the memory with them.
    #[test]
    fn who_is_refused_leaves_no_room_behind() {
        let (rooms, here) = (MemoryRooms::default(), Instance::new("i1", 1));
        for number in 0..100 {
            let room = RoomId::parse(&format!("r{number}"), 64).unwrap();
            let claim = Claim::new(MemberId(Uuid::from_u128(number)), &here);
            assert_eq!(rooms.join(&room, &claim, 0), Join::Full);
        }
        assert!(rooms.state.lock().rooms.is_empty());
    }

    #[test]
    fn a_seat_of_an_earlier_life_takes_no_number_twice() {
        let (rooms, room) = (MemoryRooms::default(), RoomId::parse("r", 64).unwrap());
        let here = Instance::new("i1", 1);
        let claim = |member| Claim::new(MemberId(Uuid::from_u128(member)), &here);
        let joins = |member| match rooms.join(&room, &claim(member), 8) {
            Join::Joined { join, .. } => join,
            other => panic!("{other:?}"),
        };
        let first = joins(1);
        rooms.leave(&room, claim(1).member, &here);
        let second = joins(2);
        rooms.leave(&room, claim(2).member, &here);
        rooms.assert(&room, &Seat::new(claim(1).member, here.clone(), first), 8);
        assert!(joins(3) > second);
    }
}
