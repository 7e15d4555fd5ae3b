//! The matchmaker itself: what happens between the wire and the store.

mod hosts;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use berth_dataplane::http::client_address;
use berth_dataplane::ice::ice_servers;
use berth_dataplane::limits::AddressLimit;
use berth_dataplane::match_token::{MatchGrant, MatchKeys, Role};
use berth_dataplane::secrets::SecretStore;
use berth_dataplane::settings::{MatchmakerView, Snapshot};
use berth_dataplane::telemetry::{Throttle, field, with_causes};
use parking_lot::Mutex;
use serde_json::Value;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use crate::api::wire::{self, FindRequest, HeartbeatAnswer, HeartbeatRules, MatchAnswer, Received};
use crate::api::{Issue, Refusal};
use crate::events;
use crate::host::MatchId;
use crate::metrics::MatchmakerMetrics;
use crate::store::{Counts, Dice, Found, Grant, HostStore, Registered, Request, Rules, Step, StoreError};

/// Shortest validity of a player's match token: a page may need a moment to connect and may connect again.
const PLAYER_TOKEN_TTL: Duration = Duration::from_mins(2);
/// A host's match token outlives this many missed heartbeats.
const HOST_TOKEN_HEARTBEATS: u32 = 3;
/// How long occupancy may be unknown before hosts are handed out without it. Redis or the only signaling server may be
/// starting again; sessions go on meanwhile, and nobody could join a room anyway.
const OCCUPANCY_GRACE: Duration = Duration::from_secs(30);
/// Most steps in a row that look after what is due.
const MOST_TICKS: u32 = 64;

/// The matchmaker of one pool.
pub struct Matchmaker {
    settings: Snapshot<MatchmakerView>,
    secrets: SecretStore,
    store: Arc<dyn HostStore>,
    metrics: MatchmakerMetrics,
    occupancy: Mutex<Occupancy>,
    /// How often each client address asks for a match.
    finds: AddressLimit,
}

/// Whether a signaling server keeps the rooms, as far as this process has seen.
#[derive(Clone, Copy, Debug, Default)]
enum Occupancy {
    /// None has so far.
    #[default]
    Never,
    /// One did when the store was last asked.
    Known,
    /// One did before this time.
    LostAt(Instant),
}

impl Matchmaker {
    /// A matchmaker that follows `settings` and keeps its hosts in `store`.
    pub fn new(
        settings: Snapshot<MatchmakerView>,
        secrets: SecretStore,
        store: Arc<dyn HostStore>,
        metrics: MatchmakerMetrics,
    ) -> Self {
        Self {
            settings,
            secrets,
            store,
            metrics,
            occupancy: Mutex::default(),
            finds: AddressLimit::default(),
        }
    }

    /// Its metrics.
    pub fn metrics(&self) -> &MatchmakerMetrics {
        &self.metrics
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<MatchmakerView> {
        self.settings.get()
    }

    /// Why no host can register: its secret is missing.
    pub fn missing_host_secret(&self) -> Option<String> {
        let pool = &self.settings.load().pool;
        let reference = &pool.host_secret.current;
        let missing = self.secrets.rotating(&pool.host_secret).is_empty();
        missing.then(|| format!("Secret {} has no key {}", reference.name, reference.key))
    }

    /// Checks the bearer secret of a host.
    pub fn admit_host(&self, secret: &[u8]) -> Result<(), Refusal> {
        static REFUSED: Throttle = Throttle::new(Duration::from_secs(10));
        if self
            .secrets
            .rotating(&self.settings.load().pool.host_secret)
            .accepts(secret)
        {
            return Ok(());
        }
        if let Some(suppressed) = REFUSED.pass() {
            warn!(suppressed, "host refused: wrong secret");
        }
        Err(Refusal::Forbidden)
    }

    /// Whether a client may ask for one match more. `peer`: the address of its socket.
    pub fn admit_find(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        static REFUSED: Throttle = Throttle::new(Duration::from_secs(10));
        let view = self.settings.load();
        let client = client_address(peer, headers, &view.pool.trusted_proxies).ip;
        let taken = self.finds.take(client, view.pool.finds_per_ip, Instant::now());
        taken.map_err(|wait| {
            debug!({ field::CLIENT_IP } = %client, ?wait, "a client asks for too many matches");
            if let Some(suppressed) = REFUSED.pass() {
                info!(
                    suppressed,
                    ?wait,
                    "finds are refused: over the limit of a client address"
                );
            }
            Refusal::TooManyFinds { wait }
        })
    }

    /// Registers or renews a host.
    pub async fn heartbeat(&self, body: Option<&Value>) -> Result<HeartbeatAnswer, Refusal> {
        let view = self.settings.get();
        let rules = HeartbeatRules {
            room_id_max_length: view.cluster.rooms.id_max_length,
            default_capacity: view.pool.default_capacity,
        };
        let Received { heartbeat, dropped } = wire::heartbeat(body, rules).map_err(Refusal::Invalid)?;
        self.note_dropped(&heartbeat.host, &dropped);
        let (host, room, region) = (
            heartbeat.host.clone(),
            heartbeat.room.clone(),
            heartbeat.region.clone(),
        );
        let registered = self.take(self.store.heartbeat(heartbeat, self.rules(&view)).await);
        match registered.map_err(|error| failed("heartbeat", &error, Refusal::HeartbeatFailed))? {
            Registered::New => {
                info!({ field::HOST } = %host, { field::ROOM } = %room, region, "host registered");
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
        let ttl = view.pool.heartbeat_ttl;
        let (room, id) = (room.as_str(), host.as_str());
        let match_token = self.token(&view, Role::Host, room, id, ttl * HOST_TOKEN_HEARTBEATS)?;
        Ok(HeartbeatAnswer {
            success: true,
            ttl: ttl.as_secs(),
            match_token,
        })
    }

    /// Finds a host for a player.
    pub async fn find(&self, body: Option<&Value>) -> Result<MatchAnswer, Refusal> {
        let FindRequest { region, host } = wire::find(body).map_err(Refusal::Invalid)?;
        let view = self.settings.get();
        if view.pool.drain {
            return Err(Refusal::Draining);
        }
        let id = MatchId(Uuid::new_v4());
        let dice = Dice {
            stray: rand::random(),
            region: rand::random(),
            host: rand::random(),
        };
        let request = Request {
            id,
            region,
            host,
            dice,
        };
        let found = self.take(self.store.find(request, self.rules(&view)).await);
        match found.map_err(|error| unavailable_or("find", &error, Refusal::Internal))? {
            Found::Granted(grant) => {
                let answer = self.answer(&view, id, &grant);
                if answer.is_err() {
                    // What fails here too ends at the deadline.
                    drop(self.take(self.store.release(id, self.rules(&view)).await));
                }
                answer
            }
            Found::NoHosts => Err(Refusal::NoHosts),
            Found::NoneMatching => Err(Refusal::NoneMatching),
        }
    }

    /// Looks after everything that is due, and counts the pool.
    pub async fn counts(&self) -> Result<Arc<Counts>, Refusal> {
        let mut left = MOST_TICKS;
        loop {
            let view = self.settings.get();
            let tick = self.take(self.store.tick(self.rules(&view)).await);
            let tick = tick.map_err(|error| unavailable_or("tick", &error, Refusal::Internal))?;
            left -= 1;
            if !tick.more || left == 0 {
                // The store does not know of it, so that all hosts are back at once when it ends.
                let counts = if view.pool.drain {
                    tick.counts.draining()
                } else {
                    tick.counts
                };
                let counts = Arc::new(counts);
                self.occupancy.lock().see(counts.occupancy_known);
                self.metrics.show(Arc::clone(&counts));
                return Ok(counts);
            }
        }
    }

    fn rules(&self, view: &MatchmakerView) -> Rules {
        Rules::new(&view.pool, self.occupancy.lock().is_expected())
    }

    /// Completes the answer to a grant.
    fn answer(&self, view: &MatchmakerView, id: MatchId, grant: &Grant) -> Result<MatchAnswer, Refusal> {
        static GRANTED: Throttle = Throttle::new(events::LOG_INTERVAL);
        if let Some(suppressed) = GRANTED.pass() {
            info!(
                { field::MATCH } = %id,
                { field::HOST } = %grant.host,
                { field::ROOM } = %grant.room,
                region = grant.region,
                suppressed,
                "match granted"
            );
        }
        let id = id.to_string();
        let ice = ice_servers(view.turn.as_ref(), &self.secrets, &id, unix_seconds());
        for secret in &ice.missing {
            static MISSING: Throttle = Throttle::new(Duration::from_secs(10));
            if let Some(suppressed) = MISSING.pass() {
                warn!(
                    secret = secret.name,
                    key = secret.key,
                    suppressed,
                    "TURN provider left out: its Secret is missing"
                );
            }
        }
        let ttl = view.pool.reservation_deadline.max(PLAYER_TOKEN_TTL);
        let match_token = self.token(view, Role::Player, grant.room.as_str(), &id, ttl)?;
        Ok(MatchAnswer {
            found: true,
            room_id: grant.room.to_string(),
            signaling_url: view.cluster.public_url.as_str().to_owned(),
            ice_servers: ice.servers,
            match_id: id,
            match_token,
        })
    }

    /// A match token, where the `SignalingCluster` has a match key.
    fn token(
        &self,
        view: &MatchmakerView,
        role: Role,
        room: &str,
        id: &str,
        ttl: Duration,
    ) -> Result<Option<String>, Refusal> {
        let Some(keys) = MatchKeys::from_store(&self.secrets, &view.cluster.name.name) else {
            return Ok(None);
        };
        let pool = view.pool.name.to_string();
        let grant = MatchGrant {
            room,
            role,
            id,
            pool: &pool,
            ttl,
        };
        keys.issue(&grant, unix_seconds()).map(Some).map_err(|error| {
            error!(%error, "match token not issued");
            Refusal::Internal
        })
    }

    /// The result of a step, after what else it found was logged and counted.
    fn take<T>(&self, step: Result<Step<T>, StoreError>) -> Result<T, StoreError> {
        let step = step?;
        for event in &step.events {
            events::log(event);
            self.metrics.event(event.kind);
        }
        Ok(step.value)
    }
}

impl Occupancy {
    /// What the store said. While it is away it says nothing, so the time of its absence does not count.
    fn see(&mut self, known: bool) {
        *self = match (*self, known) {
            (_, true) => Self::Known,
            (Self::Known, false) => Self::LostAt(Instant::now()),
            (before, false) => before,
        };
    }

    /// It was known a moment ago and will be again.
    fn is_expected(self) -> bool {
        match self {
            Self::Never => false,
            Self::Known => true,
            Self::LostAt(time) => time.elapsed() < OCCUPANCY_GRACE,
        }
    }
}

fn unavailable_or(what: &str, error: &StoreError, otherwise: Refusal) -> Refusal {
    let refusal = if error.is_outage() {
        Refusal::Unavailable
    } else {
        otherwise
    };
    failed(what, error, refusal)
}

fn failed(what: &str, error: &StoreError, refusal: Refusal) -> Refusal {
    static FAILED: Throttle = Throttle::new(Duration::from_secs(5));
    if let Some(suppressed) = FAILED.pass() {
        error!(what, error = with_causes(error), suppressed, "store failed");
    }
    refusal
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
