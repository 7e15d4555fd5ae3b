//! A line to each node that owns slots in use.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::redis::FromRedisValue;
use ::redis::cluster_routing::Slot;
use berth_crds::settings::RedisAddress;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::slots::SlotTable;
use super::topology::Topology;
use crate::breaker::{BreakerSettings, BreakerState};
use crate::redis::error::RedisError;
use crate::redis::gate::Gauges;
use crate::redis::keeper::Keeper;
use crate::redis::line::{Limits, Line};
use crate::redis::news::News;
use crate::redis::request::Request;
use crate::redis::target::Target;

/// How often gauges follow the state of the home line, whose breaker may change without its health.
const GAUGES: Duration = Duration::from_secs(1);

/// The lines of a link to a Redis Cluster.
///
/// The *home* of a link is the node that owns the slot of its scripts. The health of the link is that of its home: a link
/// whose home answers does most of its work, whatever other nodes do.
pub(in crate::redis) struct Lines {
    topology: Arc<Topology>,
    limits: Arc<Limits>,
    news: Arc<News>,
    /// At most one for each node that owns slots.
    nodes: Mutex<HashMap<RedisAddress, NodeLine>>,
    /// Slot of the last command that had one.
    home: Mutex<Option<Slot>>,
    home_changed: Notify,
    healthy: watch::Sender<bool>,
    gauges: Gauges,
    breaker: Mutex<BreakerSettings>,
    stop: CancellationToken,
}

struct NodeLine {
    line: Arc<Line>,
    /// Ends the task that keeps the line.
    _running: DropGuard,
}

/// What `/statusz` shows of a node.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeHealth {
    /// Host and port.
    pub address: String,
    /// It answered the last ping.
    pub up: bool,
    /// State of its circuit breaker.
    pub breaker: BreakerState,
}

impl Lines {
    /// No lines yet; they end with `stop`.
    pub(in crate::redis) fn new(
        topology: Arc<Topology>,
        limits: Arc<Limits>,
        news: Arc<News>,
        gauges: Gauges,
        stop: CancellationToken,
    ) -> Self {
        Self {
            topology,
            breaker: Mutex::new(limits.options.breaker),
            limits,
            news,
            nodes: Mutex::default(),
            home: Mutex::new(None),
            home_changed: Notify::new(),
            healthy: watch::Sender::new(false),
            gauges,
            stop,
        }
    }

    /// Sends a request to the owner of its slot, and once more to the new owner if it has just changed.
    pub(in crate::redis) async fn call<T: FromRedisValue>(
        &self,
        request: &Request<'_>,
    ) -> Result<T, RedisError> {
        let slot = request.slot();
        if let Some(slot) = slot
            && self.home.lock().replace(slot) != Some(slot)
        {
            self.home_changed.notify_one();
        }
        let result = self.try_call(slot, request).await;
        if result.as_ref().is_err_and(RedisError::is_redirect) {
            return self.try_call(slot, request).await;
        }
        result
    }

    async fn try_call<T: FromRedisValue>(
        &self,
        slot: Option<Slot>,
        request: &Request<'_>,
    ) -> Result<T, RedisError> {
        let address = self.address(slot).await?;
        let result = self.line(&address).call(request).await;
        if let Err(error) = &result {
            self.learn(error, &address);
        }
        result
    }

    /// The owner of a slot, or any node.
    async fn address(&self, slot: Option<Slot>) -> Result<RedisAddress, RedisError> {
        let table = self.known().await;
        let address = table.as_ref().and_then(|table| match slot {
            Some(slot) => table.owner(slot),
            None => self.home_address(table).or_else(|| table.masters().first()),
        });
        self.owned(address).cloned()
    }

    /// Who owns what, after a short wait if nothing is known yet.
    pub(super) async fn known(&self) -> Option<Arc<SlotTable>> {
        self.topology.known().await
    }

    /// An owner, or why there is none.
    pub(super) fn owned<'a>(&self, owner: Option<&'a RedisAddress>) -> Result<&'a RedisAddress, RedisError> {
        owner.ok_or_else(|| {
            self.topology.doubt();
            self.limits.counted(RedisError::Disconnected)
        })
    }

    fn home_address<'a>(&self, table: &'a SlotTable) -> Option<&'a RedisAddress> {
        table.owner((*self.home.lock())?)
    }

    /// Draws conclusions from the answer of a node.
    pub(super) fn learn(&self, error: &RedisError, asked: &RedisAddress) {
        match error {
            RedisError::Server(error) if error.redirect_node().is_some() => {
                self.topology.learn(error, asked);
            }
            // Refused here: nothing new.
            RedisError::Unavailable => {}
            error if error.is_outage() => self.topology.doubt(),
            _ => {}
        }
    }

    /// The line to a node, made if there is none.
    pub(super) fn line(&self, address: &RedisAddress) -> Arc<Line> {
        let mut lines = self.nodes.lock();
        if let Some(node) = lines.get(address) {
            return Arc::clone(&node.line);
        }
        let line = Arc::new(Line::new(Arc::clone(&self.limits), Gauges::default()));
        line.gate.set_breaker(*self.breaker.lock());
        let target = Target::Node(Arc::clone(&self.topology), address.clone());
        let keeper = Keeper::new("commands", target, &self.limits.options, Arc::clone(&self.news));
        let running = self.stop.child_token();
        tokio::spawn(
            running
                .clone()
                .run_until_cancelled_owned(Arc::clone(&line).keep(keeper)),
        );
        let node = NodeLine {
            line: Arc::clone(&line),
            _running: running.drop_guard(),
        };
        lines.insert(address.clone(), node);
        line
    }

    /// Follows the topology and the home, for ever: ends lines to nodes that own nothing any more, and tells the health.
    pub(in crate::redis) async fn follow(self: Arc<Self>) {
        let mut table = self.topology.watch();
        loop {
            let known = table.borrow_and_update().clone();
            if self.end_unused(&known) {
                self.news.forget_failure();
            }
            if let Some(home) = self.home_address(&known) {
                self.news.commands_go_to(home);
                self.line(home);
            }
            self.tell();
            let home = self.home_line();
            let mut healthy = home.as_ref().map(|line| line.gate.watch_healthy());
            tokio::select! {
                _ = table.changed() => {}
                () = self.home_changed.notified() => {}
                () = changed(&mut healthy) => {}
                () = sleep(GAUGES) => {}
            }
        }
    }

    /// Ends lines to nodes that own nothing; whether there were any.
    fn end_unused(&self, known: &SlotTable) -> bool {
        let mut lines = self.nodes.lock();
        let before = lines.len();
        lines.retain(|address, _| known.masters().contains(address));
        lines.len() < before
    }

    fn tell(&self) {
        let up = self.is_up();
        let open = self.breaker_state() != BreakerState::Closed;
        self.gauges.up.set(i64::from(up));
        self.gauges.breaker_open.set(i64::from(open));
        let healthy = up && !open;
        self.healthy
            .send_if_modified(|value| std::mem::replace(value, healthy) != healthy);
    }

    /// The line to the home, if there is one.
    fn home_line(&self) -> Option<Arc<Line>> {
        let table = self.topology.table();
        let lines = self.nodes.lock();
        Some(Arc::clone(&lines.get(self.home_address(&table)?)?.line))
    }

    pub(in crate::redis) fn is_up(&self) -> bool {
        match self.home_line() {
            Some(line) => line.gate.is_up(),
            // No command has shown yet where the home is.
            None => self.home.lock().is_none() && self.topology.is_answering(),
        }
    }

    pub(in crate::redis) fn breaker_state(&self) -> BreakerState {
        self.home_line()
            .map_or(BreakerState::Closed, |line| line.gate.breaker_state())
    }

    pub(in crate::redis) fn set_breaker(&self, settings: BreakerSettings) {
        *self.breaker.lock() = settings;
        for node in self.nodes.lock().values() {
            node.line.gate.set_breaker(settings);
        }
    }

    pub(in crate::redis) fn watch_healthy(&self) -> watch::Receiver<bool> {
        self.healthy.subscribe()
    }

    /// All nodes that are used, by address.
    pub(in crate::redis) fn nodes(&self) -> Vec<NodeHealth> {
        let lines = self.nodes.lock();
        let mut nodes: Vec<NodeHealth> = lines
            .iter()
            .map(|(address, node)| NodeHealth {
                address: address.to_string(),
                up: node.line.gate.is_up(),
                breaker: node.line.gate.breaker_state(),
            })
            .collect();
        nodes.sort_unstable_by(|a, b| a.address.cmp(&b.address));
        nodes
    }
}

async fn changed(healthy: &mut Option<watch::Receiver<bool>>) {
    match healthy {
        // The line that tells is held while this waits.
        Some(healthy) => {
            let _ = healthy.changed().await;
        }
        None => std::future::pending().await,
    }
}
