//! TURN servers that Berth runs, with a real coturn: a host and a player who may use nothing but relays meet through them.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use berth_crds::TurnConfig;
use berth_crds::settings::{TurnSettings, turn_secret};
use berth_dataplane::ice::{IceServer, IssuedByProvider, ice_servers};
use berth_dataplane::secrets::{Secret, SecretStore};
use serde_json::{Value, json};

use crate::kubectl::Cluster;
use crate::peers::Peers;
use crate::play::{POOL, secret_of_hosts};
use crate::wait::{Seen, until};
use crate::{SLOW, Story};

/// Namespace of the servers on nodes, and of those who use them.
const ON_NODES: &str = "turn";
/// Label of a namespace.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// Pods with addresses of their own, in the namespace that enforces the restricted standard, behind a node port.
pub(crate) fn in_pods(story: &Story) -> Result<()> {
    let cluster = &story.cluster;
    let node = node_address(cluster)?;
    let managed = json!({
        "externalAddress": node,
        "service": {"type": "NodePort", "nodePort": 30478},
        "relayPorts": {"min": 50000, "max": 50099},
    });
    apply(cluster, &turn_config("relay", &managed))?;
    let named = json!({"spec": {"turnConfigRef": {"name": "relay"}}}).to_string();
    cluster.kubectl(&["patch", "hostpool", POOL, "--type=merge", "--patch", &named])?;
    cluster.wait_for("Ready", "turnconfig/relay", "180s")?;
    cluster.wait_for("ServersReachable", "turnconfig/relay", "180s")?;
    cluster.wait_for("Ready", &format!("hostpool/{POOL}"), "180s")?;
    meet(
        cluster,
        &story.peers,
        "relay",
        "ws://localhost:3002",
        &format!("turn:{node}:30478?transport=udp"),
    )?;
    cluster.kubectl(&["apply", "-f", &story.path("examples/quickstart")?])?;
    cluster.wait_for("Ready", &format!("hostpool/{POOL}"), "180s")?;
    cluster.kubectl(&["delete", "turnconfig", "relay"]).map(drop)
}

/// Pods in the network of their nodes. A namespace that does not let them in is told of, with the label that it needs.
pub(crate) fn on_nodes() -> Result<()> {
    let cluster = Cluster::from_runner(ON_NODES)?;
    let node = node_address(&cluster)?;
    cluster.kubectl(&["create", "namespace", ON_NODES])?;
    label(&cluster, "restricted")?;
    let managed = |workload: &str| json!({"network": "Host", "workload": workload, "relayPorts": {"min": 50100, "max": 50199}});
    for workload in ["Deployment", "DaemonSet"] {
        apply(&cluster, &turn_config("turn", &managed(workload)))?;
        let told = || -> Result<Seen> {
            let found = cluster.get(&["turnconfig", "turn"])?;
            let generation = found["metadata"]["generation"].as_i64();
            let conditions = found["status"]["conditions"].as_array().cloned();
            let is = conditions.into_iter().flatten().any(|condition| {
                condition["type"] == "PodSecurityBlocked"
                    && condition["status"] == "True"
                    && condition["observedGeneration"].as_i64() == generation
                    && condition["message"]
                        .as_str()
                        .is_some_and(|text| text.contains(ENFORCE))
            });
            Ok(if is {
                Seen::Yes
            } else {
                Seen::Instead(found["status"].to_string())
            })
        };
        until(&format!("a {workload} to be told of as blocked"), SLOW, told)?;
    }
    label(&cluster, "privileged")?;
    // Its controller tries again ever more rarely; a change has it look at once.
    cluster.kubectl(&["rollout", "restart", "daemonset/turn-turn"])?;

    let service = |port: u16| json!({"type": "NodePort", "nodePort": port});
    let signaling = format!("ws://{node}:30012");
    let spec =
        json!({"publicUrl": signaling, "replicas": 1, "redis": {"managed": {}}, "service": service(30012)});
    apply(&cluster, &resource("SignalingCluster", "main", &spec))?;
    let spec = json!({
        "signalingClusterRef": {"name": "main"}, "turnConfigRef": {"name": "turn"}, "replicas": 1,
        "statusIntervalSeconds": 2, "service": service(30010),
    });
    apply(&cluster, &resource("HostPool", POOL, &spec))?;
    for what in [
        "turnconfig/turn".to_owned(),
        "signalingcluster/main".into(),
        format!("hostpool/{POOL}"),
    ] {
        cluster.wait_for("Ready", &what, "180s")?;
    }
    until("the address of the node", SLOW, || {
        let addresses = &cluster.get(&["turnconfig", "turn"])?["status"]["managed"]["addresses"];
        Ok(if *addresses == json!([node]) {
            Seen::Yes
        } else {
            Seen::Instead(addresses.to_string())
        })
    })?;
    let peers = Peers::from_runner(&format!("http://{node}:30010"))?;
    meet(
        &cluster,
        &peers,
        "turn",
        &signaling,
        &format!("turn:{node}:3478?transport=udp"),
    )?;
    cluster
        .kubectl(&["delete", "namespace", ON_NODES, "--wait=true"])
        .map(drop)
}

/// A host and a player, both by relays alone. The player gets the servers with his match; a host is told them by his owner.
fn meet(cluster: &Cluster, peers: &Peers, turn: &str, signaling: &str, url: &str) -> Result<()> {
    let server = server_of(cluster, turn)?;
    ensure!(server.urls == url, "{} instead of {url}", server.urls);
    let (username, credential) = (
        server.username.context("no user name")?,
        server.credential.context("no credential")?,
    );
    let relayed = ["--relay-only", "--ice-server", url];
    let own = ["--id", "relayed", "--signaling", signaling];
    let credential = ["--ice-username", &username, "--ice-credential", &credential];
    let arguments = [&relayed[..], &own, &credential].concat();
    let mut host = peers.host(&secret_of_hosts(cluster)?, &arguments)?;
    host.expect_events("joined", 1, SLOW)?;
    host.expect_events("registered", 1, SLOW)?;

    let goals = ["--frames", "20", "--round-trips", "20", "--timeout", "60"];
    let arguments = [&["--relay-only", "--host-id", "relayed"][..], &goals].concat();
    let mut report = Value::Null;
    until("a player who meets his host by relays", SLOW, || {
        let (code, last) = peers.player(&arguments)?.finish(SLOW)?;
        report = last;
        Ok(if code == 0 {
            Seen::Yes
        } else {
            Seen::Instead(report.to_string())
        })
    })
    .with_context(|| cluster.describe("turnconfig"))?;
    let pair = &report["candidatePair"];
    ensure!(
        pair["local"]["type"] == "relay" && pair["remote"]["type"] == "relay",
        "another way was taken: {report}"
    );
    let named = report["iceServers"].as_array().context("no ICE servers")?;
    ensure!(
        named.iter().any(|named| named == url),
        "the match did not name the server: {report}"
    );
    ensure!(
        report["video"]["frames"].as_u64() >= Some(20) && report["roundTrip"]["count"].as_u64() >= Some(20),
        "nothing came through: {report}"
    );
    Ok(())
}

/// The first server of a TurnConfig with a credential, as a service makes it of the resource and the mounted secret.
fn server_of(cluster: &Cluster, name: &str) -> Result<IceServer> {
    let resource: TurnConfig = serde_json::from_value(cluster.get(&["turnconfig", name])?)?;
    let settings = TurnSettings::try_from(&resource)?;
    let reference = turn_secret(name);
    let template = format!("go-template={{{{.data.{} | base64decode}}}}", reference.key);
    let value = cluster.kubectl(&["get", "secret", &reference.name, "-o", &template])?;
    let secrets = SecretStore::in_memory();
    let secret = Secret::new(value).context("an empty secret")?;
    secrets.put(&reference, secret);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let found = ice_servers(Some(&settings), &secrets, &IssuedByProvider::new(), "host", now);
    found.servers.into_iter().next().context("no server")
}

fn node_address(cluster: &Cluster) -> Result<String> {
    let path = "jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}";
    cluster.kubectl(&["get", "nodes", "-o", path])
}

fn label(cluster: &Cluster, level: &str) -> Result<()> {
    let label = format!("{ENFORCE}={level}");
    cluster
        .kubectl(&["label", "namespace", ON_NODES, &label, "--overwrite"])
        .map(drop)
}

fn turn_config(name: &str, managed: &Value) -> Value {
    resource("TurnConfig", name, &json!({"managed": managed}))
}

fn resource(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "berth.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn apply(cluster: &Cluster, manifest: &Value) -> Result<()> {
    cluster.apply_text(&manifest.to_string()).map(drop)
}
