//! Follows who owns which slot: asks any node, seldom while all is well and often while something does not fit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::cluster_routing::Slot;
use ::redis::{AsyncConnectionConfig, Value, cmd};
use berth_crds::settings::RedisAddress;
use futures::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::slots::{SlotTable, SlotsError, moved};
use crate::redis::endpoint::{EndpointError, RedisEndpoint};
use crate::redis::news::News;
use crate::telemetry::with_causes;

/// Between two looks while all is well.
const CALM: Duration = Duration::from_secs(10);
/// Between two looks while something does not fit.
const ALERT: Duration = Duration::from_secs(1);
/// Before the first look after all was well: others hear of a change a little later.
const SHORTEST: Duration = Duration::from_millis(100);
/// How long a doubt lasts.
const DOUBT: Duration = Duration::from_secs(5);

/// What is known of a Redis Cluster.
pub(in crate::redis) struct Topology {
    endpoint: RedisEndpoint,
    config: AsyncConnectionConfig,
    /// Longest wait for a command that comes before the table.
    patience: Duration,
    news: Arc<News>,
    /// Empty until a node has answered.
    table: watch::Sender<Arc<SlotTable>>,
    /// A node answered the last look.
    answering: AtomicBool,
    doubted: Notify,
}

/// A node that answered, and the connection that it answered on.
struct Asked {
    address: RedisAddress,
    connection: MultiplexedConnection,
}

/// Why a node told no table.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Redis(#[from] ::redis::RedisError),
    #[error(transparent)]
    Slots(#[from] SlotsError),
    #[error("the URL names no node")]
    NoNode,
}

impl Topology {
    pub(in crate::redis) fn new(
        endpoint: RedisEndpoint,
        config: AsyncConnectionConfig,
        patience: Duration,
        news: Arc<News>,
    ) -> Self {
        Self {
            endpoint,
            config,
            patience,
            news,
            table: watch::Sender::new(Arc::default()),
            answering: AtomicBool::new(false),
            doubted: Notify::new(),
        }
    }

    pub(in crate::redis) fn endpoint(&self) -> &RedisEndpoint {
        &self.endpoint
    }

    /// What is known now.
    pub(in crate::redis) fn table(&self) -> Arc<SlotTable> {
        self.table.borrow().clone()
    }

    /// What is known now, or soon if nothing is known yet.
    pub(super) async fn known(&self) -> Option<Arc<SlotTable>> {
        let table = self.table();
        if !table.masters().is_empty() {
            return Some(table);
        }
        let mut changes = self.table.subscribe();
        let known = changes.wait_for(|table| !table.masters().is_empty());
        Some(timeout(self.patience, known).await.ok()?.ok()?.clone())
    }

    /// Follows what is known.
    pub(in crate::redis) fn watch(&self) -> watch::Receiver<Arc<SlotTable>> {
        self.table.subscribe()
    }

    /// Whether a node answered the last look.
    pub(super) fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Relaxed)
    }

    /// Something does not fit: look again soon, and for a while.
    pub(in crate::redis) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Takes the new owner that a `MOVED` of the node at `asked` names, and looks at the other slots soon.
    pub(in crate::redis) fn learn(&self, error: &::redis::RedisError, asked: &RedisAddress) {
        if let Some((slot, owner)) = moved(error, asked) {
            self.set_owner(slot, owner);
        }
        self.doubt();
    }

    fn set_owner(&self, slot: Slot, owner: RedisAddress) {
        self.table.send_if_modified(|table| {
            if table.owner(slot) == Some(&owner) {
                return false;
            }
            *table = Arc::new(table.with_owner(slot, owner));
            true
        });
    }

    /// Looks for ever.
    pub(in crate::redis) async fn run(self: Arc<Self>) {
        let mut asked = None;
        let mut turn = 0;
        let mut failures: u32 = 0;
        let mut doubt_until = Instant::now();
        loop {
            match self.look(&mut asked, turn).await {
                Ok(table) => {
                    if failures > 0 {
                        self.news.forget_failure();
                    }
                    failures = 0;
                    self.answering.store(true, Ordering::Relaxed);
                    self.adopt(table);
                }
                Err(error) => {
                    self.answering.store(false, Ordering::Relaxed);
                    self.failed(&error, failures);
                    failures = failures.saturating_add(1);
                }
            }
            if failures == 0 && doubt_until < Instant::now() {
                tokio::select! {
                    () = sleep(CALM) => continue,
                    () = self.doubted.notified() => {}
                }
                doubt_until = Instant::now() + DOUBT;
                sleep(SHORTEST).await;
            } else {
                sleep(ALERT).await;
                if self.doubted.notified().now_or_never().is_some() {
                    doubt_until = Instant::now() + DOUBT;
                }
            }
            // A node that is cut off from the others believes in what was: another one is asked each time.
            turn += 1;
            asked = None;
        }
    }

    /// Asks the node that answered last, or else the first that answers, beginning with number `turn`.
    async fn look(&self, asked: &mut Option<Asked>, turn: usize) -> Result<SlotTable, LookError> {
        if let Some(last) = asked {
            if let Ok(table) = last.ask().await {
                return Ok(table);
            }
            *asked = None;
        }
        let access = self.endpoint.access().await?;
        let mut nodes = self.table().masters().to_vec();
        for seed in &access.url().addresses {
            if !nodes.contains(seed) {
                nodes.push(seed.clone());
            }
        }
        let first = turn % nodes.len().max(1);
        nodes.rotate_left(first);
        let mut last = LookError::NoNode;
        for address in nodes {
            match self.ask(access.server(&address)?, address).await {
                Ok((node, table)) => {
                    *asked = Some(node);
                    return Ok(table);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask(
        &self,
        client: ::redis::Client,
        address: RedisAddress,
    ) -> Result<(Asked, SlotTable), LookError> {
        let connection = client
            .get_multiplexed_async_connection_with_config(&self.config)
            .await?;
        let mut node = Asked { address, connection };
        let table = node.ask().await?;
        Ok((node, table))
    }

    fn adopt(&self, table: SlotTable) {
        self.table.send_if_modified(|known| {
            if **known == table {
                return false;
            }
            let masters: Vec<String> = table.masters().iter().map(ToString::to_string).collect();
            info!(
                ?masters,
                "the slots of the redis cluster have other owners than known"
            );
            *known = Arc::new(table);
            true
        });
    }

    /// Warns about the first failure and then each time the number of failures has doubled.
    fn failed(&self, error: &LookError, failures: u32) {
        let text = with_causes(error);
        if failures == 0 || failures.is_power_of_two() {
            warn!(
                endpoint = %self.endpoint,
                failures,
                error = text,
                "no node of the redis cluster tells who owns its slots"
            );
        }
        self.news.failed(text);
    }
}

impl Asked {
    async fn ask(&mut self) -> Result<SlotTable, LookError> {
        // Not CLUSTER SHARDS, which is new in Redis 7.
        let answer: Value = cmd("CLUSTER")
            .arg("SLOTS")
            .query_async(&mut self.connection)
            .await?;
        Ok(SlotTable::parse(answer, &self.address)?)
    }
}
