//! Hosts and matches as the rest of the matchmaker speaks of them.

mod info;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use berth_crds::settings::RoomId;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

pub use info::{HostInfo, HostLocation, HostPort, Protocol};

/// Id of a host, unique in its pool: the host's own choice, not empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct HostId(String);

impl HostId {
    /// The id `text`. Its length is checked where it comes from.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Id of a match: one granted slot, from the grant to its end. Random, so that nobody guesses that of another player.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct MatchId(pub Uuid);

impl fmt::Display for MatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// What a host says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostStatus {
    /// It waits for players.
    #[default]
    Idle,
    /// It serves players.
    Busy,
    /// It is promised to a player.
    Allocated,
    /// It serves its sessions to the end and wants no new ones.
    Draining,
}

impl HostStatus {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Busy, Self::Allocated, Self::Draining];

    /// The word on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Allocated => "allocated",
            Self::Draining => "draining",
        }
    }

    /// The status with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Slots that a host offers which says this and no number: it had offered `available` of `capacity` before.
    pub(crate) fn offers(self, available: u32, capacity: u32) -> u32 {
        match self {
            Self::Idle if available == 0 => capacity,
            // What a host offers while it drains is of use when the drain ends.
            Self::Idle | Self::Draining => available,
            Self::Busy | Self::Allocated => 0,
        }
    }
}

/// One heartbeat, checked and with its defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// The host.
    pub host: HostId,
    /// Its room on signaling.
    pub room: RoomId,
    /// Its region.
    pub region: String,
    /// What finds can ask for.
    pub labels: BTreeMap<String, String>,
    /// What it says of itself.
    pub status: HostStatus,
    /// Sessions that it serves at the same time.
    pub capacity: u32,
    /// Further sessions that it would take now, at most `capacity`.
    pub available: u32,
    /// The matches that it serves, if it says so.
    pub serves: Option<Vec<MatchId>>,
    /// How long ago it was said, when the store could not be told at once.
    pub age: Duration,
    /// What else it tells of itself.
    pub info: HostInfo,
}

/// What a host is to the matchmaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// It has a free slot.
    Idle,
    /// It has none.
    Busy,
    /// It has none, because one is granted to a player who has not come yet.
    Allocated,
    /// It is alive but not in its room, so no player could reach it.
    Unreachable,
    /// It serves its sessions to the end and gets no new ones.
    Draining,
}

impl HostState {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Idle,
        Self::Busy,
        Self::Allocated,
        Self::Unreachable,
        Self::Draining,
    ];

    /// The word in the store, in metrics and in status documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Allocated => "allocated",
            Self::Unreachable => "unreachable",
            Self::Draining => "draining",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// The same host while it gets no new sessions. One that nobody could reach stays that.
    pub(crate) fn draining(self) -> Self {
        match self {
            Self::Unreachable => self,
            _ => Self::Draining,
        }
    }
}
