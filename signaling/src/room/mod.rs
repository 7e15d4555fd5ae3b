//! The room protocol: what one instance knows of one room, as a state machine without I/O and without a clock.
//!
//! ```text
//!  sockets of this instance ──> message, leave ──┐                    ┌──> Deliver, PeerDisconnected (local members)
//!  the store of seats       ──> seated, answer ──┼──> Room ──Effects──┼──> Publish (one per instance that has members)
//!  inboxes (other instances)──> remote_*       ──┤                    ├──> Ask (who sits here?), Assert, Grace
//!  the lane to Redis        ──> published, ... ──┘                    └──> Lost (counted)
//! ```
//!
//! What it keeps true, whatever the order in which things happen:
//!
//! - Nobody receives his own message. Messages of one sender arrive in their order and at most once: each
//!   carries its sender's running number, and a receiver takes only rising numbers.
//! - Messages that are sent while nobody else is there wait with their sender (*early* messages) and reach the second
//!   member first and in order. They live in the memory of the instance that holds the sender's socket and nowhere else:
//!   they are worth something only as long as that socket is there, so a copy in Redis could only outlive its use.
//! - Messages to an instance that cannot be reached wait in its route, and become early messages if that instance
//!   turns out to be gone and the sender is alone.
//!
//! The store is asked asynchronously, and notices of other instances arrive meanwhile. So every question opens a
//! [`View`]; an answer does not touch members that changed since (`Unsettled`). A notice may be lost with a
//! connection. So whatever contradicts what the room knows (a message of a stranger, a list with an
//! unknown member) makes it ask the store again, which decides.
//!
//! A store that was flushed or restarted empty knows nobody until each instance has asserted its seats, and an
//! instance does not listen until it has subscribed again. So a member that is missing in the store and cannot be
//! reached is given up only if it is still missing four retries later, which is longer than the lease. Players
//! whose media flows must not hear of a departure that never was. Whoever takes the seats of a dead instance
//! away tells the others, so nobody depends on that time.
//!
//! The death of an instance reaches a room as the departure of its members, one by one, from whoever took their
//! seats away.

mod backlog;
mod local;
mod remote;
mod route;
mod unsettled;

use std::collections::VecDeque;

use berth_dataplane::occupancy::{Instance, MemberId, Seat};
use smallvec::SmallVec;

use crate::protocol::Text;
use backlog::Backlog;
use route::Route;
use unsettled::Unsettled;

pub use backlog::Sent;
pub use unsettled::View;

/// For how many calls of [`Room::retry`] a member may be missing in the store. A retry comes every third of a lease, so
/// this is longer than the lease.
const PATIENCE: u8 = 4;
/// Most members that are remembered after they left.
const MOST_FORMER: usize = 8;

/// What one instance knows of one room.
#[derive(Debug)]
pub struct Room {
    /// This instance.
    own: Instance,
    /// Members whose sockets are here.
    locals: SmallVec<[Local; 2]>,
    /// Members whose sockets are at other instances.
    remotes: SmallVec<[Remote; 1]>,
    /// One per instance in `remotes`.
    routes: SmallVec<[Route; 1]>,
    /// Members that left because their instance ended, and whom nobody has replaced yet.
    absent: SmallVec<[MemberId; 1]>,
    /// Numbers of the last messages of members that are gone, in case one was given up wrongly.
    former: VecDeque<(MemberId, u64)>,
    /// While answers of the store are outstanding.
    unsettled: Option<Box<Unsettled>>,
}

#[derive(Debug)]
struct Local {
    member: MemberId,
    join: u64,
    /// Messages sent so far.
    sent: u64,
    /// Messages that nobody has been given yet. Empty unless this is the only member.
    early: Backlog,
    /// Instances that were told of this member. They must be told when it leaves, even if the store has nobody of
    /// theirs in the room then: somebody may be sitting down there.
    told: SmallVec<[Instance; 1]>,
}

#[derive(Debug)]
struct Remote {
    member: MemberId,
    join: u64,
    instance: Instance,
    /// Number of the last message taken.
    heard: u64,
    /// The store did not list the seat when it was asked; how many retries ago.
    missing: Option<u8>,
    /// Join number of the first member that sat down when the store did not list this one any more. From that one on
    /// nobody has met it, and nobody hears of its departure.
    unmet_from: Option<u64>,
}

/// What the store said when it gave or confirmed a seat.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// Join number.
    pub join: u64,
    /// All other seats.
    pub others: &'a [Seat],
    /// Members whose seats were taken away in the same step: their instances are dead, and nobody else says so.
    pub reaped: &'a [MemberId],
}

/// Why a member is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Departure {
    /// Its connection ended.
    Left,
    /// Its instance ends and has told it to connect again: the others hear of it only if it does not come back.
    Drained,
}

/// What one instance tells another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A member says this.
    Message(Sent),
    /// A member has joined, or makes sure that everybody knows it.
    Joined {
        /// Its seat.
        seat: Seat,
        /// Everybody in the room as the store knew it, the member included.
        members: Vec<Seat>,
    },
    /// A member is gone.
    Left {
        /// The member.
        member: MemberId,
        /// Why.
        departure: Departure,
    },
}

/// Why a message was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// More early messages than are kept.
    EarlyFull,
    /// More messages to an unreachable instance than are kept, or it is gone and others have the message.
    Unreachable,
    /// The sender is not in the room, says the store.
    Stranger,
    /// The receiver's instance has had it, or a later one of the same sender.
    Stale,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Give a message to a local member.
    Deliver {
        /// The member.
        to: MemberId,
        /// The message.
        text: Text,
    },
    /// Tell a local member that another one is gone.
    PeerDisconnected {
        /// The member.
        to: MemberId,
    },
    /// Tell another instance. What became of a message is told by [`Room::published`] or [`Room::unreached`].
    Publish {
        /// The instance.
        to: Instance,
        /// What to tell.
        notice: Notice,
    },
    /// Ask the store who sits in the room; the answer goes to [`Room::answer`].
    Ask(View),
    /// The store may not know the seat of this local member: assert it.
    Assert(MemberId),
    /// Call [`Room::grace_over`] when the grace for a drained member has passed.
    Grace(MemberId),
    /// Messages that are not delivered.
    Lost {
        /// Why.
        loss: Loss,
        /// How many.
        messages: usize,
    },
}

/// What is to be done, in this order.
pub type Effects = SmallVec<[Effect; 3]>;

impl Room {
    /// A room as `own` sees it before anybody is in it.
    pub fn new(own: Instance) -> Self {
        Self {
            own,
            locals: SmallVec::new(),
            remotes: SmallVec::new(),
            routes: SmallVec::new(),
            absent: SmallVec::new(),
            former: VecDeque::new(),
            unsettled: None,
        }
    }

    /// Whether this instance has nothing to do with the room any more.
    pub fn is_deserted(&self) -> bool {
        self.locals.is_empty()
            && self
                .unsettled
                .as_ref()
                .is_none_or(|unsettled| unsettled.entering == 0)
    }

    /// Members whose sockets are here.
    pub fn locals(&self) -> impl Iterator<Item = MemberId> {
        self.locals.iter().map(|local| local.member)
    }

    /// The seat of a local member.
    pub fn seat(&self, member: MemberId) -> Option<Seat> {
        let local = self.local(member)?;
        Some(Seat {
            member,
            instance: self.own.clone(),
            join: local.join,
        })
    }

    /// Whether any member sits at another instance.
    pub fn has_remotes(&self) -> bool {
        !self.remotes.is_empty()
    }

    /// How many early messages are kept.
    pub fn early(&self) -> usize {
        self.locals.iter().map(|local| local.early.len()).sum()
    }

    fn local(&self, member: MemberId) -> Option<&Local> {
        self.locals.iter().find(|local| local.member == member)
    }

    fn remote(&mut self, member: MemberId) -> Option<&mut Remote> {
        self.remotes.iter_mut().find(|remote| remote.member == member)
    }

    /// All members and their join numbers.
    fn joins(&self) -> impl Iterator<Item = (MemberId, u64)> {
        let locals = self.locals.iter().map(|local| (local.member, local.join));
        locals.chain(self.remotes.iter().map(|remote| (remote.member, remote.join)))
    }

    /// Join number of a member.
    fn join_of(&self, member: MemberId) -> Option<u64> {
        self.joins()
            .find(|(other, _)| *other == member)
            .map(|(_, join)| join)
    }

    fn is_alone(&self) -> bool {
        self.locals.len() + self.remotes.len() == 1
    }

    /// Tells local members of a departure; `unmet_from`: those that joined before this number.
    fn tell_locals(&self, unmet_from: Option<u64>, effects: &mut Effects) {
        let met = self
            .locals
            .iter()
            .filter(|local| unmet_from.is_none_or(|first| local.join < first));
        effects.extend(met.map(|local| Effect::PeerDisconnected { to: local.member }));
    }

    /// Notes that what is known of a member is newer than any view that is open now.
    fn note(&mut self, member: MemberId) {
        if let Some(unsettled) = &mut self.unsettled {
            unsettled.note(member);
        }
    }

    fn settle(&mut self) {
        self.unsettled.take_if(|unsettled| unsettled.is_settled());
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
