//! The watches. Each runs for as long as the operator does; an interruption is bridged with backoff.
//!
//! A watch trusts that it is told everything. Should an event ever be lost on the way, nothing would make up for it, because a resync
//! looks at what is known here. So each watch begins anew with a list now and then; versions that were seen before do nothing.
//!
//! A watch may also be late. While one operator writes, that is no matter; but the one that takes over must not undo, on old
//! news, what its predecessor did on newer. So it asks for our resources anew first ([`Sync::renew`]).

use std::fmt::Debug;
use std::pin::pin;
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
use crate::backoff::spread;
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
    /// How often a watch begins anew, give or take 20 %.
    pub(crate) relist: Duration,
    /// Random, from 0 to 1.
    pub(crate) jitter: fn() -> f64,
    /// Whether the server can send a list as the beginning of a watch, one object at a time.
    pub(crate) streaming_lists: bool,
}

/// What the watches have told.
#[derive(Clone, Debug)]
pub(crate) struct Sync {
    /// How often everything was asked for, the first time included.
    asked: Arc<watch::Sender<u64>>,
    /// For each watch the last time of asking that it has answered.
    told: watch::Receiver<Vec<u64>>,
}

impl Sync {
    /// Returns when everything that exists is known.
    pub(crate) async fn done(&mut self) {
        let asked = *self.asked.borrow();
        let done = |told: &Vec<u64>| told.iter().all(|told| *told >= asked);
        // The sender lives in the watches; when they are gone, so is the operator.
        let _ = self.told.wait_for(done).await;
    }

    /// Asks the watches of our kinds for everything anew, and returns when all of it is known: nothing that is known then of a resource
    /// is older than this call.
    pub(crate) async fn renew(&mut self) {
        self.asked.send_modify(|asked| *asked += 1);
        self.done().await;
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
    let (told, sync) = watch::channel(Vec::new());
    let asked = Arc::new(watch::Sender::new(1));
    let mut watches = Watches {
        feed: Feed {
            cluster: Arc::clone(cluster),
            client: client.clone(),
            options,
            metrics: metrics.clone(),
            asked: Arc::clone(&asked),
        },
        told: Arc::new(told),
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
    watches.start::<PartialObjectMeta<Secret>>("Secret", None, Cluster::on_secret, Renewed::Never);
    watches.start::<EndpointSlice>(
        "EndpointSlice",
        Some(&format!("{} in (signaling, matchmaker, turn)", names::NAME)),
        Cluster::on_endpoints,
        Renewed::Never,
    );
    // What not every cluster has comes and goes.
    let known = watches.one_more();
    watches
        .tasks
        .spawn(optional::follow_routes(watches.feed.clone(), known));
    let known = watches.one_more();
    watches
        .tasks
        .spawn(optional::follow_custom_metrics(watches.feed.clone(), known));
    Sync { asked, told: sync }
}

/// Whether a watch follows [`Sync::renew`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewed {
    WhenAsked,
    /// A decision on old news of a child is refused by the server: each names a uid and, to delete, a version.
    Never,
}

/// Where one watch says how far it has come.
#[derive(Clone)]
pub(super) struct Told {
    told: Arc<watch::Sender<Vec<u64>>>,
    number: usize,
}

impl Told {
    /// Everything that was asked for up to the time `answered` is known.
    pub(super) fn say(&self, answered: u64) {
        self.told.send_modify(|told| {
            if let Some(told) = told.get_mut(self.number) {
                *told = answered;
            }
        });
    }

    /// Nothing more is waited for.
    pub(super) fn say_all(&self) {
        self.say(u64::MAX);
    }
}

struct Watches<'a> {
    feed: Feed,
    told: Arc<watch::Sender<Vec<u64>>>,
    tasks: &'a mut JoinSet<()>,
}

impl Watches<'_> {
    fn resource<K: MainKind>(&mut self) {
        self.start::<DeserializeGuard<K>>(
            K::KIND.as_str(),
            None,
            Cluster::on_resource::<K>,
            Renewed::WhenAsked,
        );
    }

    fn child<K>(&mut self)
    where
        K: ChildObject + Watched,
    {
        self.start::<K>(
            K::KIND.as_str(),
            Some(&ours()),
            Cluster::on_child::<K>,
            Renewed::Never,
        );
    }

    /// One more that is waited for.
    fn one_more(&self) -> Told {
        let number = self.told.borrow().len();
        self.told.send_modify(|told| told.push(0));
        Told {
            told: Arc::clone(&self.told),
            number,
        }
    }

    fn start<K>(
        &mut self,
        kind: &'static str,
        selector: Option<&str>,
        tell: fn(&Cluster, Change<K>),
        renewed: Renewed,
    ) where
        K: Watched,
    {
        for api in self.feed.apis() {
            let told = self.one_more();
            let (feed, selector) = (self.feed.clone(), selector.map(str::to_owned));
            self.tasks.spawn(async move {
                let synced = |answered| told.say(answered);
                feed.follow(api, (kind, selector), tell, renewed, synced).await;
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
    /// How often everything was asked for, the first time included.
    pub(super) asked: Arc<watch::Sender<u64>>,
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

    /// Follows the watch of a kind for ever, of objects that a selector of labels picks. After each list that it began with, calls `synced` with the
    /// last time of asking that this answers.
    pub(super) async fn follow<K: Watched>(
        &self,
        api: Api<K>,
        (kind, selector): (&'static str, Option<String>),
        tell: fn(&Cluster, Change<K>),
        renewed: Renewed,
        mut synced: impl FnMut(u64) + Send,
    ) {
        let mut config = self.config();
        config.label_selector = selector;
        let mut asked = self.asked.subscribe();
        let mut tracker = Tracker::default();
        loop {
            // What is told from here on answers this.
            let answered = match renewed {
                Renewed::WhenAsked => *asked.borrow_and_update(),
                Renewed::Never => u64::MAX,
            };
            let mut events = pin!(watcher(api.clone(), config.clone()).default_backoff());
            let age = spread(self.options.relist, (self.options.jitter)());
            let mut until = pin!(tokio::time::sleep(age));
            // Whether the list with which this watch began is complete: before that it is not given up for age.
            let mut listed = false;
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = &mut until, if listed => break,
                    Ok(()) = asked.changed(), if renewed == Renewed::WhenAsked => break,
                };
                let Some(event) = event else { return };
                let Some(event) = self.told(kind, event) else {
                    continue;
                };
                for change in tracker.changes(event) {
                    let is_whole = matches!(change, Change::Synced);
                    tell(&self.cluster, change);
                    if is_whole && !std::mem::replace(&mut listed, true) {
                        synced(answered);
                    }
                }
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
