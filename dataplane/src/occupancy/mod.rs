//! Room occupancy: who sits in which room. The one thing that signaling and matchmaker share.
//!
//! Signaling seats members ([`Seats`]); the matchmaker watches the rooms of its hosts ([`RoomState`]).
//!
//! - A seat belongs to a *member* (one connection) on an *instance* (one process of the signaling server), and is valid only
//!   while the instance's lease lives. An instance is named `ID@EPOCH`, the epoch being new at each start, so that a
//!   restarted process never inherits seats.
//! - Each seat has a *join number*. Within the life of a room they are consecutive, and a room that begins anew starts
//!   above every earlier number (at the clock, in µs). So whoever noted the last number knows afterwards how many have joined
//!   since, even those who left again.
//! - A store that came back empty is *blank*: it gives out no new seats, and tells the matchmaker nothing, until the
//!   instances have had time to assert the seats that they hold.
//! - A *watched* room puts itself on its pool's list of touched rooms, in the same atomic step in which its members change or
//!   become known as host or player ([`Who`]), and remembers who left last.
//!
//! Two implementations: [`memory`] for one process, [`shared`] on Redis. In Redis every step is one script call;
//! a matchmaker's own scripts read rooms through [`LUA_ROOMS`].

pub mod memory;
pub mod shared;
mod view;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use berth_crds::settings::RoomId;
use uuid::Uuid;

use crate::match_token::Role;
use crate::redis::RedisError;

pub use memory::MemoryRooms;
pub use shared::{LEASE, LUA_ROOMS, REASSERT, SharedRooms, Timing};
pub use view::{Departed, MOST_DEPARTED, RoomMember, RoomState, Who};

/// One process of the signaling server, from start to end. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instance(Arc<str>);

impl Instance {
    /// The process `id` that started in `epoch`; the epoch must differ between two starts under the same id.
    pub fn new(id: &str, epoch: u64) -> Self {
        Self(format!("{id}@{epoch}").into())
    }

    /// An instance as it is named in the store.
    pub fn from_token(token: &str) -> Self {
        Self(token.into())
    }

    /// `ID@EPOCH`.
    pub fn token(&self) -> &str {
        &self.0
    }

    /// A number that tells instances apart where the whole name would be too long (FNV-1a, 64 bits): two of those that share a
    /// room have the same one about never.
    pub fn short(&self) -> u64 {
        self.0.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    /// The id without the epoch.
    pub fn id(&self) -> &str {
        self.0.rsplit_once('@').map_or(&self.0, |(id, _)| id)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One connection in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(pub Uuid);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// A member and where its connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The member.
    pub member: MemberId,
    /// The instance that holds its connection.
    pub instance: Instance,
    /// Join number.
    pub join: u64,
    /// Its role; members that speak protocol v2 have one, others have none.
    pub role: Option<Role>,
    /// Its connection is lost and may come back. Its seat goes to a newcomer for whom there is no other.
    pub away: bool,
    /// When its connection took the seat, if it speaks protocol v2: µs by the store's clock, and rising from one connection to
    /// the next. What is said of it with a lower number is old news.
    pub taken: u64,
    /// What else is known of it, for the matchmaker.
    pub who: Who,
}

/// Who wants a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The member.
    pub member: MemberId,
    /// The instance that holds its connection.
    pub instance: Instance,
    /// Its role, if it speaks protocol v2.
    pub role: Option<Role>,
    /// What else is known of it, for the matchmaker.
    pub who: Who,
}

/// A member whose seat was taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The member.
    pub member: MemberId,
    /// The instance at which it had its seat.
    pub instance: Instance,
}

/// What a leave answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The member had its seat at this instance. If not, it may sit at another one by now.
    pub had_seat: bool,
    /// Seats that are left.
    pub seats: Vec<Seat>,
}

/// What a join answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Join {
    /// The member has a seat; these are the others.
    Joined {
        /// Join number of the new seat.
        join: u64,
        /// All other seats whose instances live.
        others: Vec<Seat>,
        /// Members whose seats were taken away because their instances are dead, or because they are away and this is the
        /// newcomer who needs the seat. Nobody else tells the others.
        reaped: Vec<Gone>,
        /// The member had a seat already.
        held: bool,
        /// The other instance at which it had that seat.
        moved_from: Option<Instance>,
        /// See [`Seat::taken`].
        taken: u64,
    },
    /// The seat that was asserted was taken at another instance since.
    Elsewhere,
    /// The room has as many members as it may have.
    Full,
}

/// A seat that was taken away from a dead instance, and who is left in its room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// The room.
    pub room: RoomId,
    /// The member that is gone.
    pub member: MemberId,
    /// Its dead instance.
    pub instance: Instance,
    /// Seats that are left.
    pub left: Vec<Seat>,
}

impl Claim {
    /// The claim of a member that speaks protocol v1.
    pub fn new(member: MemberId, instance: &Instance) -> Self {
        Self {
            member,
            instance: instance.clone(),
            role: None,
            who: Who::default(),
        }
    }
}

impl Seat {
    /// The seat of a member that speaks protocol v1.
    pub fn new(member: MemberId, instance: Instance, join: u64) -> Self {
        Self {
            member,
            instance,
            join,
            role: None,
            away: false,
            taken: 0,
            who: Who::default(),
        }
    }
}

impl From<&Claim> for Seat {
    /// A seat that is still to be given: without a number.
    fn from(claim: &Claim) -> Self {
        Self {
            role: claim.role,
            who: claim.who.clone(),
            ..Self::new(claim.member, claim.instance.clone(), 0)
        }
    }
}

/// Who gives a seat back.
#[derive(Clone, Copy, Debug)]
pub struct Leaver<'a> {
    /// The member.
    pub member: MemberId,
    /// Where it sat.
    pub instance: &'a Instance,
    /// When the connection that leaves took the seat ([`Seat::taken`]); what a later one took stays. `u64::MAX`: whatever
    /// there is.
    pub taken: u64,
    /// The outcome of an earlier call for this member is not known: it may still be under way to the store, and finds the
    /// room full when it gets there. The member never gets a seat again.
    pub for_good: bool,
}

impl<'a> Leaver<'a> {
    /// A member that leaves, and of whom nothing else is under way.
    pub fn new(member: MemberId, instance: &'a Instance) -> Self {
        Self {
            member,
            instance,
            taken: u64::MAX,
            for_good: false,
        }
    }
}

/// What renewing the lease answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// The store did not know this instance: the lease had lapsed, or the store came back empty. Every seat of this
    /// instance must be asserted again.
    pub lost: bool,
    /// Seats of dead instances that this call took away; at most a few hundred per call.
    pub reaped: Vec<Reaped>,
    /// There are more such seats: renew again at once.
    pub more: bool,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum OccupancyError {
    /// Redis did not do it.
    #[error("room store")]
    Redis(#[from] RedisError),
    /// The store came back empty, and still nobody may be seated.
    #[error("the room store is empty and waits for those who sit")]
    Blank,
    /// It reached the store when nobody waited for it any more, and did nothing.
    #[error("the room store took longer than a join may")]
    Late,
    /// Redis answered what the script never answers.
    #[error("room store answered {0}")]
    Answer(&'static str),
}

/// Signaling's side: seats in rooms, in memory or on Redis.
#[derive(Clone)]
pub enum Seats {
    /// One process.
    Memory(MemoryRooms),
    /// Shared by Redis.
    Shared(SharedRooms),
}

impl Seats {
    /// Takes a seat, or moves the one that the member has, be it away or at another instance, to `claim.instance`. Seats of dead
    /// instances do not count and are taken away, and so is one of a member that is away if there is no other.
    pub async fn join(&self, room: &RoomId, claim: &Claim, capacity: u16) -> Result<Join, OccupancyError> {
        match self {
            Self::Memory(rooms) => Ok(rooms.join(room, claim, capacity)),
            Self::Shared(rooms) => rooms.join(room, claim, capacity).await,
        }
    }

    /// Notes what became known of a member that has its seat at `seat.instance`: whether its connection is away, and who it
    /// is. What a later connection than that of `seat.taken` did stays.
    pub async fn note(&self, room: &RoomId, seat: &Seat) -> Result<(), OccupancyError> {
        match self {
            Self::Memory(rooms) => {
                rooms.note(room, seat);
                Ok(())
            }
            Self::Shared(rooms) => rooms.note(room, seat).await,
        }
    }

    /// Gives the seat that `member` has at `instance` back and returns who is left. Giving back a seat twice is harmless.
    pub async fn leave(
        &self,
        room: &RoomId,
        member: MemberId,
        instance: &Instance,
    ) -> Result<Left, OccupancyError> {
        self.give_back(room, &Leaver::new(member, instance)).await
    }

    /// The same for one connection of the member: a seat that a later one took stays.
    pub async fn give_back(&self, room: &RoomId, leaver: &Leaver<'_>) -> Result<Left, OccupancyError> {
        match self {
            Self::Memory(rooms) => Ok(rooms.give_back(room, leaver)),
            Self::Shared(rooms) => rooms.give_back(room, leaver).await,
        }
    }

    /// Makes sure that a seat taken earlier is still there, after the store lost it or the lease lapsed; keeps its join
    /// number where it can. [`Join::Full`] when others took the room meanwhile, [`Join::Elsewhere`] when it was the member itself,
    /// through another instance.
    pub async fn assert(&self, room: &RoomId, seat: &Seat, capacity: u16) -> Result<Join, OccupancyError> {
        match self {
            Self::Memory(rooms) => Ok(rooms.assert(room, seat, capacity)),
            Self::Shared(rooms) => rooms.assert(room, seat, capacity).await,
        }
    }

    /// Who sits in a room.
    pub async fn seats(&self, room: &RoomId) -> Result<Vec<Seat>, OccupancyError> {
        match self {
            Self::Memory(rooms) => Ok(rooms.seats(room)),
            Self::Shared(rooms) => rooms.seats(room).await,
        }
    }

    /// Renews the lease of `instance` and takes seats of dead instances away. Call it every third of the lease.
    pub async fn renew(&self, instance: &Instance) -> Result<Renewal, OccupancyError> {
        match self {
            Self::Memory(rooms) => Ok(rooms.renew()),
            Self::Shared(rooms) => rooms.renew(instance).await,
        }
    }

    /// Ends the lease of `instance`. Seats that it still has, of members that may come back to another instance, are
    /// nobody's after `keep`.
    pub async fn release(&self, instance: &Instance, keep: Duration) -> Result<(), OccupancyError> {
        match self {
            Self::Memory(rooms) => {
                rooms.release();
                Ok(())
            }
            Self::Shared(rooms) => rooms.release(instance, keep).await,
        }
    }
}
