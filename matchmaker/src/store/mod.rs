//! The hosts of a pool and the slots that are granted on them.
//!
//! [`HostStore`] is what the matchmaker needs; [`memory`] keeps it in one process, [`redis`] shares it between many. One
//! suite of tests runs against both. Every method is one atomic step, in Redis one script call, and tells what else
//! it found changed: reservations that were used or are over, hosts that fell silent ([`Event`]).

mod demand;
pub mod memory;
mod picking;
pub mod redis;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use berth_crds::settings::{PoolSettings, RoomId, Strategy};
use berth_dataplane::redis::RedisError;
use berth_dataplane::secrets::RotatingSecret;
use futures::future::BoxFuture;
use serde::Serialize;

use crate::demand::ByRegion;
use crate::host::{Heartbeat, HostId, HostState, HostStatus, MatchId};
use crate::slots::{Change, Reservation, Terms};

pub use picking::{Dice, Request};

/// Most hosts in one page of [`HostStore::page`].
pub const PAGE: usize = 256;
/// How long a host that is gone is listed as offline.
pub const OFFLINE_FOR: Duration = Duration::from_mins(10);
/// Most hosts that are listed so: those that went last.
pub const MOST_OFFLINE: usize = 1000;
/// Most classes of a pool: combinations of a region and labels. Hosts of further ones are found by finds without labels only.
pub const MOST_CLASSES: usize = 512;

/// Most hosts that are remembered as taken out of service while they are gone.
pub const MOST_DRAINED: usize = 10_000;

/// The hosts of one pool.
pub trait HostStore: Send + Sync + 'static {
    /// Registers a host or renews it.
    fn heartbeat(&self, heartbeat: Heartbeat, rules: Rules) -> Stepping<'_, Beaten>;

    /// Picks a host and grants one of its slots; to a request that was granted before, the same one.
    fn find(&self, request: Request, rules: Rules) -> Stepping<'_, Found>;

    /// What has become of a match.
    fn look_up(&self, id: MatchId, rules: Rules) -> Stepping<'_, Held>;

    /// Gives a match up. Giving one up twice is harmless.
    fn release(&self, id: MatchId, rules: Rules) -> Stepping<'_, Released>;

    /// Takes over what a host says of itself between heartbeats; answers whether it is alive. Its life is not prolonged.
    fn set_status(&self, host: HostId, status: HostStatus, rules: Rules) -> Stepping<'_, bool>;

    /// Forgets a host that leaves, and ends its reservations; answers whether it was alive.
    fn leave(&self, host: HostId, rules: Rules) -> Stepping<'_, bool>;

    /// Takes a host out of service, or puts it back; answers whether there was something to do it to: a host that is alive,
    /// or, to put it back, one that was taken out. It outlives heartbeats, and a host that is gone for a while; the
    /// newest [`MOST_DRAINED`] hosts that were taken out are remembered while they are gone.
    fn drain(&self, host: HostId, drain: bool, rules: Rules) -> Stepping<'_, bool>;

    /// Looks after what is due: hosts that fell silent, deadlines, rooms that changed. Bounded: `more` asks for
    /// another call at once.
    fn tick(&self, rules: Rules) -> Stepping<'_, Tick>;

    /// What only those know who share the store, and what is kept as long as its matches, also where it loses everything and they are
    /// written back; nothing before its first tick.
    fn secret(&self) -> RotatingSecret;

    /// Hosts that are gone and did not come back, for [`OFFLINE_FOR`], by their ids.
    fn offline(&self) -> BoxFuture<'_, Result<Vec<Offline>, StoreError>>;

    /// Adds finds that were refused, and gives all of the pool in the last 5 minutes.
    fn demand(&self, refused: ByRegion) -> BoxFuture<'_, Result<ByRegion, StoreError>>;

    /// Hosts in the order of their ids, from the first one after `after`, at most [`PAGE`].
    fn page(&self, after: Option<HostId>) -> BoxFuture<'_, Result<Vec<HostRecord>, StoreError>>;
}

/// What a step of the store gives.
pub type Stepping<'a, T> = BoxFuture<'a, Result<Step<T>, StoreError>>;

/// A result, and what else a step found changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<T> {
    /// The result.
    pub value: T,
    /// What changed on the way.
    pub events: Vec<Event>,
}

/// The rules of the pool that a step goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long a host counts as alive after a heartbeat.
    pub heartbeat_ttl: Duration,
    /// How long a granted slot waits for its player.
    pub deadline: Duration,
    /// How long a slot is held for a player who has left.
    pub hold: Duration,
    /// How long a host that is not in its room is handed out.
    pub unreachable_grace: Duration,
    /// Players that fit into a room besides the host.
    pub players: u32,
    /// Hand out a host only while it sits in its room.
    pub require_host_in_room: bool,
    /// Which of the hosts that fit is picked.
    pub strategy: Strategy,
    /// Weight of the asked region against the other ones; 100 means always.
    pub region_weight: u32,
    /// Hand out no host while occupancy is unknown: it was known a moment ago and will be again.
    pub expect_occupancy: bool,
}

impl Rules {
    /// The rules of a pool whose rooms have `room_capacity` members. `expect_occupancy`: see there.
    pub fn new(pool: &PoolSettings, room_capacity: u16, expect_occupancy: bool) -> Self {
        Self {
            players: u32::from(room_capacity).saturating_sub(1),
            expect_occupancy,
            heartbeat_ttl: pool.heartbeat_ttl,
            deadline: pool.reservation_deadline,
            hold: pool.reservation_hold,
            unreachable_grace: pool.unreachable_grace,
            require_host_in_room: pool.require_host_in_room,
            strategy: pool.strategy,
            region_weight: pool.region_weight,
        }
    }

    /// The rules of slots.
    fn terms(&self) -> Terms {
        Terms {
            hold_ms: millis(self.hold),
            grace_ms: millis(self.unreachable_grace),
            // Who comes for a granted slot says so at once; a deadline is the longest that anybody is waited for.
            doubt_ms: millis(self.deadline),
            players: self.players,
            host_in_room: self.require_host_in_room,
            known_room: self.expect_occupancy,
        }
    }
}

/// Answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The store did not know the host.
    New,
    /// It did.
    Renewed,
    /// Nothing was stored: this other host is alive in the same room.
    RoomTaken(HostId),
}

/// What a heartbeat gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beaten {
    /// What the store did.
    pub registered: Registered,
    /// How long before this one the last heartbeat of a host that is renewed came, ms.
    pub silent_ms: Option<u64>,
    /// The host's reservations, oldest first.
    pub reservations: Vec<Reservation>,
}

/// Answer to a find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A slot of this host is granted.
    Granted(Grant),
    /// No host has a free slot.
    NoHosts,
    /// Hosts have free slots, but none that fits.
    NoneMatching,
    /// Nobody is handed out at present, whoever is free: what was granted before may be lost and is waited for, or who sits in
    /// the rooms is not known for a while.
    NotNow,
    /// The match of this id was granted to another request.
    Conflict,
    /// The match of this id is over.
    Over(EventKind),
}

/// What has become of a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Its slot is kept.
    Live(Grant),
    /// It ended not long ago.
    Over(EventKind),
    /// There is none, or it ended long ago.
    Unknown,
}

/// Answer to who gives a match up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// Its slot is free.
    Released,
    /// It stays until whoever is taken for its player has left, or until its deadline: see
    /// [`Slots::release`](crate::slots::Slots::release).
    Stays,
    /// It ended before.
    Over(EventKind),
    /// There is none, or it ended long ago.
    Unknown,
}

/// A granted slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The host.
    pub host: HostId,
    /// Its room.
    pub room: RoomId,
    /// Its region.
    pub region: String,
}

/// Answer to a tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// More is due than fits in one step.
    pub more: bool,
    /// The store was empty: it is new, or it lost everything while nobody was there.
    pub is_new: bool,
    /// How long ago occupancy was known before this step, if it ever was.
    pub known_ago: Option<Duration>,
    /// The pool after this step.
    pub counts: Counts,
}

/// Counts of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Hosts by state; every state is there.
    pub hosts: BTreeMap<&'static str, u64>,
    /// Sessions that all hosts together could serve.
    pub capacity: u64,
    /// Sessions that could begin now.
    pub free: u64,
    /// Sessions that run, and reservations that wait for their player.
    pub taken: u64,
    /// By region.
    pub regions: BTreeMap<String, RegionCounts>,
    /// A signaling server of Berth keeps the rooms, so that their members count.
    pub occupancy_known: bool,
    /// The store lost what was granted, so nobody is handed out until that is over.
    pub quiet: bool,
}

/// A host that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offline {
    /// The host.
    pub host: HostId,
    /// The room that it had.
    pub room: String,
    /// Its region.
    pub region: String,
    /// Since when, Unix ms.
    pub since_ms: u64,
    /// It took its leave; if not, it fell silent.
    pub left: bool,
}

/// Counts of one region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionCounts {
    /// Hosts.
    pub hosts: u64,
    /// The same by state; only states that some are in.
    pub states: BTreeMap<&'static str, u64>,
    /// Sessions that they all could serve.
    pub slots: u64,
    /// Sessions that could begin now.
    pub available_slots: u64,
}

impl RegionCounts {
    /// Counts what is in `other` here too.
    pub fn add(&mut self, other: &Self) {
        self.hosts += other.hosts;
        for (state, hosts) in &other.states {
            *self.states.entry(state).or_default() += hosts;
        }
        self.slots += other.slots;
        self.available_slots += other.available_slots;
    }
}

/// A host as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRecord {
    /// The host.
    pub host: HostId,
    /// Its room.
    pub room: RoomId,
    /// Its region.
    pub region: String,
    /// What finds can ask for.
    pub labels: BTreeMap<String, String>,
    /// What it says of itself.
    pub status: HostStatus,
    /// Sessions that it serves at the same time.
    pub capacity: u32,
    /// Further sessions that it offered in its last heartbeat.
    pub offered: u32,
    /// Where it stood when it was last looked at.
    pub state: HostState,
    /// Sessions that could begin then.
    pub free: u32,
    /// Sessions that ran then, and reservations that waited for their player.
    pub taken: u32,
    /// Last heartbeat, Unix ms.
    pub heartbeat_ms: u64,
    /// For how long it counts as alive without another one, ms.
    pub ttl_ms: u64,
    /// Its granted slots.
    pub reservations: Vec<Reservation>,
    /// It was taken out of service.
    pub drained: bool,
    /// What it tells of itself, as [`HostInfo::to_text`](crate::host::HostInfo::to_text) writes it.
    pub info: String,
}

/// Something that happened to a host or a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The host.
    pub host: HostId,
    /// Its room.
    pub room: String,
    /// The match, for what happens to one.
    pub id: Option<MatchId>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// No heartbeat came for too long.
    HostLost,
    /// A reservation was used or is over.
    Reservation(Change),
    /// A host left.
    HostLeft,
    /// A reservation ended because its host was lost.
    EndedByLoss,
    /// A reservation ended because its host left.
    EndedByLeave,
    /// A reservation ended because its host went to another room.
    EndedByRoomChange,
    /// A reservation was given up.
    Released,
    /// A heartbeat had labels, but the pool has [`MOST_CLASSES`] other classes: no find that asks for labels gets this host.
    LabelsIgnored,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Redis did not do it.
    #[error("host store")]
    Redis(#[from] RedisError),
    /// Redis answered what the script never answers.
    #[error("host store answered {0}")]
    Answer(&'static str),
}

impl StoreError {
    /// Whether the step has certainly not been done.
    pub fn had_no_effect(&self) -> bool {
        matches!(self, Self::Redis(error) if error.had_no_effect())
    }

    /// Whether the store as a whole is away, so that the same call may work soon.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Redis(error) if error.is_outage())
    }
}

/// The clock that heartbeats and deadlines are measured by: the system's, in Redis the server's. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// How far it is ahead, µs.
    ahead_us: Arc<AtomicU64>,
}

impl Clock {
    /// Puts the clock forward, so that tests need not wait for deadlines.
    pub fn advance(&self, by: Duration) {
        self.ahead_us.fetch_add(
            u64::try_from(by.as_micros()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// The system's time, Unix µs: what join numbers of rooms begin with.
    fn system_us() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// This clock's time, Unix µs.
    fn now_us(&self) -> u64 {
        Self::system_us().saturating_add(self.ahead_us())
    }

    fn ahead_us(&self) -> u64 {
        self.ahead_us.load(Ordering::Relaxed)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Counts {
    /// The same pool while it is drained: nothing is free.
    #[must_use]
    pub fn draining(mut self) -> Self {
        for state in HostState::ALL {
            let hosts = self.hosts.insert(state.as_str(), 0).unwrap_or_default();
            *self.hosts.entry(state.draining().as_str()).or_default() += hosts;
        }
        self.free = 0;
        for region in self.regions.values_mut() {
            region.available_slots = 0;
            for (state, hosts) in std::mem::take(&mut region.states) {
                let state = HostState::from_name(state).map_or(state, |state| state.draining().as_str());
                *region.states.entry(state).or_default() += hosts;
            }
        }
        self
    }
}

impl HostRecord {
    /// The same host while its pool is drained.
    #[must_use]
    pub fn draining(self) -> Self {
        Self {
            state: self.state.draining(),
            free: 0,
            ..self
        }
    }
}

impl EventKind {
    /// Every kind, for metrics that show zero before the first event.
    pub const ALL: [Self; 10] = [
        Self::HostLost,
        Self::Reservation(Change::Joined),
        Self::Reservation(Change::Left),
        Self::Reservation(Change::Expired),
        Self::HostLeft,
        Self::EndedByLoss,
        Self::EndedByLeave,
        Self::EndedByRoomChange,
        Self::Released,
        Self::LabelsIgnored,
    ];

    /// The word in scripts, and in answers that tell why a match is over.
    pub fn word(self) -> &'static str {
        match self {
            Self::HostLost => "lost",
            Self::Reservation(Change::Joined) => "joined",
            Self::Reservation(Change::Left) => "left",
            Self::Reservation(Change::Expired) => "expired",
            Self::HostLeft => "gone",
            Self::EndedByLoss => "host-lost",
            Self::EndedByLeave => "host-left",
            Self::EndedByRoomChange => "room-changed",
            Self::Released => "released",
            Self::LabelsIgnored => "labels-ignored",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}
