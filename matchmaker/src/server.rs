//! A matchmaker with its public port: bound first, then served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use berth_dataplane::http::{BindError, Health, Listener, ListenerOptions};
use berth_dataplane::ice::IceProviders;
use berth_dataplane::keys::Keys;
use berth_dataplane::occupancy::MemoryRooms;
use berth_dataplane::redis::RedisLink;
use berth_dataplane::secrets::SecretStore;
use berth_dataplane::settings::{MatchmakerView, Snapshot};
use berth_dataplane::shutdown::{Phase, Shutdown};
use berth_dataplane::telemetry::{Metrics, field};
use serde_json::json;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::api::{self, Refusal};
use crate::internal::{self, Late};
use crate::matchmaker::Matchmaker;
use crate::metrics::MatchmakerMetrics;
use crate::secrets::Purpose;
use crate::store::memory::MemoryStore;
use crate::store::redis::RedisStore;
use crate::store::{Clock, HostStore};

/// How often what is due is looked after, and counts are refreshed.
const TICK: Duration = Duration::from_secs(1);
/// Ticks in a row without known occupancy before that is said: signaling may just be starting.
const UNKNOWN_TICKS: u32 = 30;

/// Where hosts and reservations are kept, and where the rooms are.
#[derive(Clone)]
pub enum Store {
    /// In this process, together with the signaling server whose rooms these are.
    Memory(MemoryRooms),
    /// In the Redis that the signaling servers use.
    Redis(RedisLink),
}

/// What a server is made of.
pub struct ServerOptions {
    /// The public port.
    pub listener: ListenerOptions,
    /// The settings in force.
    pub settings: Snapshot<MatchmakerView>,
    /// Secrets that the settings name.
    pub secrets: SecretStore,
    /// Providers of ICE servers that the settings name.
    pub ice: IceProviders,
    /// Where hosts are kept.
    pub store: Store,
    /// Gets the checks and the sections of the server.
    pub health: Health,
    /// Gets its metrics.
    pub metrics: Metrics,
    /// Serve `/metrics` on the public port too.
    pub public_metrics: bool,
    /// Shows the server on the internal port.
    pub internal: Internal,
    /// Ends the server.
    pub shutdown: Shutdown,
}

/// What the internal port shows of a matchmaker: `GET /counts` and `GET /hosts`. It can be served before there are settings
/// for one. Clones show the same.
#[derive(Clone, Default)]
pub struct Internal(Late);

/// A server that has its port.
pub struct Server {
    listener: Listener,
    router: Router,
    matchmaker: Arc<Matchmaker>,
    link: Option<RedisLink>,
    shutdown: Shutdown,
}

impl Internal {
    /// The routes, to be merged into the router of the internal port.
    pub fn router(&self) -> Router {
        internal::router(self.0.clone())
    }
}

impl Server {
    /// Takes the port. Nothing is served before [`Server::serve`].
    pub async fn bind(options: ServerOptions) -> Result<Self, BindError> {
        let listener = Listener::bind(options.listener).await?;
        let view = options.settings.get();
        let pool = view.pool.name.name.clone();
        let (hosts, link): (Arc<dyn HostStore>, _) = match options.store {
            Store::Memory(rooms) => (Arc::new(MemoryStore::new(rooms, pool, Clock::default())), None),
            Store::Redis(link) => {
                let keys = Keys::new(&view.cluster.name);
                (
                    Arc::new(RedisStore::new(link.clone(), keys, pool, Clock::default()).gathering()),
                    Some(link),
                )
            }
        };
        let metrics = MatchmakerMetrics::register(&options.metrics);
        let matchmaker = Arc::new(Matchmaker::new(
            options.settings,
            options.secrets,
            options.ice,
            hosts,
            metrics,
        ));
        describe(&options.health, &matchmaker, link.as_ref());
        // Of two servers with one handle the first is shown.
        let _ = options.internal.0.set(Arc::clone(&matchmaker));
        let router = api::router(
            Arc::clone(&matchmaker),
            options.public_metrics.then_some(&options.metrics),
        );
        Ok(Self {
            listener,
            router,
            matchmaker,
            link,
            shutdown: options.shutdown,
        })
    }

    /// The public address, with the port that was found if 0 was asked for.
    pub fn public_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Serves until the shutdown drains and requests under way are done. Run it by [`Shutdown::spawn`], so that the
    /// shutdown waits for it.
    pub async fn serve(self) {
        let Self {
            listener,
            router,
            matchmaker,
            link,
            shutdown,
        } = self;
        info!({ field::POOL } = %matchmaker.settings().pool.name, address = %listener.local_addr(), "matchmaker serves");
        let public = listener.serve(router, shutdown.clone(), Phase::Draining);
        let around = async {
            tokio::select! {
                () = look_after(&matchmaker, link.as_ref(), &shutdown) => {}
                never = matchmaker.warn_of_placeholders() => match never {},
            }
        };
        tokio::join!(public, around);
    }
}

/// Adds what belongs to a matchmaker to the health of the process.
fn describe(health: &Health, matchmaker: &Arc<Matchmaker>, link: Option<&RedisLink>) {
    for purpose in Purpose::ALL {
        let asked = Arc::clone(matchmaker);
        health.check(purpose.as_str(), move || {
            asked.pool_secrets(&asked.settings()).missing(purpose)
        });
    }
    let asked = Arc::clone(matchmaker);
    health.section("pool", move || internal::status(&asked));
    let asked = Arc::clone(matchmaker);
    health.section("ice", move || asked.ice().describe());
    let Some(link) = link.cloned() else {
        health.section("redis", || json!(null));
        return;
    };
    let gate = health.gate("redis", "not reached yet");
    let waited = link.clone();
    // Later outages are answered with 503 and a time to retry, which is better than nobody to ask.
    tokio::spawn(async move {
        waited.wait_healthy().await;
        gate.open();
    });
    health.section("redis", move || json!(link.health()));
}

/// Looks after what is due once a second, until the shutdown drains.
async fn look_after(matchmaker: &Matchmaker, link: Option<&RedisLink>, shutdown: &Shutdown) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unknown = 0;
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = shutdown.reached(Phase::Draining) => return,
        }
        if let Some(link) = link {
            link.set_breaker(matchmaker.settings().cluster.circuit_breaker.into());
        }
        matchmaker.tend_ice();
        let ttl = matchmaker.settings().pool.heartbeat_ttl;
        let metrics = matchmaker.metrics();
        metrics.show_heartbeats(ttl, matchmaker.waiting_heartbeats());
        // A failure was logged where it happened.
        let counts = matchmaker.counts().await;
        if counts != Err(Refusal::Unavailable) {
            matchmaker.write_back().await;
        }
        let Ok(counts) = counts else { continue };
        matchmaker.tell_demand().await;
        if counts.occupancy_known {
            if unknown >= UNKNOWN_TICKS {
                info!("a signaling server keeps the rooms again: their members count");
            }
            unknown = 0;
        } else {
            unknown += 1;
            if unknown == UNKNOWN_TICKS {
                warn!(
                    "no signaling server holds a lease on this store: heartbeats and reservations alone decide, \
                     and a host that always offers a slot is handed out again after each deadline"
                );
            }
        }
    }
}
