//! The process of a service, from its command line to its exit: what signaling and the matchmaker have in common.
//!
//! ```text
//! signals ──> logs ──> internal port ──> first settings ──> Parts ──> the service serves
//!    └── first: drain, second: end at once ─────────────────────────────────┘
//! ```
//!
//! A service says in a [`Service`] what differs, and binds its public port with the [`Parts`] that [`run`] hands it.

mod internal;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use berth_crds::settings::BreakerSettings;
use tracing::{info, warn};

use crate::boot::{Boot, BootError, Port, ServiceArgs, SettingsSource};
use crate::http::{BindError, Health, ListenerOptions, internal_router};
use crate::ice::{IceMetrics, IceOptions, IceProviders};
use crate::redis::{LinkOptions, RedisEndpoint, RedisLink, RedisMetrics};
use crate::secrets::SecretStore;
use crate::settings::{Settings, SettingsError, Snapshot, View};
use crate::shutdown::{DrainPlan, Shutdown, ShutdownOutcome};
use crate::telemetry::Metrics;

use internal::InternalPort;

/// What makes one service differ from another before it serves.
pub struct Service<V> {
    /// `signaling` or `matchmaker`: in logs and on `/statusz`.
    pub name: &'static str,
    /// The public port.
    pub public_port: ServicePort<V>,
    /// The internal port.
    pub internal_port: ServicePort<V>,
    /// Internal port while settings are awaited and no variable names one: the default of the field.
    pub usual_internal_port: u16,
    /// Longest time for what is under way when the process ends.
    pub drain_timeout: fn(&V) -> Duration,
    /// Routes of the internal port beside those that every service has.
    pub internal_routes: Router,
}

/// Who names a port.
pub struct ServicePort<V> {
    /// Variables, the first that is set wins; they win over the field.
    pub variables: &'static [&'static str],
    /// The field, for errors: `spec.wsPort`.
    pub field: &'static str,
    /// The field's value.
    pub value: fn(&V) -> u16,
}

/// What a service is made of, once there are settings.
pub struct Parts<V> {
    /// The public port.
    pub listener: ListenerOptions,
    /// Name of this instance.
    pub instance_id: String,
    /// The settings in force.
    pub settings: Snapshot<V>,
    /// Secrets that the settings name.
    pub secrets: SecretStore,
    /// Providers of ICE servers that the settings name.
    pub ice: IceProviders,
    /// Health of the service, shown on the internal port.
    pub health: Health,
    /// Metrics of the process.
    pub metrics: Metrics,
    /// Serve `/metrics` on the public port too: whoever starts a service from variables alone may not know of another.
    pub public_metrics: bool,
    /// Ends the service.
    pub shutdown: Shutdown,
    redis: Option<RedisEndpoint>,
}

/// Why the process cannot start. Names the variable, flag or field.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A wrong flag or variable.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The system gives no threads or no event queue.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// Signals cannot be followed.
    #[error("cannot follow signals")]
    Signals(#[source] io::Error),
    /// There are no settings, and there will be none.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
}

struct Process<V> {
    boot: Boot,
    service: Service<V>,
    shutdown: Shutdown,
    metrics: Metrics,
    secrets: SecretStore,
    settings: Settings<V>,
    health: Health,
}

/// Runs a service until a signal ends it. `bind` takes the public port and gives what serves it; that must end by
/// itself after [`crate::shutdown::Phase::Draining`].
///
/// Call it before other threads are started: it reads the environment. From the first signal to the return pass at most
/// [`crate::shutdown::ENDPOINT_DELAY`] (in a pod) and the service's drain timeout.
pub fn run<V: View, S>(
    args: &ServiceArgs,
    service: Service<V>,
    bind: impl AsyncFnOnce(Parts<V>) -> Result<S, BindError>,
) -> Result<(), ProcessError>
where
    S: Future<Output = ()> + Send + 'static,
{
    let boot = Boot::from_process(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ProcessError::Runtime)?;
    let ended = runtime.block_on(async {
        let shutdown = Shutdown::new();
        // Before the first line of the log: whoever reads that may end the process by a signal.
        shutdown.listen_to_signals().map_err(ProcessError::Signals)?;
        boot.start_logs(service.name);
        supervise(boot, service, shutdown, bind).await
    });
    // What is done is done. A disk or a name server that hangs on a thread of its own must not hold the exit up, which
    // is what dropping the runtime would let it do.
    runtime.shutdown_background();
    ended
}

async fn supervise<V: View, S>(
    boot: Boot,
    service: Service<V>,
    shutdown: Shutdown,
    bind: impl AsyncFnOnce(Parts<V>) -> Result<S, BindError>,
) -> Result<(), ProcessError>
where
    S: Future<Output = ()> + Send + 'static,
{
    let metrics = Metrics::new();
    let secrets = SecretStore::open(&boot.secrets_dir);
    secrets.follow();
    let settings = tokio::select! {
        settings = Settings::start(&boot, &secrets, &metrics) => settings?,
        outcome = shutdown.run(|| DrainPlan::NOTHING_TO_DRAIN) => {
            tell(outcome);
            return Ok(());
        }
    };
    let health = Health::new(service.name, &boot.instance_id, &shutdown);
    let asked = settings.clone();
    health.check("settings", move || asked.not_ready());
    let asked = settings.clone();
    health.section("settings", move || asked.status());
    let process = Process {
        boot,
        service,
        shutdown,
        metrics,
        secrets,
        settings,
        health,
    };
    process.run(bind).await
}

fn tell(outcome: ShutdownOutcome) {
    match outcome {
        ShutdownOutcome::Drained => info!("everything has ended"),
        ShutdownOutcome::Expired { unfinished } => warn!(unfinished, "the time for the drain is over"),
    }
}

impl<V: View> Process<V> {
    async fn run<S>(
        &self,
        bind: impl AsyncFnOnce(Parts<V>) -> Result<S, BindError>,
    ) -> Result<(), ProcessError>
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let routes = internal_router(std::slice::from_ref(&self.health), &self.metrics)
            .merge(self.service.internal_routes.clone());
        // It is closed last: probes and metrics work through the drain.
        let mut internal = InternalPort::new(self.boot.bind, routes);
        let serving = async {
            match self.serve(&mut internal, bind).await {
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        };
        let outcome = tokio::select! {
            outcome = self.shutdown.run(|| self.boot.drain_plan(self.drain_timeout())) => outcome,
            error = serving => return Err(error),
        };
        tell(outcome);
        Ok(())
    }

    fn drain_timeout(&self) -> Duration {
        self.settings
            .snapshot()
            .map(|settings| (self.service.drain_timeout)(&settings.load()))
            .unwrap_or_default()
    }

    /// Opens both ports and lets the service serve in the background.
    async fn serve<S>(
        &self,
        internal: &mut InternalPort,
        bind: impl AsyncFnOnce(Parts<V>) -> Result<S, BindError>,
    ) -> Result<(), ProcessError>
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let settings = self.first_settings(internal).await?;
        let port = self.service.public_port.of(&self.boot, &settings.load())?;
        let address = SocketAddr::new(self.boot.bind, port.number);
        let parts = Parts {
            listener: ListenerOptions::new("public", address, port.from),
            instance_id: self.boot.instance_id.clone(),
            settings,
            secrets: self.secrets.clone(),
            ice: IceProviders::new(IceOptions::default(), IceMetrics::register(&self.metrics)),
            health: self.health.clone(),
            metrics: self.metrics.clone(),
            public_metrics: self.boot.source == SettingsSource::Env,
            shutdown: self.shutdown.clone(),
            redis: self.boot.redis.clone(),
        };
        self.shutdown.spawn(bind(parts).await?);
        Ok(())
    }

    /// Waits for the first settings while the internal port answers. Afterwards only the port that they name is open,
    /// so that the public one may have the number of the usual internal one.
    ///
    /// Later changes of the port are for the pods that come after this one: its own has the old one.
    async fn first_settings(&self, internal: &mut InternalPort) -> Result<Snapshot<V>, ProcessError> {
        let names = &self.service.internal_port;
        if let Some(settings) = self.settings.snapshot() {
            let port = self.internal_port(&settings.load())?;
            self.open(internal, port).await?;
            return Ok(settings);
        }
        let early = names.or(&self.boot, self.service.usual_internal_port)?;
        if early.explicit {
            self.open(internal, early).await?;
            return Ok(self.settings.first().await);
        }
        internal.guess(early).await;
        let settings = self.settings.first().await;
        let port = self.internal_port(&settings.load())?;
        self.open(internal, port).await?;
        Ok(settings)
    }

    /// The internal port, or its neighbour if the public one was put there and nobody said where the internal one
    /// should be. Not in a cluster, where probes know the port.
    fn internal_port(&self, settings: &V) -> Result<Port, BootError> {
        let wanted = self.service.internal_port.of(&self.boot, settings)?;
        let public = self.service.public_port.of(&self.boot, settings)?;
        if self.boot.source == SettingsSource::Kube {
            return Ok(wanted);
        }
        let port = beside(wanted, public.number);
        if port != wanted {
            warn!(
                port = port.number,
                "the public port has the number of the internal one, which moves to the next"
            );
        }
        Ok(port)
    }

    async fn open(&self, internal: &mut InternalPort, port: Port) -> Result<(), BindError> {
        match internal.open(port).await {
            // The Node services have no such port, or have its endpoints on the public one: it must not keep a service
            // that takes their place from starting.
            Err(error) if error.is_taken() && !port.explicit && self.boot.source == SettingsSource::Env => {
                let variables = self.service.internal_port.variables.join(" or ");
                warn!(%error, "the internal port is taken, and {variables} names no other: going on without it");
                Ok(())
            }
            opened => opened,
        }
    }
}

/// The internal port beside this public one.
fn beside(internal: Port, public: u16) -> Port {
    if internal.explicit || internal.number == 0 || internal.number != public {
        return internal;
    }
    let number = public.checked_add(1).unwrap_or(public - 1);
    Port { number, ..internal }
}

impl<V> ServicePort<V> {
    fn of(&self, boot: &Boot, settings: &V) -> Result<Port, BootError> {
        self.or(boot, (self.value)(settings))
    }

    fn or(&self, boot: &Boot, value: u16) -> Result<Port, BootError> {
        boot.port(self.variables, self.field, value)
    }
}

impl<V> Parts<V> {
    /// Connects to the Redis that the process was started with; `None` if it was started without. Once per process:
    /// it registers metrics.
    pub fn redis(&self, breaker: BreakerSettings) -> Option<RedisLink> {
        let options = LinkOptions {
            breaker: breaker.into(),
            ..LinkOptions::default()
        };
        let endpoint = self.redis.clone()?;
        Some(RedisLink::start(
            endpoint,
            options,
            RedisMetrics::register(&self.metrics),
        ))
    }
}

#[cfg(test)]
mod tests;
