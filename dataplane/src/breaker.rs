//! Circuit breaker as a plain state machine: no clock, no lock.
//!
//! Closed until `error_threshold` failures in a row; then open for `open_for`; then one probe may pass, whose
//! outcome closes the breaker or opens it again. Whoever asks by himself, as a link to Redis by its ping, has such a probe, so
//! that the breaker closes without traffic.

use std::time::{Duration, Instant};

/// When the breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it; 0 counts as 1.
    pub error_threshold: u32,
    /// How long it stays open before one probe may pass.
    pub open_for: Duration,
}

/// State of a [`Breaker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open,
    /// One probe is under way; other calls are refused.
    HalfOpen,
}

/// The state machine. Every admitted call reports [`Breaker::succeeded`] or [`Breaker::failed`].
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    /// Failures in a row while closed.
    failures: u32,
    /// When it was opened last; `None` while closed.
    opened_at: Option<Instant>,
    /// When the probe that is under way was admitted.
    probe: Option<Instant>,
}

impl Default for BreakerSettings {
    /// The defaults of `SignalingCluster.spec.circuitBreaker`.
    fn default() -> Self {
        Self {
            error_threshold: 3,
            open_for: Duration::from_secs(5),
        }
    }
}

impl From<berth_crds::settings::BreakerSettings> for BreakerSettings {
    fn from(settings: berth_crds::settings::BreakerSettings) -> Self {
        Self {
            error_threshold: settings.error_threshold,
            open_for: settings.open,
        }
    }
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            failures: 0,
            opened_at: None,
            probe: None,
        }
    }

    /// Asks to make a call now; `false` = refuse it.
    ///
    /// A probe that never reported (its caller was cancelled) stops counting after another `open_for`.
    pub fn admit(&mut self, now: Instant) -> bool {
        let Some(opened_at) = self.opened_at else {
            return true;
        };
        let last = self.probe.unwrap_or(opened_at);
        if now.saturating_duration_since(last) < self.settings.open_for {
            return false;
        }
        self.probe = Some(now);
        true
    }

    /// An admitted call got an answer.
    pub fn succeeded(&mut self) {
        // A late answer to a call from before the opening proves nothing: only the probe closes.
        if self.opened_at.is_none() || self.probe.is_some() {
            self.failures = 0;
            self.opened_at = None;
            self.probe = None;
        }
    }

    /// An admitted call got no answer.
    pub fn failed(&mut self, now: Instant) {
        if self.opened_at.is_some() {
            if self.probe.take().is_some() {
                self.opened_at = Some(now);
            }
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.settings.error_threshold.max(1) {
            self.opened_at = Some(now);
            self.failures = 0;
        }
    }

    /// The present state.
    pub fn state(&self) -> BreakerState {
        match (self.opened_at, self.probe) {
            (None, _) => BreakerState::Closed,
            (Some(_), None) => BreakerState::Open,
            (Some(_), Some(_)) => BreakerState::HalfOpen,
        }
    }

    /// Whether the breaker is closed and remembers no failure, so that a success would change nothing.
    pub fn is_pristine(&self) -> bool {
        self.opened_at.is_none() && self.failures == 0
    }

    /// The settings in force.
    pub fn settings(&self) -> BreakerSettings {
        self.settings
    }

    /// New settings; an open breaker keeps its opening time.
    pub fn set(&mut self, settings: BreakerSettings) {
        self.settings = settings;
    }
}

#[cfg(test)]
mod tests;
