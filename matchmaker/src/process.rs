//! The process `berth-matchmaker`: from the command line to the exit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use berth_dataplane::boot::{Boot, Port, ServiceArgs, SettingsSource};
use berth_dataplane::http::{Health, Listener, ListenerOptions, internal_router};
use berth_dataplane::occupancy::MemoryRooms;
use berth_dataplane::redis::{LinkOptions, RedisLink, RedisMetrics};
use berth_dataplane::secrets::SecretStore;
use berth_dataplane::settings::{MatchmakerView, Settings};
use berth_dataplane::shutdown::{Phase, Shutdown, ShutdownOutcome};
use berth_dataplane::telemetry::Metrics;
use tracing::{info, warn};

use crate::server::{Internal, Server, ServerOptions, Store};

/// Longest wait for requests under way; they take milliseconds.
const DRAIN: Duration = Duration::from_secs(10);
/// Internal port until there are settings.
const DEFAULT_INTERNAL_PORT: u16 = 9090;

/// Command line of `berth-matchmaker`.
#[derive(Debug, clap::Parser)]
#[command(
    name = "berth-matchmaker",
    version,
    about = "Matchmaker: registers streaming hosts and hands them out to players",
    after_help = "Without --settings and outside a pod, environment variables alone decide: PORT, INTERNAL_PORT, \
                  REDIS_URL, HOST_SECRET, SIGNALING_PUBLIC_URL and others. PORT, REDIS_URL, INSTANCE_ID and LOG_LEVEL \
                  win over every other source."
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
    settings: Settings<MatchmakerView>,
    health: Health,
}

impl Args {
    /// Runs the matchmaker until a signal ends it.
    pub fn run(&self) -> anyhow::Result<()> {
        let boot = Boot::from_process(&self.service)?;
        boot.start_logs("matchmaker");
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
        let health = Health::new("matchmaker", &boot.instance_id, &shutdown);
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
            outcome = self.shutdown.run(|| self.boot.drain_plan(DRAIN)) => outcome,
            error = self.serve() => return Err(error),
        };
        match outcome {
            ShutdownOutcome::Drained => info!("everything has ended"),
            ShutdownOutcome::Expired { unfinished } => warn!(unfinished, "the time for the drain is over"),
        }
        Ok(())
    }

    /// Starts the ports; returns only if one of them cannot be had.
    async fn serve(&self) -> anyhow::Error {
        match self.start_ports().await {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    }

    async fn start_ports(&self) -> anyhow::Result<()> {
        let internal = Internal::default();
        let routes =
            internal_router(std::slice::from_ref(&self.health), &self.metrics).merge(internal.router());
        // Probes are answered while settings are awaited.
        let guessed = self.internal_port()?;
        self.start_internal(guessed, routes.clone()).await?;
        let settings = self.settings.first().await;
        let named = self.internal_port()?;
        if named.number != guessed.number {
            self.start_internal(named, routes).await?;
        }
        let port = self
            .boot
            .port(&["PORT"], "spec.httpPort", settings.load().pool.http_port)?;
        let store = match &self.boot.redis {
            None => {
                warn!(
                    "no REDIS_URL: hosts are kept in this process, and no signaling server shares its rooms"
                );
                Store::Memory(MemoryRooms::default())
            }
            Some(endpoint) => {
                let metrics = RedisMetrics::register(&self.metrics);
                Store::Redis(RedisLink::start(
                    endpoint.clone(),
                    LinkOptions::default(),
                    metrics,
                ))
            }
        };
        let server = Server::bind(ServerOptions {
            listener: ListenerOptions::new("public", SocketAddr::new(self.boot.bind, port.number), port.from),
            settings,
            secrets: self.secrets.clone(),
            store,
            health: self.health.clone(),
            metrics: self.metrics.clone(),
            public_metrics: self.boot.source == SettingsSource::Env,
            internal,
            shutdown: self.shutdown.clone(),
        })
        .await?;
        self.shutdown.spawn(server.serve());
        Ok(())
    }

    fn internal_port(&self) -> anyhow::Result<Port> {
        let known = self
            .settings
            .snapshot()
            .map(|snapshot| snapshot.load().pool.internal_port);
        Ok(self.boot.port(
            &["INTERNAL_PORT"],
            "spec.internalPort",
            known.unwrap_or(DEFAULT_INTERNAL_PORT),
        )?)
    }

    async fn start_internal(&self, port: Port, routes: Router) -> anyhow::Result<()> {
        let address = SocketAddr::new(self.boot.bind, port.number);
        let listener = match Listener::bind(ListenerOptions::new("internal", address, port.from)).await {
            Ok(listener) => listener,
            // The Node matchmaker has no such port, so it must not keep this one from starting in its place.
            Err(error) if error.is_taken() && !port.explicit && self.boot.source == SettingsSource::Env => {
                warn!(%address, "the internal port is taken, and INTERNAL_PORT names no other: going on without it");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        tokio::spawn(listener.serve(routes, self.shutdown.clone(), Phase::Expired));
        Ok(())
    }
}
