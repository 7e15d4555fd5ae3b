//! [`RedisLink`]: commands, scripts and publications over one multiplexed connection.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue, Pipeline, Script, ToRedisArgs};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::breaker::{BreakerSettings, BreakerState};
use super::commands::Commands;
use super::connect::RedisEndpoint;
use super::error::RedisError;
use super::keeper::{Keeper, News};
use super::metrics::RedisMetrics;
use super::subscriber::Subscriber;
use super::subscription::Subscription;

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
    /// Redis answered the last ping.
    pub up: bool,
    /// The connection for subscriptions stands, or nobody subscribes.
    pub subscriptions_up: bool,
    /// State of the circuit breaker.
    pub breaker: BreakerState,
    /// Connections made again after a loss, both kinds.
    pub reconnects: u64,
    /// The server, without user and password.
    pub endpoint: String,
    /// Last failure to connect, until a connection stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Handle to one Redis server; clones share the connections, which end with the last clone.
#[derive(Clone)]
pub struct RedisLink {
    endpoint: RedisEndpoint,
    commands: Arc<Commands>,
    subscriber: Arc<Subscriber>,
    news: Arc<News>,
    /// Ends the tasks behind the link; they hold no link themselves.
    _running: Arc<DropGuard>,
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
        let news = Arc::new(News::new(metrics.reconnects.clone()));
        let keeper = |purpose| Keeper::new(purpose, endpoint.clone(), &options, Arc::clone(&news));
        let (for_commands, for_subscriptions) = (keeper("commands"), keeper("subscriptions"));
        let subscriber = Arc::new(Subscriber::new(metrics.lost_messages.clone()));
        let commands = Arc::new(Commands::new(options, metrics));
        let stop = CancellationToken::new();
        tokio::spawn(
            stop.clone()
                .run_until_cancelled_owned(Arc::clone(&commands).keep(for_commands)),
        );
        tokio::spawn(Arc::clone(&subscriber).run(for_subscriptions, stop.clone()));
        Self {
            endpoint,
            commands,
            subscriber,
            news,
            _running: Arc::new(stop.drop_guard()),
        }
    }

    /// Sends one command.
    pub async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        self.commands
            .call(async |mut connection| command.query_async(&mut connection).await)
            .await
    }

    /// Sends a pipeline in one write (one transaction if it was built with `.atomic()`).
    pub async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, RedisError> {
        self.commands
            .call(async |mut connection| pipeline.query_async(&mut connection).await)
            .await
    }

    /// Runs a script by its hash, and loads it where the server does not know it (restart, flush, failover).
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
        self.commands
            .call(async |mut connection| invocation.invoke_async(&mut connection).await)
            .await
    }

    /// Publishes and returns the number of receivers; 0 = nobody listens on that channel.
    ///
    /// Calls of one task are sent in their order; calls of many tasks share writes.
    pub async fn publish(&self, channel: &str, payload: &[u8]) -> Result<u64, RedisError> {
        self.command(::redis::cmd("PUBLISH").arg(channel).arg(payload))
            .await
    }

    /// Publishes several messages in one write, in order; returns the receivers of each.
    pub async fn publish_all(&self, messages: &[Publication<'_>]) -> Result<Vec<u64>, RedisError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(messages.len());
        for message in messages {
            pipeline.cmd("PUBLISH").arg(message.channel).arg(message.payload);
        }
        self.pipeline(&pipeline).await
    }

    /// Subscribes to a channel. At most `capacity` messages wait for the reader; further ones are lost, counted
    /// and told. The subscription survives reconnects and ends when it is dropped.
    pub fn subscribe(&self, channel: &str, capacity: usize) -> Subscription {
        self.subscriber.add(channel, capacity)
    }

    /// Whether Redis answered the last ping and the breaker is not open.
    pub fn healthy(&self) -> bool {
        *self.commands.healthy.borrow()
    }

    /// Follows [`RedisLink::healthy`].
    pub fn watch_healthy(&self) -> watch::Receiver<bool> {
        self.commands.healthy.subscribe()
    }

    /// Waits until Redis is there.
    pub async fn wait_healthy(&self) {
        // The sender lives in `self`.
        let _ = self.watch_healthy().wait_for(|healthy| *healthy).await;
    }

    /// Whether the circuit breaker refuses commands now.
    pub fn circuit_open(&self) -> bool {
        self.commands.breaker_state() != BreakerState::Closed
    }

    /// Changes the breaker's settings.
    pub fn set_breaker(&self, settings: BreakerSettings) {
        self.commands.set_breaker(settings);
    }

    /// For `/statusz`.
    pub fn health(&self) -> RedisHealth {
        RedisHealth {
            up: self.commands.is_up(),
            subscriptions_up: self.subscriber.is_up(),
            breaker: self.commands.breaker_state(),
            reconnects: self.news.reconnects(),
            endpoint: self.endpoint.to_string(),
            last_error: self.news.last_error(),
        }
    }

    /// The link's metrics. The handles are shared, so a service may register them under further names.
    pub fn metrics(&self) -> &RedisMetrics {
        &self.commands.metrics
    }
}
