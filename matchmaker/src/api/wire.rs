//! Requests and answers on the wire of the Node matchmaker.

pub(in crate::api) mod info;
pub mod list;

use std::collections::BTreeMap;
use std::time::Duration;

use berth_crds::settings::RoomId;
use berth_dataplane::ice::IceServer;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::issue::{Fields, Issue};
use crate::host::{Heartbeat, HostId, HostInfo, HostStatus, MatchId};
use crate::slots::Reservation;
use crate::store::HostRecord;

/// Longest host id, in characters.
pub(in crate::api) const LONGEST_HOST_ID: usize = 128;
/// Longest name of a region, in characters.
pub(in crate::api) const LONGEST_REGION: usize = 64;
/// Most labels of a host or of a find.
pub(in crate::api) const MOST_LABELS: usize = 16;
/// Longest key and longest value of a label, in characters.
pub(in crate::api) const LONGEST_LABEL: usize = 63;
/// Most regions whose latency a find can name.
pub(in crate::api) const MOST_LATENCIES: usize = 64;
/// Largest latency, ms.
pub(in crate::api) const LARGEST_LATENCY: f64 = 60_000.0;
/// Most sessions that one host can offer: its reservations are kept in one record.
pub(in crate::api) const LARGEST_CAPACITY: u64 = 1000;
/// Most matches that a host can name: more than it has sessions need not be told apart.
pub(in crate::api) const MOST_RESERVATIONS: usize = 1000;
/// Longest resume token, in characters; ours are shorter.
pub(in crate::api) const LONGEST_RESUME_TOKEN: usize = 128;
/// Region of a host that names none.
pub(in crate::api) const DEFAULT_REGION: &str = "local";
/// What a host says that leaves.
pub(crate) const OFFLINE: &str = "offline";

/// What a heartbeat is checked against.
#[derive(Clone, Copy, Debug)]
pub struct HeartbeatRules {
    /// Longest room id on signaling.
    pub room_id_max_length: usize,
    /// Capacity of a host that does not name one.
    pub default_capacity: u32,
}

/// A heartbeat as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// What it says.
    pub heartbeat: Heartbeat,
    /// Fields that were left out, because they cannot be kept and the Node matchmaker would take the heartbeat.
    pub dropped: Vec<&'static str>,
}

/// What a host says of itself between heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It goes on like this.
    Status(HostStatus),
    /// It leaves.
    Offline,
}

/// What a player asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FindRequest {
    /// The region to prefer.
    pub region: Option<String>,
    /// The other regions whose latency the player knows, lowest first.
    pub nearest: Vec<String>,
    /// What the host must have.
    pub labels: BTreeMap<String, String>,
    /// Only this host.
    pub host: Option<HostId>,
}

/// Answer to a heartbeat.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatAnswer {
    /// `true`.
    pub success: bool,
    /// For how many seconds the host counts as alive.
    pub ttl: u64,
    /// The right to join its room, where there is a match key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub match_token: Option<String>,
    /// Who is on the way to it or there; absent while the store is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reservations: Option<Vec<HeldSlot>>,
}

/// A slot of a host that is granted.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldSlot {
    /// Id of the match.
    #[schema(value_type = Uuid)]
    match_id: MatchId,
    /// Until when the player may come, Unix ms.
    deadline: u64,
    /// The player is there.
    joined: bool,
    /// Since when a player who was there is gone, Unix ms; the slot is held for it for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    left_at: Option<u64>,
}

/// Answer to a find that was granted.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MatchAnswer {
    /// `true`.
    pub found: bool,
    /// The room to join.
    pub room_id: String,
    /// Where.
    pub signaling_url: String,
    /// STUN and TURN servers.
    #[schema(value_type = Vec<ShownIceServer>)]
    pub ice_servers: Vec<IceServer>,
    /// Id of the match.
    pub match_id: String,
    /// The right to join the room, where there is a match key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub match_token: Option<String>,
    /// The right to get the match again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub resume_token: Option<String>,
}

/// A STUN or TURN server, as `RTCIceServer` of the WebRTC specification has it.
#[derive(ToSchema)]
#[schema(as = IceServer)]
#[expect(dead_code, reason = "the schema of a type of another crate")]
struct ShownIceServer {
    /// The server, for example `turn:host:3478?transport=udp`.
    urls: String,
    /// User name, for TURN.
    #[schema(nullable = false)]
    username: Option<String>,
    /// Credential, for TURN.
    #[schema(nullable = false)]
    credential: Option<String>,
}

/// Answer to a status.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StatusAnswer {
    /// `true`.
    pub success: bool,
}

/// A host in the public list.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedHost {
    /// Id of the host.
    #[schema(value_type = String)]
    host_id: HostId,
    /// Its room on signaling.
    #[schema(value_type = String)]
    room_id: RoomId,
    /// Its region.
    region: String,
    /// What it says that it does.
    status: HostStatus,
    /// Sessions that it serves at the same time.
    #[schema(minimum = 1)]
    capacity: u32,
    /// Further sessions that it would get now.
    available_slots: u32,
    /// Unix ms.
    last_heartbeat: u64,
    /// What finds can ask for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(flatten)]
    info: HostInfo,
}

/// How long a host counts as alive.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostTtl {
    /// Id of the host.
    #[schema(value_type = String)]
    host_id: HostId,
    /// After so many seconds it is lost.
    ttl_seconds: u64,
}

/// Reads the body of a heartbeat; `None` is an absent body. Fields that are not known are dropped.
pub fn heartbeat(body: Option<&Value>, rules: HeartbeatRules) -> Result<Received, Vec<Issue>> {
    let mut fields = Fields::of(body)?;
    let host = fields.text("hostId", LONGEST_HOST_ID);
    let room = fields.text("roomId", usize::MAX);
    let room = room.and_then(|text| match RoomId::parse(text, rules.room_id_max_length) {
        Ok(room) => Some(room),
        Err(error) => {
            fields.refuse("roomId", "invalid_format", format!("Invalid room id: {error}"));
            None
        }
    });
    let region = fields
        .optional_text("region", LONGEST_REGION)
        .filter(|region| !region.is_empty());
    let labels = fields.texts("labels", MOST_LABELS, LONGEST_LABEL);
    let status = fields
        .word("status", &HostStatus::ALL.map(|status| (status.as_str(), status)))
        .unwrap_or_default();
    let capacity = fields
        .integer("capacity", 1)
        .unwrap_or_else(|| rules.default_capacity.into());
    if capacity > LARGEST_CAPACITY {
        let message = format!("Too big: expected number to be <={LARGEST_CAPACITY}");
        fields.refuse("capacity", "too_big", message);
    }
    // A host that says busy and no number has no slot.
    let usual = if status == HostStatus::Idle { capacity } else { 0 };
    let available = fields.integer("availableSlots", 0).unwrap_or(usual).min(capacity);
    let serves = fields.ids("reservations", MOST_RESERVATIONS);
    let (info, dropped) = info::read(&mut fields);
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let heartbeat = host.zip(room).map(|(host, room)| Heartbeat {
        host: HostId::new(host),
        room,
        region: region.unwrap_or(DEFAULT_REGION).to_owned(),
        labels,
        status,
        capacity: small(capacity),
        available: small(available),
        serves: serves.map(|ids| ids.into_iter().map(MatchId).collect()),
        age: Duration::ZERO,
        info,
    });
    fields.finish(heartbeat.map(|heartbeat| Received { heartbeat, dropped }))
}

/// Reads what a host says of itself between heartbeats.
pub fn status(body: Option<&Value>) -> Result<(HostId, Word), Vec<Issue>> {
    let mut fields = Fields::of(body)?;
    let host = fields.text("hostId", LONGEST_HOST_ID).map(HostId::new);
    let mut words = HostStatus::ALL
        .map(|status| (status.as_str(), Word::Status(status)))
        .to_vec();
    words.push((OFFLINE, Word::Offline));
    let word = fields.required_word("status", &words);
    fields.finish(host.zip(word))
}

/// Reads the body of a find; `None` is an absent body, which asks for any host.
pub fn find(body: Option<&Value>) -> Result<FindRequest, Vec<Issue>> {
    if body.is_none() {
        return Ok(FindRequest::default());
    }
    let mut fields = Fields::of(body)?;
    let given = |text: &&str| !text.is_empty();
    let region = fields.optional_text("region", LONGEST_REGION).filter(given);
    let host = fields.optional_text("hostId", LONGEST_HOST_ID).filter(given);
    let latencies = fields.numbers("latencies", MOST_LATENCIES, LONGEST_REGION, 0.0..=LARGEST_LATENCY);
    let labels = fields.texts("labels", MOST_LABELS, LONGEST_LABEL);
    let mut nearest: Vec<(String, f64)> = latencies
        .into_iter()
        .filter(|(name, _)| region != Some(name))
        .collect();
    nearest.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    fields.finish(Some(FindRequest {
        region: region.map(str::to_owned),
        nearest: nearest.into_iter().map(|(name, _)| name).collect(),
        labels,
        host: host.map(HostId::new),
    }))
}

/// Reads the body of a resume: the token.
pub fn resume(body: Option<&Value>) -> Result<String, Vec<Issue>> {
    let mut fields = Fields::of(body)?;
    let token = fields
        .text("resumeToken", LONGEST_RESUME_TOKEN)
        .map(str::to_owned);
    fields.finish(token)
}

impl From<&Reservation> for HeldSlot {
    fn from(reservation: &Reservation) -> Self {
        Self {
            match_id: reservation.id,
            deadline: reservation.deadline_ms,
            joined: reservation.is_used(),
            left_at: reservation.left_at_ms(),
        }
    }
}

impl From<HostRecord> for ListedHost {
    fn from(record: HostRecord) -> Self {
        Self {
            host_id: record.host,
            room_id: record.room,
            region: record.region,
            status: record.status,
            capacity: record.capacity,
            available_slots: record.free,
            last_heartbeat: record.heartbeat_ms,
            labels: record.labels,
            info: HostInfo::from_text(&record.info),
        }
    }
}

impl From<HostRecord> for HostTtl {
    fn from(record: HostRecord) -> Self {
        // Rounded as the command TTL of Redis rounds.
        Self {
            host_id: record.host,
            ttl_seconds: (record.ttl_ms + 500) / 1000,
        }
    }
}

#[cfg(test)]
mod tests;
