//! What is known of one member.

use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::{Instance, MemberId, Who};
use smallvec::SmallVec;

use super::{Backlog, History, Sent};

/// Most senders of whom a member's last heard number is kept: more than a room has members.
const MOST_HEARD: usize = 128;

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Everybody else.
    All,
    /// This member.
    Member(MemberId),
    /// Everybody of this role. Members that speak v1 have none, and count as both.
    Role(Role),
}

/// A member that is gone, in case it comes back or was given up wrongly.
#[derive(Debug)]
pub(super) struct Former {
    pub(super) member: MemberId,
    /// Number of its last message.
    pub(super) heard: u64,
    /// Where it was.
    pub(super) instance: Instance,
    /// When its connection took the seat there.
    pub(super) taken: u64,
}

/// How a member that takes a seat speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Protocol v1.
    V1,
    /// Protocol v2.
    V2 {
        /// What it is in the room.
        role: Role,
        /// It resumes a lost connection, and has heard messages up to these numbers.
        resume: Option<Heard>,
    },
}

/// Numbers of the last messages that a member has heard of others.
pub type Heard = SmallVec<[(MemberId, u64); 2]>;

#[derive(Debug)]
pub(super) struct Local {
    pub(super) member: MemberId,
    pub(super) join: u64,
    /// When its connection took the seat: see [`berth_dataplane::occupancy::Seat::taken`].
    pub(super) taken: u64,
    /// Messages sent so far.
    pub(super) sent: u64,
    /// Messages that nobody has been given yet. Empty unless nobody is there whom they are for.
    pub(super) early: Backlog,
    /// Instances that were told of this member. They must be told when it leaves, even if the store has nobody of
    /// theirs in the room then: somebody may be sitting down there.
    pub(super) told: SmallVec<[Instance; 1]>,
    /// What others may ask for again. Kept only while somebody else speaks v2.
    pub(super) history: Option<Box<History>>,
    /// `None`: it speaks v1.
    pub(super) v2: Option<Box<V2>>,
    /// What else is known of it, for the store. Nothing here depends on it.
    pub(super) who: Who,
}

/// What is kept of a member that speaks v2.
#[derive(Debug)]
pub(super) struct V2 {
    pub(super) role: Role,
    /// Its connection stands.
    pub(super) attached: bool,
    /// When its seat came to this instance.
    pub(super) since: u64,
    /// This connection resumed an earlier one, or its instance lost its subscription meanwhile: something may be missing.
    pub(super) may_lack: bool,
    /// How often a connection took this seat here: a window that ends late concerns an earlier one.
    pub(super) attachment: u32,
    /// Last number given to it of each sender. Only rising numbers are given.
    heard: Heard,
    /// Senders at other instances that have not repeated yet what it missed. Until then, what else comes of them is in that
    /// repetition, and earlier messages must come first.
    pub(super) awaits: SmallVec<[MemberId; 1]>,
    /// Numbers of its messages whose publication is not known to have reached an instance, once per instance.
    pub(super) underway: SmallVec<[u64; 4]>,
    /// Number up to which it was told that its messages are passed on.
    pub(super) acked: u64,
    /// Up to this number, members that speak v1 have its messages already, from the instance where it was before.
    pub(super) repeated: u64,
}

#[derive(Debug)]
pub(super) struct Remote {
    pub(super) member: MemberId,
    pub(super) join: u64,
    /// When its connection took the seat; what is older is old news.
    pub(super) taken: u64,
    pub(super) instance: Instance,
    /// When its connection at another instance took the seat, if it came from there: what began earlier is old news.
    pub(super) floor: u64,
    /// `None`: it speaks v1.
    pub(super) role: Option<Role>,
    /// Its connection is lost and may come back.
    pub(super) away: bool,
    /// Number of the last message that members speaking v1 were given.
    pub(super) heard: u64,
    /// The store did not list the seat when it was asked; how many retries ago.
    pub(super) missing: Option<u8>,
    /// Join number of the first member that sat down when the store did not list this one any more. From that one on
    /// nobody has met it, and nobody that speaks v1 hears of its departure.
    pub(super) unmet_from: Option<u64>,
}

impl Remote {
    /// Whether it is known to be where this is said.
    pub(super) fn may_say(&self, sent: &Sent) -> bool {
        self.role.is_none() || sent.since <= self.taken
    }
}

impl To {
    /// Whether a message is for this member.
    pub(super) fn concerns(self, member: MemberId, role: Option<Role>) -> bool {
        match self {
            Self::All => true,
            Self::Member(id) => id == member,
            Self::Role(wanted) => role.is_none_or(|role| role == wanted),
        }
    }
}

impl Local {
    pub(super) fn role(&self) -> Option<Role> {
        self.v2.as_ref().map(|v2| v2.role)
    }

    /// Its connection is lost and may come back.
    pub(super) fn is_away(&self) -> bool {
        self.v2.as_ref().is_some_and(|v2| !v2.attached)
    }

    /// Number up to which its messages are passed on or kept for somebody who is away.
    pub(super) fn passed_on(&self) -> u64 {
        let underway = self.v2.iter().flat_map(|v2| v2.underway.iter().copied());
        let waiting = self.early.iter().map(|sent| sent.number);
        underway
            .chain(waiting)
            .min()
            .map_or(self.sent, |first| first.saturating_sub(1))
    }

    /// Whether a message of it can be asked for again.
    pub(super) fn keeps(&self, number: u64) -> bool {
        let history = self.history.as_ref();
        history.is_some_and(|history| history.keeps(number))
    }

    /// When its seat came to this instance, or 0 if it speaks v1.
    pub(super) fn since(&self) -> u64 {
        self.v2.as_ref().map_or(0, |v2| v2.since)
    }

    /// Whether it said this since its seat came to this instance.
    pub(super) fn said(&self, sent: &Sent) -> bool {
        self.member == sent.from && self.since() == sent.since
    }

    /// A message is on its way to an instance.
    pub(super) fn sets_out(&mut self, number: u64) {
        if let Some(v2) = &mut self.v2 {
            v2.underway.push(number);
        }
    }

    /// A message has reached an instance, or never will.
    pub(super) fn arrived(&mut self, number: u64) {
        if let Some(v2) = &mut self.v2
            && let Some(index) = v2.underway.iter().position(|other| *other == number)
        {
            v2.underway.swap_remove(index);
        }
    }
}

impl V2 {
    pub(super) fn new(role: Role, since: u64) -> Self {
        Self {
            role,
            attached: true,
            since,
            may_lack: false,
            attachment: 0,
            heard: Heard::new(),
            awaits: SmallVec::new(),
            underway: SmallVec::new(),
            acked: 0,
            repeated: 0,
        }
    }

    /// Takes over what the member itself says that it has heard.
    pub(super) fn set_heard(&mut self, heard: Heard) {
        self.heard = heard;
    }

    /// What it has heard.
    pub(super) fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Number of the last message of `from` that it has heard.
    pub(super) fn heard_of(&self, from: MemberId) -> u64 {
        self.heard
            .iter()
            .find(|(sender, _)| *sender == from)
            .map_or(0, |(_, number)| *number)
    }

    /// Whether it is to be given this message now; if so, it counts as heard.
    pub(super) fn hear(&mut self, sent: &Sent) -> bool {
        if !self.attached || self.awaits.contains(&sent.from) || sent.number <= self.heard_of(sent.from) {
            return false;
        }
        if let Some(entry) = self.heard.iter_mut().find(|(sender, _)| *sender == sent.from) {
            entry.1 = sent.number;
            return true;
        }
        if self.heard.len() >= MOST_HEARD {
            self.heard.remove(0);
        }
        self.heard.push((sent.from, sent.number));
        true
    }
}
