//! What the pods of a service should follow.

use std::collections::BTreeMap;

use berth_crds::settings::ObjectName;
use berth_crds::{HostPool, SignalingCluster};

use crate::cluster::{Cluster, MainKind, Registry, name_of};
use crate::metrics::Kind;

/// `metadata.generation` by kind.
pub type Generations = BTreeMap<&'static str, i64>;

/// What signaling pods should follow: their SignalingCluster and the TurnConfig that it names. `None` while one of them is not there.
pub(crate) fn of_cluster(resource: &SignalingCluster, cluster: &Cluster) -> Option<Generations> {
    let mut wanted = own(resource);
    let at = |name: &str| ObjectName::new(name_of(resource).namespace, name);
    if let Some(turn) = &resource.spec.turn_config_ref {
        wanted.extend([named(&cluster.turn_configs, &at(&turn.name))?]);
    }
    Some(wanted)
}

/// What matchmaker pods should follow: their HostPool, and the SignalingCluster and TurnConfig that it names.
pub(crate) fn of_pool(resource: &HostPool, cluster: &Cluster) -> Option<Generations> {
    let mut wanted = own(resource);
    let at = |name: &str| ObjectName::new(name_of(resource).namespace, name);
    let signaling = &resource.spec.signaling_cluster_ref.name;
    wanted.extend([named(&cluster.signaling_clusters, &at(signaling))?]);
    if let Some(turn) = &resource.spec.turn_config_ref {
        wanted.extend([named(&cluster.turn_configs, &at(&turn.name))?]);
    }
    Some(wanted)
}

fn own<K: MainKind>(resource: &K) -> Generations {
    [generation(resource)].into()
}

fn named<K: MainKind>(registry: &Registry<K>, name: &ObjectName) -> Option<(&'static str, i64)> {
    registry.get(name).map(|resource| generation(&*resource))
}

fn generation<K: MainKind>(resource: &K) -> (&'static str, i64) {
    let kind: Kind = K::KIND;
    (kind.as_str(), resource.meta().generation.unwrap_or_default())
}
