//! The connection for commands, behind the circuit breaker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ::redis::aio::MultiplexedConnection;
use ::redis::{PushInfo, PushKind, RedisResult};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tracing::warn;

use super::breaker::{Breaker, BreakerSettings, BreakerState};
use super::error::RedisError;
use super::keeper::{Keeper, LostSignal, Pings, check};
use super::link::LinkOptions;
use super::metrics::{ErrorLabels, RedisMetrics};

/// The command half of a link.
pub(super) struct Commands {
    options: LinkOptions,
    pub(super) metrics: RedisMetrics,
    /// The connection for commands, while there is one.
    connection: watch::Sender<Option<Offered>>,
    in_flight: Semaphore,
    breaker: Mutex<Breaker>,
    /// The breaker is closed and remembers no failure: commands need not lock it.
    pristine: AtomicBool,
    /// Redis answered the last ping.
    up: AtomicBool,
    /// `up` and the breaker is not open.
    pub(super) healthy: watch::Sender<bool>,
}

/// One connection that commands may use.
#[derive(Clone)]
struct Offered {
    connection: MultiplexedConnection,
    /// Set by the first command that this connection's server refused as a replica. Answers that come late say
    /// nothing about the next connection.
    demoted: LostSignal,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Lost,
    /// It did not answer any more.
    GaveUp,
    /// Its server has become a replica.
    Demoted,
}

impl Commands {
    pub(super) fn new(options: LinkOptions, metrics: RedisMetrics) -> Self {
        Self {
            in_flight: Semaphore::new(options.max_in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            breaker: Mutex::new(Breaker::new(options.breaker)),
            options,
            metrics,
            connection: watch::Sender::new(None),
            pristine: AtomicBool::new(true),
            up: AtomicBool::new(false),
            healthy: watch::Sender::new(false),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    pub(super) fn breaker_state(&self) -> BreakerState {
        if self.pristine.load(Ordering::Relaxed) {
            return BreakerState::Closed;
        }
        self.breaker.lock().state()
    }

    pub(super) fn set_breaker(&self, settings: BreakerSettings) {
        self.breaker.lock().set(settings);
    }

    /// One call through the breaker.
    pub(super) async fn call<T>(
        &self,
        send: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, RedisError> {
        if !self.admit() {
            return Err(self.counted(RedisError::Unavailable));
        }
        let started = Instant::now();
        let result = self.send(send).await;
        match &result {
            Err(error) if error.is_outage() => self.failed(),
            _ => self.succeeded(),
        }
        self.metrics
            .command_seconds
            .observe(started.elapsed().as_secs_f64());
        result.map_err(|error| self.counted(error))
    }

    async fn send<T>(
        &self,
        send: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, RedisError> {
        let Offered { connection, demoted } = self.connection().await?;
        let _place = match self.in_flight.try_acquire() {
            Ok(place) => place,
            Err(_) => timeout(self.options.response_timeout, self.in_flight.acquire())
                .await
                .map_err(|_| RedisError::Timeout)?
                .map_err(|_| RedisError::Disconnected)?,
        };
        let result = send(connection).await.map_err(RedisError::from);
        if result.as_ref().is_err_and(RedisError::is_demotion) {
            demoted.set();
        }
        result
    }

    /// The connection, after a short wait if it is just being made.
    async fn connection(&self) -> Result<Offered, RedisError> {
        if let Some(offered) = &*self.connection.borrow() {
            return Ok(offered.clone());
        }
        let mut changes = self.connection.subscribe();
        let connected = timeout(self.options.patience, changes.wait_for(Option::is_some)).await;
        match connected {
            Ok(Ok(offered)) => offered.clone().ok_or(RedisError::Disconnected),
            _ => Err(RedisError::Disconnected),
        }
    }

    /// Keeps the connection for commands.
    pub(super) async fn keep(self: Arc<Self>, mut keeper: Keeper) {
        let mut ended = Ended::Lost;
        loop {
            let lost = LostSignal::default();
            let told = lost.clone();
            let mut connection = keeper
                .connect(move |push: PushInfo| {
                    if push.kind == PushKind::Disconnection {
                        told.set();
                    }
                    Ok::<(), ()>(())
                })
                .await;
            if let Err(error) = check(&mut connection, ended == Ended::Demoted).await {
                keeper.unusable(&error);
                continue;
            }
            // A server that was away and answers now is better evidence than the time since the last failure. One
            // that only hung may hang on the next command again: the breaker keeps its time.
            if keeper.was_refused() || ended != Ended::GaveUp {
                self.change_breaker(|breaker| *breaker = Breaker::new(breaker.settings()));
            }
            ended = self.serve(connection, &lost).await;
            self.connection.send_replace(None);
            self.set_up(false);
            if ended == Ended::Demoted {
                warn!("redis has become a replica: connecting again");
                keeper.news().demoted();
            }
        }
    }

    /// Offers one connection to commands and pings it until it ends.
    async fn serve(&self, mut connection: MultiplexedConnection, lost: &LostSignal) -> Ended {
        let demoted = LostSignal::default();
        self.connection.send_replace(Some(Offered {
            connection: connection.clone(),
            demoted: demoted.clone(),
        }));
        self.set_up(true);
        let mut pings = Pings::new();
        loop {
            let alive = tokio::select! {
                () = lost.wait() => return Ended::Lost,
                () = demoted.wait() => return Ended::Demoted,
                alive = pings.next(&mut connection) => alive,
            };
            self.probe(pings.answered());
            if !alive {
                return Ended::GaveUp;
            }
            self.set_up(pings.answered());
        }
    }

    fn admit(&self) -> bool {
        self.pristine.load(Ordering::Relaxed) || self.change_breaker(|breaker| breaker.admit(Instant::now()))
    }

    /// Closes an open breaker where there is no traffic. While it is closed, pings say nothing about commands: a
    /// server may answer them and hang on every write.
    fn probe(&self, answered: bool) {
        if self.pristine.load(Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        self.change_breaker(|breaker| {
            if breaker.state() != BreakerState::Closed && breaker.admit(now) {
                if answered {
                    breaker.succeeded();
                } else {
                    breaker.failed(now);
                }
            }
        });
    }

    fn succeeded(&self) {
        if !self.pristine.load(Ordering::Relaxed) {
            self.change_breaker(Breaker::succeeded);
        }
    }

    fn failed(&self) {
        self.change_breaker(|breaker| breaker.failed(Instant::now()));
    }

    fn change_breaker<R>(&self, change: impl FnOnce(&mut Breaker) -> R) -> R {
        let mut breaker = self.breaker.lock();
        let result = change(&mut breaker);
        self.pristine.store(breaker.is_pristine(), Ordering::Relaxed);
        let open = breaker.state() != BreakerState::Closed;
        self.metrics.breaker_open.set(i64::from(open));
        self.publish_health(!open);
        result
    }

    fn set_up(&self, up: bool) {
        let breaker = self.breaker.lock();
        self.up.store(up, Ordering::Relaxed);
        self.metrics.up.set(i64::from(up));
        self.publish_health(breaker.state() == BreakerState::Closed);
    }

    /// Called with the breaker locked, so that the last word is the true one.
    fn publish_health(&self, closed: bool) {
        let healthy = closed && self.up.load(Ordering::Relaxed);
        self.healthy
            .send_if_modified(|value| std::mem::replace(value, healthy) != healthy);
    }

    fn counted(&self, error: RedisError) -> RedisError {
        self.metrics
            .errors
            .get_or_create(&ErrorLabels { kind: error.kind() })
            .inc();
        error
    }
}
