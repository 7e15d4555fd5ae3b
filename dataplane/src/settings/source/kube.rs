//! Resources from the API server: a watch on the service's own resource and on each one that it references.
//!
//! The Role of a pod allows get, list and watch of Berth's kinds in its own namespace; every watch asks for one
//! name by field selector.

use std::collections::BTreeMap;

use berth_crds::settings::ObjectName;
use berth_crds::{HostPool, SignalingCluster, TurnConfig};
use futures::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Config};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::settings::bundle::{Bundle, Kind, Own, ResourceKey};
use crate::settings::follow::{SettingsError, Update};
use crate::telemetry::with_causes;

/// News of watches on their way to the collector; a watch that is faster waits.
const QUEUE: usize = 16;

/// What a watch saw of its resource.
enum Seen {
    /// The resource, or that it does not exist.
    State(Option<Value>),
    /// The watch failed and tries again.
    Failure(String),
}

/// The watches that are needed at the moment, and what they saw.
struct Collector {
    client: Client,
    own: ResourceKey,
    watches: BTreeMap<ResourceKey, Watch>,
    news: mpsc::Sender<(ResourceKey, Seen)>,
}

struct Watch {
    /// Whether it has answered.
    answered: bool,
    /// The resource, if it exists.
    resource: Option<Value>,
    _task: AbortOnDropHandle<()>,
}

/// A client of the pod's API server, or of the one that the kubeconfig names.
pub(in crate::settings) async fn client() -> Result<Client, SettingsError> {
    let config = Config::infer()
        .await
        .map_err(|error| SettingsError::Kubernetes(Box::new(error)))?;
    Client::try_from(config).map_err(|error| SettingsError::Kubernetes(Box::new(error)))
}

/// Starts watching and gives the task that collects.
pub(in crate::settings) fn follow(
    client: Client,
    kind: Kind,
    own: &Own,
) -> Result<(watch::Receiver<Update>, impl Future<Output = ()> + Send + use<>), SettingsError> {
    let (Some(namespace), Some(name)) = (&own.namespace, &own.name) else {
        return Err(SettingsError::Unnamed);
    };
    let own = ResourceKey::new(kind, ObjectName::new(namespace, name));
    let (sender, receiver) = watch::channel(Update::Waiting(format!(
        "waiting for the API server to tell {own}"
    )));
    Ok((receiver, collect(client, own, sender)))
}

async fn collect(client: Client, own: ResourceKey, updates: watch::Sender<Update>) {
    let (news, mut arrivals) = mpsc::channel(QUEUE);
    let mut collector = Collector {
        client,
        own,
        watches: BTreeMap::new(),
        news,
    };
    collector.follow_references(&Bundle::default());
    loop {
        let (key, seen) = tokio::select! {
            // The collector holds a sender, so there is always another arrival.
            arrival = arrivals.recv() => match arrival { Some(arrival) => arrival, None => return },
            () = updates.closed() => return,
        };
        match seen {
            Seen::State(state) => collector.saw(&key, state),
            Seen::Failure(reason) => {
                failed(&key, &reason, &updates);
                continue;
            }
        }
        let bundle = collector.bundle();
        collector.follow_references(&bundle);
        if collector.is_complete() {
            updates.send_if_modified(|last| {
                let update = Update::Bundle(bundle);
                let new = *last != update;
                *last = update;
                new
            });
        }
    }
}

impl Collector {
    /// Keeps one watch per needed resource and ends those that are not needed any more.
    fn follow_references(&mut self, bundle: &Bundle) {
        let mut needed = bundle.references(&self.own);
        needed.push(self.own.clone());
        self.watches.retain(|key, _| needed.contains(key));
        for key in needed {
            if !self.watches.contains_key(&key) {
                let task = tokio::spawn(watch_resource(
                    self.client.clone(),
                    key.clone(),
                    self.news.clone(),
                ));
                self.watches.insert(
                    key,
                    Watch {
                        answered: false,
                        resource: None,
                        _task: AbortOnDropHandle::new(task),
                    },
                );
            }
        }
    }

    fn saw(&mut self, key: &ResourceKey, state: Option<Value>) {
        // A last word of a watch that was ended meanwhile finds no entry.
        if let Some(watch) = self.watches.get_mut(key) {
            watch.answered = true;
            watch.resource = state;
        }
    }

    fn bundle(&self) -> Bundle {
        let mut bundle = Bundle::default();
        for (key, watch) in &self.watches {
            if let Some(resource) = &watch.resource {
                // Three resources never reach the bound.
                let _ = bundle.put(key.clone(), resource);
            }
        }
        bundle
    }

    /// Whether every watch has answered at least once; before that a missing resource may only be late.
    fn is_complete(&self) -> bool {
        self.watches.values().all(|watch| watch.answered)
    }
}

/// Tells why there are no settings yet; with settings in force it is only worth a line in the log.
fn failed(key: &ResourceKey, reason: &str, updates: &watch::Sender<Update>) {
    warn!(resource = %key, reason, "watch failed, trying again");
    updates.send_if_modified(|last| {
        let waiting = matches!(last, Update::Waiting(_));
        if waiting {
            *last = Update::Waiting(format!("{key}: {reason}"));
        }
        waiting
    });
}

/// Follows one resource until the collector ends.
async fn watch_resource(client: Client, key: ResourceKey, news: mpsc::Sender<(ResourceKey, Seen)>) {
    let api = Api::<DynamicObject>::namespaced_with(client, &key.name.namespace, &api_resource(key.kind));
    let mut states = std::pin::pin!(watcher::watch_object(api, &key.name.name).default_backoff());
    while let Some(state) = states.next().await {
        let seen = match state {
            Ok(object) => Seen::State(object.map(into_value)),
            Err(error) => Seen::Failure(with_causes(&error)),
        };
        if news.send((key.clone(), seen)).await.is_err() {
            return;
        }
    }
}

fn api_resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::SignalingCluster => ApiResource::erase::<SignalingCluster>(&()),
        Kind::HostPool => ApiResource::erase::<HostPool>(&()),
        Kind::TurnConfig => ApiResource::erase::<TurnConfig>(&()),
    }
}

/// What a bundle needs of an object.
fn into_value(object: DynamicObject) -> Value {
    let mut value = object.data;
    value["metadata"] = serde_json::json!({ "generation": object.metadata.generation });
    value
}
