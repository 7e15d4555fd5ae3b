//! Everything that the operator knows of the Kubernetes cluster, from watches alone.
//!
//! ```text
//! watch of each kind ─▶ changes ─▶ Cluster ─┬▶ stores: resources, children, Secrets (no values), endpoints
//!                                           └▶ queues: who must be reconciled, by owner and by reference
//! ```
//!
//! There is one watch per kind, whoever needs it. What a change means is decided here, once: an object that a resource
//! owns or names, however indirectly, puts that resource into its queue. Versions that were seen before do nothing.

mod changes;
mod children;
mod endpoints;
mod index;
mod kind;
mod optional;
mod queue;
mod secrets;
mod watch;

#[cfg(test)]
mod tests;

pub(crate) use changes::{Change, name_of};
pub(crate) use children::{Agreement, ChildView, Children, LiveChild, controller_of};
pub(crate) use endpoints::{Endpoints, Service};
pub(crate) use index::Node;
pub(crate) use kind::{MainKind, Registry, reference};
pub(crate) use secrets::Secrets;
pub(crate) use watch::{WatchOptions, watch_all};

use std::collections::BTreeSet;

use berth_crds::settings::ObjectName;
use berth_crds::{GROUP, HostPool, SignalingCluster, TurnConfig};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{ObjectMeta, PartialObjectMeta};
use kube::core::DeserializeGuard;
use parking_lot::{Mutex, RwLock};

use self::children::{ChildObject, Report, strip_metadata};
use self::index::ReferenceIndex;
use crate::names;
use crate::render::{ChildId, ChildKind, Offered};
use crate::resolve::Names;
use crate::status::AroundFacts;

/// What the operator knows.
#[derive(Default)]
pub(crate) struct Cluster {
    /// SignalingClusters.
    pub(crate) signaling_clusters: Registry<SignalingCluster>,
    /// HostPools.
    pub(crate) host_pools: Registry<HostPool>,
    /// TurnConfigs.
    pub(crate) turn_configs: Registry<TurnConfig>,
    /// What they became.
    pub(crate) children: Children,
    /// Secrets of the namespaces that are watched.
    pub(crate) secrets: Secrets,
    /// Pods of the services.
    pub(crate) endpoints: Endpoints,
    index: Mutex<ReferenceIndex>,
    offered: RwLock<Offered>,
}

impl Cluster {
    /// How many resources name `node`.
    pub(crate) fn consumers(&self, node: &Node) -> usize {
        self.index.lock().count(node)
    }

    /// What the Kubernetes cluster offers beyond what every one has.
    pub(crate) fn offered(&self) -> Offered {
        *self.offered.read()
    }

    /// What stands around the pods of the service whose objects are called `name`.
    pub(crate) fn around(&self, namespace: &str, name: &str) -> AroundFacts {
        let report = |kind| {
            let live = self.children.live(namespace, &ChildId::new(kind, name))?;
            live.report.clone()
        };
        AroundFacts {
            offered: self.offered(),
            autoscaler: match report(ChildKind::HorizontalPodAutoscaler) {
                Some(Report::Autoscaler(autoscaler)) => Some(autoscaler),
                _ => None,
            },
            route: match report(ChildKind::HTTPRoute) {
                Some(Report::Route(route)) => Some(route),
                _ => None,
            },
        }
    }

    /// The Kubernetes cluster began or ceased to offer something: every resource may become something else.
    fn on_offered(&self, change: impl FnOnce(&mut Offered)) {
        let mut offered = self.offered.write();
        let before = *offered;
        change(&mut offered);
        let now = *offered;
        drop(offered);
        if now != before {
            tracing::info!(?now, "optional APIs");
            self.queue_all();
        }
    }

    /// Puts every resource into its queue.
    pub(crate) fn queue_all(&self) {
        fn all<K: MainKind>(registry: &Registry<K>) {
            for resource in registry.all() {
                registry.queue.push(name_of(&*resource));
            }
        }
        all(&self.signaling_clusters);
        all(&self.host_pools);
        all(&self.turn_configs);
    }

    /// A resource of one of our kinds changed.
    fn on_resource<K: MainKind>(&self, change: Change<DeserializeGuard<K>>) {
        match change {
            Change::Present(DeserializeGuard(Ok(resource))) => self.on_present(resource),
            Change::Present(DeserializeGuard(Err(invalid))) => {
                let name = ObjectName::new(
                    invalid.metadata.namespace.unwrap_or_default(),
                    invalid.metadata.name.unwrap_or_default(),
                );
                tracing::warn!(kind = K::KIND.as_str(), %name, error = invalid.error, "cannot read a resource");
                K::registry(self).is_undecodable(name);
            }
            Change::Gone(name) => {
                K::registry(self).remove(&name);
                let node = K::node(name);
                let named = self.index.lock().set(&node, &BTreeSet::new());
                self.on_consumers(named);
                self.queue_dependents(&node);
            }
            Change::Synced => {}
        }
    }

    fn on_present<K: MainKind>(&self, mut resource: K) {
        strip_metadata(resource.meta_mut());
        let name = name_of(&resource);
        let node = K::node(name.clone());
        let targets = targets(&name.namespace, resource.names());
        let told = told(resource.meta());
        let before = K::registry(self).put(&name, resource);
        let named = self.index.lock().set(&node, &targets);
        self.on_consumers(named);
        if before.is_none_or(|before| self::told(before.meta()) != told) {
            K::registry(self).queue.push(name);
            self.queue_dependents(&node);
        }
    }

    /// Resources began or ceased to name `nodes`: a TurnConfig counts its consumers.
    fn on_consumers(&self, nodes: BTreeSet<Node>) {
        for node in nodes {
            if let Node::TurnConfig(name) = node
                && self.turn_configs.get(&name).is_some()
            {
                self.turn_configs.queue.push(name);
            }
        }
    }

    /// A child changed.
    fn on_child<K: ChildObject>(&self, change: Change<K>) {
        match change {
            Change::Present(object) => {
                let name = name_of(&object);
                let owner = controller_of(object.meta()).cloned();
                let (before, changed) = self.children.put(&name, object);
                if changed {
                    self.queue_owner(&name.namespace, owner.as_ref());
                    self.queue_owner(
                        &name.namespace,
                        before.and_then(|before| before.controller.clone()).as_ref(),
                    );
                }
            }
            Change::Gone(name) => {
                if let Some(gone) = self.children.remove(K::KIND, &name) {
                    self.queue_owner(&name.namespace, gone.controller.as_ref());
                }
            }
            Change::Synced => {}
        }
    }

    /// A Secret changed: one that is named, one of ours, or neither.
    fn on_secret(&self, change: Change<PartialObjectMeta<Secret>>) {
        match change {
            Change::Present(mut secret) => {
                let name = name_of(&secret);
                let ours = secret
                    .labels()
                    .get(names::MANAGED_BY)
                    .is_some_and(|manager| manager == names::OPERATOR);
                let version = secret.metadata.resource_version.clone().unwrap_or_default();
                let changed = self.secrets.put(&name, &version);
                if ours {
                    secret.metadata.annotations = None;
                    self.on_child(Change::Present(secret));
                } else {
                    self.on_child::<PartialObjectMeta<Secret>>(Change::Gone(name.clone()));
                }
                if changed {
                    self.queue_dependents(&Node::Secret(name));
                }
            }
            Change::Gone(name) => {
                self.secrets.remove(&name);
                self.on_child::<PartialObjectMeta<Secret>>(Change::Gone(name.clone()));
                self.queue_dependents(&Node::Secret(name));
            }
            Change::Synced => {}
        }
    }

    /// Endpoints of the services are looked at when counts are due, and nobody waits for them; those of TURN servers are told.
    fn on_endpoints(&self, change: Change<EndpointSlice>) {
        let changed = match change {
            Change::Present(slice) => self.endpoints.put(&name_of(&slice), &slice),
            Change::Gone(name) => self.endpoints.remove(&name),
            Change::Synced => None,
        };
        if let Some(Service::Turn(name)) = changed
            && self.turn_configs.get(&name).is_some()
        {
            self.turn_configs.queue.push(name);
        }
    }

    fn queue_dependents(&self, node: &Node) {
        let dependents = self.index.lock().dependents(node);
        for dependent in dependents {
            match dependent {
                Node::SignalingCluster(name) => self.signaling_clusters.queue.push(name),
                Node::HostPool(name) => self.host_pools.queue.push(name),
                Node::TurnConfig(name) => self.turn_configs.queue.push(name),
                Node::Secret(_) => {}
            }
        }
    }

    fn queue_owner(&self, namespace: &str, owner: Option<&OwnerReference>) {
        let Some(owner) = owner else {
            return;
        };
        if owner.api_version.split_once('/').map(|(group, _)| group) != Some(GROUP) {
            return;
        }
        let name = ObjectName::new(namespace, &owner.name);
        match owner.kind.as_str() {
            "SignalingCluster" => self.signaling_clusters.queue.push(name),
            "HostPool" => self.host_pools.queue.push(name),
            "TurnConfig" => self.turn_configs.queue.push(name),
            _ => {}
        }
    }
}

/// What of a resource's metadata a reconcile depends on. Its status is our own doing.
fn told(metadata: &ObjectMeta) -> impl PartialEq + use<> {
    (
        metadata.uid.clone(),
        metadata.generation,
        metadata.deletion_timestamp.clone(),
        metadata.annotations.clone(),
    )
}

fn targets(namespace: &str, names: Names) -> BTreeSet<Node> {
    let at = |name| ObjectName::new(namespace, name);
    let cluster = names
        .signaling_cluster
        .map(|name: String| Node::SignalingCluster(at(name)));
    let turn = names.turn_config.map(|name| Node::TurnConfig(at(name)));
    let secrets = names.secrets.into_iter().map(|name| Node::Secret(at(name)));
    cluster.into_iter().chain(turn).chain(secrets).collect()
}
