//! One connection for commands to one server, behind a circuit breaker of its own.

use std::sync::Arc;
use std::time::Instant;

use ::redis::{FromRedisValue, PushInfo, PushKind};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tracing::warn;

use super::error::RedisError;
use super::gate::{Gate, Gauges};
use super::keeper::{Keeper, Kept};
use super::link::LinkOptions;
use super::metrics::{ErrorLabels, RedisMetrics};
use super::probe::{LostSignal, Pings, Pulse};
use super::request::Request;

/// What all lines of a link share.
pub(super) struct Limits {
    pub(super) options: LinkOptions,
    pub(super) metrics: RedisMetrics,
    in_flight: Semaphore,
}

/// A line to one server.
pub(super) struct Line {
    pub(super) gate: Gate,
    limits: Arc<Limits>,
    /// The connection, while there is one.
    connection: watch::Sender<Option<Offered>>,
}

/// One connection that commands may use.
#[derive(Clone)]
struct Offered {
    kept: Kept,
    /// Set by the first command that this connection's server refused as a replica. Answers that come late say
    /// nothing about the next connection.
    demoted: LostSignal,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It is lost, or another server is the right one.
    Lost,
    /// It did not answer any more.
    GaveUp,
    /// Its server has become a replica.
    Demoted,
}

impl Limits {
    pub(super) fn new(options: LinkOptions, metrics: RedisMetrics) -> Self {
        Self {
            in_flight: Semaphore::new(options.max_in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            options,
            metrics,
        }
    }

    pub(super) fn counted(&self, error: RedisError) -> RedisError {
        self.metrics
            .errors
            .get_or_create(&ErrorLabels { kind: error.kind() })
            .inc();
        error
    }
}

impl Line {
    pub(super) fn new(limits: Arc<Limits>, gauges: Gauges) -> Self {
        Self {
            gate: Gate::new(limits.options.breaker, gauges),
            limits,
            connection: watch::Sender::new(None),
        }
    }

    /// One call through the breaker.
    pub(super) async fn call<T: FromRedisValue>(&self, request: &Request<'_>) -> Result<T, RedisError> {
        if !self.gate.admit() {
            return Err(self.limits.counted(RedisError::Unavailable));
        }
        let started = Instant::now();
        let result = self.send(request).await;
        match &result {
            Err(error) if error.is_failure_of_server() => self.gate.failed(),
            _ => self.gate.succeeded(),
        }
        self.limits
            .metrics
            .command_seconds
            .observe(started.elapsed().as_secs_f64());
        result.map_err(|error| self.limits.counted(error))
    }

    async fn send<T: FromRedisValue>(&self, request: &Request<'_>) -> Result<T, RedisError> {
        let Offered { kept, demoted } = self.offered().await?;
        let in_flight = &self.limits.in_flight;
        let _place = match in_flight.try_acquire() {
            Ok(place) => place,
            Err(_) => timeout(self.limits.options.response_timeout, in_flight.acquire())
                .await
                .map_err(|_| RedisError::Timeout)?
                .map_err(|_| RedisError::Disconnected)?,
        };
        let result = request.send(kept).await.map_err(RedisError::from);
        if result.as_ref().is_err_and(RedisError::is_demotion) {
            demoted.set();
        }
        result
    }

    /// The connection, after a short wait if it is just being made.
    async fn offered(&self) -> Result<Offered, RedisError> {
        if let Some(offered) = &*self.connection.borrow() {
            return Ok(offered.clone());
        }
        let mut changes = self.connection.subscribe();
        let patience = self.limits.options.patience;
        let connected = timeout(patience, changes.wait_for(Option::is_some)).await;
        match connected {
            Ok(Ok(offered)) => offered.clone().ok_or(RedisError::Disconnected),
            _ => Err(RedisError::Disconnected),
        }
    }

    /// Keeps the connection, for ever.
    pub(super) async fn keep(self: Arc<Self>, mut keeper: Keeper) {
        let mut ended = Ended::Lost;
        loop {
            let lost = LostSignal::default();
            let told = lost.clone();
            let kept = keeper
                .connect(move |push: PushInfo| {
                    if push.kind == PushKind::Disconnection {
                        told.set();
                    }
                    Ok::<(), ()>(())
                })
                .await;
            // A server that was away and answers now is better evidence than the time since the last failure. One
            // that only hung may hang on the next command again: the breaker keeps its time.
            if keeper.was_refused() || ended != Ended::GaveUp {
                self.gate.reset();
            }
            keeper.tell_master(&kept.address);
            ended = self.serve(kept, &lost, &mut keeper).await;
            self.connection.send_replace(None);
            self.gate.set_up(false);
            if ended == Ended::Demoted {
                warn!(server = %keeper.target(), "redis has become a replica: connecting again");
                keeper.tell_demotion();
            }
        }
    }

    /// Offers one connection to commands and pings it until it ends.
    async fn serve(&self, kept: Kept, lost: &LostSignal, keeper: &mut Keeper) -> Ended {
        let demoted = LostSignal::default();
        let mut connection = kept.connection.clone();
        let mut pings = Pings::new(keeper.demand());
        let address = kept.address.clone();
        self.connection.send_replace(Some(Offered {
            kept,
            demoted: demoted.clone(),
        }));
        self.gate.set_up(true);
        loop {
            let pulse = tokio::select! {
                () = lost.wait() => return Ended::Lost,
                () = demoted.wait() => return Ended::Demoted,
                () = keeper.superseded(&address) => return Ended::Lost,
                pulse = pings.next(&mut connection) => pulse,
            };
            let answered = pulse == Pulse::Answered;
            self.gate.probe(answered);
            match pulse {
                Pulse::Answered | Pulse::Missed => self.gate.set_up(answered),
                Pulse::Dead => return Ended::GaveUp,
                Pulse::Replica => return Ended::Demoted,
            }
        }
    }
}
