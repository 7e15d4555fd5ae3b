//! Metrics of a link.

use std::sync::atomic::AtomicU64;

use berth_crds::settings::RedisMode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::telemetry::Metrics;

/// Upper bounds in seconds: the millisecond buckets of the Node services, finer below, and up to the timeout.
const COMMAND_BUCKETS: [f64; 13] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
];

/// Handles of a link's metrics; clones share the values.
#[derive(Debug, Clone)]
pub struct RedisMetrics {
    /// 1 while Redis answers pings.
    pub up: Gauge,
    /// 1 while the circuit breaker refuses commands.
    pub breaker_open: Gauge,
    /// Time from sending a command to its answer, seconds.
    pub command_seconds: Histogram,
    /// Connections made again after a loss.
    pub reconnects: Counter,
    /// Times that another server became the master.
    pub master_changes: Counter,
    /// 1 for the kind of Redis that the link leads to.
    pub mode: Family<ModeLabels, Gauge>,
    /// Failed calls by kind.
    pub errors: Family<ErrorLabels, Counter>,
    /// Messages thrown away because a subscription's reader was too slow.
    pub lost_messages: Counter<u64, AtomicU64>,
}

/// Label of [`RedisMetrics::mode`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModeLabels {
    /// `standalone`, `sentinel` or `cluster`.
    pub mode: &'static str,
}

/// Label of [`RedisMetrics::errors`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ErrorLabels {
    /// What went wrong.
    pub kind: ErrorKind,
}

/// The variants of [`super::RedisError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Circuit open.
    Unavailable,
    /// No connection.
    Disconnected,
    /// No answer in time.
    Timeout,
    /// Connection lost before the answer.
    Broken,
    /// An answer that is an error.
    Server,
    /// An answer of an unexpected type.
    Type,
}

impl RedisMetrics {
    /// Makes the metrics and registers `berth_redis_up`, `berth_redis_breaker_open`,
    /// `berth_redis_command_seconds`, `berth_redis_reconnects_total`, `berth_redis_master_changes_total`,
    /// `berth_redis_mode`, `berth_redis_errors_total` and `berth_redis_lost_messages_total`.
    pub fn register(metrics: &Metrics) -> Self {
        let this = Self::unregistered();
        metrics.register(|registry| {
            registry.register("berth_redis_up", "Whether Redis answers", this.up.clone());
            registry.register(
                "berth_redis_breaker_open",
                "Whether the circuit breaker refuses commands",
                this.breaker_open.clone(),
            );
            registry.register(
                "berth_redis_command_seconds",
                "Time from sending a Redis command to its answer",
                this.command_seconds.clone(),
            );
            registry.register(
                "berth_redis_reconnects",
                "Redis connections made again after a loss",
                this.reconnects.clone(),
            );
            registry.register(
                "berth_redis_master_changes",
                "Times that another Redis server became the master",
                this.master_changes.clone(),
            );
            registry.register(
                "berth_redis_mode",
                "The kind of Redis that the process was pointed at",
                this.mode.clone(),
            );
            registry.register(
                "berth_redis_errors",
                "Failed Redis calls by kind",
                this.errors.clone(),
            );
            registry.register(
                "berth_redis_lost_messages",
                "Messages thrown away because the reader of a subscription was too slow",
                this.lost_messages.clone(),
            );
        });
        this
    }

    pub(super) fn tell_mode(&self, mode: RedisMode) {
        let mode = match mode {
            RedisMode::Standalone => "standalone",
            RedisMode::Sentinel => "sentinel",
            RedisMode::Cluster => "cluster",
        };
        self.mode.get_or_create(&ModeLabels { mode }).set(1);
    }

    /// Metrics that appear nowhere (tests and tools).
    pub fn unregistered() -> Self {
        let errors = Family::default();
        // Shown before the first failure, so that its rise is seen.
        for kind in ErrorKind::ALL {
            drop(errors.get_or_create(&ErrorLabels { kind }));
        }
        Self {
            up: Gauge::default(),
            breaker_open: Gauge::default(),
            command_seconds: Histogram::new(COMMAND_BUCKETS),
            reconnects: Counter::default(),
            master_changes: Counter::default(),
            mode: Family::default(),
            errors,
            lost_messages: Counter::default(),
        }
    }
}

impl ErrorKind {
    /// Every kind there is.
    pub const ALL: [Self; 6] = [
        Self::Unavailable,
        Self::Disconnected,
        Self::Timeout,
        Self::Broken,
        Self::Server,
        Self::Type,
    ];
}

impl EncodeLabelValue for ErrorKind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Unavailable => "unavailable",
            Self::Disconnected => "disconnected",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Server => "server",
            Self::Type => "type",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}
