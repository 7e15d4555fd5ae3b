//! Live counts of the pools: once per pool and interval, one ready matchmaker pod is asked.
//!
//! A reconcile never waits for a pod. A poller asks and keeps the last reading; when that differs from the one
//! before, the pool is put into the queue, so a pool whose counts stand still costs the API server nothing.

mod reader;

#[cfg(test)]
mod tests;

pub use reader::{CountsError, CountsReader, HttpCounts, PoolCounts, Region};

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_crds::settings::{ObjectName, PoolSettings};
use berth_crds::{HostPool, field};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::cluster::{Cluster, Service, name_of};
use crate::status::Occupation;

/// How often it is looked which pools are due.
const TICK: Duration = Duration::from_millis(500);
/// Most pods that are asked at the same time.
const MOST_AT_A_TIME: usize = 32;
/// Most pods of one pool that are asked in one interval: the first that answers ends it.
const MOST_TRIES: usize = 3;

/// Asks for counts.
pub(crate) struct Poller {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) board: Arc<Board<Occupation>>,
    pub(crate) reader: Arc<dyn CountsReader>,
}

/// A pool that is due.
struct Due {
    pool: ObjectName,
    pods: Vec<SocketAddr>,
}

impl Poller {
    /// Asks until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut due_at = HashMap::new();
        let mut asking = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            for due in self.due(&mut due_at, Instant::now()) {
                while asking.len() >= MOST_AT_A_TIME {
                    asking.join_next().await;
                }
                let (cluster, board) = (Arc::clone(&self.cluster), Arc::clone(&self.board));
                let reader = Arc::clone(&self.reader);
                asking.spawn(async move {
                    let reading = ask(reader.as_ref(), &due).await;
                    if board.put(&due.pool, &reading) {
                        cluster.host_pools.queue.push(due.pool);
                    }
                });
            }
            while asking.try_join_next().is_some() {}
        }
    }

    /// The pools that are due at `now`, and the addresses of their pods. Pools that are gone are forgotten.
    fn due(&self, due_at: &mut HashMap<ObjectName, Instant>, now: Instant) -> Vec<Due> {
        let pools: HashMap<_, _> = self
            .cluster
            .host_pools
            .all()
            .into_iter()
            .map(|pool| (name_of(&*pool), pool))
            .collect();
        due_at.retain(|name, _| pools.contains_key(name));
        self.board.retain(|name| pools.contains_key(name));
        let mut due = Vec::new();
        for (name, pool) in pools {
            if due_at.get(&name).is_some_and(|at| *at > now) {
                continue;
            }
            let Some((interval, port)) = interval_and_port(&pool) else {
                continue;
            };
            due_at.insert(name.clone(), now + interval);
            let pods = self
                .cluster
                .endpoints
                .ready(&Service::Matchmaker(name.clone()))
                .into_iter()
                .map(|address| SocketAddr::new(address, port))
                .collect();
            due.push(Due { pool: name, pods });
        }
        due
    }
}

/// How often `pool` is asked, and at which port; `None` when its spec is invalid.
fn interval_and_port(pool: &HostPool) -> Option<(Duration, u16)> {
    let settings = PoolSettings::try_from(pool).ok()?;
    Some((settings.status_interval, settings.internal_port))
}

/// Asks the pods in their order until one answers.
async fn ask(reader: &dyn CountsReader, due: &Due) -> Occupation {
    for pod in due.pods.iter().take(MOST_TRIES) {
        match reader.read(*pod).await {
            Ok(counts) if counts.pool == due.pool.to_string() => {
                return Occupation::Counted {
                    hosts: counts.hosts,
                    slots: counts.slots,
                    regions: counts.regions(),
                    demand: counts.demand(),
                };
            }
            // An address that now belongs to a pod of another pool.
            Ok(counts) => {
                tracing::debug!({ field::POOL } = %due.pool, %pod, other = counts.pool, "a pod of another pool");
            }
            Err(error) => tracing::debug!({ field::POOL } = %due.pool, %pod, %error, "cannot read counts"),
        }
    }
    Occupation::Unreachable
}
