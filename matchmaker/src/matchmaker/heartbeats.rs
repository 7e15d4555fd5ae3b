//! Heartbeats of hosts, also while the store is away.

use std::time::{Duration, Instant};

use berth_dataplane::match_token::Role;
use berth_dataplane::settings::MatchmakerView;
use berth_dataplane::telemetry::{Throttle, field, with_causes};
use futures::future::join_all;
use serde_json::Value;
use tracing::{info, warn};

use super::{Matchmaker, failed};
use crate::api::wire::{self, HeartbeatAnswer, HeartbeatRules, HeldSlot, Received};
use crate::api::{Issue, Refusal};
use crate::host::Heartbeat;
use crate::store::Registered;

/// A host's match token outlives this many missed heartbeats.
const HOST_TOKEN_HEARTBEATS: u32 = 3;
/// Most heartbeats that are written back at a time.
const WRITTEN_AT_ONCE: usize = 64;

impl Matchmaker {
    /// Registers or renews a host.
    pub async fn heartbeat(&self, body: Option<&Value>) -> Result<HeartbeatAnswer, Refusal> {
        static KEPT: Throttle = Throttle::new(Duration::from_secs(10));
        let (view, said) = (self.settings.get(), Instant::now());
        let rules = HeartbeatRules {
            room_id_max_length: view.cluster.rooms.id_max_length,
            default_capacity: view.pool.default_capacity,
        };
        let Received { heartbeat, dropped } = wire::heartbeat(body, rules).map_err(Refusal::Invalid)?;
        self.note_dropped(&heartbeat.host, &dropped);
        let beaten = self.take(self.store.heartbeat(heartbeat.clone(), self.rules(&view)).await);
        let (host, room) = (&heartbeat.host, &heartbeat.room);
        let beaten = match beaten {
            Ok(beaten) => beaten,
            Err(error) if error.is_outage() => {
                // No host vanishes because the store is away.
                if !self.waiting.keep(heartbeat.clone(), said) {
                    return Err(failed("heartbeat", &error, Refusal::Unavailable));
                }
                if let Some(suppressed) = KEPT.pass() {
                    warn!(
                        waiting = self.waiting.len(),
                        error = with_causes(&error),
                        suppressed,
                        "heartbeats are kept until the store is back"
                    );
                }
                return self.heard(&view, room.as_str(), host.as_str(), None);
            }
            Err(error) => return Err(failed("heartbeat", &error, Refusal::HeartbeatFailed)),
        };
        self.waiting.forget(host);
        if let Some(silent_ms) = beaten.silent_ms {
            self.metrics.heartbeat_gap(silent_ms);
        }
        match beaten.registered {
            Registered::New => {
                info!({ field::HOST } = %host, { field::ROOM } = %room, region = heartbeat.region, "host registered");
                warn_of_small_rooms(&heartbeat, self.rules(&view).players);
            }
            Registered::Renewed => {}
            Registered::RoomTaken(other) => {
                static TAKEN: Throttle = Throttle::new(Duration::from_secs(10));
                if let Some(suppressed) = TAKEN.pass() {
                    warn!(
                        { field::HOST } = %host,
                        %other,
                        { field::ROOM } = %room,
                        suppressed,
                        "host refused: another one is alive in its room"
                    );
                }
                let issue = Issue::taken("roomId", format!("Host {other} is alive in this room"));
                return Err(Refusal::Conflict(vec![issue]));
            }
        }
        let reservations = beaten.reservations.iter().map(HeldSlot::from).collect();
        self.heard(&view, room.as_str(), host.as_str(), Some(reservations))
    }

    /// Answers a heartbeat. `reservations`: if the store told them.
    fn heard(
        &self,
        view: &MatchmakerView,
        room: &str,
        id: &str,
        reservations: Option<Vec<HeldSlot>>,
    ) -> Result<HeartbeatAnswer, Refusal> {
        let ttl = view.pool.heartbeat_ttl;
        let match_token = self.token(view, Role::Host, room, id, ttl * HOST_TOKEN_HEARTBEATS)?;
        Ok(HeartbeatAnswer {
            success: true,
            ttl: ttl.as_secs(),
            match_token,
            reservations,
        })
    }

    /// Tells the store the heartbeats that it could not be told.
    pub async fn write_back(&self) {
        let mut written = 0;
        loop {
            let view = self.settings.get();
            let some = self.waiting.take(WRITTEN_AT_ONCE, Instant::now());
            if some.is_empty() {
                break;
            }
            let written_now = some.into_iter().map(async |heartbeat| {
                let step = self.store.heartbeat(heartbeat.clone(), self.rules(&view)).await;
                self.take(step)
                    .inspect_err(|error| {
                        if error.is_outage() {
                            self.waiting.put_back(heartbeat, Instant::now());
                        }
                    })
                    .is_ok()
            });
            let written_now = join_all(written_now).await;
            written += written_now.iter().filter(|ok| **ok).count();
            if written_now.contains(&false) {
                break;
            }
        }
        if written > 0 {
            info!(
                written,
                "the store is back and knows the last heartbeats of hosts"
            );
        }
    }

    /// How many hosts have heartbeats that the store does not know.
    pub fn waiting_heartbeats(&self) -> usize {
        self.waiting.len()
    }
}

/// Says that a host offers more than its room can hold, which would else be a riddle: its further slots are never granted.
fn warn_of_small_rooms(heartbeat: &Heartbeat, players: u32) {
    static SMALL: Throttle = Throttle::new(Duration::from_mins(1));
    if heartbeat.capacity > players
        && let Some(suppressed) = SMALL.pass()
    {
        warn!(
            { field::HOST } = %heartbeat.host,
            capacity = heartbeat.capacity,
            players,
            suppressed,
            "a room holds fewer players than the host has slots (rooms.capacity, ROOM_CAPACITY): the rest is not granted"
        );
    }
}
