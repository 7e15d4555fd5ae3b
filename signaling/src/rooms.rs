//! All rooms with a member on this instance.
//!
//! Lock order: a shard, then a room, then what a room's effects touch (a connection, the lane, the queue of
//! the seating). A session keeps its room at hand, so a relayed message touches no shard.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Instant;

use berth_crds::settings::RoomId;
use berth_dataplane::occupancy::{Instance, MemberId};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use smallvec::SmallVec;

use crate::conn::Conn;
use crate::limits::Bucket;
use crate::metrics::GaugeGuard;
use crate::room::{Bounds, Room, View};

const SHARDS: usize = 32;

/// All rooms with a member on this instance.
pub(crate) struct Rooms {
    own: Instance,
    shards: [Mutex<HashMap<RoomId, Arc<RoomCell>>>; SHARDS],
    hasher: RandomState,
    gauge: Gauge,
}

/// One room.
pub(crate) struct RoomCell {
    pub(crate) id: RoomId,
    pub(crate) inner: Mutex<RoomInner>,
    _gauge: GaugeGuard,
}

/// What is under a room's lock.
pub(crate) struct RoomInner {
    pub(crate) room: Room,
    /// Connections of the local members.
    pub(crate) conns: Conns,
    /// Messages in this room, counted on this instance.
    pub(crate) messages: Bucket,
}

/// Connections of the local members of a room.
pub(crate) type Conns = SmallVec<[(MemberId, Arc<Conn>); 2]>;

impl RoomCell {
    /// Writes what its sockets get of a burst.
    pub(crate) fn flush(&self) {
        for (_, conn) in &self.inner.lock().conns {
            conn.flush();
        }
    }
}

impl Rooms {
    pub(crate) fn new(own: Instance, gauge: Gauge) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self {
            own,
            shards,
            hasher: RandomState::new(),
            gauge,
        }
    }

    fn shard(&self, id: &RoomId) -> &Mutex<HashMap<RoomId, Arc<RoomCell>>> {
        // The remainder is below the number of shards.
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        let hash = self.hasher.hash_one(id) as usize;
        &self.shards[hash % SHARDS]
    }

    /// The room `id`, made if it is not there, and the view of the one who enters. `limit`: messages in a room.
    /// `bounds`: what is kept for members that are away.
    pub(crate) fn enter(
        &self,
        id: &RoomId,
        limit: u32,
        bounds: Bounds,
        now: Instant,
    ) -> (Arc<RoomCell>, View) {
        let mut shard = self.shard(id).lock();
        let cell = shard.entry(id.clone()).or_insert_with(|| {
            let room = Room::new(self.own.clone());
            let inner = RoomInner {
                room,
                conns: Conns::new(),
                messages: Bucket::new(limit, now),
            };
            Arc::new(RoomCell {
                id: id.clone(),
                inner: Mutex::new(inner),
                _gauge: GaugeGuard::new(&self.gauge),
            })
        });
        let mut inner = cell.inner.lock();
        inner.room.set_bounds(bounds);
        let view = inner.room.enter();
        drop(inner);
        (Arc::clone(cell), view)
    }

    /// The room `id`, if anybody of this instance is in it.
    pub(crate) fn find(&self, id: &RoomId) -> Option<Arc<RoomCell>> {
        self.shard(id).lock().get(id).cloned()
    }

    /// Forgets a room that nobody of this instance is in any more.
    pub(crate) fn sweep(&self, cell: &Arc<RoomCell>) {
        let mut shard = self.shard(&cell.id).lock();
        let ours = shard.get(&cell.id).is_some_and(|other| Arc::ptr_eq(other, cell));
        if ours && cell.inner.lock().room.is_deserted() {
            shard.remove(&cell.id);
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<RoomCell>> {
        self.shards
            .iter()
            .flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}
