//! What the pods of the services say of themselves: which settings they follow, and how many connections they hold.
//!
//! A reconcile never waits for a pod. A poller asks each ready pod after a change of settings, and again, less and less often,
//! only until it follows them; signaling pods besides once per `statusIntervalSeconds` for their connections, and what they say of a Redis
//! of the team's is kept. While none of them is ready, one that is not is asked for that. A resource
//! is put into the queue when what its status tells of the pods changed.

mod board;
mod reader;
mod wanted;

#[cfg(test)]
mod tests;

pub(crate) use board::Board;
pub use reader::{
    PodReader, PodReport, ReportedConnections, ReportedRedis, ReportedRefusal, ReportedSettings,
};
pub use wanted::Generations;
pub(crate) use wanted::{of_cluster, of_pool};

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_crds::settings::ObjectName;
use berth_crds::{SignalingCluster, field};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, Service, name_of};
use crate::metrics::{Kind, Metrics};

/// How often it is looked who is to be asked.
const TICK: Duration = Duration::from_millis(250);
/// Most pods that are asked at the same time.
const MOST_AT_A_TIME: usize = 32;

/// Asks pods.
pub(crate) struct Poller {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) board: Arc<Board>,
    pub(crate) reader: Arc<dyn PodReader>,
    pub(crate) metrics: Metrics,
}

impl Poller {
    /// Asks until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut asking = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            for (service, pod) in this.due(Instant::now()) {
                while asking.len() >= MOST_AT_A_TIME {
                    asking.join_next().await;
                }
                asking.spawn(Arc::clone(&this).ask(service, pod));
            }
            while asking.try_join_next().is_some() {}
        }
    }

    /// The pods to ask at `now`. Services that are gone are forgotten.
    fn due(&self, now: Instant) -> Vec<(Service, SocketAddr)> {
        let mut due = Vec::new();
        let mut exist = HashSet::new();
        let mut plan = |service: Service, wanted, port: i32, count| {
            let ready = self.cluster.endpoints.ready(&service);
            let (ask, changed) = self.board.plan(&service, wanted, &ready, count, now);
            if changed {
                self.push(&service);
            }
            let pods = ask
                .into_iter()
                .map(|address| (service.clone(), socket(address, port)));
            due.extend(pods);
            exist.insert(service);
        };
        for resource in self.cluster.signaling_clusters.all() {
            plan(
                Service::Signaling(name_of(&*resource)),
                of_cluster(&resource, &self.cluster),
                resource.spec.health_port,
                Some(interval(&resource)),
            );
        }
        for resource in self.cluster.host_pools.all() {
            plan(
                Service::Matchmaker(name_of(&*resource)),
                of_pool(&resource, &self.cluster),
                resource.spec.internal_port,
                None,
            );
        }
        due.extend(self.to_ask_for_redis(now));
        self.board.retain(|service| exist.contains(service));
        let signaling = self
            .board
            .tally(|service| matches!(service, Service::Signaling(_)));
        let matchmakers = self
            .board
            .tally(|service| matches!(service, Service::Matchmaker(_)));
        self.metrics
            .follow(Kind::SignalingCluster, signaling.ready, signaling.following);
        self.metrics
            .follow(Kind::HostPool, matchmakers.ready, matchmakers.following);
        due
    }

    /// One pod that is not ready of each SignalingCluster with a Redis of the team's and no ready pod.
    fn to_ask_for_redis(&self, now: Instant) -> Vec<(Service, SocketAddr)> {
        let clusters = self.cluster.signaling_clusters.all();
        let external = clusters
            .iter()
            .filter(|resource| resource.spec.redis.external.is_some());
        external
            .filter_map(|resource| {
                let service = Service::Signaling(name_of(&**resource));
                if !self.cluster.endpoints.ready(&service).is_empty() {
                    return None;
                }
                let pod = *self.cluster.endpoints.unready(&service).first()?;
                self.board
                    .redis_is_due(&service, interval(resource), now)
                    .then(|| (service, socket(pod, resource.spec.health_port)))
            })
            .collect()
    }

    async fn ask(self: Arc<Self>, service: Service, pod: SocketAddr) {
        let (kind, name) = kind_and_name(&service);
        let answer = match self.reader.read(pod).await {
            Ok(report) if report.settings.own == own(kind, name) => Some(report),
            // An address that now belongs to a pod of another resource, or a pod that has no settings yet.
            Ok(report) => {
                tracing::debug!(kind = kind.as_str(), %name, %pod, other = report.settings.own, "a pod of another resource");
                None
            }
            Err(error) => {
                let pool = (kind == Kind::HostPool).then(|| tracing::field::display(name));
                tracing::debug!(kind = kind.as_str(), %name, { field::POOL } = pool, %pod, %error, "cannot ask a pod for its settings");
                None
            }
        };
        self.metrics.asked_pod(kind, answer.is_some());
        if self.board.answered(&service, pod.ip(), answer, Instant::now()) {
            self.push(&service);
        }
    }

    fn push(&self, service: &Service) {
        match service {
            Service::Signaling(name) => self.cluster.signaling_clusters.queue.push(name.clone()),
            Service::Matchmaker(name) => self.cluster.host_pools.queue.push(name.clone()),
            // TURN servers are not asked.
            Service::Turn(_) => {}
        }
    }
}

/// How often the pods of a SignalingCluster are asked for what its status tells.
fn interval(resource: &SignalingCluster) -> Duration {
    let seconds = u64::try_from(resource.spec.status_interval_seconds).unwrap_or(1);
    Duration::from_secs(seconds.max(1))
}

/// The schema keeps the port in its bounds.
fn socket(pod: IpAddr, port: i32) -> SocketAddr {
    SocketAddr::new(pod, u16::try_from(port).unwrap_or_default())
}

fn kind_and_name(service: &Service) -> (Kind, &ObjectName) {
    match service {
        Service::Signaling(name) => (Kind::SignalingCluster, name),
        Service::Matchmaker(name) => (Kind::HostPool, name),
        Service::Turn(name) => (Kind::TurnConfig, name),
    }
}

/// How a pod names the resource that it follows.
fn own(kind: Kind, name: &ObjectName) -> String {
    format!(
        "{} named {} in namespace {}",
        kind.as_str(),
        name.name,
        name.namespace
    )
}
