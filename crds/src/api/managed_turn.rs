//! TURN servers that Berth runs for a `TurnConfig`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{DisruptionBudget, NetworkPolicySpec, PodSpec, ServiceSpec};

/// coturn servers that Berth runs. Their shared secret is generated, and every consumer of the TurnConfig gets credentials made with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.network == 'Host' || has(self.externalAddress)", "message": "network Pod needs externalAddress: nobody outside the cluster reaches the address of a pod", "fieldPath": ".externalAddress"},
    {"rule": "self.network == 'Host' || self.workload == 'Deployment'", "message": "workload DaemonSet needs network Host", "fieldPath": ".workload"},
    {"rule": "self.network == 'Host' || self.service.type != 'NodePort' || has(self.service.nodePort)", "message": "service.type NodePort needs service.nodePort, which is part of the servers' URLs", "fieldPath": ".service"},
    {"rule": "self.network == 'Host' || self.service.type != 'NodePort' || !has(self.tls) || has(self.tls.nodePort)", "message": "service.type NodePort needs tls.nodePort, which is part of the servers' URLs", "fieldPath": ".tls"},
    {"rule": "!has(self.tls) || self.tls.port != self.listeningPort", "message": "tls.port must differ from listeningPort", "fieldPath": ".tls"},
    {"rule": "!self.metrics.enabled || (self.metrics.port != self.listeningPort && (!has(self.tls) || self.metrics.port != self.tls.port))", "message": "metrics.port must differ from the ports of the server", "fieldPath": ".metrics"},
    {"rule": "self.listeningPort < self.relayPorts.min || self.listeningPort > self.relayPorts.max", "message": "listeningPort must be outside relayPorts", "fieldPath": ".listeningPort"},
    {"rule": "!has(self.tls) || self.tls.port < self.relayPorts.min || self.tls.port > self.relayPorts.max", "message": "tls.port must be outside relayPorts", "fieldPath": ".tls"}
]))]
pub struct ManagedTurn {
    /// Container image of coturn 4.6 with a shell; absent: the one that the operator was installed with. Reload: rolling.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Whether the pods have addresses of their own (`Pod`) or those of their nodes (`Host`). Pods in the network of their node are refused by
    /// namespaces that enforce the pod security standard `baseline` or `restricted`. Reload: rolling.
    pub network: TurnNetwork,
    /// `Deployment`: as many servers as `replicas` says. `DaemonSet`: one on every node that `pod` allows, with `network: Host`. Reload: rolling.
    pub workload: TurnWorkload,
    /// Servers with `workload: Deployment`. With `network: Pod` they share one address, and two players relayed by different servers do not
    /// reach each other. Reload: hot.
    #[schemars(range(min = 0, max = 16))]
    pub replicas: i32,
    /// IP address by which players and hosts reach the servers and what they relay. Absent with `network: Host`: each server's
    /// node has its own. Given there, it is that of the only server, behind a NAT that keeps the ports. Reload: rolling.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 45), extend("x-kubernetes-validations" = [
        {"rule": "isIP(self)", "message": "must be an IP address such as 203.0.113.7"}
    ]))]
    pub external_address: Option<String>,
    /// Name of the servers in their URLs, in the place of their addresses; a certificate has to be for it. Reload: hot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("pattern" = r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"))]
    pub hostname: Option<String>,
    /// Realm of the credentials (RFC 8489). Reload: rolling.
    #[schemars(length(min = 1, max = 127), extend("pattern" = r"^[A-Za-z0-9._-]+$"))]
    pub realm: String,
    /// Port of STUN and TURN by UDP and TCP. Not below 1024: the servers do not run as root. Reload: rolling.
    #[schemars(range(min = 1024, max = 65535))]
    pub listening_port: i32,
    /// UDP ports on which servers relay; each player takes one or a few. Firewalls must let them in.
    pub relay_ports: RelayPorts,
    /// TURN by TLS and DTLS; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TurnTls>,
    /// Networks that the servers do not relay to, as CIDR or IP address; the default is all private ones. Players and hosts who are to be
    /// relayed to addresses in private networks need them out of here or in `allowedPeers`. Loopback, link-local (with the metadata services of
    /// clouds), multicast and reserved networks are never relayed to, whatever is said here. Reload: rolling.
    #[schemars(length(max = 32), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = [
        {"rule": "self.all(network, isCIDR(network) || isIP(network))", "message": "each entry must be an IP address or a CIDR such as 10.0.0.0/8"}
    ]))]
    pub denied_peers: Vec<String>,
    /// Networks that the servers relay to although `deniedPeers` has them, as CIDR or IP address. A server always relays to its own
    /// address, as two players need who both use it. Reload: rolling.
    #[schemars(length(max = 32), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = [
        {"rule": "self.all(network, isCIDR(network) || isIP(network))", "message": "each entry must be an IP address or a CIDR such as 10.0.0.0/8"}
    ]))]
    pub allowed_peers: Vec<String>,
    /// Most relays at a time.
    pub quotas: TurnQuotas,
    /// Metrics of coturn for Prometheus.
    pub metrics: TurnMetrics,
    /// The Service in front of the servers, by UDP and TCP on one port. With `network: Host` players reach the nodes themselves, and this
    /// changes nothing.
    pub service: ServiceSpec,
    /// The PodDisruptionBudget, with `workload: Deployment`.
    pub pdb: DisruptionBudget,
    /// The NetworkPolicy, with `network: Pod`: it does not hold for pods in the network of their node.
    pub network_policy: NetworkPolicySpec,
    /// The pods.
    pub pod: PodSpec,
}

impl Default for ManagedTurn {
    fn default() -> Self {
        Self {
            image: None,
            network: TurnNetwork::default(),
            workload: TurnWorkload::default(),
            replicas: 1,
            external_address: None,
            hostname: None,
            realm: "berth".into(),
            listening_port: 3478,
            relay_ports: RelayPorts::default(),
            tls: None,
            denied_peers: PRIVATE_NETWORKS.map(str::to_owned).into(),
            allowed_peers: Vec::new(),
            quotas: TurnQuotas::default(),
            metrics: TurnMetrics::default(),
            service: ServiceSpec::default(),
            pdb: DisruptionBudget::default(),
            network_policy: NetworkPolicySpec::default(),
            pod: PodSpec::default(),
        }
    }
}

/// Private networks (RFC 1918, RFC 4193), those of carriers (RFC 6598) and of benchmarks (RFC 2544): pods, Services and nodes have their
/// addresses in them.
const PRIVATE_NETWORKS: [&str; 6] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "fc00::/7",
];

/// Whose addresses the servers have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TurnNetwork {
    /// Their own, within the cluster.
    #[default]
    Pod,
    /// Those of their nodes.
    Host,
}

/// What makes the pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TurnWorkload {
    /// A number of them.
    #[default]
    Deployment,
    /// One on each node.
    DaemonSet,
}

/// UDP ports on which servers relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.min < self.max", "message": "min must be less than max", "fieldPath": ".min"}
]))]
pub struct RelayPorts {
    /// The first. Reload: rolling.
    #[schemars(range(min = 1024, max = 65535))]
    pub min: i32,
    /// The last. Reload: rolling.
    #[schemars(range(min = 1024, max = 65535))]
    pub max: i32,
}

impl Default for RelayPorts {
    fn default() -> Self {
        // RFC 8656, section 2: the dynamic ports.
        Self {
            min: 49_152,
            max: 65_535,
        }
    }
}

/// TURN by TLS and DTLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TurnTls {
    /// Secret of type `kubernetes.io/tls` with the certificate (`tls.crt`) and its key (`tls.key`). New ones in the same Secret are taken
    /// within minutes, without a restart. Reload: rolling.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Port by TCP and UDP. Reload: rolling.
    #[serde(default = "tls_port")]
    #[schemars(range(min = 1024, max = 65535))]
    pub port: i32,
    /// Port on every node, with a Service of type `NodePort` or `LoadBalancer`. Reload: hot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,
}

fn tls_port() -> i32 {
    5349
}

/// Most relays at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TurnQuotas {
    /// Of one server; 0: as many as there are relay ports. Reload: rolling.
    #[schemars(range(min = 0, max = 65_535))]
    pub total: i32,
    /// Of one credential, which is one peer of a match; 0: no limit of its own. A browser takes several, one per server, transport and network of its
    /// machine. Reload: rolling.
    #[schemars(range(min = 0, max = 65_535))]
    pub per_user: i32,
}

/// Metrics of coturn for Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TurnMetrics {
    /// Whether there are any. The image has to be built with them: that of the coturn project is, Debian's package is not, and does not start then.
    /// Reload: rolling.
    pub enabled: bool,
    /// Their port. With `network: Host` whoever reaches the node can read them. Reload: rolling.
    #[schemars(range(min = 1024, max = 65535))]
    pub port: i32,
}

impl Default for TurnMetrics {
    fn default() -> Self {
        Self {
            enabled: false,
            port: 9641,
        }
    }
}

/// What was seen of the servers that Berth runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedTurnStatus {
    /// Pods that there are.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready_replicas: i32,
    /// Image of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// With `network: Host`: addresses of the nodes with a server that is ready, at most 16. Where the spec names neither `externalAddress` nor
    /// `hostname`, these are in the URLs that players and hosts get.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub addresses: Vec<String>,
}
