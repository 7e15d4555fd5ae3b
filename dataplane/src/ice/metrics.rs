//! Metrics of providers of ICE servers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::telemetry::Metrics;

/// Most providers that are named in the life of a process: a TurnConfig has at most 8 at a time.
const MOST_PROVIDERS: usize = 64;
/// Name of all providers beyond [`MOST_PROVIDERS`].
const OTHERS: &str = "other";
/// Upper bounds in seconds: two calls to a server somewhere in the world, and up to the time after which they are given up.
const ISSUE_BUCKETS: [f64; 9] = [0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0];

/// Why a provider failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its secret is missing.
    Secret,
    /// No connection.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// An answer that is an error.
    Status,
    /// An answer that is none.
    Answer,
    /// None of its servers is ready.
    NoServer,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfProvider {
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFailure {
    provider: String,
    reason: &'static str,
}

/// Handles of the metrics; clones share the values.
#[derive(Clone)]
pub struct IceMetrics {
    issue_seconds: Family<OfProvider, Histogram, fn() -> Histogram>,
    failures: Family<OfFailure, Counter>,
    left_out: Family<OfProvider, Counter>,
    named: Arc<Mutex<BTreeSet<String>>>,
}

impl IceMetrics {
    /// Makes the metrics and registers `berth_ice_issue_seconds`, `berth_ice_failures_total` and `berth_ice_left_out_total`.
    pub fn register(metrics: &Metrics) -> Self {
        let this = Self {
            issue_seconds: Family::new_with_constructor(|| Histogram::new(ISSUE_BUCKETS)),
            failures: Family::default(),
            left_out: Family::default(),
            named: Arc::default(),
        };
        metrics.register(|registry| {
            registry.register(
                "berth_ice_issue_seconds",
                "Time in which a provider of ICE servers issued a credential, or failed to",
                this.issue_seconds.clone(),
            );
            registry.register(
                "berth_ice_failures",
                "Failures of providers of ICE servers by reason",
                this.failures.clone(),
            );
            registry.register(
                "berth_ice_left_out",
                "Answers without the ICE servers of a provider, because it failed",
                this.left_out.clone(),
            );
        });
        this
    }

    /// Shows the series of a provider before its first failure, so that their rise is seen.
    pub(super) fn expect(&self, provider: &str) {
        let name = self.name(provider);
        for reason in Reason::ALL {
            drop(self.failures.get_or_create(&failure(&name, reason)));
        }
        drop(self.left_out.get_or_create(&OfProvider { provider: name }));
    }

    /// A provider was asked for a credential.
    pub(super) fn asked(&self, provider: &str, took: Duration) {
        let provider = self.name(provider);
        self.issue_seconds
            .get_or_create(&OfProvider { provider })
            .observe(took.as_secs_f64());
    }

    /// A provider failed.
    pub(super) fn failed(&self, provider: &str, reason: Reason) {
        let failure = failure(&self.name(provider), reason);
        self.failures.get_or_create(&failure).inc();
    }

    /// A user gets no servers of a provider.
    pub(super) fn left_out(&self, provider: &str) {
        let provider = self.name(provider);
        self.left_out.get_or_create(&OfProvider { provider }).inc();
    }

    /// The label of a provider.
    fn name(&self, provider: &str) -> String {
        let mut named = self.named.lock();
        if !named.contains(provider) {
            if named.len() >= MOST_PROVIDERS {
                return OTHERS.to_owned();
            }
            named.insert(provider.to_owned());
        }
        provider.to_owned()
    }
}

impl Reason {
    const ALL: [Self; 6] = [
        Self::Secret,
        Self::Unreachable,
        Self::Timeout,
        Self::Status,
        Self::Answer,
        Self::NoServer,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::Answer => "answer",
            Self::NoServer => "no_server",
        }
    }
}

fn failure(provider: &str, reason: Reason) -> OfFailure {
    OfFailure {
        provider: provider.to_owned(),
        reason: reason.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded_and_series_begin_at_zero() {
        let metrics = Metrics::new();
        let ice = IceMetrics::register(&metrics);
        for number in 0..MOST_PROVIDERS + 3 {
            ice.expect(&format!("p{number}"));
            ice.failed(&format!("p{number}"), Reason::Status);
        }
        let text = metrics.encode();
        let line = |line: &str| text.lines().any(|other| other == line);
        assert!(line(
            "berth_ice_failures_total{provider=\"p0\",reason=\"timeout\"} 0"
        ));
        assert!(line(
            "berth_ice_failures_total{provider=\"p63\",reason=\"status\"} 1"
        ));
        assert!(line(
            "berth_ice_failures_total{provider=\"other\",reason=\"status\"} 3"
        ));
        assert!(line("berth_ice_left_out_total{provider=\"p1\"} 0"));
        assert!(!text.contains("\"p64\""));
    }
}
