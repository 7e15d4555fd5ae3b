//! What both connections need to stay up: connect with backoff, pings, the news of a loss.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::redis::aio::{AsyncPushSender, MultiplexedConnection};
use ::redis::{AsyncConnectionConfig, Cmd, Value};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::backoff;
use super::connect::{EndpointError, RedisEndpoint};
use super::link::LinkOptions;
use crate::telemetry::with_causes;

/// Between two pings.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Pings in a row without an answer after which a connection is given up. One may be a pause of the server.
const MISSED_PINGS: u32 = 2;
/// A connection that lasted this long was a good one: the next loss starts with the shortest wait again.
const LASTING: Duration = Duration::from_secs(5);
/// Commands that wait in front of the socket's writer before callers wait.
const WRITE_QUEUE: usize = 1024;
/// Bytes of commands that are gathered before a write.
const WRITE_BATCH_BYTES: usize = 64 * 1024;

/// Keeps one connection of a link.
pub(super) struct Keeper {
    /// `commands` or `subscriptions`, for the log.
    purpose: &'static str,
    endpoint: RedisEndpoint,
    config: AsyncConnectionConfig,
    news: Arc<News>,
    /// When the last connection was made.
    connected_at: Option<Instant>,
    /// Attempts since the last connection that lasted.
    attempts: u32,
    /// Whether an attempt failed since [`Keeper::was_refused`] was asked last.
    refused: bool,
}

/// What the keepers of a link tell its other parts.
pub(super) struct News {
    reconnects: AtomicU64,
    reconnects_metric: Counter,
    /// Counts the servers that turned out to be replicas: no connection to them is worth keeping, though they answer.
    demotions: watch::Sender<u64>,
    /// Last failure to connect, for `/statusz`.
    last_error: Mutex<Option<String>>,
}

/// Set once, when a connection is lost.
#[derive(Clone, Default)]
pub(super) struct LostSignal(CancellationToken);

/// Pings of one connection.
pub(super) struct Pings {
    interval: Interval,
    missed: u32,
}

/// Why a connection that was made is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("the server is a replica and takes no writes")]
    Replica,
    #[error(transparent)]
    Redis(#[from] ::redis::RedisError),
}

#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Redis(#[from] ::redis::RedisError),
}

impl Keeper {
    pub(super) fn new(
        purpose: &'static str,
        endpoint: RedisEndpoint,
        options: &LinkOptions,
        news: Arc<News>,
    ) -> Self {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.response_timeout))
            .set_pipeline_buffer_size(WRITE_QUEUE)
            .set_write_backpressure_boundary(WRITE_BATCH_BYTES);
        Self {
            purpose,
            endpoint,
            config,
            news,
            connected_at: None,
            attempts: 0,
            refused: false,
        }
    }

    /// Connects, however long it takes.
    pub(super) async fn connect(&mut self, push: impl AsyncPushSender) -> MultiplexedConnection {
        let push = Arc::new(push);
        if self.connected_at.is_some_and(|since| since.elapsed() >= LASTING) {
            self.attempts = 0;
        }
        // A server that accepts connections and drops them again is as bad as one that refuses them.
        if self.connected_at.is_some() {
            self.wait().await;
        }
        loop {
            let push = Arc::clone(&push);
            match self.try_connect(move |info| push.send(info)).await {
                Ok(connection) => {
                    self.connected();
                    return connection;
                }
                Err(error) => self.failed(&error),
            }
            self.wait().await;
        }
    }

    async fn wait(&mut self) {
        tokio::time::sleep(backoff::delay(self.attempts, rand::random())).await;
        self.attempts = self.attempts.saturating_add(1);
    }

    async fn try_connect(&self, push: impl AsyncPushSender) -> Result<MultiplexedConnection, ConnectError> {
        let config = self.config.clone().set_push_sender(push);
        let client = self.endpoint.client().await?;
        Ok(client
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }

    fn connected(&mut self) {
        *self.news.last_error.lock() = None;
        if self.connected_at.replace(Instant::now()).is_some() {
            self.news.reconnects.fetch_add(1, Ordering::Relaxed);
            self.news.reconnects_metric.inc();
        }
        info!(purpose = self.purpose, endpoint = %self.endpoint, "connected to redis");
    }

    /// Warns about the first failure and then each time the number of attempts has doubled.
    fn failed(&mut self, error: &(dyn Error + 'static)) {
        self.refused = true;
        let text = with_causes(error);
        let attempts = self.attempts;
        if attempts == 0 || attempts.is_power_of_two() {
            warn!(
                purpose = self.purpose,
                endpoint = %self.endpoint,
                attempts,
                error = text,
                "cannot connect to redis"
            );
        }
        *self.news.last_error.lock() = Some(text);
    }

    /// See [`News::demoted`].
    pub(super) fn news(&self) -> &News {
        &self.news
    }

    /// Whether the server was seen to be away since this was asked last.
    pub(super) fn was_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    /// A connection that was made but does not answer, or not by a server that takes writes.
    pub(super) fn unusable(&mut self, error: &(dyn Error + 'static)) {
        self.failed(error);
    }
}

impl News {
    pub(super) fn new(reconnects_metric: Counter) -> Self {
        Self {
            reconnects: AtomicU64::new(0),
            reconnects_metric,
            demotions: watch::Sender::new(0),
            last_error: Mutex::new(None),
        }
    }

    /// Tells both keepers that the server is a replica now.
    pub(super) fn demoted(&self) {
        self.demotions.send_modify(|count| *count += 1);
    }

    /// Follows [`News::demoted`] from now on.
    pub(super) fn watch_demotions(&self) -> watch::Receiver<u64> {
        self.demotions.subscribe()
    }

    pub(super) fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }
}

impl Pings {
    /// The first ping is due after one interval.
    pub(super) fn new() -> Self {
        let mut interval = tokio::time::interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { interval, missed: 0 }
    }

    /// Waits for the next ping and its answer; `false` when the connection must be given up.
    pub(super) async fn next(&mut self, connection: &mut MultiplexedConnection) -> bool {
        self.interval.tick().await;
        match ping(connection).await {
            Ok(()) => {
                self.missed = 0;
                true
            }
            Err(error) => {
                self.missed += 1;
                self.missed < MISSED_PINGS && !error.is_unrecoverable_error()
            }
        }
    }

    /// Whether the last ping was answered.
    pub(super) fn answered(&self) -> bool {
        self.missed == 0
    }
}

impl LostSignal {
    pub(super) fn set(&self) {
        self.0.cancel();
    }

    pub(super) async fn wait(&self) {
        self.0.cancelled().await;
    }
}

/// Whether a server answers, and takes writes as far as is known: one that has just been found to be a replica answers
/// pings as well, and its name may still stand for it for a while.
pub(super) async fn check(
    connection: &mut MultiplexedConnection,
    must_be_primary: bool,
) -> Result<(), Unusable> {
    if !must_be_primary {
        return Ok(ping(connection).await?);
    }
    // HELLO and not ROLE, which many access lists refuse: every connection has to say it for RESP3 anyway.
    let hello: HashMap<String, Value> = Cmd::new().arg("HELLO").query_async(connection).await?;
    match hello.get("role") {
        Some(Value::BulkString(role)) if role != b"master" => Err(Unusable::Replica),
        _ => Ok(()),
    }
}

pub(super) async fn ping(connection: &mut MultiplexedConnection) -> ::redis::RedisResult<()> {
    Cmd::new().arg("PING").exec_async(connection).await
}
