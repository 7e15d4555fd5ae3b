//! `berth up`: everything in one process, for a laptop and for tests.

mod options;
mod settings;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use berth_dataplane::boot::VERSION;
use berth_dataplane::http::{BindError, Health, Listener, ListenerOptions, internal_router};
use berth_dataplane::ice::{IceMetrics, IceOptions, IceProviders};
use berth_dataplane::occupancy::MemoryRooms;
use berth_dataplane::redis::{EndpointError, LinkOptions, RedisEndpoint, RedisLink, RedisMetrics};
use berth_dataplane::secrets::{SecretError, SecretStore};
use berth_dataplane::settings::{Settings, SettingsError, SignalingView};
use berth_dataplane::shutdown::{DrainPlan, Phase, Shutdown, ShutdownOutcome};
use berth_dataplane::telemetry::{LogLevel, Metrics, init_logs};
use berth_matchmaker as matchmaker;
use berth_signaling as signaling;

pub use options::{Ports, UpOptions};

use crate::failure;

/// Name of the one instance; nobody shares its store, or Redis tells it apart by its start.
const INSTANCE: &str = "berth-up";

/// Why Berth did not come up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The manifests cannot be read.
    #[error("{0}")]
    Manifests(String),
    /// The manifests are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A port is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// `--redis` is no Redis URL.
    #[error("--redis")]
    Redis(#[from] EndpointError),
    /// The host secret cannot be used.
    #[error("--host-secret")]
    HostSecret(#[source] SecretError),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
    /// Signals cannot be followed.
    #[error("cannot follow signals")]
    Signals(#[source] io::Error),
}

/// Where a running Berth is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The matchmaker's API.
    pub matchmaker: SocketAddr,
    /// Signaling.
    pub signaling: SocketAddr,
    /// Health, metrics, state.
    pub internal: SocketAddr,
    /// Where the settings come from.
    pub origin: String,
}

/// A Berth that has its ports and serves.
pub struct Up {
    addresses: Addresses,
    shutdown: Shutdown,
    /// For the time of the drain, which is hot.
    settings: Settings<SignalingView>,
}

/// Runs `berth up` until Ctrl-C.
pub async fn command(options: UpOptions) -> ExitCode {
    init_logs(log_level(), true);
    match run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

fn log_level() -> LogLevel {
    // People read this terminal: what is normal is not worth a line.
    let quiet = || "warn".parse().unwrap_or_default();
    std::env::var("LOG_LEVEL")
        .ok()
        .and_then(|level| level.parse().ok())
        .unwrap_or_else(quiet)
}

async fn run(options: &UpOptions) -> Result<(), UpError> {
    let shutdown = Shutdown::new();
    shutdown.listen_to_signals().map_err(UpError::Signals)?;
    let up = tokio::select! {
        up = start(options, shutdown.clone()) => up?,
        _ = shutdown.run(|| DrainPlan::NOTHING_TO_DRAIN) => return Ok(()),
    };
    say(&welcome(up.addresses(), options.port_base.is_some()));
    if let ShutdownOutcome::Expired { unfinished } = up.run().await {
        say(&format!("{unfinished} connections did not end in time\n"));
    }
    Ok(())
}

/// Takes the ports and serves in the background until `shutdown`.
pub async fn start(options: &UpOptions, shutdown: Shutdown) -> Result<Up, UpError> {
    let ports = options.ports();
    let listener = |name, address| ListenerOptions::new(name, address, ports.from);
    let internal = Listener::bind(listener("internal", ports.internal)).await?;
    let metrics = Metrics::new();
    let secrets = match &options.secrets {
        Some(folder) => SecretStore::open(folder),
        None => SecretStore::in_memory(),
    };
    secrets.follow();
    let public_url = options
        .port_base
        .map(|_| format!("ws://localhost:{}", ports.signaling.port()));
    let both = settings::start(options, &secrets, &metrics, public_url).await?;
    settings::generate_secrets(options, &secrets, &both.matchmaker.first().await.get())?;

    let (signaling_store, matchmaker_store) = stores(options, &metrics)?;
    let ice = IceProviders::new(IceOptions::default(), IceMetrics::register(&metrics));
    let signaling_health = Health::new("signaling", INSTANCE, &shutdown);
    let matchmaker_health = Health::new("matchmaker", INSTANCE, &shutdown);
    let followed = both.signaling.clone();
    signaling_health.section("settings", move || followed.status());
    let signaling = signaling::Server::bind(signaling::ServerOptions {
        listener: listener("signaling", ports.signaling),
        instance_id: INSTANCE.to_owned(),
        settings: both.signaling.first().await,
        secrets: secrets.clone(),
        ice: ice.clone(),
        store: signaling_store,
        health: signaling_health.clone(),
        metrics: metrics.clone(),
        public_metrics: false,
        shutdown: shutdown.clone(),
        timing: signaling::Timing::default(),
    })
    .await?;
    let pages = matchmaker::Internal::default();
    let followed = both.matchmaker.clone();
    matchmaker_health.section("settings", move || followed.status());
    let matchmaker = matchmaker::Server::bind(matchmaker::ServerOptions {
        listener: listener("matchmaker", ports.matchmaker),
        settings: both.matchmaker.first().await,
        secrets,
        ice,
        store: matchmaker_store,
        health: matchmaker_health.clone(),
        metrics: metrics.clone(),
        public_metrics: false,
        internal: pages.clone(),
        shutdown: shutdown.clone(),
    })
    .await?;
    let addresses = Addresses {
        matchmaker: matchmaker.public_addr(),
        signaling: signaling.public_addr(),
        internal: internal.local_addr(),
        origin: both.origin,
    };
    let router = internal_router(&[signaling_health, matchmaker_health], &metrics).merge(pages.router());
    tokio::spawn(internal.serve(router, shutdown.clone(), Phase::Expired));
    shutdown.spawn(signaling.serve());
    shutdown.spawn(matchmaker.serve());
    Ok(Up {
        addresses,
        shutdown,
        settings: both.signaling,
    })
}

/// Both services on one store: that is how the matchmaker sees who sits in which room.
fn stores(options: &UpOptions, metrics: &Metrics) -> Result<(signaling::Store, matchmaker::Store), UpError> {
    let Some(url) = &options.redis else {
        let rooms = MemoryRooms::default();
        return Ok((
            signaling::Store::Memory(rooms.clone()),
            matchmaker::Store::Memory(rooms),
        ));
    };
    let endpoint = RedisEndpoint::from_url(url)?;
    let link = RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::register(metrics));
    Ok((
        signaling::Store::Redis(link.clone()),
        matchmaker::Store::Redis(link),
    ))
}

impl Up {
    /// Where it is reached.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Waits for the shutdown and leads it to its end.
    pub async fn run(self) -> ShutdownOutcome {
        let timeout = || {
            self.settings
                .snapshot()
                .map(|view| view.load().cluster.drain_timeout)
                .unwrap_or_default()
        };
        self.shutdown
            .run(|| DrainPlan {
                endpoint_delay: std::time::Duration::ZERO,
                drain_timeout: timeout(),
            })
            .await
    }
}

/// What people see when it is up.
fn welcome(addresses: &Addresses, moved: bool) -> String {
    let Addresses {
        matchmaker,
        signaling,
        internal,
        origin,
    } = addresses;
    let (matchmaker, signaling, internal) = (matchmaker.port(), signaling.port(), internal.port());
    let host = if moved {
        format!(" --matchmaker http://localhost:{matchmaker} --signaling ws://localhost:{signaling}")
    } else {
        String::new()
    };
    let play = if moved {
        format!(" --matchmaker http://localhost:{matchmaker}")
    } else {
        String::new()
    };
    format!(
        "Berth {VERSION} is up, from {origin}\n\n\
         \x20 matchmaker  http://localhost:{matchmaker}\n\
         \x20 signaling   ws://localhost:{signaling}\n\
         \x20 internal    http://localhost:{internal}/statusz (also /metrics, /readyz, /hosts, /counts)\n\n\
         What to try next, in two more terminals:\n\n\
         \x20 berth host{host}\n\
         \x20 berth play{play}\n\n\
         Ctrl-C ends it.\n"
    )
}

fn say(text: &str) {
    // A terminal that went away is no reason to stop serving.
    let _ = write!(io::stdout().lock(), "{text}").and_then(|()| io::stdout().lock().flush());
}
