//! Slot arithmetic: when a reservation is used or over, and how many slots of a host are free.
//!
//! Neither hosts nor players tell the matchmaker when a session begins or ends; hosts in the field claim a free slot in
//! every heartbeat. So a slot is free only if heartbeat, reservations and the members of the host's room agree.
//!
//! Pure: no clock, no store. `store/lua/slots.lua` says the same in Lua; a test runs both on random histories.
//!
//! # Which member is who
//!
//! - A member is host or player by its match token, by the role in its `hello`, or by what it sends first: present hosts
//!   answer and present players offer. Until then it is *unknown*.
//! - Without a known host in the room, the first unknown member is taken for it: that is its *seat*. Not at once while a player is
//!   expected, or if it came while the host was there: then it is *in doubt*, for as long as a reservation waits for its
//!   player. A player offers when it comes; who has said nothing for so long is the host. In doubt a member counts as a
//!   player.
//! - Who is not the host takes a slot, invited or not.
//!
//! # Which player is whose
//!
//! The one whose token names the match; of those without a token, the next one that joins after the grant, by join numbers: a
//! reservation notes the last number of the room at its grant, its *base*. What ends first is taken first. A reservation
//! whose player has left is *held* for a while, so that a reload finds its seat. Who said nothing at all may have been
//! anybody, and of several without a token each may have been another's: then the reservation waits for its deadline too.

mod attribute;
mod standing;

use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::{RoomState, Who};

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
    /// When that was noticed last, Unix µs; 0 before.
    pub joined_us: u64,
    /// When the player left, Unix ms; 0 while it is there or has not come.
    pub left_ms: u64,
    /// Digest of the request that it was granted to, if that may be repeated.
    pub asked: Option<Asked>,
}

/// Digest of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked(pub u64);

/// Who came for a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody yet.
    Nobody,
    /// Nobody yet, or somebody without a token who was taken for the player of another reservation: both were open.
    Unclear,
    /// Somebody, as the host says by the match's name; nobody is seen in the room.
    Named,
    /// A member of the room.
    Player {
        /// Its join number.
        join: u64,
        /// It is a player by its token or its word.
        known: bool,
        /// It came for no other reservation: its token says so, or no other one was open.
        clear: bool,
    },
}

/// What is known of the numbers of a room. 0 stands for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Join number of the host, if it is one by nothing but its place.
    pub seat: u64,
    /// Up to this join number, members that say nothing may be players: they came while the host was there, or for a reservation
    /// that is over.
    pub floor: u64,
    /// Highest number that a reservation took.
    pub taken: u64,
    /// Join number of the member in doubt.
    pub doubt: u64,
    /// Since when it is, Unix ms.
    pub doubt_ms: u64,
    /// Since when the host is not in its room, Unix ms.
    pub absent_ms: u64,
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

/// The rules that slots go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a slot is held for a player who has left, ms.
    pub hold_ms: u64,
    /// How long a host that is not in its room is handed out, ms.
    pub grace_ms: u64,
    /// How long a member is in doubt, ms.
    pub doubt_ms: u64,
    /// Players that fit into a room besides the host, as far as occupancy is known.
    pub players: u32,
    /// A host is handed out only while it sits in its room, as far as occupancy is known.
    pub host_in_room: bool,
    /// Occupancy was known a moment ago and will be again: without it nothing is handed out, and nothing ends.
    pub known_room: bool,
}

/// What a look at the slots of a host is made with.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The host's id.
    pub host: &'a str,
    /// Its room; `None`: occupancy is unknown.
    pub room: Option<&'a RoomState>,
    /// The time, Unix µs.
    pub now_us: u64,
    /// The rules.
    pub terms: Terms,
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
    /// Its player left, and did not come back in time.
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
    /// Granted slots whose players have not come, or have left and may come back.
    pub waiting: u32,
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

    /// Gives one reservation up, right after [`Slots::settle`] with the same look; answers whether it is gone.
    ///
    /// Where several reservations were open when somebody came without a token, whose player that was is not clear. So a
    /// reservation stays until the player who was taken for its own has left, or, if its own may have been taken for another's,
    /// until its deadline.
    pub fn release(&mut self, id: MatchId) -> bool {
        let Some(place) = self.reservations.iter().position(|one| one.id == id) else {
            return false;
        };
        let stays = match self.reservations.get(place).map(|one| one.holder) {
            Some(Holder::Unclear) => true,
            Some(Holder::Player { clear, .. }) => !clear,
            _ => false,
        };
        if !stays {
            self.reservations.remove(place);
        }
        !stays
    }

    /// Takes over what a heartbeat says of the matches that the host serves: one that it names is used, and one that it names
    /// no more is over, unless the room shows the player. `None`: it says nothing of them, which ends what it named once, but not before
    /// its deadline. `now_us`: when the heartbeat came.
    pub fn name(&mut self, served: Option<&[MatchId]>, now_us: u64) -> Changes {
        let at_ms = now_us / 1000;
        let mut changes = Changes::new();
        for one in &mut self.reservations {
            let is_named = served.is_some_and(|served| served.contains(&one.id));
            match (one.holder, is_named) {
                (Holder::Nobody | Holder::Unclear, true) => {
                    one.holder = Holder::Named;
                    one.joined_us = now_us;
                    changes.push((one.id, Change::Joined));
                }
                (Holder::Named, true) => one.left_ms = 0,
                (Holder::Named, false)
                    if one.left_ms == 0 && (served.is_some() || one.deadline_ms <= at_ms) =>
                {
                    one.left_ms = at_ms.max(1);
                }
                _ => {}
            }
        }
        changes
    }

    /// Brings the reservations up to date with the room and the time.
    pub fn settle(&mut self, look: &Look<'_>) -> Changes {
        let now_ms = look.now_us / 1000;
        let mut changes = Changes::new();
        if let Some(room) = look.room {
            self.attribute(room, look, &mut changes);
        } else if !look.terms.known_room {
            // Nobody sees the players any more, so nobody would see them leave.
            let there = self.reservations.iter_mut().filter(|one| one.is_seen());
            there.for_each(|one| one.left_ms = now_ms.max(1));
        }
        let Self { reservations, marks } = self;
        reservations.retain(|one| {
            let is_over = one.end_ms(&look.terms) <= now_ms;
            if is_over {
                let came = one.has_come();
                changes.push((one.id, if came { Change::Left } else { Change::Expired }));
                // Its player may have come late and said nothing yet.
                if one.base < marks.doubt {
                    marks.floor = marks.floor.max(marks.doubt);
                }
            }
            !is_over
        });
        changes
    }

    /// When something changes by time alone, Unix ms; right after [`Slots::settle`].
    pub fn due_ms(&self, look: &Look<'_>) -> Option<u64> {
        let (terms, marks) = (&look.terms, &self.marks);
        let ends = self.reservations.iter().map(|one| one.end_ms(terms));
        let known = look.room.is_some();
        let doubt = (known && marks.doubt > 0).then(|| marks.doubt_ms.saturating_add(terms.doubt_ms));
        let absent = (known && marks.absent_ms > 0 && terms.host_in_room)
            .then(|| marks.absent_ms.saturating_add(terms.grace_ms))
            .filter(|at| *at > look.now_us / 1000);
        ends.filter(|end| *end < u64::MAX)
            .chain(doubt)
            .chain(absent)
            .min()
    }
}

impl Reservation {
    /// Its player is there, as far as anybody knows.
    pub fn is_used(&self) -> bool {
        !self.is_open()
    }

    /// When its player left, Unix ms; `None` while that player is there or was never there.
    pub fn left_at_ms(&self) -> Option<u64> {
        (self.left_ms > 0).then_some(self.left_ms)
    }

    /// Its player has not come, or has left.
    fn is_open(&self) -> bool {
        self.left_ms > 0 || !self.has_come()
    }

    /// Somebody came for it.
    fn has_come(&self) -> bool {
        !matches!(self.holder, Holder::Nobody | Holder::Unclear)
    }

    /// Its player is in the room.
    fn is_seen(&self) -> bool {
        self.left_ms == 0 && matches!(self.holder, Holder::Player { .. })
    }

    /// Join number of its player, who may have left.
    fn join(&self) -> Option<u64> {
        match self.holder {
            Holder::Player { join, .. } => Some(join),
            _ => None,
        }
    }

    /// When it is over by time, Unix ms; `u64::MAX` while its player is there.
    fn end_ms(&self, terms: &Terms) -> u64 {
        let held = self.left_ms.saturating_add(terms.hold_ms);
        match self.holder {
            Holder::Nobody | Holder::Unclear => self.deadline_ms,
            _ if self.left_ms == 0 => u64::MAX,
            Holder::Player { known: false, .. } | Holder::Player { clear: false, .. } => {
                held.max(self.deadline_ms)
            }
            _ => held,
        }
    }
}

/// Whether a member is the host `host`, as far as it is known.
fn is_host(who: &Who, host: &str) -> bool {
    who.role == Some(Role::Host) && who.id.as_deref().is_none_or(|id| id == host)
}

fn order(reservation: &Reservation) -> (u64, MatchId) {
    (reservation.granted_us, reservation.id)
}

#[cfg(test)]
mod tests;
