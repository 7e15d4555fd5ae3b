//! Room occupancy: who sits in which room. The one thing that signaling and matchmaker share.
//!
//! Signaling seats members ([`Seats`]); the matchmaker watches the rooms of its hosts ([`RoomView`]).
//!
//! - A seat belongs to a *member* (one connection) on an *instance* (one process of the signaling server), and is valid only
//!   while the instance's lease lives. An instance is named `ID@EPOCH`, the epoch being new at each start, so that a
//!   restarted process never inherits seats.
//! - Each seat has a *join number*. Within the life of a room they are consecutive, and a room that begins anew starts
//!   above every earlier number (at the clock, in µs). So whoever noted the last number knows afterwards how many have joined
//!   since, even those who left again.
//! - A store that came back empty is *blank*: it gives out no new seats, and tells the matchmaker nothing, until the
//!   instances have had time to assert the seats that they hold.
//! - A *watched* room puts itself on its pool's list of touched rooms, in the same atomic step in which its members change.
//!
//! Two implementations: [`memory`] for one process, [`shared`] on Redis. In Redis every step is one script call;
//! a matchmaker's own scripts read rooms through [`LUA_ROOMS`].

pub mod memory;
pub mod shared;

use std::fmt;
use std::sync::Arc;

use berth_crds::settings::RoomId;
use uuid::Uuid;

use crate::redis::RedisError;

pub use memory::MemoryRooms;
pub use shared::{LEASE, LUA_ROOMS, REASSERT, SharedRooms, Timing};

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
        /// Members whose seats were taken away because their instances are dead. Nobody else tells the others.
        reaped: Vec<MemberId>,
    },
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
    /// Seats that are left.
    pub left: Vec<Seat>,
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
    /// Redis answered what the script never answers.
    #[error("room store answered {0}")]
    Answer(&'static str),
}

/// How many members a room has, as the matchmaker sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomState {
    /// Last join number given out in this room; 0 when the room does not exist.
    pub last: u64,
    /// Join numbers of the members, ascending.
    pub members: Vec<u64>,
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
    /// Takes a seat for `member` on `instance`. Seats of dead instances do not count and are taken away.
    pub async fn join(
        &self,
        room: &RoomId,
        member: MemberId,
        instance: &Instance,
        capacity: u16,
    ) -> Result<Join, OccupancyError> {
        match self {
            Self::Memory(rooms) => Ok(rooms.join(room, member, instance, capacity)),
            Self::Shared(rooms) => rooms.join(room, member, instance, capacity).await,
        }
    }

    /// Gives the seat of `member` back and returns who is left. Giving back a seat twice is harmless.
    pub async fn leave(
        &self,
        room: &RoomId,
        member: MemberId,
        instance: &Instance,
    ) -> Result<Vec<Seat>, OccupancyError> {
        match self {
            Self::Memory(rooms) => Ok(rooms.leave(room, member)),
            Self::Shared(rooms) => rooms.leave(room, member, instance).await,
        }
    }

    /// The same when the outcome of an earlier call for this member is not known: it may still be under way to the store, and
    /// finds the room full when it gets there. The member never gets a seat again.
    pub async fn leave_for_good(
        &self,
        room: &RoomId,
        member: MemberId,
        instance: &Instance,
    ) -> Result<Vec<Seat>, OccupancyError> {
        match self {
            Self::Memory(rooms) => Ok(rooms.leave(room, member)),
            Self::Shared(rooms) => rooms.leave_for_good(room, member, instance).await,
        }
    }

    /// Makes sure that a seat taken earlier is still there, after the store lost it or the lease lapsed; keeps its join
    /// number where it can. [`Join::Full`] when others took the room meanwhile.
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

    /// Ends the lease of `instance`, whose seats are then nobody's.
    pub async fn release(&self, instance: &Instance) -> Result<(), OccupancyError> {
        match self {
            Self::Memory(rooms) => {
                rooms.release();
                Ok(())
            }
            Self::Shared(rooms) => rooms.release(instance).await,
        }
    }
}
