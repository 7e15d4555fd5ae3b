//! What a TurnConfig becomes: the coturn servers that Berth runs for it.
//!
//! With `network: Pod` the pods pass the `restricted` pod security standard and stand behind a Service. With `network: Host` they
//! have the addresses of their nodes, and a Service without an address of its own tells which of them are ready.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use berth_crds::TurnConfig;
use berth_crds::api::{ManagedTurn, ServiceType, TurnNetwork, TurnTls, TurnWorkload};
use berth_crds::settings::{PeerRules, turn_secret};
use ipnet::IpNet;
use k8s_openapi::api::apps::v1::{
    DaemonSet, DaemonSetSpec, Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, ObjectFieldSelector, PodSpec,
    PodTemplateSpec, Probe, SecurityContext, Service, ServiceAccount, ServicePort, ServiceSpec,
    TCPSocketAction, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use super::pod::{
    container_security, empty_dir, filled, mount, placement, pod_security, resources, secret_file,
    secret_mount, secret_volume, selector, spread,
};
use super::workload::disruption_budget;
use super::{Child, ChildId, ChildKind, Defaults, Desired, GeneratedSecret, Owner, network};
use crate::names::{self, Component};

/// Writes the shared secret into a configuration file in memory, so that it stands neither in the pod nor in the list of
/// processes, and becomes coturn. Arguments: the file with the secret, a folder in memory, that of the certificate (empty: none), and
/// those of turnserver. A new certificate is told to coturn by the signal that has it read again; it keeps its process id through `exec`.
const START: &str = r#"set -eu
umask 077
run=$1 tls=$2
shift 2
printf 'static-auth-secret=%s\n' "$(cat "$0")" > "$run/turnserver.conf"
if [ -n "$tls" ]; then
  seen=$(cat "$tls/tls.crt" "$tls/tls.key" | cksum)
  while sleep 10; do
    now=$(cat "$tls/tls.crt" "$tls/tls.key" | cksum)
    [ "$now" = "$seen" ] || kill -USR2 $$
    seen=$now
  done &
fi
exec turnserver -c "$run/turnserver.conf" "$@""#;

/// Folder in memory of the configuration.
const RUN: &str = "/run/coturn";
/// A pod must stay ready this long before the next is replaced.
const MIN_READY_SECONDS: i32 = 5;
/// Names of ports.
const TURN: &str = "turn";
const TURN_TCP: &str = "turn-tcp";
const TURNS: &str = "turns";
const TURNS_UDP: &str = "turns-udp";
const METRICS: &str = "metrics";

/// What `resource` becomes: nothing, unless Berth runs its servers. While not everything that their pods mount is there (`resolved` is false), what
/// makes them is withheld.
pub fn turn_config(resource: &TurnConfig, resolved: bool, defaults: &Defaults) -> Desired {
    let Some(spec) = &resource.spec.managed else {
        return Desired::default();
    };
    let owner = Owner::of(resource);
    let servers = Servers {
        owner: &owner,
        spec,
        defaults,
    };
    let mut desired = Desired {
        children: servers.surroundings(),
        ..Desired::default()
    };
    if resolved {
        desired.children.push(servers.workload());
    } else {
        desired.withheld = [ChildKind::Deployment, ChildKind::DaemonSet]
            .map(|kind| ChildId::new(kind, servers.name()))
            .into();
    }
    desired.in_order()
}

/// Which object makes the pods of these servers.
pub fn turn_workload(name: &str, spec: &ManagedTurn) -> ChildId {
    let kind = match spec.workload {
        TurnWorkload::Deployment => ChildKind::Deployment,
        TurnWorkload::DaemonSet => ChildKind::DaemonSet,
    };
    ChildId::new(kind, Component::Turn.object_name(name))
}

struct Servers<'a> {
    owner: &'a Owner,
    spec: &'a ManagedTurn,
    defaults: &'a Defaults,
}

impl Servers<'_> {
    fn name(&self) -> String {
        Component::Turn.object_name(&self.owner.name)
    }

    fn metadata(&self) -> ObjectMeta {
        self.owner.child(Component::Turn, self.name())
    }

    fn is_host(&self) -> bool {
        self.spec.network == TurnNetwork::Host
    }

    fn surroundings(&self) -> Vec<Child> {
        let secret = turn_secret(&self.owner.name);
        let mut children = vec![
            Child::ServiceAccount(ServiceAccount {
                metadata: self.metadata(),
                automount_service_account_token: Some(false),
                ..ServiceAccount::default()
            }),
            Child::Secret(GeneratedSecret {
                metadata: self.owner.child(Component::Turn, secret.name),
                key: "secret",
            }),
            Child::Service(if self.is_host() {
                self.nodes()
            } else {
                self.service()
            }),
        ];
        // A drain of a node passes over the pods of a DaemonSet.
        if self.spec.pdb.enabled && self.spec.workload == TurnWorkload::Deployment {
            children.push(Child::PodDisruptionBudget(disruption_budget(
                self.metadata(),
                selector(Component::Turn, &self.owner.name),
                &self.spec.pdb,
            )));
        }
        // No policy holds for a pod in the network of its node, and one that does nothing would only look as if it did.
        if self.spec.network_policy.enabled && !self.is_host() {
            children.push(Child::NetworkPolicy(network::turn(self.owner, self.spec)));
        }
        children
    }

    fn workload_metadata<const N: usize>(&self, more: [(&str, &str); N]) -> ObjectMeta {
        let default_image = (names::DEFAULT_IMAGE, self.defaults.coturn_image.as_str());
        let annotations = more.into_iter().chain([default_image]);
        ObjectMeta {
            annotations: Some(
                annotations
                    .map(|(key, value)| (key.into(), value.into()))
                    .collect(),
            ),
            ..self.metadata()
        }
    }

    fn workload(&self) -> Child {
        let template = self.pod_template();
        let pods = selector(Component::Turn, &self.owner.name);
        if self.spec.workload == TurnWorkload::DaemonSet {
            return Child::DaemonSet(DaemonSet {
                metadata: self.workload_metadata([]),
                spec: Some(DaemonSetSpec {
                    selector: pods,
                    template,
                    min_ready_seconds: Some(MIN_READY_SECONDS),
                    revision_history_limit: Some(3),
                    ..DaemonSetSpec::default()
                }),
                status: None,
            });
        }
        let metadata = self.workload_metadata([(names::REPLICAS, names::REPLICAS_FIXED)]);
        // Two servers do not fit into the network of one node, so there the old one goes first.
        let (unavailable, surge) = if self.is_host() { (1, 0) } else { (0, 1) };
        Child::Deployment(Deployment {
            metadata,
            spec: Some(DeploymentSpec {
                replicas: Some(self.spec.replicas),
                selector: pods,
                min_ready_seconds: Some(MIN_READY_SECONDS),
                revision_history_limit: Some(3),
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".into()),
                    rolling_update: Some(RollingUpdateDeployment {
                        max_unavailable: Some(IntOrString::Int(unavailable)),
                        max_surge: Some(IntOrString::Int(surge)),
                    }),
                }),
                template,
                ..DeploymentSpec::default()
            }),
            status: None,
        })
    }

    fn service(&self) -> Service {
        let options = &self.spec.service;
        let mut metadata = self.metadata();
        metadata.annotations = filled(options.annotations.clone());
        let by_node = options.type_ != ServiceType::ClusterIP;
        let node_port = |port: Option<i32>| port.filter(|_| by_node);
        let mut ports = both(
            TURN,
            TURN_TCP,
            self.spec.listening_port,
            node_port(options.node_port),
        );
        if let Some(tls) = &self.spec.tls {
            ports.extend(both(TURNS_UDP, TURNS, tls.port, node_port(tls.node_port)));
        }
        Service {
            metadata,
            spec: Some(ServiceSpec {
                type_: Some(options.type_.as_str().into()),
                selector: Some(Component::Turn.selector(&self.owner.name)),
                ports: Some(ports),
                ..ServiceSpec::default()
            }),
            status: None,
        }
    }

    /// Tells by its endpoints which nodes have a server that is ready. It has a name of its own, because a Service cannot lose its address.
    fn nodes(&self) -> Service {
        Service {
            metadata: self
                .owner
                .child(Component::Turn, names::turn_nodes(&self.owner.name)),
            spec: Some(ServiceSpec {
                type_: Some("ClusterIP".into()),
                cluster_ip: Some("None".into()),
                selector: Some(Component::Turn.selector(&self.owner.name)),
                ports: Some(both(TURN, TURN_TCP, self.spec.listening_port, None)),
                ..ServiceSpec::default()
            }),
            status: None,
        }
    }

    /// A set of pods, one on each node, is spread by itself.
    fn spread(&self) -> Option<Vec<TopologySpreadConstraint>> {
        let asked = self.spec.pod.topology_spread.as_deref();
        let pods = selector(Component::Turn, &self.owner.name);
        let is_set = self.spec.workload == TurnWorkload::DaemonSet;
        (asked.is_some() || !is_set)
            .then(|| spread(asked, &pods))
            .flatten()
    }

    fn pod_template(&self) -> PodTemplateSpec {
        let options = &self.spec.pod;
        let mut labels = options.labels.clone();
        labels.extend(Component::Turn.labels(&self.owner.name));
        let mut volumes = vec![empty_dir("run", "4Mi", Some("Memory"))];
        let mut mounts = vec![mount("run", RUN)];
        let tls = self.spec.tls.as_ref().map(|tls| tls.secret_name.clone());
        let secrets: BTreeSet<_> = std::iter::once(turn_secret(&self.owner.name).name)
            .chain(tls)
            .collect();
        for secret in &secrets {
            let volume = secret_volume(secret);
            mounts.push(secret_mount(&volume.name, secret));
            volumes.push(volume);
        }
        let image = self.spec.image.as_ref().unwrap_or(&self.defaults.coturn_image);
        PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(labels),
                annotations: filled(options.annotations.clone()),
                ..ObjectMeta::default()
            }),
            spec: Some(PodSpec {
                service_account_name: Some(self.name()),
                automount_service_account_token: Some(false),
                enable_service_links: Some(false),
                host_network: self.is_host().then_some(true),
                topology_spread_constraints: self.spread(),
                security_context: Some(pod_security()),
                termination_grace_period_seconds: Some(30),
                containers: vec![Container {
                    name: "coturn".into(),
                    image: Some(image.clone()),
                    image_pull_policy: Some(self.defaults.image_pull_policy.as_str().into()),
                    command: Some(vec!["sh".into(), "-c".into(), START.into()]),
                    args: Some(self.arguments()),
                    env: Some(vec![self.own_address()]),
                    ports: Some(self.ports()),
                    startup_probe: Some(open(TURN_TCP, 1, 60)),
                    readiness_probe: Some(open(TURN_TCP, 3, 2)),
                    liveness_probe: Some(open(TURN_TCP, 10, 3)),
                    resources: Some(
                        options
                            .resources
                            .clone()
                            .unwrap_or_else(|| resources("100m", "64Mi", "512Mi")),
                    ),
                    security_context: Some(security()),
                    volume_mounts: Some(mounts),
                    ..Container::default()
                }],
                volumes: Some(volumes),
                ..placement(options, &self.defaults.image_pull_secrets)
            }),
        }
    }

    /// The address that the server listens and relays on, as `$(ADDRESS)` in its arguments.
    fn own_address(&self) -> EnvVar {
        let field = if self.is_host() {
            "status.hostIP"
        } else {
            "status.podIP"
        };
        EnvVar {
            name: "ADDRESS".into(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    field_path: field.into(),
                    ..ObjectFieldSelector::default()
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        }
    }

    /// Arguments of [`START`].
    fn arguments(&self) -> Vec<String> {
        let spec = self.spec;
        let secret = turn_secret(&self.owner.name);
        let tls = spec.tls.as_ref().map(|tls| secret_file(&tls.secret_name, ""));
        let tls_folder = tls.as_deref().map_or("", |folder| folder.trim_end_matches('/'));
        let mut arguments = vec![
            secret_file(&secret.name, &secret.key),
            RUN.to_owned(),
            tls_folder.to_owned(),
        ];
        // Nothing but the one secret lets anybody in: no users of a database, nobody without a credential, no administration at runtime.
        arguments.extend(
            [
                "--use-auth-secret",
                "--fingerprint",
                "--stale-nonce=600",
                "--no-cli",
                "--no-auth-pings",
                "--no-dynamic-ip-list",
                "--no-dynamic-realms",
                "--no-multicast-peers",
                "--no-tcp-relay",
                "--no-rfc5780",
                "--no-software-attribute",
                "--simple-log",
                "--log-file=stdout",
                "--listening-ip=$(ADDRESS)",
                "--relay-ip=$(ADDRESS)",
                "--allowed-peer-ip=$(ADDRESS)",
            ]
            .map(str::to_owned),
        );
        arguments.extend(
            spec.external_address
                .iter()
                .map(|address| format!("--external-ip={address}/$(ADDRESS)")),
        );
        arguments.extend([
            format!("--realm={}", spec.realm),
            format!("--listening-port={}", spec.listening_port),
            format!("--min-port={}", spec.relay_ports.min),
            format!("--max-port={}", spec.relay_ports.max),
            format!("--total-quota={}", spec.quotas.total),
            format!("--user-quota={}", spec.quotas.per_user),
            format!("--userdb={RUN}/turndb"),
            format!("--pidfile={RUN}/pid"),
        ]);
        arguments.extend(tls_arguments(spec.tls.as_ref(), tls_folder));
        if spec.metrics.enabled {
            arguments.push("--prometheus".into());
            arguments.push(format!("--prometheus-port={}", spec.metrics.port));
        }
        let rules = PeerRules::of(spec);
        let listed = |option: &str, networks: &[IpNet]| -> Vec<String> {
            let ranges = networks.iter().map(range);
            ranges
                .map(|range| format!("--{option}-peer-ip={range}"))
                .collect()
        };
        arguments.extend(listed("denied", &rules.denied));
        arguments.extend(listed("allowed", &rules.allowed));
        arguments
    }

    fn ports(&self) -> Vec<ContainerPort> {
        let port = |name: &str, number: i32, protocol: &str| ContainerPort {
            name: Some(name.into()),
            container_port: number,
            protocol: Some(protocol.into()),
            ..ContainerPort::default()
        };
        let mut ports = vec![
            port(TURN, self.spec.listening_port, "UDP"),
            port(TURN_TCP, self.spec.listening_port, "TCP"),
        ];
        if let Some(tls) = &self.spec.tls {
            ports.push(port(TURNS_UDP, tls.port, "UDP"));
            ports.push(port(TURNS, tls.port, "TCP"));
        }
        if self.spec.metrics.enabled {
            ports.push(port(METRICS, self.spec.metrics.port, "TCP"));
        }
        ports
    }
}

fn tls_arguments(tls: Option<&TurnTls>, folder: &str) -> Vec<String> {
    match tls {
        Some(tls) => vec![
            format!("--tls-listening-port={}", tls.port),
            format!("--cert={folder}/tls.crt"),
            format!("--pkey={folder}/tls.key"),
            "--no-tlsv1".into(),
            "--no-tlsv1_1".into(),
        ],
        None => vec!["--no-tls".into(), "--no-dtls".into()],
    }
}

/// The first and the last address of a network, as coturn reads it: to a range that begins at `::` belong all IPv4 addresses. (That address
/// itself is no peer for it anyway.)
fn range(network: &IpNet) -> String {
    let (mut first, last) = (network.network(), network.broadcast());
    if first == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        first = IpAddr::V6(Ipv6Addr::LOCALHOST);
    }
    if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    }
}

/// The container's security, and the one capability of the `restricted` standard: the published image marks its program with it, and a kernel starts
/// no program that is marked with what its container may not have. The process itself gets nothing by it.
fn security() -> SecurityContext {
    SecurityContext {
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".into()]),
            add: Some(vec!["NET_BIND_SERVICE".into()]),
        }),
        ..container_security()
    }
}

/// One port by UDP and TCP, with these names.
fn both(udp: &str, tcp: &str, port: i32, node_port: Option<i32>) -> Vec<ServicePort> {
    [(udp, "UDP"), (tcp, "TCP")]
        .map(|(name, protocol)| ServicePort {
            name: Some(name.into()),
            port,
            protocol: Some(protocol.into()),
            target_port: Some(IntOrString::String(name.into())),
            node_port,
            app_protocol: None,
        })
        .into()
}

/// Succeeds when the port takes connections.
fn open(port: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction {
            port: IntOrString::String(port.into()),
            host: None,
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}
