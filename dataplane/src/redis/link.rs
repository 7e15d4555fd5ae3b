//! [`RedisLink`]: commands, scripts, publications and subscriptions.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue, Pipeline, Script, ToRedisArgs};
use berth_crds::settings::RedisMode;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::cluster::NodeHealth;
use super::commands::Commands;
use super::endpoint::RedisEndpoint;
use super::error::RedisError;
use super::line::Limits;
use super::metrics::RedisMetrics;
use super::news::News;
use super::request::Request;
use super::start::Start;
use super::subscription::Subscription;
use super::subscriptions::Subscriptions;
use super::target::Target;
use crate::breaker::{BreakerSettings, BreakerState};

/// Timing and limits of a link.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// Longest wait for an answer.
    pub response_timeout: Duration,
    /// Longest wait for a connection to be made.
    pub connect_timeout: Duration,
    /// How long a command waits for a connection that is just being made (again).
    pub patience: Duration,
    /// Commands under way at once; more wait, at most `response_timeout`.
    pub max_in_flight: usize,
    /// Circuit breaker; changed later by [`RedisLink::set_breaker`].
    pub breaker: BreakerSettings,
}

/// A message for [`RedisLink::publish_all`].
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// Channel name.
    pub channel: &'a str,
    /// Payload.
    pub payload: &'a [u8],
}

/// What `/statusz` shows of a link.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedisHealth {
    /// What kind of Redis it is.
    pub mode: RedisMode,
    /// Redis answered the last ping.
    pub up: bool,
    /// The connection for subscriptions stands, or nobody subscribes.
    pub subscriptions_up: bool,
    /// State of the circuit breaker.
    pub breaker: BreakerState,
    /// Connections made again after a loss, all kinds.
    pub reconnects: u64,
    /// The URL, without users and passwords.
    pub endpoint: String,
    /// Host and port of the server that takes the commands, or took them last; in a cluster the owner of their slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// In a cluster, whether messages between instances are sharded (Redis 7); without it each goes to all nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sharded: Option<bool>,
    /// In a cluster the nodes that are used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeHealth>,
    /// Last failure to connect, until a connection stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Handle to one Redis; clones share the connections, which end with the last clone.
#[derive(Clone)]
pub struct RedisLink {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: RedisEndpoint,
    response_timeout: Duration,
    commands: Commands,
    subscriptions: Subscriptions,
    healthy: watch::Receiver<bool>,
    news: Arc<News>,
    metrics: RedisMetrics,
    /// Ends the tasks behind the link; they hold no link themselves.
    _running: DropGuard,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            response_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(2),
            patience: Duration::from_millis(250),
            max_in_flight: 4096,
            breaker: BreakerSettings::default(),
        }
    }
}

// === impl RedisLink ===

impl RedisLink {
    /// Starts a link and returns at once, connected or not. Runs inside a tokio runtime.
    pub fn start(endpoint: RedisEndpoint, options: LinkOptions, metrics: RedisMetrics) -> Self {
        let response_timeout = options.response_timeout;
        let stop = CancellationToken::new();
        let news = Arc::new(News::new(metrics.clone()));
        let start = Start {
            options: options.clone(),
            limits: Arc::new(Limits::new(options, metrics.clone())),
            metrics,
            news: Arc::clone(&news),
            stop: stop.clone(),
        };
        start.metrics.tell_mode(endpoint.mode());
        let (commands, subscriptions) = match endpoint.mode() {
            RedisMode::Standalone => start.one(&Target::Url(endpoint.clone())),
            RedisMode::Sentinel => start.sentinel(&endpoint),
            RedisMode::Cluster => start.cluster(&endpoint),
        };
        Self {
            shared: Arc::new(Shared {
                endpoint,
                response_timeout,
                healthy: commands.watch_healthy(),
                commands,
                subscriptions,
                news,
                metrics: start.metrics,
                _running: stop.drop_guard(),
            }),
        }
    }

    /// Sends one command. In a cluster its first argument, which must be its key, says to which node; one without
    /// arguments is for any node.
    pub async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        self.commands().call(&Request::Command(command)).await
    }

    /// Sends a pipeline in one write (one transaction if it was built with `.atomic()`). In a cluster it goes where its
    /// first command goes.
    pub async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, RedisError> {
        self.commands().call(&Request::Pipeline(pipeline)).await
    }

    /// Runs a script by its hash, and loads it where the server does not know it (restart, flush, failover). In a cluster
    /// its first key says to which node.
    pub async fn script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[impl ToRedisArgs],
        args: &[impl ToRedisArgs],
    ) -> Result<T, RedisError> {
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(key);
        }
        for arg in args {
            invocation.arg(arg);
        }
        let first_key = keys
            .first()
            .and_then(|key| key.to_redis_args().into_iter().next());
        let request = Request::Script {
            invocation: &invocation,
            first_key,
        };
        self.commands().call(&request).await
    }

    /// Publishes and returns the number of receivers; 0 = nobody listens on that channel.
    ///
    /// Calls of one task are sent in their order; calls of many tasks share writes.
    pub async fn publish(&self, channel: &str, payload: &[u8]) -> Result<u64, RedisError> {
        let receivers = self.publish_all(&[Publication { channel, payload }]).await?;
        receivers
            .first()
            .copied()
            .flatten()
            .ok_or(RedisError::Disconnected)
    }

    /// Publishes several messages in one write, in order; returns the receivers of each.
    ///
    /// In a cluster it is one write for each node that owns channels, and the messages of one channel keep their order. `None`
    /// stands for a message whose node did not take it, while others took theirs.
    pub async fn publish_all(&self, messages: &[Publication<'_>]) -> Result<Vec<Option<u64>>, RedisError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        self.commands().publish(messages).await
    }

    /// Subscribes to a channel. At most `capacity` messages wait for the reader; further ones are lost, counted
    /// and told. The subscription survives reconnects and ends when it is dropped.
    pub fn subscribe(&self, channel: &str, capacity: usize) -> Subscription {
        self.shared.subscriptions.add(channel, capacity)
    }

    /// How long a command waits for its answer.
    pub fn response_timeout(&self) -> Duration {
        self.shared.response_timeout
    }

    /// Whether Redis answered the last ping and the breaker is not open.
    ///
    /// In a cluster that is said of the node that owns the slot of the last command, and before there was one of any node.
    pub fn healthy(&self) -> bool {
        *self.shared.healthy.borrow()
    }

    /// Follows [`RedisLink::healthy`].
    pub fn watch_healthy(&self) -> watch::Receiver<bool> {
        self.commands().watch_healthy()
    }

    /// Waits until Redis is there.
    pub async fn wait_healthy(&self) {
        // The sender lives in `self`.
        let _ = self.watch_healthy().wait_for(|healthy| *healthy).await;
    }

    /// Whether the circuit breaker refuses commands now.
    pub fn circuit_open(&self) -> bool {
        self.commands().breaker_state() != BreakerState::Closed
    }

    /// Changes the breaker's settings.
    pub fn set_breaker(&self, settings: BreakerSettings) {
        self.commands().set_breaker(settings);
    }

    /// For `/statusz`.
    pub fn health(&self) -> RedisHealth {
        let Shared {
            endpoint,
            commands,
            subscriptions,
            news,
            ..
        } = &*self.shared;
        RedisHealth {
            mode: endpoint.mode(),
            up: commands.is_up(),
            subscriptions_up: subscriptions.is_up(),
            breaker: commands.breaker_state(),
            reconnects: news.reconnects(),
            endpoint: endpoint.to_string(),
            master: news.master().map(|address| address.to_string()),
            sharded: news.sharded(),
            nodes: commands.nodes(),
            last_error: news.last_error(),
        }
    }

    /// How often something happened after which a server may have lost what it had confirmed before: a connection was lost, or another
    /// server became the master.
    pub fn interruptions(&self) -> u64 {
        self.shared.news.interruptions()
    }

    /// The link's metrics. The handles are shared, so a service may register them under further names.
    pub fn metrics(&self) -> &RedisMetrics {
        &self.shared.metrics
    }

    fn commands(&self) -> &Commands {
        &self.shared.commands
    }
}
