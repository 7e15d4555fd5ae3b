//! What one step sees of the world around the pool, and what it tells.

use berth_crds::settings::RoomId;
use berth_dataplane::occupancy::{MemoryRooms, RoomState};

use crate::host::{HostId, MatchId};
use crate::store::{Event, EventKind, Rules};

/// One step, at one time.
pub(super) struct View<'a> {
    pub(super) rooms: &'a MemoryRooms,
    pub(super) name: &'a str,
    pub(super) rules: &'a Rules,
    pub(super) now_us: u64,
    pub(super) now_ms: u64,
    /// A signaling server keeps the rooms.
    pub(super) known: bool,
    /// What changed.
    pub(super) events: Vec<Event>,
}

impl<'a> View<'a> {
    /// A step of the pool `name` at `now_us`.
    pub(super) fn new(rooms: &'a MemoryRooms, name: &'a str, now_us: u64, rules: &'a Rules) -> Self {
        Self {
            rooms,
            name,
            rules,
            now_us,
            now_ms: now_us / 1000,
            known: rooms.known(),
            events: Vec::new(),
        }
    }

    /// A room, if occupancy is known.
    pub(super) fn room(&self, room: &RoomId) -> Option<RoomState> {
        self.known.then(|| self.rooms.room_state(room))
    }

    /// Notes an event.
    pub(super) fn tell(&mut self, kind: EventKind, host: &HostId, room: &RoomId, id: Option<MatchId>) {
        self.events.push(Event {
            kind,
            host: host.clone(),
            room: room.to_string(),
            id,
        });
    }
}
