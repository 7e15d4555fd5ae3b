//! What a HostPool becomes.

use berth_crds::HostPool;
use berth_crds::settings::{admin_token_secret, host_secret};

use super::pod::{PodLinks, Program};
use super::workload::Surroundings;
use super::{Child, Defaults, Desired, GeneratedSecret, Offered, Owner};
use crate::names::Component;

/// The end of a matchmaker: requests are short, so this is enough for endpoints to notice and requests to finish.
const GRACE_PERIOD_SECONDS: i32 = 30;

/// What `resource` becomes. Without `links` something that it names is missing, and the Deployment is withheld. What is not
/// `offered` is left out.
pub fn host_pool(
    resource: &HostPool,
    links: Option<&PodLinks>,
    defaults: &Defaults,
    offered: Offered,
) -> Desired {
    let spec = &resource.spec;
    let owner = Owner::of(resource);
    let program = Program {
        owner: &owner,
        component: Component::Matchmaker,
        command: "berth-matchmaker",
        image: spec.image.as_ref(),
        defaults,
        public_port: spec.http_port,
        internal_port: spec.internal_port,
        grace_period_seconds: GRACE_PERIOD_SECONDS,
        options: &spec.pod,
    };
    let around = Surroundings {
        replicas: spec.replicas,
        autoscaling: spec.autoscaling.as_ref(),
        pods_metric: None,
        offered,
        pdb: &spec.pdb,
        network_policy: &spec.network_policy,
        service: &spec.service,
        port_name: "http",
        ingress: spec.ingress.as_ref(),
        http_route: spec.http_route.as_ref(),
        public_url: spec.public_url.as_deref(),
    };

    let mut desired = program.desired(&around, links);
    let generated = [
        (&spec.host_auth.secret_ref, host_secret(&owner.name)),
        (&spec.admin_token_secret_ref, admin_token_secret(&owner.name)),
    ];
    for (named, name) in generated {
        if named.is_none() {
            desired.children.push(Child::Secret(GeneratedSecret {
                metadata: owner.child(Component::Matchmaker, name),
                key: "current",
            }));
        }
    }
    desired.in_order()
}
