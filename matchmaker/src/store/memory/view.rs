//! What one step sees of the world around the pool, and what it tells.

use berth_crds::settings::RoomId;
use berth_dataplane::occupancy::{MemoryRooms, RoomState};

use crate::host::{HostId, MatchId};
use crate::slots::Look;
use crate::store::{Clock, Event, EventKind, Rules};

/// One step, at one time.
pub(super) struct View<'a> {
    pub(super) rooms: &'a MemoryRooms,
    pub(super) name: &'a str,
    pub(super) rules: &'a Rules,
    pub(super) now_us: u64,
    /// How far this clock is ahead of that of the rooms, µs.
    ahead_us: u64,
    pub(super) now_ms: u64,
    /// A signaling server keeps the rooms.
    pub(super) known: bool,
    /// What changed.
    pub(super) events: Vec<Event>,
}

impl<'a> View<'a> {
    /// A step of the pool `name` at the time of `clock`.
    pub(super) fn new(rooms: &'a MemoryRooms, name: &'a str, clock: &Clock, rules: &'a Rules) -> Self {
        let (now_us, ahead_us) = (clock.now_us(), clock.ahead_us());
        Self {
            ahead_us,
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
        let mut state = self.known.then(|| self.rooms.room_state(room))?;
        for departed in &mut state.departed {
            departed.at_us = departed.at_us.saturating_add(self.ahead_us);
        }
        Some(state)
    }

    /// A look at the slots of a host.
    pub(super) fn look<'b>(&self, host: &'b HostId, room: Option<&'b RoomState>) -> Look<'b> {
        Look {
            host: host.as_str(),
            room,
            now_us: self.now_us,
            terms: self.rules.terms(),
        }
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
