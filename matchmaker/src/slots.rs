//! Slot arithmetic: when a reservation is used or over, and how many slots of a host are free.
//!
//! Neither hosts nor players tell when a session begins or ends; hosts in the field claim a free slot in every
//! heartbeat. So a slot is free only if heartbeat, reservations and the members of the host's room agree.
//!
//! Pure: no clock, no store. `store/lua/slots.lua` says the same in Lua; a test runs both on random histories.
//!
//! # Which member is whose
//!
//! A room knows its members by join number, not by role. Whoever comes while no player is expected is taken for the
//! host: that is its *seat*. A reservation notes the last number of the room at its grant, its *base*.
//!
//! - While the host keeps its seat, everybody who comes later is a player. The oldest waiting reservation takes the
//!   next number above its base, and is over when that member is gone. When the seat is given up, those players are
//!   still known, so that a room with nobody but players is a room without its host.
//! - When the seat was given up while a player was expected, whoever comes may be the host or the player: numbers
//!   are *unclear*. Then heads are counted: one of the members that nothing is known of counts as the host, each
//!   further one uses up a reservation, and a reservation is over when there are too few of them. Who came and left
//!   in such a time is nobody: the reservation waits for its deadline.

use std::collections::BTreeSet;

use berth_dataplane::occupancy::RoomState;

use crate::host::{HostState, MatchId};

/// A slot that was granted to a player.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The match.
    pub id: MatchId,
    /// When it was granted, Unix µs.
    pub granted_us: u64,
    /// Until when the player may come, Unix ms.
    pub deadline_ms: u64,
    /// Last join number of the room at the grant; the clock in µs when the room did not exist.
    pub base: u64,
    /// Who came.
    pub holder: Holder,
}

/// Who came for a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody yet.
    Nobody,
    /// The player, with this join number.
    Player(u64),
    /// One of the members that may be host or player.
    Somebody,
}

/// What is known of the numbers of a room. 0 stands for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Join number of the host.
    pub seat: u64,
    /// Whoever has a number up to this one and came after the host's last seat may be host or player.
    pub unclear: u64,
    /// Highest number that a reservation took.
    pub taken: u64,
}

/// What a host offered in its last heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Sessions that it serves at the same time.
    pub capacity: u32,
    /// Further sessions that it would take, at most `capacity`.
    pub available: u32,
    /// When it said so, Unix µs.
    pub at_us: u64,
}

/// What must hold for a host to be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demands {
    /// It sits in its room, as far as occupancy is known.
    pub host_in_room: bool,
    /// Occupancy is known.
    pub known_room: bool,
}

/// The granted slots of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Oldest grant first.
    reservations: Vec<Reservation>,
    marks: Marks,
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Its player came.
    Joined,
    /// Its player left.
    Left,
    /// Nobody came until the deadline.
    Expired,
}

/// Reservations that changed.
pub type Changes = Vec<(MatchId, Change)>;

/// Where a host stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// In one word.
    pub state: HostState,
    /// Sessions that could begin now.
    pub free: u32,
    /// Sessions that go on.
    pub sessions: u32,
    /// Granted slots whose players have not come.
    pub waiting: u32,
}

impl Reservation {
    fn waits(&self) -> bool {
        self.holder == Holder::Nobody
    }
}

impl Slots {
    /// Slots as they were stored.
    pub fn restore(mut reservations: Vec<Reservation>, marks: Marks) -> Self {
        reservations.sort_by_key(order);
        Self { reservations, marks }
    }

    /// The reservations, oldest first.
    pub fn reservations(&self) -> &[Reservation] {
        &self.reservations
    }

    /// What is known of the room's numbers.
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// Adds a grant, right after [`Slots::settle`].
    pub fn grant(&mut self, reservation: Reservation) {
        let place = self
            .reservations
            .partition_point(|other| order(other) < order(&reservation));
        self.reservations.insert(place, reservation);
    }

    /// Gives one reservation up, right after [`Slots::settle`]; answers whether it is gone. Who gives up has not come,
    /// so whoever was taken for its player came for the next one. With nobody else waiting it goes on until the
    /// player leaves.
    pub fn release(&mut self, id: MatchId) -> bool {
        let Some(place) = self.reservations.iter().position(|one| one.id == id) else {
            return false;
        };
        let holder = self.reservations[place].holder;
        if let Holder::Player(join) = holder {
            let heir = self
                .reservations
                .iter_mut()
                .find(|one| one.waits() && one.base < join);
            let Some(heir) = heir else { return false };
            heir.holder = holder;
        }
        self.reservations.remove(place);
        true
    }

    /// Brings the reservations up to date with the room (`None`: occupancy is unknown) and the time.
    pub fn settle(&mut self, room: Option<&RoomState>, now_ms: u64) -> Changes {
        let mut changes = Changes::new();
        if let Some(room) = room {
            self.attribute(room, &mut changes);
        }
        self.end(Change::Expired, &mut changes, |one| {
            one.waits() && one.deadline_ms <= now_ms
        });
        changes
    }

    /// Finds out who is whose, as the head of this file says.
    fn attribute(&mut self, room: &RoomState, changes: &mut Changes) {
        let expected = self.reservations.iter().any(Reservation::waits);
        let gone =
            |one: &Reservation| matches!(one.holder, Holder::Player(join) if !room.members.contains(&join));
        self.end(Change::Left, changes, gone);
        // Members that nothing is known of, the host among them.
        let mut others: BTreeSet<u64> = room.members.iter().copied().collect();
        for reservation in &self.reservations {
            if let Holder::Player(join) = reservation.holder {
                others.remove(&join);
            }
        }
        if !others.contains(&self.marks.seat) {
            self.marks.seat = 0;
            if expected {
                self.marks.unclear = room.last;
            } else {
                self.marks.seat = others
                    .range(self.marks.unclear + 1..)
                    .next()
                    .copied()
                    .unwrap_or(0);
            }
        }
        if self.marks.seat > 0 {
            self.attribute_by_number(room, &mut others, changes);
        }
        let players = others.len().saturating_sub(1);
        let used = |slots: &Self| {
            slots
                .reservations
                .iter()
                .filter(|one| one.holder == Holder::Somebody)
                .count()
        };
        while used(self) > players {
            self.end_first_used(changes);
        }
        if self.marks.seat == 0 {
            let spare = players - used(self);
            self.attribute_by_count(spare, &others, changes);
        }
    }

    fn attribute_by_number(&mut self, room: &RoomState, others: &mut BTreeSet<u64>, changes: &mut Changes) {
        let Marks { seat, taken, .. } = &mut self.marks;
        self.reservations.retain_mut(|reservation| {
            let next = reservation.base.max(*taken).max(*seat) + 1;
            if !reservation.waits() || next > room.last {
                return true;
            }
            *taken = next;
            changes.push((reservation.id, Change::Joined));
            let there = others.remove(&next);
            if there {
                reservation.holder = Holder::Player(next);
            } else {
                changes.push((reservation.id, Change::Left));
            }
            there
        });
    }

    /// Uses up waiting reservations for at most `spare` members that came after their grant.
    fn attribute_by_count(&mut self, mut spare: usize, others: &BTreeSet<u64>, changes: &mut Changes) {
        for reservation in self.reservations.iter_mut().filter(|one| one.waits()) {
            let after = reservation.base.max(self.marks.taken);
            if let Some(new) = others.range(after + 1..).next()
                && spare > 0
            {
                spare -= 1;
                self.marks.taken = *new;
                reservation.holder = Holder::Somebody;
                changes.push((reservation.id, Change::Joined));
            }
        }
    }

    fn end_first_used(&mut self, changes: &mut Changes) {
        if let Some(place) = self
            .reservations
            .iter()
            .position(|one| one.holder == Holder::Somebody)
        {
            changes.push((self.reservations.remove(place).id, Change::Left));
        }
    }

    fn end(&mut self, change: Change, changes: &mut Changes, over: impl Fn(&Reservation) -> bool) {
        changes.extend(
            self.reservations
                .iter()
                .filter(|one| over(one))
                .map(|one| (one.id, change)),
        );
        self.reservations.retain(|one| !over(one));
    }

    /// Where the host stands, right after [`Slots::settle`] with the same room.
    ///
    /// - Sessions, waiting reservations and free slots together never exceed the capacity.
    /// - What the host offered is lowered by the grants that it could not know of: those that wait, and those since
    ///   its heartbeat.
    /// - A host that does not meet the `demands` has no free slot.
    pub fn standing(&self, offer: &Offer, room: Option<&RoomState>, demands: Demands) -> Standing {
        let players = self.count(|one| matches!(one.holder, Holder::Player(_)));
        let waiting = self.count(Reservation::waits);
        let news = self.count(|one| matches!(one.holder, Holder::Player(_)) && one.granted_us > offer.at_us);
        let members = room.map(|room| count(&room.members));
        let sessions = match members {
            Some(members) => members.saturating_sub(1).max(players),
            None => count(&self.reservations) - waiting,
        };
        let unreachable = match members {
            Some(members) => demands.host_in_room && members <= players,
            None => demands.known_room,
        };
        let by_room = offer.capacity.saturating_sub(sessions).saturating_sub(waiting);
        let by_host = offer.available.saturating_sub(waiting).saturating_sub(news);
        let free = if unreachable { 0 } else { by_room.min(by_host) };
        let state = match (unreachable, free, waiting) {
            (true, ..) => HostState::Unreachable,
            (_, 1.., _) => HostState::Idle,
            (_, 0, 1..) => HostState::Allocated,
            (_, 0, 0) => HostState::Busy,
        };
        Standing {
            state,
            free,
            sessions,
            waiting,
        }
    }

    fn count(&self, which: impl Fn(&Reservation) -> bool) -> u32 {
        count(self.reservations.iter().filter(|one| which(one)))
    }
}

fn order(reservation: &Reservation) -> (u64, MatchId) {
    (reservation.granted_us, reservation.id)
}

fn count<T>(items: impl IntoIterator<Item = T>) -> u32 {
    u32::try_from(items.into_iter().count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
