//! A stand-in for a network plugin that enforces NetworkPolicies, as the clusters of the tests have none: it takes the policies that
//! were rendered and a flow, and says by the rules of `networking.k8s.io/v1` whether it passes. Kinds of rules that Berth renders
//! nowhere (named ports, expressions) are refused rather than guessed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub(super) type Labels = BTreeMap<String, String>;

/// One end of a flow.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// A pod.
    Pod {
        namespace: String,
        namespace_labels: Labels,
        labels: Labels,
    },
    /// An address that is no pod's: a player, a load balancer, the API server, a server of the internet.
    Outside,
    /// One of them, where its address matters.
    At(IpAddr),
}

/// Protocol and port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door(pub(super) &'static str, pub(super) i32);

impl End {
    /// Pods have addresses in a private network, and everybody who is not named in a public one.
    fn address(&self) -> IpAddr {
        match self {
            Self::Pod { .. } => IpAddr::from([10, 244, 0, 7]),
            Self::Outside => IpAddr::from([203, 0, 113, 9]),
            Self::At(address) => *address,
        }
    }
}

/// Whether a TCP connection of `from` to `port` of `to` passes: the way out of the one and the way into the other.
pub(super) fn passes(policies: &[NetworkPolicy], from: &End, to: &End, port: i32) -> bool {
    passes_by(policies, from, to, Door("TCP", port))
}

/// The same by TCP or UDP.
pub(super) fn passes_by(policies: &[NetworkPolicy], from: &End, to: &End, door: Door) -> bool {
    lets_out(policies, from, to, door) && lets_in(policies, from, to, door)
}

fn lets_in(policies: &[NetworkPolicy], from: &End, to: &End, port: Door) -> bool {
    let mut selecting = selecting(policies, to, "Ingress").peekable();
    // A pod that no policy selects is open.
    selecting.peek().is_none()
        || selecting.any(|policy| {
            let namespace = policy.metadata.namespace.as_deref().unwrap();
            let rules = policy.spec.iter().flat_map(|spec| spec.ingress.iter().flatten());
            rules.into_iter().any(|rule| {
                is_peer(rule.from.as_deref(), namespace, from) && is_port(rule.ports.as_deref(), port)
            })
        })
}

fn lets_out(policies: &[NetworkPolicy], from: &End, to: &End, port: Door) -> bool {
    let mut selecting = selecting(policies, from, "Egress").peekable();
    selecting.peek().is_none()
        || selecting.any(|policy| {
            let namespace = policy.metadata.namespace.as_deref().unwrap();
            let rules = policy.spec.iter().flat_map(|spec| spec.egress.iter().flatten());
            rules.into_iter().any(|rule| {
                is_peer(rule.to.as_deref(), namespace, to) && is_port(rule.ports.as_deref(), port)
            })
        })
}

/// Policies of this type for the pod.
fn selecting<'a>(
    policies: &'a [NetworkPolicy],
    end: &'a End,
    type_: &'a str,
) -> impl Iterator<Item = &'a NetworkPolicy> {
    policies.iter().filter(move |policy| {
        let End::Pod {
            namespace, labels, ..
        } = end
        else {
            return false;
        };
        let spec = policy.spec.as_ref().unwrap();
        policy.metadata.namespace.as_ref() == Some(namespace)
            && spec.policy_types.iter().flatten().any(|word| word == type_)
            // An absent selector is an empty one.
            && spec.pod_selector.as_ref().is_none_or(|selector| selects(selector, labels))
    })
}

/// Whether one of `peers` is `end`; none named: everybody.
fn is_peer(peers: Option<&[NetworkPolicyPeer]>, own_namespace: &str, end: &End) -> bool {
    let Some(peers) = peers.filter(|peers| !peers.is_empty()) else {
        return true;
    };
    peers.iter().any(|peer| {
        if let Some(block) = &peer.ip_block {
            return is_in(block, end.address());
        }
        let End::Pod {
            namespace,
            namespace_labels,
            labels,
        } = end
        else {
            return false;
        };
        let in_namespace = match &peer.namespace_selector {
            Some(selector) => selects(selector, namespace_labels),
            None => namespace == own_namespace,
        };
        in_namespace
            && peer
                .pod_selector
                .as_ref()
                .is_none_or(|pods| selects(pods, labels))
    })
}

/// Whether an address is in a block of them.
fn is_in(block: &IPBlock, address: IpAddr) -> bool {
    let network = |text: &String| text.parse::<IpNet>().unwrap();
    let all = network(&block.cidr);
    all.contains(&address)
        && !block.except.iter().flatten().any(|except| {
            let except = network(except);
            assert!(
                all.contains(&except) && all != except,
                "the API server refuses {block:?}"
            );
            except.contains(&address)
        })
}

/// Whether one of `ports` is `port`; none named: all.
fn is_port(ports: Option<&[NetworkPolicyPort]>, Door(protocol, port): Door) -> bool {
    let Some(ports) = ports.filter(|ports| !ports.is_empty()) else {
        return true;
    };
    ports.iter().any(|allowed| {
        allowed.protocol.as_deref().unwrap_or("TCP") == protocol
            && match &allowed.port {
                None => true,
                Some(IntOrString::Int(number)) => {
                    (*number..=allowed.end_port.unwrap_or(*number)).contains(&port)
                }
                Some(IntOrString::String(name)) => panic!("not evaluated: port {name}"),
            }
    })
}

fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    assert!(
        selector.match_expressions.as_ref().is_none_or(Vec::is_empty),
        "not evaluated: {selector:?}"
    );
    let wanted = selector.match_labels.iter().flatten();
    wanted
        .into_iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}
