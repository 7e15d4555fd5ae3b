//! One of our three kinds: the resources that exist, those that wait to be reconciled, and what is remembered of each.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use berth_crds::api::{HostPoolStatus, SignalingClusterStatus, TurnConfigStatus};
use berth_crds::settings::ObjectName;
use berth_crds::{HostPool, SignalingCluster, TurnConfig};
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Cluster;
use super::index::Node;
use super::queue::Queue;
use crate::backoff::Attempts;
use crate::metrics::Kind;
use crate::resolve::{self, Names};
use crate::status::HasConditions;

/// One of our three kinds.
pub(crate) trait MainKind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its status.
    type Status: Clone + Debug + Default + PartialEq + Serialize + HasConditions + Send + Sync + 'static;
    /// Its name in metrics.
    const KIND: Kind;

    /// The resource `name` in the index of references.
    fn node(name: ObjectName) -> Node;
    /// What the resource names.
    fn names(&self) -> Names;
    /// Its status.
    fn status(&self) -> Option<&Self::Status>;
    /// Where resources of this kind are kept.
    fn registry(cluster: &Cluster) -> &Registry<Self>;
}

/// The resources of one kind.
pub(crate) struct Registry<K: MainKind> {
    writer: Mutex<Writer<K>>,
    store: Store<K>,
    /// Resources that wait to be reconciled.
    pub(crate) queue: Queue,
    notes: Mutex<HashMap<ObjectName, Notes<K::Status>>>,
    undecodable: Mutex<BTreeSet<ObjectName>>,
}

/// What is remembered of a resource between two reconciles; dropped with it.
#[derive(Clone, Debug)]
struct Notes<S> {
    attempts: Option<Attempts>,
    status: Option<WrittenStatus<S>>,
}

/// A status that was written, and the version of the resource that it was computed from: until the watch shows
/// another version, the store still has the status before.
#[derive(Clone, Debug)]
struct WrittenStatus<S> {
    base: Option<String>,
    status: S,
}

impl<S> Default for Notes<S> {
    fn default() -> Self {
        Self {
            attempts: None,
            status: None,
        }
    }
}

impl<K: MainKind> Default for Registry<K> {
    fn default() -> Self {
        let mut writer = Writer::default();
        // Several watches may feed one store, so it is told changes one by one and never a whole list.
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        Self {
            store: writer.as_reader(),
            writer: Mutex::new(writer),
            queue: Queue::default(),
            notes: Mutex::default(),
            undecodable: Mutex::default(),
        }
    }
}

impl<K: MainKind> Registry<K> {
    /// The resource `name`.
    pub(crate) fn get(&self, name: &ObjectName) -> Option<Arc<K>> {
        self.store.get(&reference(name))
    }

    /// Reader for a controller.
    pub(crate) fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// All resources.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
    }

    /// How many resources there are.
    pub(crate) fn len(&self) -> usize {
        self.store.len()
    }

    /// Takes in a resource; gives the one before.
    pub(super) fn put(&self, name: &ObjectName, resource: K) -> Option<Arc<K>> {
        self.undecodable.lock().remove(name);
        let before = self.get(name);
        self.writer.lock().apply_watcher_event(&Event::Apply(resource));
        before
    }

    /// Forgets a resource and all that is remembered of it.
    pub(super) fn remove(&self, name: &ObjectName) {
        self.undecodable.lock().remove(name);
        self.queue.remove(name);
        if let Some(before) = self.get(name) {
            let gone = Event::Delete(K::clone(&before));
            self.writer.lock().apply_watcher_event(&gone);
        }
        self.notes.lock().remove(name);
    }

    /// A resource that is not of the form that it should be. Its last good version stays.
    pub(super) fn is_undecodable(&self, name: ObjectName) {
        self.undecodable.lock().insert(name);
    }

    /// How many resources are not of the form that they should be.
    pub(crate) fn undecodable(&self) -> usize {
        self.undecodable.lock().len()
    }

    /// Notes a failure at `now`.
    pub(crate) fn failed(&self, name: &ObjectName, now: Instant) -> Attempts {
        let before = self.notes.lock().get(name).and_then(|notes| notes.attempts);
        let attempts = Attempts::failed(before, now);
        self.note(name, |notes| notes.attempts = Some(attempts));
        attempts
    }

    /// Failures in a row so far.
    pub(crate) fn attempts(&self, name: &ObjectName) -> Option<Attempts> {
        self.notes.lock().get(name)?.attempts
    }

    /// Notes that a reconcile succeeded.
    pub(crate) fn succeeded(&self, name: &ObjectName) {
        if let Some(notes) = self.notes.lock().get_mut(name) {
            notes.attempts = None;
        }
    }

    /// The status as it is on the server, as far as is known here.
    pub(crate) fn last_status(&self, name: &ObjectName, resource: &K) -> K::Status {
        let written = self
            .notes
            .lock()
            .get(name)
            .and_then(|notes| notes.status.clone())
            .filter(|written| written.base == resource.meta().resource_version);
        written
            .map(|written| written.status)
            .or_else(|| resource.status().cloned())
            .unwrap_or_default()
    }

    /// Notes a status that was written for `resource`.
    pub(crate) fn wrote_status(&self, name: &ObjectName, resource: &K, status: K::Status) {
        let base = resource.meta().resource_version.clone();
        self.note(name, |notes| notes.status = Some(WrittenStatus { base, status }));
    }

    /// Changes the notes of a resource that still exists: those of a deleted one would never be dropped.
    fn note(&self, name: &ObjectName, change: impl FnOnce(&mut Notes<K::Status>)) {
        let mut notes = self.notes.lock();
        if self.get(name).is_some() {
            change(notes.entry(name.clone()).or_default());
        }
    }
}

/// Reference to the resource `name` in a store.
pub(crate) fn reference<K: MainKind>(name: &ObjectName) -> ObjectRef<K> {
    ObjectRef::new(&name.name).within(&name.namespace)
}

impl MainKind for SignalingCluster {
    type Status = SignalingClusterStatus;
    const KIND: Kind = Kind::SignalingCluster;

    fn node(name: ObjectName) -> Node {
        Node::SignalingCluster(name)
    }

    fn names(&self) -> Names {
        resolve::names_of_cluster(self)
    }

    fn status(&self) -> Option<&SignalingClusterStatus> {
        self.status.as_ref()
    }

    fn registry(cluster: &Cluster) -> &Registry<Self> {
        &cluster.signaling_clusters
    }
}

impl MainKind for HostPool {
    type Status = HostPoolStatus;
    const KIND: Kind = Kind::HostPool;

    fn node(name: ObjectName) -> Node {
        Node::HostPool(name)
    }

    fn names(&self) -> Names {
        resolve::names_of_pool(self)
    }

    fn status(&self) -> Option<&HostPoolStatus> {
        self.status.as_ref()
    }

    fn registry(cluster: &Cluster) -> &Registry<Self> {
        &cluster.host_pools
    }
}

impl MainKind for TurnConfig {
    type Status = TurnConfigStatus;
    const KIND: Kind = Kind::TurnConfig;

    fn node(name: ObjectName) -> Node {
        Node::TurnConfig(name)
    }

    fn names(&self) -> Names {
        resolve::names_of_turn(self)
    }

    fn status(&self) -> Option<&TurnConfigStatus> {
        self.status.as_ref()
    }

    fn registry(cluster: &Cluster) -> &Registry<Self> {
        &cluster.turn_configs
    }
}
