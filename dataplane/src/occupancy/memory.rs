//! Rooms of one process.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use berth_crds::settings::RoomId;
use parking_lot::Mutex;

use super::{Instance, Join, MemberId, Renewal, RoomState, Seat};

/// Rooms of one process; clones share them.
#[derive(Clone, Default)]
pub struct MemoryRooms {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Only rooms with members: a room begins anew when somebody joins it again.
    rooms: HashMap<RoomId, Room>,
    /// Watched rooms and the pool that watches each.
    watched: HashMap<RoomId, String>,
    /// Watched rooms whose members changed, by pool. Bounded by the watched rooms.
    touched: HashMap<String, BTreeSet<RoomId>>,
    /// A signaling server runs in this process.
    live: bool,
}

#[derive(Default)]
struct Room {
    last: u64,
    seats: Vec<Seat>,
}

impl MemoryRooms {
    /// See [`super::Seats::join`].
    pub fn join(&self, room: &RoomId, member: MemberId, instance: &Instance, capacity: u16) -> Join {
        self.seat(room, member, instance, capacity, None)
    }

    /// See [`super::Seats::assert`].
    pub fn assert(&self, room: &RoomId, seat: &Seat, capacity: u16) -> Join {
        self.seat(room, seat.member, &seat.instance, capacity, Some(seat.join))
    }

    fn seat(
        &self,
        id: &RoomId,
        member: MemberId,
        instance: &Instance,
        capacity: u16,
        earlier: Option<u64>,
    ) -> Join {
        let mut state = self.state.lock();
        let room = state.rooms.entry(id.clone()).or_default();
        let others: Vec<Seat> = room
            .seats
            .iter()
            .filter(|seat| seat.member != member)
            .cloned()
            .collect();
        let held = room
            .seats
            .iter()
            .find(|seat| seat.member == member)
            .map(|seat| seat.join);
        // Who sits keeps the seat, also where the capacity was lowered meanwhile.
        if held.is_none() && others.len() >= usize::from(capacity) {
            return Join::Full;
        }
        let join = held.or(earlier).unwrap_or_else(|| {
            if room.last == 0 {
                now_micros()
            } else {
                room.last + 1
            }
        });
        room.last = room.last.max(join);
        if held.is_none() {
            room.seats.push(Seat {
                member,
                instance: instance.clone(),
                join,
            });
        }
        state.touch(id);
        Join::Joined {
            join,
            others,
            reaped: Vec::new(),
        }
    }

    /// See [`super::Seats::leave`].
    pub fn leave(&self, id: &RoomId, member: MemberId) -> Vec<Seat> {
        let mut state = self.state.lock();
        let Some(room) = state.rooms.get_mut(id) else {
            return Vec::new();
        };
        let before = room.seats.len();
        room.seats.retain(|seat| seat.member != member);
        let left = room.seats.clone();
        if left.len() == before {
            return left;
        }
        // The matchmaker has to see the last join number until it looked at the room.
        if left.is_empty() && !state.watched.contains_key(id) {
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

    /// How many members a room has.
    pub fn room_state(&self, room: &RoomId) -> RoomState {
        let state = self.state.lock();
        state.rooms.get(room).map(Room::state).unwrap_or_default()
    }

    /// From now on changes of `room` are told to `pool`.
    pub fn watch(&self, room: &RoomId, pool: &str) {
        let mut state = self.state.lock();
        state.watched.insert(room.clone(), pool.to_owned());
        state.touch(room);
    }

    /// Ends the watch of `room` by `pool`.
    pub fn unwatch(&self, room: &RoomId, pool: &str) {
        let mut state = self.state.lock();
        if state.watched.get(room).is_some_and(|watcher| watcher == pool) {
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
        if let Some(pool) = self.watched.get(room) {
            self.touched.entry(pool.clone()).or_default().insert(room.clone());
        }
    }
}

impl Room {
    fn state(&self) -> RoomState {
        let mut members: Vec<u64> = self.seats.iter().map(|seat| seat.join).collect();
        members.sort_unstable();
        RoomState {
            last: self.last,
            members,
        }
    }
}

fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
