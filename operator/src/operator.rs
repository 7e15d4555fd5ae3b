//! One operator process: its parts, their order of start and end.
//!
//! ```text
//! listen ─▶ watch until everything is known ─▶ wait for the lease ─▶ controllers and counts
//!                                                                       │
//! end:  lease lost: at once, as an error │ asked to stop: finish what has begun, give the lease back
//! ```

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use berth_crds::{HostPool, SignalingCluster, TurnConfig};
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::client::{self, Fence};
use crate::cluster::{Cluster, WatchOptions, watch_all};
use crate::controller::{self, Context};
use crate::counts::{CountsReader, HttpCounts, Poller};
use crate::error::{CallError, with_causes};
use crate::events::Announcer;
use crate::http;
use crate::leader::{Elector, LeaderOptions, LeaseLost};
use crate::metrics::Metrics;
use crate::pods::{self, PodReader};
use crate::probe::{BindingProbe, Prober, ServerProbe};
use crate::render::Defaults;

/// How long reconciles that have begun may go on after the operator was asked to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);
/// Time between two attempts to reach the API server at the start.
const START_RETRY: Duration = Duration::from_secs(2);

/// How the operator runs.
#[derive(Clone)]
pub struct Options {
    /// The API server.
    pub kube: Config,
    /// What pods are made of when resources do not say.
    pub defaults: Defaults,
    /// Namespaces to work in; empty: all.
    pub namespaces: Vec<String>,
    /// Election; absent: this process is the only one.
    pub leader: Option<LeaderOptions>,
    /// Name of this process in events.
    pub instance: String,
    /// Address of `/healthz`, `/readyz` and `/metrics`; absent: none.
    pub listen: Option<SocketAddr>,
    /// How the counts of a pool are read.
    pub counts: Arc<dyn CountsReader>,
    /// How ICE servers are asked whether they are there.
    pub probe: Arc<dyn ServerProbe>,
    /// How pods are asked for the settings that they follow.
    pub pods: Arc<dyn PodReader>,
    /// Intervals.
    pub intervals: Intervals,
}

/// Intervals of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// How often a resource is looked at although nothing happened, give or take 20 %.
    pub resync: Duration,
    /// How long the server keeps one watch open, in whole seconds.
    pub watch: Duration,
    /// Events of one object that come within this time are one look.
    pub debounce: Duration,
    /// How often the API server is asked which optional APIs it has, where that cannot be watched.
    pub discovery: Duration,
    /// How often each ICE server is asked whether it is there; zero: never.
    pub probe: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            resync: Duration::from_mins(10),
            watch: Duration::from_secs(200),
            debounce: Duration::from_millis(20),
            discovery: Duration::from_mins(10),
            probe: Duration::from_mins(1),
        }
    }
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The configuration of the client is wrong.
    #[error("cannot make a client of the Kubernetes API")]
    Client(#[source] Box<kube::Error>),
    /// Another process leads now.
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
    /// A part that should run for ever ended.
    #[error("{0} ended")]
    PartEnded(&'static str),
}

/// An operator that is about to run.
pub struct Operator {
    options: Options,
    metrics: Metrics,
}

impl Options {
    /// Options with all intervals as usual, counts by HTTP, no election and no listener.
    pub fn new(kube: Config, defaults: Defaults) -> Self {
        Self {
            kube,
            defaults,
            namespaces: Vec::new(),
            leader: None,
            instance: crate::names::OPERATOR.into(),
            listen: None,
            counts: Arc::new(HttpCounts::default()),
            probe: Arc::new(BindingProbe),
            pods: Arc::new(HttpCounts::default()),
            intervals: Intervals::default(),
        }
    }
}

impl Operator {
    /// An operator with `options`.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            metrics: Metrics::default(),
        }
    }

    /// Its metrics.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Runs until `stop`, or until it cannot go on. When it returns, it writes nothing more.
    pub async fn run(self, stop: CancellationToken) -> Result<(), OperatorError> {
        let Self { options, metrics } = self;
        let cluster = Arc::new(Cluster::default());
        let servers = Arc::new(Board::default());
        // Everything ends with this, in whatever way the function returns.
        let mut parts = JoinSet::new();
        let (ready, is_ready) = watch::channel(false);
        if let Some(address) = options.listen {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|source| OperatorError::Listen { address, source })?;
            let endpoints = http::Endpoints {
                ready: is_ready,
                metrics: metrics.clone(),
                cluster: Arc::clone(&cluster),
                reach: Arc::clone(&servers),
            };
            parts.spawn(http::serve(listener, endpoints));
        }

        let fence = Arc::new(Fence::default());
        let client = build(&options.kube, &metrics, Some(Arc::clone(&fence)))?;
        let Some(streaming_lists) = reach(&client, &options.namespaces, &stop).await else {
            return Ok(());
        };
        let watch_options = WatchOptions {
            namespaces: options.namespaces.clone(),
            timeout: options.intervals.watch,
            ask: options.intervals.discovery,
            streaming_lists,
        };
        let mut sync = watch_all(&cluster, &client, watch_options, &metrics, &mut parts);
        tokio::select! {
            () = sync.done() => {}
            () = stop.cancelled() => return Ok(()),
        }
        ready.send_replace(true);
        tracing::info!(streaming_lists, "everything that exists is known");

        let context = Context {
            announcer: Announcer::new(client.clone(), options.instance.clone()),
            client,
            cluster,
            metrics: metrics.clone(),
            defaults: options.defaults.clone(),
            board: Arc::default(),
            reach: Arc::clone(&servers),
            pods: Arc::default(),
            entropy,
            jitter: rand::random,
            resync: options.intervals.resync,
            debounce: options.intervals.debounce,
        };
        let work = Work {
            context: Arc::new(context),
            counts: Arc::clone(&options.counts),
            probe: Arc::clone(&options.probe),
            probe_interval: options.intervals.probe,
            pods: Arc::clone(&options.pods),
            metrics: metrics.clone(),
            parts,
        };
        let result = match options.leader {
            None => {
                fence.open();
                work.lead(&stop).await
            }
            Some(leader) => {
                let client = build(&options.kube, &metrics, None)?;
                let elector = Elector::new(client, leader, Arc::clone(&fence), rand::random);
                work.elected(elector, &stop).await
            }
        };
        fence.close();
        metrics.leads(false);
        result
    }
}

/// What is done while leading, and what must go on meanwhile.
struct Work {
    context: Arc<Context>,
    counts: Arc<dyn CountsReader>,
    probe: Arc<dyn ServerProbe>,
    probe_interval: Duration,
    pods: Arc<dyn PodReader>,
    metrics: Metrics,
    parts: JoinSet<()>,
}

impl Work {
    /// Waits for the lease, leads as long as it is held, and gives it back.
    async fn elected(mut self, mut elector: Elector, stop: &CancellationToken) -> Result<(), OperatorError> {
        let lease = tokio::select! {
            lease = elector.acquire() => lease,
            ended = self.part_ended() => return Err(ended),
            () = stop.cancelled() => return Ok(()),
        };
        self.metrics.leads(true);
        tracing::info!("leading");
        // The lease is kept until the work is done, not until it is asked to stop.
        let done = CancellationToken::new();
        let (result, lease) = {
            let mut holding = pin!(elector.hold(lease, &done));
            let result = tokio::select! {
                // Without the lease nothing is finished: another process may have begun already.
                ended = &mut holding => return Err(ended.err().unwrap_or(LeaseLost).into()),
                result = self.lead(stop) => result,
            };
            done.cancel();
            (result, holding.await?)
        };
        elector.release(&lease).await;
        result
    }

    /// Reconciles until `stop`, and then finishes what has begun.
    async fn lead(mut self, stop: &CancellationToken) -> Result<(), OperatorError> {
        self.context.cluster.queue_all();
        let mut controllers = JoinSet::new();
        let context = || Arc::clone(&self.context);
        controllers.spawn(controller::run::<SignalingCluster>(context(), stop.clone()));
        controllers.spawn(controller::run::<HostPool>(context(), stop.clone()));
        controllers.spawn(controller::run::<TurnConfig>(context(), stop.clone()));
        let poller = Poller {
            cluster: Arc::clone(&self.context.cluster),
            board: Arc::clone(&self.context.board),
            reader: Arc::clone(&self.counts),
        };
        self.parts.spawn(poller.run(stop.clone()));
        let prober = Prober {
            cluster: Arc::clone(&self.context.cluster),
            board: Arc::clone(&self.context.reach),
            probe: Arc::clone(&self.probe),
            interval: self.probe_interval,
        };
        self.parts.spawn(prober.run(stop.clone()));
        let asking = pods::Poller {
            cluster: Arc::clone(&self.context.cluster),
            board: Arc::clone(&self.context.pods),
            reader: Arc::clone(&self.pods),
            metrics: self.metrics.clone(),
        };
        self.parts.spawn(asking.run(stop.clone()));
        tokio::select! {
            // What ends because it was asked to is no surprise.
            biased;
            () = stop.cancelled() => {}
            ended = self.part_ended() => return Err(ended),
            _ = controllers.join_next() => return Err(OperatorError::PartEnded("a controller")),
        }
        tracing::info!("asked to stop");
        let drained = async { while controllers.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_LIMIT, drained).await.is_err() {
            tracing::warn!("reconciles did not end in time");
        }
        Ok(())
    }

    /// Watches and the listener never end by themselves.
    async fn part_ended(&mut self) -> OperatorError {
        self.parts.join_next().await;
        OperatorError::PartEnded("a watch or the listener")
    }
}

fn build(config: &Config, metrics: &Metrics, fence: Option<Arc<Fence>>) -> Result<Client, OperatorError> {
    client::build(config.clone(), metrics, fence).map_err(|error| OperatorError::Client(Box::new(error)))
}

/// Waits until the API server answers, and says whether it can stream lists; `None` when asked to stop.
async fn reach(client: &Client, namespaces: &[String], stop: &CancellationToken) -> Option<bool> {
    loop {
        let answer: Result<bool, CallError> = tokio::select! {
            answer = client::has_streaming_lists(client, namespaces) => answer,
            () = stop.cancelled() => return None,
        };
        match answer {
            Ok(streaming_lists) => return Some(streaming_lists),
            Err(error) => tracing::warn!(error = with_causes(&error), "cannot watch our resources"),
        }
        tokio::select! {
            () = tokio::time::sleep(START_RETRY) => {}
            () = stop.cancelled() => return None,
        }
    }
}

fn entropy(bytes: &mut [u8; 32]) -> bool {
    SystemRandom::new().fill(bytes).is_ok()
}
