//! Who may reach the pods. Where no network plugin enforces these, they do nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use berth_crds::api::ManagedTurn;
use berth_crds::settings::PeerRules;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
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

/// Policy of TURN servers in a network of their own: the server's and the relay ports are for everyone, and on their way out they reach by
/// UDP what they may relay to. So what coturn refuses is refused twice. (Answers are no way out.)
pub(super) fn turn(owner: &Owner, spec: &ManagedTurn) -> NetworkPolicy {
    let of = |protocol: &str, port: NetworkPolicyPort| NetworkPolicyPort {
        protocol: Some(protocol.into()),
        ..port
    };
    let tls = spec.tls.as_ref().map(|tls| tls.port);
    let mut ports: Vec<_> = std::iter::once(spec.listening_port)
        .chain(tls)
        .flat_map(|number| [of("UDP", port(number)), port(number)])
        .collect();
    ports.push(NetworkPolicyPort {
        end_port: Some(spec.relay_ports.max),
        ..of("UDP", port(spec.relay_ports.min))
    });
    let mut ingress = vec![NetworkPolicyIngressRule {
        from: None,
        ports: Some(ports),
    }];
    if spec.metrics.enabled {
        ingress.push(NetworkPolicyIngressRule {
            from: Some(internal_clients()),
            ports: Some(vec![port(spec.metrics.port)]),
        });
    }
    let mut policy = policy(owner, Component::Turn, ingress, &["Ingress", "Egress"]);
    if let Some(spec_of_policy) = &mut policy.spec {
        let peers = peers(&PeerRules::of(spec));
        // A rule that names nobody would let everybody pass.
        spec_of_policy.egress = (!peers.is_empty()).then(|| {
            vec![NetworkPolicyEgressRule {
                to: Some(peers),
                ports: Some(vec![NetworkPolicyPort {
                    protocol: Some("UDP".into()),
                    ..NetworkPolicyPort::default()
                }]),
            }]
        });
    }
    policy
}

/// What is relayed to, as blocks of addresses.
fn peers(rules: &PeerRules) -> Vec<NetworkPolicyPeer> {
    let block = |cidr: &IpNet, except: Vec<String>| NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_string(),
            except: (!except.is_empty()).then_some(except),
        }),
        ..NetworkPolicyPeer::default()
    };
    let all = ["0.0.0.0/0", "::/0"].iter().filter_map(|text| text.parse().ok());
    let open = all.filter(|all| !rules.denied.contains(all)).map(|all: IpNet| {
        // IPv4 addresses in the form of IPv6 are for programs; none travels.
        let travels = |denied: &&IpNet| match denied.addr() {
            IpAddr::V6(address) => address.to_ipv4_mapped().is_none(),
            IpAddr::V4(_) => true,
        };
        let within = rules.denied.iter().filter(|denied| all.contains(*denied));
        let within = within.filter(travels);
        block(&all, within.map(ToString::to_string).collect())
    });
    let allowed = rules.allowed.iter().map(|network| block(network, Vec::new()));
    open.chain(allowed).collect()
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
