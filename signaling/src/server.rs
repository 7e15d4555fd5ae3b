//! A signaling server: bound to its port, then served until the shutdown.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use berth_crds::settings::SignalingSettings;
use berth_dataplane::http::{BindError, Health, Listener, ListenerOptions};
use berth_dataplane::ice::IceProviders;
use berth_dataplane::keys::Keys;
use berth_dataplane::occupancy::{Instance, LEASE, MemoryRooms, Seats, SharedRooms, Timing as SeatTiming};
use berth_dataplane::redis::RedisLink;
use berth_dataplane::secrets::{SecretStore, warn_of_placeholders};
use berth_dataplane::settings::{SignalingView, Snapshot};
use berth_dataplane::shutdown::{Phase, Shutdown};
use berth_dataplane::telemetry::Metrics;
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::auth::{AuthMetrics, KeySetTiming, Keyring};
use crate::conn::Connections;
use crate::core::{Core, unix_micros};
use crate::deadlines::{self, Deadlines};
use crate::lane::{self, Lane};
use crate::lease::{self, Lease};
use crate::limits::{Clients, sync};
use crate::metrics::{LiveCollector, SignalingMetrics};
use crate::room::AGES;
use crate::rooms::Rooms;
use crate::seating::{self, Seating};
use crate::{drain, http, inbox, status};

/// How often client addresses that can be forgotten are forgotten.
const FORGET: Duration = Duration::from_secs(10);
/// How often credentials of ICE servers are looked at that will be needed soon.
const TEND_ICE: Duration = Duration::from_secs(1);
/// How long the last words to the store may take when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a server is made of.
pub struct ServerOptions {
    /// The public port.
    pub listener: ListenerOptions,
    /// Name of this instance; every start under it is a new instance to the others.
    pub instance_id: String,
    /// The settings in force.
    pub settings: Snapshot<SignalingView>,
    /// Keys of tokens, secrets of TURN providers.
    pub secrets: SecretStore,
    /// Providers of ICE servers that the settings name.
    pub ice: IceProviders,
    /// Where rooms live.
    pub store: Store,
    /// Gets the checks and the sections of the server.
    pub health: Health,
    /// Gets its metrics.
    pub metrics: Metrics,
    /// Serve `/metrics` on the public port too.
    pub public_metrics: bool,
    /// Ends the server.
    pub shutdown: Shutdown,
    /// Times that no setting changes.
    pub timing: Timing,
}

/// Where rooms live.
pub enum Store {
    /// In this process, shared with a matchmaker in it.
    Memory(MemoryRooms),
    /// In Redis, shared with other instances.
    Redis(RedisLink),
}

/// Times that no setting changes.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long other instances believe in one that they do not hear of.
    pub lease: Duration,
    /// Between two rounds in which instances bring the limits of client addresses into line.
    pub limit_sync: Duration,
    /// How long a member of an ending instance may take to come back before the others hear that it is gone.
    pub drained_grace: Duration,
    /// How long an issuer may take to answer with its key set.
    pub key_set_fetch: Duration,
    /// Shortest time from a fetched key set to the next fetch, however many tokens have keys that are not in it.
    pub key_set_floor: Duration,
    /// How long a peer that speaks v2 may take to say `hello`.
    pub hello: Duration,
}

/// A server that has its port.
pub struct Server {
    core: Arc<Core>,
    limit_sync: Duration,
    listener: Listener,
    router: Router,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: LEASE,
            limit_sync: Duration::from_secs(1),
            drained_grace: Duration::from_secs(10),
            key_set_fetch: Duration::from_secs(2),
            key_set_floor: Duration::from_secs(10),
            hello: Duration::from_secs(10),
        }
    }
}

impl Server {
    /// Takes the port. Nothing is served before [`Server::serve`].
    pub async fn bind(options: ServerOptions) -> Result<Self, BindError> {
        let listener = Listener::bind(options.listener).await?;
        let settings = options.settings.get();
        let own = Instance::new(&options.instance_id, unix_micros());
        let (seats, link) = match options.store {
            Store::Memory(rooms) => (Seats::Memory(rooms), None),
            Store::Redis(link) => {
                let timing = seat_timing(&settings.cluster, options.timing.lease);
                let rooms = SharedRooms::new(link.clone(), Keys::new(&settings.cluster.name), timing);
                (Seats::Shared(rooms.hold_back_after_loss()), Some(link))
            }
        };
        let metrics = SignalingMetrics::register(&options.metrics, link.as_ref());
        let auth_metrics = AuthMetrics::register(&options.metrics);
        let key_sets = KeySetTiming {
            fetch_within: options.timing.key_set_fetch,
            floor: options.timing.key_set_floor,
        };
        let keyring = Keyring::new(Arc::clone(&auth_metrics), key_sets);
        let clients = if link.is_some() {
            Clients::reporting()
        } else {
            Clients::default()
        };
        let core = Arc::new(Core {
            rooms: Rooms::new(own.clone(), metrics.local_rooms.clone()),
            own,
            settings: options.settings,
            secrets: options.secrets,
            ice: options.ice,
            keyring,
            auth_metrics,
            seats,
            link,
            connections: Arc::new(Connections::default()),
            clients,
            lane: Lane::default(),
            inbox: OnceLock::new(),
            seating: Seating::default(),
            lease: Lease::new(options.timing.lease),
            deadlines: Deadlines::new(options.timing.drained_grace),
            hello_within: options.timing.hello,
            metrics,
            shutdown: options.shutdown,
            sessions: TaskTracker::new(),
        });
        status::describe(&core, &options.health);
        options.metrics.register(|registry| {
            registry
                .sub_registry_with_prefix("signaling")
                .register_collector(Box::new(LiveCollector::new(&core)));
        });
        let router = http::router(
            &core,
            &options.health,
            options.public_metrics.then_some(&options.metrics),
        );
        Ok(Self {
            core,
            limit_sync: options.timing.limit_sync,
            listener,
            router,
        })
    }

    /// The public address, with the port that was found if 0 was asked for.
    pub fn public_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// This instance, as others know it.
    pub fn instance(&self) -> &Instance {
        &self.core.own
    }

    /// Serves until the shutdown is done with connections and seats, or its time is up. Run it by
    /// [`Shutdown::spawn`], so that the shutdown waits for it.
    pub async fn serve(self) {
        let Self {
            core,
            limit_sync,
            listener,
            router,
        } = self;
        info!(instance = %core.own, address = %listener.local_addr(), "signaling serves");
        lease::begin(&core).await;
        let _background = background(&core, limit_sync);
        let renewing = spawn(lease::run(Arc::clone(&core)));
        let ending = async {
            drain::run(Arc::clone(&core)).await;
            core.sessions.close();
            tokio::select! {
                () = core.sessions.wait() => {}
                () = core.shutdown.reached(Phase::Expired) => {}
            }
            if tokio::time::timeout(LAST_WORDS, release(&core, renewing))
                .await
                .is_err()
            {
                warn!("the store did not take the last seats back: they end with the lease");
            }
        };
        // Who never finishes a request holds up the listener, and nobody's seat.
        tokio::join!(
            listener.serve(router, core.shutdown.clone(), Phase::Draining),
            ending,
        );
    }
}

/// Gives everything back to the store. A renewal after that would take it again.
async fn release(core: &Core, renewing: AbortOnDropHandle<()>) {
    core.seating.idle().await;
    core.lane.idle().await;
    drop(renewing);
    let window = core.settings.load().cluster.resume.window;
    if let Err(error) = core.seats.release(&core.own, window).await {
        warn!(%error, "the lease was not released: it ends by itself");
    }
}

/// The tasks that live as long as the server; they end when this is dropped.
fn background(core: &Arc<Core>, limit_sync: Duration) -> Vec<AbortOnDropHandle<()>> {
    let mut tasks = vec![
        spawn(seating::run(Arc::clone(core))),
        spawn(deadlines::run(Arc::clone(core))),
        spawn(age_histories(Arc::clone(core))),
        spawn(heartbeat(Arc::clone(core))),
        spawn(forget_clients(Arc::clone(core))),
        spawn(tend_ice(Arc::clone(core))),
        spawn(judge_secrets(Arc::clone(core))),
        spawn(follow_settings(Arc::clone(core))),
    ];
    if let Some(link) = &core.link {
        let keys = Keys::new(&core.settings.load().cluster.name);
        let subscription = link.subscribe(&keys.inbox(core.own.token()), inbox::CAPACITY);
        // Served once.
        let _ = core.inbox.set(subscription.backlog());
        tasks.push(spawn(inbox::run(Arc::clone(core), subscription)));
        let syncing = sync::run(Arc::clone(core), link.clone(), keys.clone(), limit_sync);
        tasks.push(spawn(syncing));
        tasks.push(spawn(lane::run(Arc::clone(core), link.clone(), keys)));
    }
    tasks
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

async fn heartbeat(core: Arc<Core>) {
    let interval = || core.settings.load().cluster.websocket.heartbeat_interval;
    core.connections.heartbeat(interval).await;
}

async fn forget_clients(core: Arc<Core>) {
    loop {
        tokio::time::sleep(FORGET).await;
        core.clients
            .forget(&core.settings.load().cluster.rate_limits, Instant::now());
    }
}

async fn tend_ice(core: Arc<Core>) {
    loop {
        core.ice.tend(core.settings.load().turn.as_ref(), &core.secrets);
        tokio::time::sleep(TEND_ICE).await;
    }
}

/// Says when keys of tokens are ones that everybody knows.
async fn judge_secrets(core: Arc<Core>) {
    let judge = |view: &SignalingView| {
        let found = Keyring::placeholders(&core.secrets, &view.cluster);
        (view.cluster.environment, found)
    };
    match warn_of_placeholders(&core.settings, &core.secrets, judge).await {}
}

/// Time between two calls of [`crate::room::Room::age`]. A connection is seen to be lost two heartbeats later at the latest, and then
/// the window begins in which its peer may ask for what it missed.
fn age_of_histories(settings: &SignalingSettings) -> Duration {
    let kept = settings.resume.window + 2 * settings.websocket.heartbeat_interval;
    (kept / u32::from(AGES - 1)).max(Duration::from_secs(1))
}

/// Forgets what nobody can ask for again.
async fn age_histories(core: Arc<Core>) {
    loop {
        let age = age_of_histories(&core.settings.load().cluster);
        tokio::time::sleep(age).await;
        for cell in core.rooms.all() {
            cell.inner.lock().room.age();
        }
    }
}

/// Brings changed settings to those who cannot read them at each use.
async fn follow_settings(core: Arc<Core>) {
    let mut changes = core.settings.watch();
    loop {
        let view = Arc::clone(&changes.borrow_and_update());
        if let Some(link) = &core.link {
            link.set_breaker(view.cluster.circuit_breaker.into());
        }
        if let Seats::Shared(rooms) = &core.seats {
            rooms.set_timing(seat_timing(&view.cluster, core.lease.length()));
        }
        core.keyring.prepare(&core.secrets, &view.cluster);
        if changes.changed().await.is_err() {
            return;
        }
        if view.turn != changes.borrow().turn {
            for conn in core.connections.all() {
                conn.renew_ice();
            }
        }
    }
}

fn seat_timing(settings: &SignalingSettings, lease: Duration) -> SeatTiming {
    SeatTiming {
        lease,
        room_ttl: settings.rooms.ttl,
    }
}
