//! Metrics. The names that the Node services had are kept, the others are ours.

mod labels;
mod live;

use std::sync::Arc;

use berth_dataplane::redis::RedisLink;
use berth_dataplane::telemetry::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::close::Close;

use labels::{
    CloseLabel, DropLabel, EndingLabel, JoinLabel, PathLabel, Refusal, RefusalLabel, ResumeLabel, SyncLabel,
};

pub(crate) use labels::{DropReason, Ending, JoinResult, Path, ResumeResult, SyncResult};
pub(crate) use live::LiveCollector;

/// Upper bounds of the fan-out times in seconds.
const FANOUT_BUCKETS: [f64; 9] = [
    0.000_05, 0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05,
];
/// Upper bounds of times between instances and with Redis, in seconds.
const REMOTE_BUCKETS: [f64; 11] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];

/// Handles of all metrics.
#[derive(Debug)]
pub(crate) struct SignalingMetrics {
    /// Peers that sit in a room.
    pub(crate) active_connections: Gauge,
    /// Rooms with a peer on this instance.
    pub(crate) local_rooms: Gauge,
    /// Messages of peers that were relayed.
    pub(crate) messages_forwarded: Counter,
    /// Messages that were no signaling messages.
    pub(crate) schema_rejections: Counter,
    /// Messages over a rate limit.
    pub(crate) rate_limit_drops: Counter,
    /// Connections closed because too much waited for their receiver.
    pub(crate) backpressure_closes: Counter,
    /// Time to give a message to all receivers of this instance, seconds.
    pub(crate) fanout_seconds: Histogram,
    /// Messages given to a socket or to an instance.
    pub(crate) relayed: Family<PathLabel, Counter>,
    /// Time from the publishing instance to the receiver's socket, seconds.
    pub(crate) relay_lag_seconds: Histogram,
    /// Messages that were dropped.
    pub(crate) drops: Family<DropLabel, Counter>,
    /// Connections closed by the server.
    pub(crate) closes: Family<CloseLabel, Counter>,
    /// Connections of peers with a seat that ended.
    pub(crate) endings: Family<EndingLabel, Counter>,
    /// Connections that got no seat.
    pub(crate) refusals: Family<RefusalLabel, Counter>,
    /// Attempts to join.
    pub(crate) joins: Family<JoinLabel, Counter>,
    /// Time to join, seconds.
    pub(crate) join_seconds: Histogram,
    /// Attempts to resume.
    pub(crate) resumes: Family<ResumeLabel, Counter>,
    /// Messages that were kept for a peer that had not come yet.
    pub(crate) early_buffered: Counter,
    /// Seats of dead instances that this one took away.
    pub(crate) seats_reaped: Counter,
    /// Rounds in which instances bring the limits of client addresses into line.
    pub(crate) limit_syncs: Family<SyncLabel, Counter>,
    relayed_local: Counter,
    relayed_remote: Counter,
}

impl SignalingMetrics {
    /// Makes the metrics and registers them, with those of the link under the names of the Node services.
    pub(crate) fn register(metrics: &Metrics, link: Option<&RedisLink>) -> Arc<Self> {
        let this = Self::new();
        this.start_at_zero();
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("signaling");
            this.register_kept(registry);
            this.register_own(registry);
            if let Some(link) = link {
                let redis = link.metrics();
                registry.register("redis_up", "Whether Redis answers", redis.up.clone());
                registry.register(
                    "circuit_breaker_open",
                    "Whether Redis is left alone",
                    redis.breaker_open.clone(),
                );
                registry.register(
                    "redis_cmd_latency_seconds",
                    "Time of a Redis command",
                    redis.command_seconds.clone(),
                );
            }
        });
        Arc::new(this)
    }

    fn new() -> Self {
        let relayed = Family::<PathLabel, Counter>::default();
        Self {
            relayed_local: relayed.get_or_create_owned(&PathLabel { path: Path::Local }),
            relayed_remote: relayed.get_or_create_owned(&PathLabel { path: Path::Remote }),
            relayed,
            active_connections: Gauge::default(),
            local_rooms: Gauge::default(),
            messages_forwarded: Counter::default(),
            schema_rejections: Counter::default(),
            rate_limit_drops: Counter::default(),
            backpressure_closes: Counter::default(),
            fanout_seconds: Histogram::new(FANOUT_BUCKETS),
            relay_lag_seconds: Histogram::new(REMOTE_BUCKETS),
            drops: Family::default(),
            closes: Family::default(),
            endings: Family::default(),
            refusals: Family::default(),
            resumes: Family::default(),
            limit_syncs: Family::default(),
            joins: Family::default(),
            join_seconds: Histogram::new(REMOTE_BUCKETS),
            early_buffered: Counter::default(),
            seats_reaped: Counter::default(),
        }
    }

    /// Shows series before their first event, so that their rise is seen.
    fn start_at_zero(&self) {
        for reason in DropReason::ALL {
            drop(self.drops.get_or_create(&DropLabel { reason: *reason }));
        }
        for path in Path::ALL {
            drop(self.relayed.get_or_create(&PathLabel { path: *path }));
        }
        for result in JoinResult::ALL {
            drop(self.joins.get_or_create(&JoinLabel { result: *result }));
        }
        for result in ResumeResult::ALL {
            drop(self.resumes.get_or_create(&ResumeLabel { result: *result }));
        }
        for by in Ending::ALL {
            drop(self.endings.get_or_create(&EndingLabel { by: *by }));
        }
        for result in SyncResult::ALL {
            drop(self.limit_syncs.get_or_create(&SyncLabel { result: *result }));
        }
        for close in Close::ALL {
            drop(self.closes.get_or_create(&CloseLabel { code: close.code() }));
            if let Some(reason) = Refusal::of(close) {
                drop(self.refusals.get_or_create(&RefusalLabel { reason }));
            }
        }
    }

    /// Names that the Node services had.
    fn register_kept(&self, registry: &mut Registry) {
        registry.register(
            "active_connections",
            "Peers in rooms",
            self.active_connections.clone(),
        );
        registry.register(
            "local_rooms",
            "Rooms with a peer on this instance",
            self.local_rooms.clone(),
        );
        let help = "Messages of peers that were relayed";
        registry.register("messages_forwarded", help, self.messages_forwarded.clone());
        let help = "Messages that were JSON but no signaling messages";
        registry.register("schema_rejections", help, self.schema_rejections.clone());
        registry.register(
            "rate_limit_drops",
            "Messages over a rate limit",
            self.rate_limit_drops.clone(),
        );
        let help = "Connections closed because too much waited for their receiver";
        registry.register("backpressure_closes", help, self.backpressure_closes.clone());
        let help = "Time to give a message to all receivers on this instance";
        registry.register("fanout_latency_seconds", help, self.fanout_seconds.clone());
    }

    fn register_own(&self, registry: &mut Registry) {
        let help = "Messages given to a socket (local) or to an instance (remote)";
        registry.register("relayed", help, self.relayed.clone());
        let help = "Time from the publishing instance to the socket of the receiver";
        registry.register("relay_lag_seconds", help, self.relay_lag_seconds.clone());
        registry.register(
            "dropped",
            "Messages that were dropped, by reason",
            self.drops.clone(),
        );
        let help = "Connections closed by the server, by close code";
        registry.register("closes", help, self.closes.clone());
        let help = "Connections of peers with a seat that ended, by who or what ended them";
        registry.register("endings", help, self.endings.clone());
        let help = "Connections that got no seat, by reason";
        registry.register("refusals", help, self.refusals.clone());
        registry.register("joins", "Attempts to join a room, by result", self.joins.clone());
        registry.register("join_seconds", "Time to join a room", self.join_seconds.clone());
        let help = "Attempts of a peer to take its old seat again, by result";
        registry.register("resumes", help, self.resumes.clone());
        let help = "Messages kept for a peer that had not come yet";
        registry.register("early_buffered", help, self.early_buffered.clone());
        let help = "Seats of dead instances taken away by this one";
        registry.register("seats_reaped", help, self.seats_reaped.clone());
        let help =
            "Rounds in which this instance brought the limits of client addresses into line with the others";
        registry.register("limit_syncs", help, self.limit_syncs.clone());
    }

    /// Counts dropped messages.
    pub(crate) fn dropped(&self, reason: DropReason, messages: usize) {
        self.drops
            .get_or_create(&DropLabel { reason })
            .inc_by(messages as u64);
        if matches!(
            reason,
            DropReason::ClientRate | DropReason::IpRate | DropReason::RoomRate
        ) {
            self.rate_limit_drops.inc_by(messages as u64);
        }
    }

    /// Counts a message given to a socket or to an instance.
    pub(crate) fn relayed(&self, path: Path) {
        match path {
            Path::Local => self.relayed_local.inc(),
            Path::Remote => self.relayed_remote.inc(),
        };
    }

    /// Counts a connection that the server closed.
    pub(crate) fn closed(&self, close: Close) {
        self.closes
            .get_or_create(&CloseLabel { code: close.code() })
            .inc();
        if close == Close::Overloaded {
            self.backpressure_closes.inc();
        }
    }

    /// Counts a connection with a seat that ended.
    pub(crate) fn ended(&self, by: Ending) {
        self.endings.get_or_create(&EndingLabel { by }).inc();
    }

    /// Counts a connection that resumes (`resumes`) an earlier one, whose seat was still there (`held`).
    pub(crate) fn resumed(&self, resumes: bool, held: bool) {
        let result = match (resumes, held) {
            (false, _) => return,
            (true, true) => ResumeResult::Resumed,
            (true, false) => ResumeResult::Expired,
        };
        self.resumes.get_or_create(&ResumeLabel { result }).inc();
    }

    /// Counts a connection that asked for a seat which is not there, and may have no other.
    pub(crate) fn resume_refused(&self) {
        let result = ResumeResult::Unknown;
        self.resumes.get_or_create(&ResumeLabel { result }).inc();
    }

    /// Counts a connection that got no seat.
    pub(crate) fn refused(&self, close: Close) {
        if let Some(reason) = Refusal::of(close) {
            self.refusals.get_or_create(&RefusalLabel { reason }).inc();
        }
    }

    /// Counts a round in which the limits of client addresses were brought into line.
    pub(crate) fn limits_synced(&self, result: SyncResult) {
        self.limit_syncs.get_or_create(&SyncLabel { result }).inc();
    }

    /// Counts an attempt to join.
    pub(crate) fn joined(&self, result: JoinResult) {
        self.joins.get_or_create(&JoinLabel { result }).inc();
    }
}

/// Counts for as long as it lives.
#[derive(Debug)]
pub(crate) struct GaugeGuard(Gauge);

impl GaugeGuard {
    /// Adds one until it is dropped.
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
