//! One instance of the server, in a runtime of its own, so that it can die like a process.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use berth_crds::SignalingCluster;
use berth_crds::api::{FailurePolicy, SignalingClusterSpec};
use berth_crds::settings::{ObjectName, ProviderSettings, SecretRef, SignalingSettings, TurnSettings};
use berth_dataplane::http::{Health, Listener, ListenerOptions, internal_router};
use berth_dataplane::ice::{IceMetrics, IceOptions, IceProviders};
use berth_dataplane::occupancy::MemoryRooms;
use berth_dataplane::redis::{BreakerSettings, LinkOptions, RedisEndpoint, RedisLink, RedisMetrics};
use berth_dataplane::secrets::{Secret, SecretStore};
use berth_dataplane::settings::{SignalingView, Snapshot};
use berth_dataplane::shutdown::{DrainPlan, Phase, Shutdown, ShutdownOutcome};
use berth_dataplane::telemetry::Metrics;
use berth_signaling::{Server, ServerOptions, Store, Timing};
use tokio::sync::{mpsc, oneshot};

use super::{DEADLINE, eventually_true};

/// What a node is made of.
pub(crate) struct NodeOptions {
    pub(crate) id: &'static str,
    /// `None`: rooms in memory.
    pub(crate) redis: Option<String>,
    pub(crate) timing: Timing,
    pub(crate) public_metrics: bool,
    /// From the beginning of the end to the first close.
    pub(crate) endpoint_delay: Duration,
    /// What stands in for providers of ICE servers.
    pub(crate) ice: IceOptions,
    pub(crate) spec: SignalingClusterSpec,
}

/// A running instance.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) internal: SocketAddr,
    pub(crate) settings: Snapshot<SignalingView>,
    pub(crate) secrets: SecretStore,
    pub(crate) shutdown: Shutdown,
    pub(crate) metrics: Metrics,
    kill: mpsc::UnboundedSender<()>,
    dead: Option<oneshot::Receiver<()>>,
    outcome: Option<oneshot::Receiver<ShutdownOutcome>>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        let mut spec = SignalingClusterSpec::new("ws://localhost");
        // All tests come from one address.
        spec.rate_limits.connections_per_ip = 100_000;
        spec.rate_limits.messages_per_ip = 1_000_000;
        spec.rate_limits.messages_per_client = 1_000_000;
        spec.rate_limits.messages_per_room = 1_000_000;
        let timing = Timing {
            lease: Duration::from_secs(2),
            limit_sync: Duration::from_millis(100),
            drained_grace: Duration::from_secs(1),
            // Only a hang reaches it.
            key_set_fetch: DEADLINE,
            ..Timing::default()
        };
        Self {
            id: "i1",
            redis: None,
            timing,
            public_metrics: false,
            endpoint_delay: Duration::ZERO,
            ice: IceOptions::default(),
            spec,
        }
    }
}

/// Validated settings of a spec.
fn settings(spec: SignalingClusterSpec) -> SignalingView {
    let cluster =
        SignalingSettings::try_from(&SignalingCluster::new("default", spec)).expect("valid settings");
    SignalingView { cluster, turn: None }
}

impl Node {
    /// A node with rooms in memory and every default.
    pub(crate) async fn memory() -> Self {
        Self::start(NodeOptions::default()).await
    }

    /// A node on this Redis, ready to relay.
    pub(crate) async fn on(redis: &super::RedisServer, id: &'static str) -> Self {
        Self::start(NodeOptions {
            id,
            redis: Some(redis.url()),
            ..NodeOptions::default()
        })
        .await
    }

    /// Starts a node; with Redis it waits until the node is ready.
    pub(crate) async fn start(options: NodeOptions) -> Self {
        let wait = options.redis.is_some();
        let node = Self::start_unready(options).await;
        if wait {
            node.ready().await;
        }
        node
    }

    /// Starts a node and does not wait for Redis.
    pub(crate) async fn start_unready(options: NodeOptions) -> Self {
        let (started, start) = oneshot::channel();
        let (kill, mut killed) = mpsc::unbounded_channel();
        let (died, dead) = oneshot::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let (node, outcome) = run(options, kill).await;
                started
                    .send((node, outcome))
                    .ok()
                    .expect("the test waits for its node");
                // Also when the node is dropped.
                killed.recv().await;
            });
            runtime.shutdown_timeout(DEADLINE);
            let _ = died.send(());
        });
        let (mut node, outcome) = start.await.expect("the node must start");
        node.dead = Some(dead);
        node.outcome = Some(outcome);
        node
    }

    /// Waits until the node is ready.
    pub(crate) async fn ready(&self) {
        super::eventually("the node is ready", || async {
            (super::get(self.internal, "/readyz").await == (200, "ready".to_owned())).then_some(())
        })
        .await;
    }

    /// Ends the node as `kill -9` does: nobody is told, nothing is given back.
    pub(crate) async fn kill(mut self) {
        self.kill.send(()).expect("the node runs");
        let dead = self.dead.take().expect("killed once");
        tokio::time::timeout(DEADLINE, dead)
            .await
            .expect("the node must die")
            .unwrap();
    }

    /// Ends the node as SIGTERM does.
    pub(crate) async fn drain(&mut self) -> ShutdownOutcome {
        self.shutdown.begin();
        let outcome = self.outcome.take().expect("drained once");
        tokio::time::timeout(DEADLINE, outcome)
            .await
            .expect("the drain must end")
            .unwrap()
    }

    /// Puts a changed resource in force.
    pub(crate) fn apply(&self, spec: SignalingClusterSpec) {
        self.settings.replace(settings(spec));
    }

    /// Changes the settings in force.
    pub(crate) fn change(&self, change: impl FnOnce(&mut SignalingSettings)) {
        let mut view = SignalingView::clone(&self.settings.get());
        change(&mut view.cluster);
        self.settings.replace(view);
    }

    /// Names a TurnConfig with a server that shares a secret.
    pub(crate) fn turn(&self, url: &str, credential_ttl: Duration) {
        let secret = self.secret("secret", "north");
        self.provider(
            ProviderSettings::SharedSecret {
                name: "coturn".to_owned(),
                urls: vec![url.to_owned()],
                secret,
            },
            credential_ttl,
        );
    }

    /// Names a TurnConfig with an application at Metered that has this key.
    pub(crate) fn metered(&self, key: &str) {
        let api_key = self.secret("apiKey", key);
        self.provider(
            ProviderSettings::Metered {
                name: "metered".to_owned(),
                domain: "games.metered.live".to_owned(),
                api_key,
            },
            Duration::from_mins(10),
        );
    }

    fn secret(&self, key: &str, value: &str) -> SecretRef {
        let secret = SecretRef {
            name: "turn".to_owned(),
            key: key.to_owned(),
        };
        self.secrets.put(&secret, Secret::new(value).unwrap());
        secret
    }

    fn provider(&self, provider: ProviderSettings, credential_ttl: Duration) {
        let mut view = SignalingView::clone(&self.settings.get());
        view.turn = Some(TurnSettings {
            name: ObjectName::new("default", "turn"),
            generation: 1,
            stun_urls: Vec::new(),
            providers: vec![provider],
            credential_ttl,
            failure_policy: FailurePolicy::StunOnly,
        });
        self.settings.replace(view);
    }

    /// Value of a metric, by the start of its line: name and labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.encode();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_default()
    }

    /// Waits until a metric has this value.
    pub(crate) async fn metric_becomes(&self, name: &str, value: f64) {
        eventually_true(&format!("{name} is {value}, last {}", self.metric(name)), || {
            (self.metric(name) - value).abs() < 0.5
        })
        .await;
    }

    /// Waits until nobody is there any more, and checks that no gauge says otherwise.
    pub(crate) async fn empties(&self) {
        self.metric_becomes("signaling_active_connections", 0.0).await;
        self.metric_becomes("signaling_local_rooms", 0.0).await;
    }
}

async fn run(
    options: NodeOptions,
    kill: mpsc::UnboundedSender<()>,
) -> (Node, oneshot::Receiver<ShutdownOutcome>) {
    let (shutdown, metrics, secrets) = (Shutdown::new(), Metrics::new(), SecretStore::in_memory());
    let snapshot = Snapshot::new(settings(options.spec));
    let health = Health::new("signaling", options.id, &shutdown);
    let store = options.redis.map_or_else(
        || Store::Memory(MemoryRooms::default()),
        |url| {
            let breaker = snapshot.load().cluster.circuit_breaker;
            let breaker = BreakerSettings {
                error_threshold: breaker.error_threshold,
                open_for: breaker.open,
            };
            let link = LinkOptions {
                breaker,
                ..LinkOptions::default()
            };
            let endpoint = RedisEndpoint::from_url(&url).unwrap();
            Store::Redis(RedisLink::start(endpoint, link, RedisMetrics::register(&metrics)))
        },
    );
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Server::bind(ServerOptions {
        listener: ListenerOptions::new("public", loopback, "test"),
        instance_id: options.id.to_owned(),
        settings: snapshot.clone(),
        secrets: secrets.clone(),
        ice: IceProviders::new(options.ice, IceMetrics::register(&metrics)),
        store,
        health: health.clone(),
        metrics: metrics.clone(),
        public_metrics: options.public_metrics,
        shutdown: shutdown.clone(),
        timing: options.timing,
    })
    .await
    .unwrap();
    let internal = Listener::bind(ListenerOptions::new("internal", loopback, "test"))
        .await
        .unwrap();
    let (address, internal_address) = (server.public_addr(), internal.local_addr());
    tokio::spawn(internal.serve(
        internal_router(&[health], &metrics),
        shutdown.clone(),
        Phase::Expired,
    ));
    shutdown.spawn(server.serve());
    let (ended, outcome) = oneshot::channel();
    let (running, plan) = (shutdown.clone(), snapshot.clone());
    let endpoint_delay = options.endpoint_delay;
    tokio::spawn(async move {
        let plan = || DrainPlan {
            endpoint_delay,
            drain_timeout: plan.load().cluster.drain_timeout,
        };
        let _ = ended.send(running.run(plan).await);
    });
    let node = Node {
        address,
        internal: internal_address,
        settings: snapshot,
        secrets,
        shutdown,
        metrics,
        kill,
        dead: None,
        outcome: None,
    };
    (node, outcome)
}
