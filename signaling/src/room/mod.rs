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
//! A member that speaks v2 may lose its connection and keep its seat (*away*): it comes back to this instance or to another one,
//! says what it has heard of each sender, and is given the rest from the senders' histories (`resume`). So what nobody could
//! read is kept in one place, at the instance that holds the sender's socket, and needs no copy anywhere. An instance that lost its
//! subscription does not know what it has missed, and asks for its members in the same way.
//!
//! The death of an instance reaches a room as the departure of its members, one by one, from whoever took their
//! seats away.

mod backlog;
mod give;
mod hear;
mod history;
mod local;
mod member;
mod remote;
mod resume;
mod route;
mod tell;
mod unsettled;

use std::collections::VecDeque;

use berth_dataplane::occupancy::{Gone, Instance, MemberId, Seat, Who};
use smallvec::SmallVec;

use crate::protocol::Text;
use backlog::Backlog;
use history::History;
use member::{Former, Local, Remote};
use route::{Route, Stragglers};
use unsettled::Unsettled;

pub use backlog::Sent;
pub use history::{AGES, Bounds};
pub use member::{Heard, Speech, To};
pub use tell::Welcome;
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
    /// What is on the lane without a route.
    stragglers: Stragglers,
    /// Members that left because their instance ended, and whom nobody has replaced yet.
    absent: SmallVec<[MemberId; 1]>,
    /// Members that are gone, the last one first.
    former: VecDeque<Former>,
    /// While answers of the store are outstanding.
    unsettled: Option<Box<Unsettled>>,
    /// Bounds of histories.
    bounds: Bounds,
}

/// What the store said when it gave or confirmed a seat.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// Join number.
    pub join: u64,
    /// All other seats.
    pub others: &'a [Seat],
    /// Members whose seats were taken away in the same step: nobody else says so.
    pub reaped: &'a [Gone],
    /// The other instance at which the member sat until now.
    pub moved_from: Option<&'a Instance>,
    /// When its connection took the seat.
    pub taken: u64,
}

/// What a member that leaves leaves to be done.
#[derive(Debug)]
pub struct Parting {
    /// Instances that knew of it, and are to be told even if the store has nobody of theirs in the room.
    pub told: SmallVec<[Instance; 1]>,
    /// When its connection took the seat that is to be given back; `u64::MAX` if it speaks v1 and has no other.
    pub taken: u64,
}

/// Why a member is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Departure {
    /// Its connection ended.
    Left,
    /// Its instance ends and has told it to connect again: the others hear of it only if it does not come back.
    Drained,
    /// It keeps its seat: the connection that took it at this time ([`Seat::taken`]) is lost and may come back.
    Away(u64),
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
        /// It resumes: what it has heard of each sender. It wants the rest.
        resume: Option<Heard>,
    },
    /// A member is gone.
    Left {
        /// The member.
        member: MemberId,
        /// The instance at which it had its seat: if it has one at another by now, this is old news.
        instance: Instance,
        /// Why.
        departure: Departure,
    },
    /// What a member that resumes has missed of one sender.
    Replay {
        /// Who has missed it.
        to: MemberId,
        /// When the connection that asked took its seat: an answer to an earlier one says too little.
        asked: u64,
        /// Who said it.
        from: MemberId,
        /// The instance at which he sits: if he sits at another by now, that one repeats what is missing.
        instance: Instance,
        /// When his connection took his seat there.
        taken: u64,
        /// Everything that is left of it, oldest first.
        messages: Vec<Sent>,
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
    /// Tell a local member that speaks v2 something that no peer said.
    Tell {
        /// The member.
        to: MemberId,
        /// What.
        text: Text,
    },
    /// This member, whose connection may still be here, has resumed at another instance.
    Replaced(MemberId),
    /// Call [`Room::window_over`] when the time to resume has passed.
    Window {
        /// The member that is away.
        member: MemberId,
        /// Which of its absences.
        attachment: u32,
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
            stragglers: Stragglers::default(),
            absent: SmallVec::new(),
            former: VecDeque::new(),
            unsettled: None,
            bounds: Bounds::default(),
        }
    }

    /// Bounds of what is kept for members that are away, from now on.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
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
            role: local.role(),
            away: local.is_away(),
            taken: local.taken,
            who: local.who.clone(),
        })
    }

    /// Notes who a local member is, for the store.
    pub fn introduce(&mut self, member: MemberId, who: Who) {
        if let Some(local) = self.local_mut(member) {
            local.who = who;
        }
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

    fn local_mut(&mut self, member: MemberId) -> Option<&mut Local> {
        self.locals.iter_mut().find(|local| local.member == member)
    }

    /// Takes a local member and everything that waits of it out.
    fn remove_local(&mut self, member: MemberId) -> Option<Local> {
        let index = self.locals.iter().position(|local| local.member == member)?;
        let local = self.locals.remove(index);
        self.note(member);
        for route in &mut self.routes {
            route.forget_sender(member);
        }
        if let Some(unsettled) = &mut self.unsettled {
            unsettled.recent.take_from(member);
        }
        self.await_no_more(member);
        Some(local)
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

    /// Whether anybody is there whom a message is for.
    fn has_listener(&self, from: MemberId, to: To) -> bool {
        let locals = self.locals.iter().map(|local| (local.member, local.role()));
        let remotes = self.remotes.iter().map(|remote| (remote.member, remote.role));
        locals
            .chain(remotes)
            .any(|(member, role)| member != from && to.concerns(member, role))
    }

    /// Whether anybody but `member` may resume a lost connection, and so ask for what it missed.
    fn may_be_asked_again(&self, member: MemberId) -> bool {
        let locals = self.locals.iter();
        locals
            .filter(|local| local.member != member)
            .any(|local| local.v2.is_some())
            || self.remotes.iter().any(|remote| remote.role.is_some())
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
mod resume_simulation;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
