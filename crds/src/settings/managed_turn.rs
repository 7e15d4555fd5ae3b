//! TURN servers that Berth runs: where they are, and what they relay to.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::check::Checker;
use super::turn::is_domain;
use super::values::SecretRef;
use crate::api::{ManagedTurn, ManagedTurnStatus, ServiceType, TurnNetwork, TurnWorkload};

/// Name of these servers among the providers of a TurnConfig.
pub const MANAGED_PROVIDER: &str = "managed";
/// Most nodes whose addresses are told.
pub const MOST_ADDRESSES: usize = 16;

/// What no server relays to, whatever the resource says: the machine itself, what is next to it (and the metadata services of
/// clouds), multicast, what is reserved, and IPv6 forms of IPv4 addresses, by which all of that would be reached (RFC 6890).
const NEVER: [&str; 14] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2001::/32",
    "2002::/16",
    "fe80::/10",
    "ff00::/8",
];

/// The Secret with what these servers and Berth share, for the TurnConfig `name`. The operator generates it.
pub fn turn_secret(name: &str) -> SecretRef {
    SecretRef {
        name: format!("{name}-turn-secret"),
        key: "secret".into(),
    }
}

/// Networks that the servers relay to, and not. What is in neither list is relayed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerRules {
    /// Not to these.
    pub denied: Vec<IpNet>,
    /// But to these, although they may lie in one that is denied.
    pub allowed: Vec<IpNet>,
}

impl PeerRules {
    /// The rules of `spec`, whose entries were checked before: one that cannot be read is left out. What is never relayed to is
    /// in `denied`, and cut out of `allowed`.
    pub fn of(spec: &ManagedTurn) -> Self {
        let never: Vec<IpNet> = NEVER.iter().filter_map(|text| text.parse().ok()).collect();
        let mut denied = never.clone();
        denied.extend(spec.denied_peers.iter().filter_map(|text| network(text)));
        let allowed = spec.allowed_peers.iter().filter_map(|text| network(text));
        let cut = |network| never.iter().fold(vec![network], without);
        Self {
            denied: IpNet::aggregate(&denied),
            allowed: IpNet::aggregate(&allowed.flat_map(cut).collect()),
        }
    }
}

/// `networks` without `hole`.
fn without(networks: Vec<IpNet>, hole: &IpNet) -> Vec<IpNet> {
    let cut = |network: IpNet| -> Vec<IpNet> {
        if hole.contains(&network) {
            return Vec::new();
        }
        if !network.contains(hole) {
            return vec![network];
        }
        // One half has all of the hole; there are at most 128 halvings.
        let halves = network.subnets(network.prefix_len() + 1);
        without(halves.map(Iterator::collect).unwrap_or_default(), hole)
    };
    networks.into_iter().flat_map(cut).collect()
}

/// A network, or a single address as one.
fn network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().map(|network| network.trunc());
    network
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// URLs of each server, or of all where they share an address. None while no address is known.
pub(super) fn servers(spec: &ManagedTurn, status: Option<&ManagedTurnStatus>) -> Vec<Vec<String>> {
    let named = spec.hostname.as_ref().or(spec.external_address.as_ref());
    let addresses = match (named, spec.network) {
        (Some(named), _) => std::slice::from_ref(named),
        (None, TurnNetwork::Host) => status.map_or(&[][..], |status| &status.addresses),
        (None, TurnNetwork::Pod) => &[],
    };
    let addresses = addresses.iter().take(MOST_ADDRESSES);
    addresses.map(|address| urls(spec, address)).collect()
}

fn urls(spec: &ManagedTurn, address: &str) -> Vec<String> {
    let host = match address.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => address.to_owned(),
    };
    let by_node = spec.network == TurnNetwork::Pod && spec.service.type_ == ServiceType::NodePort;
    let outside = |port: i32, node_port: Option<i32>| node_port.filter(|_| by_node).unwrap_or(port);
    let port = outside(spec.listening_port, spec.service.node_port);
    let mut urls = vec![
        format!("turn:{host}:{port}?transport=udp"),
        format!("turn:{host}:{port}?transport=tcp"),
    ];
    if let Some(tls) = &spec.tls {
        let port = outside(tls.port, tls.node_port);
        urls.push(format!("turns:{host}:{port}?transport=tcp"));
    }
    urls
}

/// Checks `spec.managed` as the API server does.
pub(super) fn check(check: &mut Checker, spec: &ManagedTurn) {
    let path = |field: &str| format!("spec.managed.{field}");
    let (is_host, by_node) = (
        spec.network == TurnNetwork::Host,
        spec.network == TurnNetwork::Pod && spec.service.type_ == ServiceType::NodePort,
    );
    check.require(
        is_host || spec.external_address.is_some(),
        &path("externalAddress"),
        "must be set with network Pod: nobody outside the cluster reaches the address of a pod",
    );
    let address = spec.external_address.as_ref();
    check.require(
        address.is_none_or(|address| address.parse::<IpAddr>().is_ok()),
        &path("externalAddress"),
        "must be an IP address such as 203.0.113.7",
    );
    check.require(
        spec.hostname.as_deref().is_none_or(is_domain),
        &path("hostname"),
        "must be a name such as turn.example.com, without scheme, port and path",
    );
    check.require(
        is_host || spec.workload == TurnWorkload::Deployment,
        &path("workload"),
        "DaemonSet needs network Host",
    );
    check.number::<u16>(&path("replicas"), spec.replicas, 0..=16);
    check.length(&path("realm"), &spec.realm, 1..=127);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    check.require(
        spec.realm.bytes().all(allowed),
        &path("realm"),
        "must have letters, digits, and . _ - only",
    );
    ports(check, spec);
    if by_node {
        check.require(
            spec.service.node_port.is_some(),
            &path("service.nodePort"),
            "must be set with type NodePort: it is part of the servers' URLs",
        );
    }
    if let Some(tls) = &spec.tls {
        check.secret_part(&path("tls.secretName"), &tls.secret_name);
        check.require(
            !by_node || tls.node_port.is_some(),
            &path("tls.nodePort"),
            "must be set with a Service of type NodePort: it is part of the servers' URLs",
        );
    }
    for (field, list) in [
        ("deniedPeers", &spec.denied_peers),
        ("allowedPeers", &spec.allowed_peers),
    ] {
        check.entries(&path(field), list.len(), 0..=32);
        for (index, text) in list.iter().enumerate() {
            check.require(
                network(text).is_some(),
                &path(&format!("{field}[{index}]")),
                "must be an IP address or a CIDR such as 10.0.0.0/8",
            );
        }
    }
    check.number::<u16>(&path("quotas.total"), spec.quotas.total, 0..=65_535);
    check.number::<u16>(&path("quotas.perUser"), spec.quotas.per_user, 0..=65_535);
}

fn ports(check: &mut Checker, spec: &ManagedTurn) {
    const ALLOWED: std::ops::RangeInclusive<i32> = 1024..=65_535;
    let relay = spec.relay_ports;
    let metrics = spec.metrics.enabled.then_some(spec.metrics.port);
    let tls = spec.tls.as_ref().map(|tls| tls.port);
    let mut taken: Vec<i32> = Vec::new();
    for (field, port) in [
        ("listeningPort", Some(spec.listening_port)),
        ("tls.port", tls),
        ("metrics.port", metrics),
    ] {
        let Some(port) = port else { continue };
        let path = format!("spec.managed.{field}");
        check.number::<u16>(&path, port, ALLOWED);
        check.require(
            !taken.contains(&port),
            &path,
            "must differ from the other ports of the server",
        );
        check.require(
            field == "metrics.port" || !(relay.min..=relay.max).contains(&port),
            &path,
            "must be outside relayPorts",
        );
        taken.push(port);
    }
    check.number::<u16>("spec.managed.relayPorts.min", relay.min, ALLOWED);
    check.number::<u16>("spec.managed.relayPorts.max", relay.max, ALLOWED);
    check.require(
        relay.min < relay.max,
        "spec.managed.relayPorts.min",
        "must be less than max",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TurnConfig;
    use crate::settings::{FieldErrors, ProviderSettings, TurnSettings};

    fn config(managed: &serde_json::Value, addresses: &[&str]) -> TurnConfig {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "berth.dev/v1alpha1", "kind": "TurnConfig", "metadata": {"name": "main"},
            "spec": {"managed": managed, "providers": [{"name": "b", "sharedSecret": {"urls": ["turn:b"], "secretRef": {"name": "b"}}}]},
            "status": {"managed": {"addresses": addresses}},
        }))
        .unwrap()
    }

    fn paths(managed: &serde_json::Value) -> Vec<String> {
        match TurnSettings::try_from(&config(managed, &[])) {
            Ok(_) => Vec::new(),
            Err(FieldErrors(errors)) => errors.into_iter().map(|error| error.path).collect(),
        }
    }

    /// The URLs of each server.
    fn found(managed: &serde_json::Value, addresses: &[&str]) -> Vec<Vec<String>> {
        let settings = TurnSettings::try_from(&config(managed, addresses)).unwrap();
        assert_eq!(settings.providers.len(), 2);
        match &settings.providers[0] {
            ProviderSettings::Managed { servers, secret } => {
                assert_eq!((&*secret.name, &*secret.key), ("main-turn-secret", "secret"));
                servers.clone()
            }
            other => panic!("the servers that Berth runs come first, not {other:?}"),
        }
    }

    #[test]
    fn urls_lead_where_players_come_in() {
        let pod = |more: serde_json::Value| {
            let mut managed = serde_json::json!({"externalAddress": "203.0.113.7"});
            managed
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            found(&managed, &["10.0.0.1"]).concat()
        };
        let plain = |host: &str, port: u16| {
            vec![
                format!("turn:{host}:{port}?transport=udp"),
                format!("turn:{host}:{port}?transport=tcp"),
            ]
        };
        assert_eq!(pod(serde_json::json!({})), plain("203.0.113.7", 3478));
        assert_eq!(
            pod(serde_json::json!({"externalAddress": "2001:db8::7"})),
            plain("[2001:db8::7]", 3478)
        );
        let by_node = serde_json::json!({"type": "NodePort", "nodePort": 30078});
        assert_eq!(
            pod(serde_json::json!({"service": by_node})),
            plain("203.0.113.7", 30078)
        );
        // A load balancer listens on the port of the Service.
        let balanced = serde_json::json!({"type": "LoadBalancer", "nodePort": 30078});
        let tls = serde_json::json!({"secretName": "tls", "nodePort": 30079});
        let mut expected = plain("turn.example.com", 4000);
        expected.push("turns:turn.example.com:5349?transport=tcp".into());
        assert_eq!(
            pod(
                serde_json::json!({"hostname": "turn.example.com", "listeningPort": 4000, "service": balanced, "tls": tls})
            ),
            expected
        );
        let mut expected = plain("203.0.113.7", 30078);
        expected.push("turns:203.0.113.7:30079?transport=tcp".into());
        assert_eq!(pod(serde_json::json!({"service": by_node, "tls": tls})), expected);
    }

    #[test]
    fn servers_in_the_network_of_their_nodes_have_the_addresses_of_the_status() {
        let host = serde_json::json!({"network": "Host", "workload": "DaemonSet",
            "service": {"type": "NodePort", "nodePort": 30078}});
        let servers = found(&host, &["10.0.0.1", "fd00::1"]);
        assert_eq!(servers.len(), 2);
        assert_eq!(servers[0][0], "turn:10.0.0.1:3478?transport=udp");
        assert_eq!(servers[1][0], "turn:[fd00::1]:3478?transport=udp");
        assert_eq!(found(&host, &[]), Vec::<Vec<String>>::new());
        assert_eq!(found(&host, &["10.0.0.1"; 20]).len(), MOST_ADDRESSES);
        let named = serde_json::json!({"network": "Host", "externalAddress": "203.0.113.7"});
        assert_eq!(found(&named, &["10.0.0.1"]).len(), 1);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let wrong = serde_json::json!({
            "workload": "DaemonSet", "externalAddress": "example.com", "hostname": "a:1", "replicas": 17, "realm": "a b",
            "listeningPort": 80, "relayPorts": {"min": 3000, "max": 3000},
            "tls": {"secretName": "", "port": 80}, "metrics": {"enabled": true, "port": 80},
            "service": {"type": "NodePort"}, "deniedPeers": ["10.0.0.0/33"], "allowedPeers": ["a"],
            "quotas": {"total": -1, "perUser": 70000},
        });
        let expected = [
            "externalAddress",
            "hostname",
            "workload",
            "replicas",
            "realm",
            "listeningPort",
            "tls.port",
            "tls.port",
            "metrics.port",
            "metrics.port",
            "relayPorts.min",
            "service.nodePort",
            "tls.secretName",
            "tls.nodePort",
            "deniedPeers[0]",
            "allowedPeers[0]",
            "quotas.total",
            "quotas.perUser",
        ];
        assert_eq!(
            paths(&wrong),
            expected.map(|field| format!("spec.managed.{field}"))
        );
        assert_eq!(paths(&serde_json::json!({})), ["spec.managed.externalAddress"]);
        let inside = serde_json::json!({"network": "Host", "listeningPort": 50000});
        assert_eq!(paths(&inside), ["spec.managed.listeningPort"]);
        let mut taken = config(&serde_json::json!({"network": "Host"}), &[]);
        taken.spec.providers[0].name = MANAGED_PROVIDER.into();
        let FieldErrors(errors) = TurnSettings::try_from(&taken).unwrap_err();
        assert_eq!(errors[0].path, "spec.providers[0].name");
    }

    fn rules(denied: &[&str], allowed: &[&str]) -> PeerRules {
        PeerRules::of(&ManagedTurn {
            denied_peers: denied.iter().map(|text| (*text).to_owned()).collect(),
            allowed_peers: allowed.iter().map(|text| (*text).to_owned()).collect(),
            ..ManagedTurn::default()
        })
    }

    /// Whether a server relays there, by the rules of coturn: what is allowed wins.
    fn relays(rules: &PeerRules, address: &str) -> bool {
        let address: IpAddr = address.parse().unwrap();
        let has = |list: &[IpNet]| list.iter().any(|network| network.contains(&address));
        has(&rules.allowed) || !has(&rules.denied)
    }

    #[test]
    fn private_networks_are_denied_by_default() {
        let rules = PeerRules::of(&ManagedTurn::default());
        assert_eq!(rules.allowed, []);
        for denied in [
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "100.100.0.1",
            "fd00::1",
            "127.0.0.1",
            "169.254.169.254",
            "::1",
            "fe80::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(!relays(&rules, denied), "{denied}");
        }
        for allowed in ["8.8.8.8", "172.32.0.1", "2600::1"] {
            assert!(relays(&rules, allowed), "{allowed}");
        }
    }

    #[test]
    fn some_networks_are_denied_whatever_is_allowed() {
        let all = rules(&[], &["0.0.0.0/0", "::/0"]);
        for network in NEVER {
            let network: IpNet = network.parse().unwrap();
            for address in [network.network(), network.broadcast()] {
                assert!(!relays(&all, &address.to_string()), "{address}");
            }
        }
        for allowed in ["10.1.2.3", "126.255.255.255", "128.0.0.0", "fd00::1", "1.0.0.0"] {
            assert!(relays(&all, allowed), "{allowed}");
        }
        let some = rules(&["10.0.0.0/8"], &["10.7.0.1", "10.8.1.0/22", "169.254.169.254"]);
        assert_eq!(
            some.allowed,
            ["10.7.0.1/32", "10.8.0.0/22"].map(|text| text.parse().unwrap())
        );
        assert!(relays(&some, "10.7.0.1") && !relays(&some, "10.7.0.2"));
        assert!(!relays(&some, "169.254.169.254"));
    }
}
