//! APIs that not every Kubernetes cluster has: whether they are there, when the operator starts and whenever that changes.
//!
//! Each is told by one object outside namespaces, which is watched by its name. An operator that is confined to some namespaces may not, and asks
//! the API server now and then instead.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Cluster;
use super::children::ChildObject;
use super::watch::{Feed, ours};
use crate::client::call;
use crate::error::{CallError, with_causes};
use crate::gateway::{self, HttpRoute};

/// Versions of custom metrics that autoscalers read.
const CUSTOM_METRICS: [&str; 2] = ["v1beta1.custom.metrics.k8s.io", "v1beta2.custom.metrics.k8s.io"];
/// Time between two attempts to ask.
const RETRY: Duration = Duration::from_secs(5);

/// Whether something is there; absent: not known yet.
type Presence = watch::Sender<Option<bool>>;
/// How many parts have not yet told what there was when they began.
type Waiting = Arc<watch::Sender<usize>>;

/// Keeps HTTPRoutes known for as long as there is that kind. Ends one of `waiting` when what there was is known.
pub(super) async fn follow_routes(feed: Feed, waiting: Waiting) {
    let (tell, told) = watch::channel(None);
    let presence = async {
        if feed.options.namespaces.is_empty() {
            let api = Api::all(feed.client.clone());
            follow_object(
                &feed,
                api,
                gateway::DEFINITION,
                "CustomResourceDefinition",
                serves_routes,
                &tell,
            )
            .await;
        } else {
            ask(&feed, &tell, offers_routes).await;
        }
    };
    tokio::join!(presence, keep_routes(&feed, told, waiting));
}

/// Keeps it known whether autoscalers can read custom metrics. Ends one of `waiting` when it is known.
pub(super) async fn follow_custom_metrics(feed: Feed, waiting: Waiting) {
    if !feed.options.namespaces.is_empty() {
        let (tell, told) = watch::channel(None);
        tokio::join!(
            ask(&feed, &tell, offers_custom_metrics),
            note_metrics(&feed, [told], waiting)
        );
        return;
    }
    let [(one, first), (two, second)] = [watch::channel(None), watch::channel(None)];
    let follow = |name, tell| {
        let api = Api::all(feed.client.clone());
        follow_object(&feed, api, name, "APIService", is_available, tell)
    };
    tokio::join!(
        follow(CUSTOM_METRICS[0], &one),
        follow(CUSTOM_METRICS[1], &two),
        note_metrics(&feed, [first, second], waiting)
    );
}

/// Watches routes while there is that kind.
async fn keep_routes(feed: &Feed, mut told: watch::Receiver<Option<bool>>, waiting: Waiting) {
    let mut waiting = Some(waiting);
    let mut watches = JoinSet::new();
    let mut current = None;
    loop {
        current = match told.wait_for(|there| there.is_some() && *there != current).await {
            Ok(there) => *there,
            Err(_) => return,
        };
        if current == Some(true) {
            let mut behind = watch_routes(feed, &mut watches);
            tokio::select! {
                _ = behind.wait_for(|behind| *behind == 0) => {}
                _ = told.wait_for(|there| *there == Some(false)) => continue,
            }
            feed.cluster.on_offered(|offered| offered.routes = true);
        } else {
            // A watch of a kind that is no more would fail again and again.
            watches.shutdown().await;
            feed.metrics.watch_ended(HttpRoute::KIND.as_str());
            feed.cluster.children.forget(HttpRoute::KIND);
            feed.cluster.on_offered(|offered| offered.routes = false);
        }
        end(&mut waiting);
    }
}

/// Starts watches of routes; gives how many of them have not told yet what there was.
fn watch_routes(feed: &Feed, watches: &mut JoinSet<()>) -> watch::Receiver<usize> {
    let apis = feed.apis::<HttpRoute>();
    let (tell, behind) = watch::channel(apis.len());
    let tell = Arc::new(tell);
    for api in apis {
        let (feed, tell) = (feed.clone(), Arc::clone(&tell));
        watches.spawn(async move {
            let synced = move || tell.send_modify(|behind| *behind -= 1);
            let kind = HttpRoute::KIND.as_str();
            feed.follow(api, kind, Some(ours()), Cluster::on_child::<HttpRoute>, synced)
                .await;
        });
    }
    behind
}

/// Notes whether any of `told` says that custom metrics are there.
async fn note_metrics<const N: usize>(
    feed: &Feed,
    mut told: [watch::Receiver<Option<bool>>; N],
    waiting: Waiting,
) {
    let mut waiting = Some(waiting);
    loop {
        let now = told.each_mut().map(|one| *one.borrow_and_update());
        if now.iter().all(Option::is_some) {
            feed.cluster
                .on_offered(|offered| offered.custom_metrics = now.contains(&Some(true)));
            end(&mut waiting);
        }
        let changes = told.iter_mut().map(|one| Box::pin(one.changed()));
        if futures::future::select_all(changes).await.0.is_err() {
            return;
        }
    }
}

/// Ends one of `waiting`, once.
fn end(waiting: &mut Option<Waiting>) {
    if let Some(waiting) = waiting.take() {
        waiting.send_modify(|waiting| *waiting -= 1);
    }
}

/// Tells for ever whether the object `name` is there and as `judge` wants it.
async fn follow_object<K>(
    feed: &Feed,
    api: Api<K>,
    name: &str,
    kind: &'static str,
    judge: fn(&K) -> bool,
    presence: &Presence,
) where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let config = feed.config().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    let mut listed = false;
    while let Some(event) = events.next().await {
        let there = match feed.told(kind, event) {
            Some(Event::Init) => {
                listed = false;
                continue;
            }
            Some(Event::InitApply(object)) => {
                listed = judge(&object);
                continue;
            }
            Some(Event::InitDone) => listed,
            Some(Event::Apply(object)) => judge(&object),
            Some(Event::Delete(_)) => false,
            None => continue,
        };
        tell(presence, there);
    }
}

/// Tells for ever what the API server answers when it is asked.
async fn ask(feed: &Feed, presence: &Presence, offers: impl AsyncFn(&Feed) -> Result<bool, CallError>) {
    loop {
        let wait = match offers(feed).await {
            Ok(there) => {
                tell(presence, there);
                feed.options.ask
            }
            Err(error) => {
                tracing::warn!(error = with_causes(&error), "cannot ask which APIs there are");
                RETRY
            }
        };
        tokio::time::sleep(wait).await;
    }
}

fn tell(presence: &Presence, there: bool) {
    presence.send_if_modified(|told| told.replace(there) != Some(there));
}

async fn offers_routes(feed: &Feed) -> Result<bool, CallError> {
    let version = format!("{}/{}", gateway::GROUP, gateway::VERSION);
    let answer = feed.client.list_api_group_resources(&version);
    match call(format!("list resources of {version}"), answer).await {
        Ok(found) => Ok(found
            .resources
            .iter()
            .any(|resource| resource.name == gateway::PLURAL)),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

async fn offers_custom_metrics(feed: &Feed) -> Result<bool, CallError> {
    let groups = call("list API groups".into(), feed.client.list_api_groups()).await?;
    Ok(groups
        .groups
        .iter()
        .any(|group| group.name == "custom.metrics.k8s.io"))
}

/// Whether the definition is in force, to stay, and has the version that is written here. One that is being deleted takes no new objects.
fn serves_routes(definition: &CustomResourceDefinition) -> bool {
    let versions = &definition.spec.versions;
    let served = versions
        .iter()
        .any(|version| version.name == gateway::VERSION && version.served);
    let status = definition.status.as_ref();
    let mut conditions = status
        .into_iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let stays = definition.metadata.deletion_timestamp.is_none();
    served
        && stays
        && conditions.any(|condition| condition.type_ == "Established" && condition.status == "True")
}

/// Whether the server behind an aggregated API answers.
fn is_available(service: &APIService) -> bool {
    let status = service.status.as_ref();
    let mut conditions = status
        .into_iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Available" && condition.status == "True")
}
