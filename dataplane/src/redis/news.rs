//! What the connections of a link tell its other parts.

use std::sync::atomic::{AtomicU64, Ordering};

use berth_crds::settings::RedisAddress;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::info;

use super::metrics::RedisMetrics;

/// News of one link.
pub(super) struct News {
    reconnects: AtomicU64,
    master_changes: AtomicU64,
    metrics: RedisMetrics,
    /// Counts the servers that turned out to be replicas: no connection to them is worth keeping, though they answer.
    demotions: watch::Sender<u64>,
    /// The server that takes the commands.
    master: Mutex<Option<RedisAddress>>,
    /// Whether the nodes of a Redis Cluster know sharded pub/sub.
    sharded: Mutex<Option<bool>>,
    /// Last failure to connect, for `/statusz`.
    last_error: Mutex<Option<String>>,
}

impl News {
    pub(super) fn new(metrics: RedisMetrics) -> Self {
        Self {
            reconnects: AtomicU64::new(0),
            master_changes: AtomicU64::new(0),
            metrics,
            demotions: watch::Sender::new(0),
            master: Mutex::new(None),
            sharded: Mutex::new(None),
            last_error: Mutex::new(None),
        }
    }

    /// A connection stands: for the first time, or `again`.
    pub(super) fn connected(&self, again: bool) {
        self.forget_failure();
        if again {
            self.reconnects.fetch_add(1, Ordering::Relaxed);
            self.metrics.reconnects.inc();
        }
    }

    /// What failed last is no matter any more.
    pub(super) fn forget_failure(&self) {
        *self.last_error.lock() = None;
    }

    pub(super) fn failed(&self, error: String) {
        *self.last_error.lock() = Some(error);
    }

    /// Commands go to this server from now on.
    pub(super) fn commands_go_to(&self, address: &RedisAddress) {
        let before = self.master.lock().replace(address.clone());
        if let Some(before) = before
            && before != *address
        {
            self.master_changes.fetch_add(1, Ordering::Relaxed);
            self.metrics.master_changes.inc();
            info!(from = %before, to = %address, "another redis server is the master now");
        }
    }

    /// A node of a Redis Cluster said whether it knows sharded pub/sub.
    pub(super) fn shards(&self, sharded: bool) {
        *self.sharded.lock() = Some(sharded);
    }

    pub(super) fn sharded(&self) -> Option<bool> {
        *self.sharded.lock()
    }

    /// Tells all connections to the server that it is a replica now.
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

    pub(super) fn interruptions(&self) -> u64 {
        self.reconnects() + self.master_changes.load(Ordering::Relaxed)
    }

    pub(super) fn master(&self) -> Option<RedisAddress> {
        self.master.lock().clone()
    }

    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }
}
