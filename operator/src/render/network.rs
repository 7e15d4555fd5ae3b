//! Who may reach the pods. Where no network plugin enforces these, they do nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Owner;
use super::pod::selector;
use crate::names::{self, Component};

/// Policy of a service: the public port is for everyone, the internal one (health, metrics, counts, state) for the operator and for
/// who was named a client of it ([`names::INTERNAL_CLIENT`]): scrapes come from a namespace that is not known here. (Probes come from
/// the node, which no policy keeps out.) What the pods themselves reach (API server, name
/// service, a Redis of yours, the issuer's key set, a TURN provider) has a name at best, of which a policy knows nothing,
/// and ports that are anybody's. So nothing is said about the way out, and all of it is open.
pub(super) fn service(
    owner: &Owner,
    component: Component,
    public_port: i32,
    internal_port: i32,
) -> NetworkPolicy {
    let ingress = vec![
        NetworkPolicyIngressRule {
            from: None,
            ports: Some(vec![port(public_port)]),
        },
        NetworkPolicyIngressRule {
            from: Some(internal_clients()),
            ports: Some(vec![port(internal_port)]),
        },
    ];
    policy(owner, component, ingress, &["Ingress"])
}

/// The operator, whose namespace is not known here, and pods and whole namespaces that bear the label of a client.
fn internal_clients() -> Vec<NetworkPolicyPeer> {
    let labelled = |key: &str, value: &str| LabelSelector {
        match_labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
        match_expressions: None,
    };
    let anywhere = |pods| NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        pod_selector: Some(pods),
        ip_block: None,
    };
    vec![
        anywhere(labelled(names::NAME, names::OPERATOR)),
        anywhere(labelled(names::INTERNAL_CLIENT, names::YES)),
        NetworkPolicyPeer {
            namespace_selector: Some(labelled(names::INTERNAL_CLIENT, names::YES)),
            ..NetworkPolicyPeer::default()
        },
    ]
}

/// Policy of the managed Redis: its clients may come in, and it has no reason to go anywhere.
pub(super) fn redis(owner: &Owner) -> NetworkPolicy {
    let clients = BTreeMap::from([(names::REDIS_CLIENT.to_owned(), owner.name.clone())]);
    let ingress = vec![NetworkPolicyIngressRule {
        from: Some(vec![NetworkPolicyPeer {
            pod_selector: Some(LabelSelector {
                match_labels: Some(clients),
                match_expressions: None,
            }),
            ..NetworkPolicyPeer::default()
        }]),
        ports: Some(vec![port(names::REDIS_PORT)]),
    }];
    policy(owner, Component::Redis, ingress, &["Ingress", "Egress"])
}

fn policy(
    owner: &Owner,
    component: Component,
    ingress: Vec<NetworkPolicyIngressRule>,
    types: &[&str],
) -> NetworkPolicy {
    NetworkPolicy {
        metadata: owner.child(component, component.object_name(&owner.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(component, &owner.name)),
            policy_types: Some(types.iter().map(|word| (*word).to_owned()).collect()),
            ingress: Some(ingress),
            egress: None,
        }),
    }
}

fn port(number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(number)),
        protocol: Some("TCP".into()),
        end_port: None,
    }
}
