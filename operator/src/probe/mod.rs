//! Whether the servers of each TurnConfig answer: once per interval they are asked for a STUN binding.
//!
//! A reconcile never waits for a server. The prober asks and keeps the last result; when that differs from the one before, the
//! TurnConfig is put into the queue. What is seen from the cluster may differ from what players see: it is no part of readiness.

mod binding;
mod servers;

#[cfg(test)]
mod tests;

pub use binding::ProbeError;
pub use servers::Reach;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_crds::settings::{IceUrl, ObjectName, TurnSettings};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::cluster::{Cluster, name_of};
use servers::Servers;

/// How often it is looked which TurnConfigs are due.
const TICK: Duration = Duration::from_millis(500);
/// TurnConfigs whose servers are asked at the same time, and servers of one.
const CONFIGS_AT_A_TIME: usize = 8;
const SERVERS_AT_A_TIME: usize = 4;

/// Asks a server whether it is there.
pub trait ServerProbe: Send + Sync + 'static {
    /// Asks one server; ends within a few seconds.
    fn ask(&self, url: IceUrl) -> BoxFuture<'static, Result<(), ProbeError>>;
}

/// Asks by a STUN binding.
#[derive(Clone, Copy, Debug, Default)]
pub struct BindingProbe;

impl ServerProbe for BindingProbe {
    fn ask(&self, url: IceUrl) -> BoxFuture<'static, Result<(), ProbeError>> {
        async move { binding::ask(&url).await }.boxed()
    }
}

/// Asks the servers of all TurnConfigs.
pub(crate) struct Prober {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) board: Arc<Board<Reach>>,
    pub(crate) probe: Arc<dyn ServerProbe>,
    /// How often each server is asked; zero: never.
    pub(crate) interval: Duration,
}

impl Prober {
    /// Asks until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        if self.interval.is_zero() {
            stop.cancelled().await;
            return;
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut due_at = HashMap::new();
        let mut asking = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            for (name, servers) in self.due(&mut due_at, Instant::now()) {
                while asking.len() >= CONFIGS_AT_A_TIME {
                    asking.join_next().await;
                }
                let (cluster, board) = (Arc::clone(&self.cluster), Arc::clone(&self.board));
                let probe = Arc::clone(&self.probe);
                asking.spawn(async move {
                    let reach = ask_all(probe.as_ref(), servers).await;
                    if board.put(&name, &reach) {
                        tell(&name, &reach);
                        cluster.turn_configs.queue.push(name);
                    }
                });
            }
            while asking.try_join_next().is_some() {}
        }
    }

    /// The TurnConfigs that are due at `now`: after each interval, and when their servers are others than before.
    fn due(
        &self,
        due_at: &mut HashMap<ObjectName, (Servers, Instant)>,
        now: Instant,
    ) -> Vec<(ObjectName, Servers)> {
        let configs: HashMap<ObjectName, Servers> = self
            .cluster
            .turn_configs
            .all()
            .into_iter()
            .filter_map(|config| {
                let settings = TurnSettings::try_from(&*config).ok()?;
                Some((name_of(&*config), Servers::of(&settings)))
            })
            .collect();
        due_at.retain(|name, _| configs.contains_key(name));
        self.board.retain(|name| configs.contains_key(name));
        let is_due = |name: &ObjectName, servers: &Servers| {
            due_at
                .get(name)
                .is_none_or(|(before, at)| before != servers || *at <= now)
        };
        let due: Vec<_> = configs
            .into_iter()
            .filter(|(name, servers)| is_due(name, servers))
            .collect();
        for (name, servers) in &due {
            due_at.insert(name.clone(), (servers.clone(), now + self.interval));
        }
        due
    }
}

async fn ask_all(probe: &dyn ServerProbe, servers: Servers) -> Reach {
    let mut reach = Reach {
        left_out: servers.left_out,
        ..Reach::default()
    };
    let answers = futures::stream::iter(servers.asked).map(|url| {
        let answer = probe.ask(url.clone());
        async move { (url, answer.await) }
    });
    let mut answers = answers.buffer_unordered(SERVERS_AT_A_TIME);
    while let Some((url, answer)) = answers.next().await {
        reach.note(&url, answer);
    }
    reach
}

fn tell(name: &ObjectName, reach: &Reach) {
    if reach.silent.is_empty() {
        tracing::info!(%name, servers = reach.text(), "ICE servers answer");
    } else {
        tracing::warn!(%name, servers = reach.text(), "ICE servers do not answer");
    }
}
