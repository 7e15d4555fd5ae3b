//! The matchmaker itself: what happens between the wire and the store.

mod again;
mod demand;
mod heartbeats;
mod hosts;
mod occupancy;
mod waiting;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderValue};
use berth_crds::api::FailurePolicy;
use berth_crds::settings::is_placeholder;
use berth_dataplane::http::client_address;
use berth_dataplane::ice::{IceProviders, IceServer};
use berth_dataplane::limits::AddressLimit;
use berth_dataplane::match_token::{MatchGrant, Role};
use berth_dataplane::secrets::{SecretStore, warn_of_placeholders};
use berth_dataplane::settings::{MatchmakerView, Snapshot};
use berth_dataplane::telemetry::{Throttle, field, with_causes};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Semaphore;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use crate::api::Refusal;
use crate::api::wire::{self, FindRequest, MatchAnswer};
use crate::demand::Demand;
use crate::events;
use crate::host::MatchId;
use crate::idempotency::Repeatable;
use crate::metrics::MatchmakerMetrics;
use crate::secrets::{PoolSecrets, Purpose};
use crate::store::{Counts, Dice, Found, Grant, HostStore, Request, Rules, Step, StoreError};
use demand::Wanted;
use occupancy::Occupancy;
use waiting::Waiting;

/// Shortest validity of a player's match token: a page may need a moment to connect and may connect again.
const PLAYER_TOKEN_TTL: Duration = Duration::from_mins(2);
/// Most unanswered finds that are given back at a time.
const UNANSWERED: usize = 256;
/// Most steps in a row that look after what is due.
const MOST_TICKS: u32 = 64;

/// The matchmaker of one pool.
pub struct Matchmaker {
    settings: Snapshot<MatchmakerView>,
    secrets: SecretStore,
    ice: IceProviders,
    store: Arc<dyn HostStore>,
    metrics: MatchmakerMetrics,
    occupancy: Mutex<Occupancy>,
    /// How often each client address asks for a match.
    finds: AddressLimit,
    /// Heartbeats that the store could not be told.
    waiting: Waiting,
    /// The store lost what was granted, when it was last asked.
    quiet: AtomicBool,
    /// Finds that were refused.
    demand: Mutex<Demand>,
    /// Bounds how many unanswered finds are given back at a time.
    unanswered: Arc<Semaphore>,
}

impl Matchmaker {
    /// A matchmaker that follows `settings` and keeps its hosts in `store`.
    pub fn new(
        settings: Snapshot<MatchmakerView>,
        secrets: SecretStore,
        ice: IceProviders,
        store: Arc<dyn HostStore>,
        metrics: MatchmakerMetrics,
    ) -> Self {
        Self {
            settings,
            secrets,
            ice,
            store,
            metrics,
            occupancy: Mutex::default(),
            finds: AddressLimit::default(),
            waiting: Waiting::default(),
            quiet: AtomicBool::new(false),
            demand: Mutex::default(),
            unanswered: Arc::new(Semaphore::new(UNANSWERED)),
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

    /// The providers of its ICE servers.
    pub fn ice(&self) -> &IceProviders {
        &self.ice
    }

    /// Has credentials fetched that will be needed soon.
    pub(crate) fn tend_ice(&self) {
        self.ice.tend(self.settings.load().turn.as_ref(), &self.secrets);
    }

    /// The secrets of its pool, by the settings `view`.
    pub fn pool_secrets<'a>(&'a self, view: &'a MatchmakerView) -> PoolSecrets<'a> {
        PoolSecrets::new(&self.secrets, view)
    }

    /// Says when secrets of the pool are ones that everybody knows, until it is dropped.
    pub(crate) async fn warn_of_placeholders(&self) -> Infallible {
        let judge = |view: &MatchmakerView| {
            let found = self.pool_secrets(view).placeholders();
            (view.cluster.environment, found)
        };
        warn_of_placeholders(&self.settings, &self.secrets, judge).await
    }

    /// Checks the bearer secret of a host.
    pub fn admit_host(&self, secret: &[u8]) -> Result<(), Refusal> {
        static REFUSED: Throttle = Throttle::new(Duration::from_secs(10));
        let view = self.settings.load();
        let secrets = self.pool_secrets(&view);
        if secrets.get(Purpose::Hosts).accepts(secret) {
            return Ok(());
        }
        if let Some(suppressed) = REFUSED.pass() {
            match secrets.missing(Purpose::Hosts) {
                Some(why) => warn!(suppressed, "host refused: {why}"),
                None if is_placeholder(secret) => {
                    warn!(
                        suppressed,
                        "host refused: it still has a placeholder, and not the secret of this pool"
                    );
                }
                None => warn!(suppressed, "host refused: wrong secret"),
            }
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

    /// Finds a host for a player. `key`: the header with which the request may be repeated, if it has one.
    pub async fn find(
        self: &Arc<Self>,
        body: Option<&Value>,
        key: Option<&HeaderValue>,
    ) -> Result<MatchAnswer, Refusal> {
        let FindRequest {
            region,
            nearest,
            labels,
            host,
        } = wire::find(body).map_err(Refusal::Invalid)?;
        let view = self.settings.get();
        let repeatable = key.map(|key| Repeatable::new(&view.pool.name.to_string(), key.to_str().ok(), body));
        let repeatable = repeatable
            .transpose()
            .map_err(|issue| Refusal::Invalid(vec![issue]))?;
        let id = repeatable.map_or_else(|| MatchId(Uuid::new_v4()), |repeatable| repeatable.id);
        // What was granted before the drain is given again.
        if view.pool.drain && (repeatable.is_none() || !self.is_live(&view, id).await?) {
            return Err(Refusal::Draining);
        }
        // Before there is a slot: none is held while a provider is waited for, and none is lost if nobody waits any more.
        let ice_servers = self.ice_servers(&view, id).await?;
        let dice = Dice {
            stray: rand::random(),
            region: rand::random(),
            sample: rand::random(),
            host: rand::random(),
        };
        let wanted = Wanted::new(region.as_deref(), host.as_ref());
        let request = Request {
            id,
            region,
            nearest,
            labels,
            host,
            dice,
            asked: repeatable.map(|repeatable| repeatable.asked),
        };
        let found = self.take(self.store.find(request, self.rules(&view)).await);
        if let Err(error) = &found
            && repeatable.is_none()
            && !error.had_no_effect()
        {
            self.give_up_later(id, error);
        }
        match found.map_err(|error| unavailable_or("find", &error, Refusal::Internal))? {
            Found::Granted(grant) => {
                let answer = self.answer(&view, id, &grant, ice_servers);
                if answer.is_err() {
                    // What fails here too ends at the deadline.
                    drop(self.take(self.store.release(id, self.rules(&view)).await));
                }
                answer
            }
            Found::NoHosts => Err(self.refuse(wanted, Refusal::NoHosts)),
            Found::NoneMatching => Err(self.refuse(wanted, Refusal::NoneMatching)),
            Found::NotNow => Err(Refusal::NotNow),
            Found::Conflict => Err(Refusal::OtherRequest),
            Found::Over(why) => Err(Refusal::Over(why.word())),
        }
    }

    /// Looks after everything that is due, and counts the pool.
    pub async fn counts(&self) -> Result<Arc<Counts>, Refusal> {
        let (mut left, mut is_new, mut known_ago) = (MOST_TICKS, false, None);
        loop {
            let view = self.settings.get();
            let tick = self.take(self.store.tick(self.rules(&view)).await);
            let tick = tick.map_err(|error| unavailable_or("tick", &error, Refusal::Internal))?;
            left -= 1;
            is_new |= tick.is_new;
            known_ago = known_ago.or(tick.known_ago);
            if !tick.more || left == 0 {
                // The store does not know of it, so that all hosts are back at once when it ends.
                let counts = if view.pool.drain {
                    tick.counts.draining()
                } else {
                    tick.counts
                };
                let counts = Arc::new(counts);
                self.occupancy
                    .lock()
                    .see(counts.occupancy_known, is_new, known_ago, Instant::now());
                self.tell_of_loss(counts.quiet);
                self.metrics.show(Arc::clone(&counts));
                return Ok(counts);
            }
        }
    }

    /// Says once that nobody is handed out because the store lost what was granted, and once that it is over.
    fn tell_of_loss(&self, quiet: bool) {
        match (self.quiet.swap(quiet, Ordering::Relaxed), quiet) {
            (false, true) => warn!(
                "the store came back empty: nobody is handed out until all that was granted is over or seen in its room"
            ),
            (true, false) => info!("hosts are handed out again"),
            _ => {}
        }
    }

    fn rules(&self, view: &MatchmakerView) -> Rules {
        Rules::new(
            &view.pool,
            view.cluster.rooms.capacity,
            self.occupancy.lock().is_expected(Instant::now()),
        )
    }

    /// ICE servers for the player of a match, after a wait of at most [`berth_dataplane::ice::PATIENCE`].
    async fn ice_servers(&self, view: &MatchmakerView, id: MatchId) -> Result<Vec<IceServer>, Refusal> {
        let turn = view.turn.as_ref();
        let ice = self
            .ice
            .servers_soon(turn, &self.secrets, &id.to_string(), unix_seconds())
            .await;
        let fails = turn.is_some_and(|turn| turn.failure_policy == FailurePolicy::Fail);
        // Which provider it was, and why, is logged and counted where it was found out.
        if fails && !ice.failures.is_empty() {
            return Err(Refusal::NoIceServers);
        }
        Ok(ice.servers)
    }

    /// Completes the answer to a grant.
    fn answer(
        &self,
        view: &MatchmakerView,
        id: MatchId,
        grant: &Grant,
        ice_servers: Vec<IceServer>,
    ) -> Result<MatchAnswer, Refusal> {
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
        let resume_token = self.resume_token(view, id);
        let id = id.to_string();
        let ttl = view.pool.reservation_deadline.max(PLAYER_TOKEN_TTL);
        let match_token = self.token(view, Role::Player, grant.room.as_str(), &id, ttl)?;
        Ok(MatchAnswer {
            found: true,
            room_id: grant.room.to_string(),
            signaling_url: view.cluster.public_url.as_str().to_owned(),
            ice_servers,
            match_id: id,
            match_token,
            resume_token,
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
        let Some(keys) = self.pool_secrets(view).match_keys() else {
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
