//! What a SignalingCluster becomes.

use berth_crds::SignalingCluster;
use berth_crds::settings::match_key_secret;

use super::pod::{PodLinks, Program};
use super::workload::Surroundings;
use super::{
    Child, Defaults, Desired, GeneratedSecret, Offered, Owner, RedisAccess, RenderError, network, redis,
};
use crate::names::Component;

/// What `resource` becomes. Without `links` something that it names is missing, and the Deployment is withheld. What is not
/// `offered` is left out.
pub fn signaling_cluster(
    resource: &SignalingCluster,
    links: Option<&PodLinks>,
    defaults: &Defaults,
    offered: Offered,
) -> Result<Desired, RenderError> {
    let spec = &resource.spec;
    let owner = Owner::of(resource);
    let program = Program {
        owner: &owner,
        component: Component::Signaling,
        command: "berth-signaling",
        image: spec.image.as_ref(),
        defaults,
        public_port: spec.ws_port,
        internal_port: spec.health_port,
        grace_period_seconds: spec.drain.grace_period_seconds,
        options: &spec.pod,
    };
    let scaling = spec.autoscaling.as_ref();
    let connections = scaling.and_then(|scaling| scaling.target_connections_per_pod);
    let around = Surroundings {
        replicas: spec.replicas,
        autoscaling: scaling.map(|scaling| &scaling.common),
        pods_metric: connections.map(|average| ("signaling_active_connections", average)),
        offered,
        pdb: &spec.pdb,
        network_policy: &spec.network_policy,
        service: &spec.service,
        port_name: "ws",
        ingress: spec.ingress.as_ref(),
        http_route: spec.http_route.as_ref(),
        public_url: Some(&spec.public_url),
    };

    let mut desired = program.desired(&around, links);
    desired.children.push(Child::Secret(GeneratedSecret {
        metadata: owner.child(Component::Signaling, match_key_secret(&owner.name).current.name),
        key: "current",
    }));
    if let RedisAccess::Managed { .. } = RedisAccess::of(resource) {
        let managed = spec.redis.managed.clone().unwrap_or_default();
        desired
            .children
            .extend(redis::managed(&owner, &managed, &spec.pod, defaults)?);
        if spec.network_policy.enabled {
            desired
                .children
                .push(Child::NetworkPolicy(network::redis(&owner)));
        }
    }
    Ok(desired.in_order())
}
