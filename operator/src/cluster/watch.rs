//! The watches. Each runs for as long as the operator does; an interruption is bridged with backoff.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use berth_crds::{HostPool, SignalingCluster, TurnConfig};
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Cluster;
use super::changes::{Change, Tracker};
use super::children::ChildObject;
use super::kind::MainKind;
use super::optional;
use crate::metrics::Metrics;
use crate::names;

/// How the watches are run.
#[derive(Clone, Debug)]
pub(crate) struct WatchOptions {
    /// Namespaces to watch; empty: all.
    pub(crate) namespaces: Vec<String>,
    /// How long the server keeps one watch open. Below four minutes, when load balancers begin to drop idle connections
    /// without telling.
    pub(crate) timeout: Duration,
    /// How often is asked for what cannot be watched.
    pub(crate) ask: Duration,
    /// Whether the server can send a list as the beginning of a watch, one object at a time.
    pub(crate) streaming_lists: bool,
}

/// How many watches have not yet told what existed when they began.
#[derive(Clone, Debug)]
pub(crate) struct Sync(watch::Receiver<usize>);

impl Sync {
    /// Returns when everything that exists is known.
    pub(crate) async fn done(&mut self) {
        // The sender lives in the watches; when they are gone, so is the operator.
        let _ = self.0.wait_for(|waiting| *waiting == 0).await;
    }
}

/// Starts all watches in `tasks`. They keep `cluster` current until they are dropped.
pub(crate) fn watch_all(
    cluster: &Arc<Cluster>,
    client: &Client,
    options: WatchOptions,
    metrics: &Metrics,
    tasks: &mut JoinSet<()>,
) -> Sync {
    let (waiting, sync) = watch::channel(0);
    let mut watches = Watches {
        feed: Feed {
            cluster: Arc::clone(cluster),
            client: client.clone(),
            options,
            metrics: metrics.clone(),
        },
        waiting: Arc::new(waiting),
        tasks,
    };
    watches.resource::<SignalingCluster>();
    watches.resource::<HostPool>();
    watches.resource::<TurnConfig>();
    watches.child::<ServiceAccount>();
    watches.child::<Role>();
    watches.child::<RoleBinding>();
    watches.child::<Service>();
    watches.child::<NetworkPolicy>();
    watches.child::<Ingress>();
    watches.child::<PodDisruptionBudget>();
    watches.child::<StatefulSet>();
    watches.child::<DaemonSet>();
    watches.child::<Deployment>();
    watches.child::<HorizontalPodAutoscaler>();
    watches.start::<PartialObjectMeta<Secret>>("Secret", None, Cluster::on_secret);
    watches.start::<EndpointSlice>(
        "EndpointSlice",
        Some(&format!("{} in (signaling, matchmaker, turn)", names::NAME)),
        Cluster::on_endpoints,
    );
    // What not every cluster has comes and goes.
    watches.waiting.send_modify(|waiting| *waiting += 2);
    let (feed, waiting) = (watches.feed.clone(), Arc::clone(&watches.waiting));
    watches.tasks.spawn(optional::follow_routes(feed, waiting));
    let (feed, waiting) = (watches.feed.clone(), Arc::clone(&watches.waiting));
    watches
        .tasks
        .spawn(optional::follow_custom_metrics(feed, waiting));
    Sync(sync)
}

struct Watches<'a> {
    feed: Feed,
    waiting: Arc<watch::Sender<usize>>,
    tasks: &'a mut JoinSet<()>,
}

impl Watches<'_> {
    fn resource<K: MainKind>(&mut self) {
        self.start::<DeserializeGuard<K>>(K::KIND.as_str(), None, Cluster::on_resource::<K>);
    }

    fn child<K>(&mut self)
    where
        K: ChildObject + Watched,
    {
        self.start::<K>(K::KIND.as_str(), Some(&ours()), Cluster::on_child::<K>);
    }

    fn start<K>(&mut self, kind: &'static str, selector: Option<&str>, tell: fn(&Cluster, Change<K>))
    where
        K: Watched,
    {
        for api in self.feed.apis() {
            self.waiting.send_modify(|waiting| *waiting += 1);
            let waiting = Arc::clone(&self.waiting);
            let (feed, selector) = (self.feed.clone(), selector.map(str::to_owned));
            self.tasks.spawn(async move {
                let synced = move || waiting.send_modify(|waiting| *waiting -= 1);
                feed.follow(api, kind, selector, tell, synced).await;
            });
        }
    }
}

/// A kind of objects in namespaces that can be watched.
pub(super) trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static
{
}

/// Where watches come from and lead to.
#[derive(Clone)]
pub(super) struct Feed {
    pub(super) cluster: Arc<Cluster>,
    pub(super) client: Client,
    pub(super) options: WatchOptions,
    pub(super) metrics: Metrics,
}

impl Feed {
    /// The objects of one kind in all namespaces that are watched.
    pub(super) fn apis<K: Watched>(&self) -> Vec<Api<K>> {
        if self.options.namespaces.is_empty() {
            return vec![Api::all(self.client.clone())];
        }
        let in_namespace = |namespace: &String| Api::namespaced(self.client.clone(), namespace);
        self.options.namespaces.iter().map(in_namespace).collect()
    }

    /// How one watch is run.
    pub(super) fn config(&self) -> watcher::Config {
        let config = watcher::Config::default()
            .timeout(u32::try_from(self.options.timeout.as_secs()).unwrap_or(u32::MAX));
        if self.options.streaming_lists {
            config.streaming_lists()
        } else {
            config
        }
    }

    /// Follows one watch for ever. Calls `synced` when it has told what existed when it began.
    pub(super) async fn follow<K: Watched>(
        &self,
        api: Api<K>,
        kind: &'static str,
        selector: Option<String>,
        tell: fn(&Cluster, Change<K>),
        synced: impl FnOnce() + Send,
    ) {
        let mut config = self.config();
        config.label_selector = selector;
        let mut events = std::pin::pin!(watcher(api, config).default_backoff());
        let mut tracker = Tracker::default();
        let mut synced = Some(synced);
        while let Some(event) = events.next().await {
            let Some(event) = self.told(kind, event) else {
                continue;
            };
            for change in tracker.changes(event) {
                if matches!(change, Change::Synced)
                    && let Some(synced) = synced.take()
                {
                    synced();
                }
                tell(&self.cluster, change);
            }
        }
    }

    /// Notes that a watch told something, or was interrupted.
    pub(super) fn told<K>(
        &self,
        kind: &'static str,
        event: Result<watcher::Event<K>, watcher::Error>,
    ) -> Option<watcher::Event<K>> {
        match event {
            Ok(event) => {
                self.metrics.watch_told(kind);
                Some(event)
            }
            Err(error) => {
                tracing::warn!(kind, %error, "a watch was interrupted");
                self.metrics.watch_restarted(kind);
                None
            }
        }
    }
}

/// Labels of the children.
pub(super) fn ours() -> String {
    format!("{}={}", names::MANAGED_BY, names::OPERATOR)
}
