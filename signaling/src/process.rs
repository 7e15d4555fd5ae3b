//! The process `berth-signaling`: from the command line to the exit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use berth_dataplane::boot::{Boot, ServiceArgs, SettingsSource};
use berth_dataplane::http::{Health, Listener, ListenerOptions, internal_router};
use berth_dataplane::occupancy::MemoryRooms;
use berth_dataplane::redis::{BreakerSettings, LinkOptions, RedisLink, RedisMetrics};
use berth_dataplane::secrets::SecretStore;
use berth_dataplane::settings::{Settings, SignalingView};
use berth_dataplane::shutdown::{Phase, Shutdown, ShutdownOutcome};
use berth_dataplane::telemetry::Metrics;
use tracing::{info, warn};

use crate::server::{Server, ServerOptions, Store, Timing};

/// Internal port until there are settings.
const DEFAULT_HEALTH_PORT: u16 = 8080;

/// Command line of `berth-signaling`.
#[derive(Debug, clap::Parser)]
#[command(
    name = "berth-signaling",
    version,
    about = "Signaling server: rooms in which players and streaming hosts exchange SDP and ICE candidates",
    after_help = "Without --settings and outside a pod, environment variables alone decide: PORT, WS_PORT, \
                  HEALTH_PORT, REDIS_URL, ROOM_CAPACITY and others. PORT, REDIS_URL, INSTANCE_ID and LOG_LEVEL win \
                  over every other source."
)]
pub struct Args {
    #[command(flatten)]
    service: ServiceArgs,
}

/// What every part of the process needs.
struct Process {
    boot: Boot,
    shutdown: Shutdown,
    metrics: Metrics,
    secrets: SecretStore,
    settings: Settings<SignalingView>,
    health: Health,
}

impl Args {
    /// Runs the server until a signal ends it.
    pub fn run(&self) -> anyhow::Result<()> {
        let boot = Boot::from_process(&self.service)?;
        boot.start_logs("signaling");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let process = Process::start(boot).await?;
            process.run().await
        })
    }
}

impl Process {
    async fn start(boot: Boot) -> anyhow::Result<Arc<Self>> {
        let shutdown = Shutdown::new();
        shutdown.listen_to_signals().context("cannot follow signals")?;
        let metrics = Metrics::new();
        let secrets = SecretStore::open(&boot.secrets_dir);
        secrets.follow();
        let settings = Settings::start(&boot, &secrets, &metrics).await?;
        let health = Health::new("signaling", &boot.instance_id, &shutdown);
        let asked = settings.clone();
        health.check("settings", move || asked.not_ready());
        let asked = settings.clone();
        health.section("settings", move || asked.status());
        Ok(Arc::new(Self {
            boot,
            shutdown,
            metrics,
            secrets,
            settings,
            health,
        }))
    }

    async fn run(self: Arc<Self>) -> anyhow::Result<()> {
        let outcome = tokio::select! {
            outcome = self.shutdown.run(|| self.boot.drain_plan(self.drain_timeout())) => outcome,
            error = self.serve() => return Err(error),
        };
        match outcome {
            ShutdownOutcome::Drained => info!("everything has ended"),
            ShutdownOutcome::Expired { unfinished } => warn!(unfinished, "the time for the drain is over"),
        }
        Ok(())
    }

    fn drain_timeout(&self) -> Duration {
        self.settings
            .snapshot()
            .map(|snapshot| snapshot.load().cluster.drain_timeout)
            .unwrap_or_default()
    }

    /// Starts both ports; returns only if one of them cannot be had.
    async fn serve(&self) -> anyhow::Error {
        match self.start_ports().await {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    }

    async fn start_ports(&self) -> anyhow::Result<()> {
        // Probes are answered while settings are awaited.
        self.start_internal().await?;
        let settings = self.settings.first().await;
        let view = settings.get();
        let port = self
            .boot
            .port(&["PORT", "WS_PORT"], "spec.wsPort", view.cluster.ws_port)?;
        let address = SocketAddr::new(self.boot.bind, port.number);
        let store = match &self.boot.redis {
            None => Store::Memory(MemoryRooms::default()),
            Some(endpoint) => {
                let breaker = view.cluster.circuit_breaker;
                let breaker = BreakerSettings {
                    error_threshold: breaker.error_threshold,
                    open_for: breaker.open,
                };
                let options = LinkOptions {
                    breaker,
                    ..LinkOptions::default()
                };
                Store::Redis(RedisLink::start(
                    endpoint.clone(),
                    options,
                    RedisMetrics::register(&self.metrics),
                ))
            }
        };
        let server = Server::bind(ServerOptions {
            listener: ListenerOptions::new("public", address, port.from),
            instance_id: self.boot.instance_id.clone(),
            settings,
            secrets: self.secrets.clone(),
            store,
            health: self.health.clone(),
            metrics: self.metrics.clone(),
            public_metrics: self.boot.source == SettingsSource::Env,
            shutdown: self.shutdown.clone(),
            timing: Timing::default(),
        })
        .await?;
        self.shutdown.spawn(server.serve());
        Ok(())
    }

    async fn start_internal(&self) -> anyhow::Result<()> {
        let known = self
            .settings
            .snapshot()
            .map(|snapshot| snapshot.load().cluster.health_port);
        let port = self.boot.port(
            &["HEALTH_PORT"],
            "spec.healthPort",
            known.unwrap_or(DEFAULT_HEALTH_PORT),
        )?;
        let address = SocketAddr::new(self.boot.bind, port.number);
        let listener = match Listener::bind(ListenerOptions::new("internal", address, port.from)).await {
            Ok(listener) => listener,
            // Who starts the server from variables alone may not know of this port, and has its endpoints on the other.
            Err(error) if error.is_taken() && !port.explicit && self.boot.source == SettingsSource::Env => {
                warn!(%address, "the internal port is taken, and HEALTH_PORT names no other: going on without it");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let router = internal_router(std::slice::from_ref(&self.health), &self.metrics);
        tokio::spawn(listener.serve(router, self.shutdown.clone(), Phase::Expired));
        Ok(())
    }
}
