//! Whether commands may go to one server: the circuit breaker, and whether the server answers pings.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

use crate::breaker::{Breaker, BreakerSettings, BreakerState};

/// Breaker and health of one server.
pub(super) struct Gate {
    breaker: Mutex<Breaker>,
    /// The breaker is closed and remembers no failure: commands need not lock it.
    pristine: AtomicBool,
    /// The server answered the last ping.
    up: AtomicBool,
    /// `up` and the breaker is not open.
    healthy: watch::Sender<bool>,
    gauges: Gauges,
}

/// Where a gate shows its state.
#[derive(Clone, Default)]
pub(super) struct Gauges {
    pub(super) up: Gauge,
    pub(super) breaker_open: Gauge,
}

impl Gate {
    pub(super) fn new(settings: BreakerSettings, gauges: Gauges) -> Self {
        Self {
            breaker: Mutex::new(Breaker::new(settings)),
            pristine: AtomicBool::new(true),
            up: AtomicBool::new(false),
            healthy: watch::Sender::new(false),
            gauges,
        }
    }

    /// Asks to send a command now; `false` = refuse it.
    pub(super) fn admit(&self) -> bool {
        self.pristine.load(Ordering::Relaxed) || self.change(|breaker| breaker.admit(Instant::now()))
    }

    /// An admitted command got an answer.
    pub(super) fn succeeded(&self) {
        if !self.pristine.load(Ordering::Relaxed) {
            self.change(Breaker::succeeded);
        }
    }

    /// An admitted command got no answer.
    pub(super) fn failed(&self) {
        self.change(|breaker| breaker.failed(Instant::now()));
    }

    /// Closes an open breaker where there is no traffic. While it is closed, pings say nothing about commands: a
    /// server may answer them and hang on every write.
    pub(super) fn probe(&self, answered: bool) {
        if self.pristine.load(Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        self.change(|breaker| {
            if breaker.state() != BreakerState::Closed && breaker.admit(now) {
                if answered {
                    breaker.succeeded();
                } else {
                    breaker.failed(now);
                }
            }
        });
    }

    /// Closes the breaker and forgets all failures.
    pub(super) fn reset(&self) {
        self.change(|breaker| *breaker = Breaker::new(breaker.settings()));
    }

    pub(super) fn set_breaker(&self, settings: BreakerSettings) {
        self.breaker.lock().set(settings);
    }

    pub(super) fn breaker_state(&self) -> BreakerState {
        if self.pristine.load(Ordering::Relaxed) {
            return BreakerState::Closed;
        }
        self.breaker.lock().state()
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    pub(super) fn set_up(&self, up: bool) {
        let breaker = self.breaker.lock();
        self.up.store(up, Ordering::Relaxed);
        self.gauges.up.set(i64::from(up));
        self.publish_health(breaker.state() == BreakerState::Closed);
    }

    /// Follows whether the server answered the last ping and the breaker is not open.
    pub(super) fn watch_healthy(&self) -> watch::Receiver<bool> {
        self.healthy.subscribe()
    }

    fn change<R>(&self, change: impl FnOnce(&mut Breaker) -> R) -> R {
        let mut breaker = self.breaker.lock();
        let result = change(&mut breaker);
        self.pristine.store(breaker.is_pristine(), Ordering::Relaxed);
        let open = breaker.state() != BreakerState::Closed;
        self.gauges.breaker_open.set(i64::from(open));
        self.publish_health(!open);
        result
    }

    /// Called with the breaker locked, so that the last word is the true one.
    fn publish_health(&self, closed: bool) {
        let healthy = closed && self.up.load(Ordering::Relaxed);
        self.healthy
            .send_if_modified(|value| std::mem::replace(value, healthy) != healthy);
    }
}
