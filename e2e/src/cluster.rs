//! The cluster that a command or a test works with: kind where Docker runs, else our own [`Node`]; another
//! one only when a person names its kubeconfig.

use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_yaml::Value;

use crate::node::{Node, PortMapping};
use crate::{binaries, process, workspace};

/// Kinds whose presence says that somebody uses Berth in a cluster.
const KINDS: [&str; 3] = [
    "signalingclusters.berth.dev",
    "hostpools.berth.dev",
    "turnconfigs.berth.dev",
];

/// A cluster and how it is reached.
#[derive(Clone, Debug)]
pub struct Cluster {
    provider: Provider,
    kubeconfig: PathBuf,
}

#[derive(Clone, Debug)]
enum Provider {
    /// A node of our own, without Docker.
    Node(Node),
    /// A kind cluster of this name.
    Kind(String),
    /// Somebody else's.
    Given,
}

impl Cluster {
    /// The cluster of this checkout whose files are in the folder `state`, running or not: where a Docker
    /// engine answers a kind cluster called `kind`, else a node without Docker.
    pub fn local(state: &Path, kind: &str) -> Result<Self> {
        if docker_answers() {
            return Ok(Self {
                provider: Provider::Kind(kind.to_owned()),
                kubeconfig: state.join("kubeconfig"),
            });
        }
        let node = Node::at(state, port_mappings()?)?;
        Ok(Self {
            kubeconfig: node.kubeconfig(),
            provider: Provider::Node(node),
        })
    }

    /// The cluster of a kubeconfig. Refused when it holds resources of Berth: they are somebody's.
    pub fn given(kubeconfig: &Path) -> Result<Self> {
        let cluster = Self {
            provider: Provider::Given,
            kubeconfig: kubeconfig.to_owned(),
        };
        let known = cluster.query(&["get", "customresourcedefinitions", "--output=name"])?;
        for kind in KINDS.into_iter().filter(|kind| known.contains(kind)) {
            let found = cluster.query(&["get", kind, "--all-namespaces", "--output=name"])?;
            if let Some(resource) = found.lines().next() {
                bail!(
                    "the cluster of {} is in use: it has {resource}; nothing was changed",
                    kubeconfig.display()
                );
            }
        }
        Ok(cluster)
    }

    /// Starts it where it is ours, and waits until it is ready.
    pub fn up(&self) -> Result<()> {
        match &self.provider {
            Provider::Node(node) => node.up(),
            Provider::Kind(name) => {
                let mut kind = Command::new("kind");
                if kind_runs(name)? {
                    kind.args(["export", "kubeconfig", "--name", name]);
                } else {
                    let config = workspace::root().join("kind-config.yaml");
                    kind.args(["create", "cluster", "--wait=5m", "--name", name, "--config"])
                        .arg(config);
                }
                process::run(kind.arg("--kubeconfig").arg(&self.kubeconfig))
            }
            Provider::Given => Ok(()),
        }
    }

    /// Ends it where it is ours.
    pub fn down(&self) -> Result<()> {
        match &self.provider {
            Provider::Node(node) => node.down(),
            Provider::Kind(name) => {
                if kind_runs(name)? {
                    process::run(Command::new("kind").args(["delete", "cluster", "--name", name]))?;
                }
                Ok(())
            }
            Provider::Given => Ok(()),
        }
    }

    /// Whether it runs, which says nothing about its health.
    pub fn is_running(&self) -> Result<bool> {
        match &self.provider {
            Provider::Node(node) => Ok(node.is_running()),
            Provider::Kind(name) => kind_runs(name),
            Provider::Given => Ok(true),
        }
    }

    /// Kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// `kubectl` as an administrator.
    pub fn kubectl(&self) -> Result<Command> {
        let program = match self.provider {
            Provider::Node(_) => binaries::own_api()?.join("kubectl"),
            Provider::Kind(_) | Provider::Given => PathBuf::from("kubectl"),
        };
        let mut command = Command::new(program);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        Ok(command)
    }

    /// The node without Docker, where it is one: only there the machine reaches pods by their addresses.
    pub fn node(&self) -> Option<&Node> {
        match &self.provider {
            Provider::Node(node) => Some(node),
            Provider::Kind(_) | Provider::Given => None,
        }
    }

    /// Makes the image of an archive known to the cluster under the name that the archive carries.
    pub fn load(&self, archive: &Path) -> Result<()> {
        match &self.provider {
            Provider::Node(node) => node.load(archive),
            Provider::Kind(name) => {
                let mut load = Command::new("kind");
                process::run(load.args(["load", "image-archive", "--name", name]).arg(archive))
            }
            Provider::Given => bail!(
                "a given cluster takes images from its registries only: push {} there",
                archive.display()
            ),
        }
    }

    fn query(&self, arguments: &[&str]) -> Result<String> {
        process::output(self.kubectl()?.args(arguments))
    }
}

/// Whether a Docker engine answers; the client alone says nothing.
pub fn docker_answers() -> bool {
    process::succeeds(Command::new("docker").arg("info"))
}

fn kind_runs(name: &str) -> Result<bool> {
    process::output(Command::new("kind").args(["get", "clusters"]))
        .context("Docker runs here, so the cluster is kind's (https://kind.sigs.k8s.io)")
        .map(|clusters| clusters.lines().any(|line| line == name))
}

/// The ports that kind maps: a node without Docker maps the same.
fn port_mappings() -> Result<Vec<PortMapping>> {
    let file = workspace::root().join("kind-config.yaml");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let config: Value = serde_yaml::from_str(&text).with_context(|| file.display().to_string())?;
    let mappings = config["nodes"][0]["extraPortMappings"]
        .as_sequence()
        .map_or(&[][..], Vec::as_slice);
    mappings
        .iter()
        .map(port_mapping)
        .collect::<Option<Vec<_>>>()
        .with_context(|| format!("a port mapping of {} is not understood", file.display()))
}

fn port_mapping(mapping: &Value) -> Option<PortMapping> {
    let port = |key: &str| mapping[key].as_u64().and_then(|port| u16::try_from(port).ok());
    let address = mapping["listenAddress"]
        .as_str()
        .unwrap_or("0.0.0.0")
        .parse()
        .ok()?;
    Some(PortMapping {
        listen: SocketAddrV4::new(address, port("hostPort")?),
        node_port: port("containerPort")?,
    })
}

#[cfg(test)]
mod tests {
    use super::{PortMapping, port_mapping};

    #[test]
    fn port_mappings_are_read_as_kind_reads_them() {
        let read = |yaml: &str| port_mapping(&serde_yaml::from_str(yaml).unwrap());
        let listen = |text: &str| PortMapping {
            listen: text.parse().unwrap(),
            node_port: 30300,
        };
        let mapping = "{containerPort: 30300, hostPort: 3000, listenAddress: 127.0.0.1, protocol: TCP}";
        assert_eq!(read(mapping), Some(listen("127.0.0.1:3000")));
        assert_eq!(
            read("{containerPort: 30300, hostPort: 3000}"),
            Some(listen("0.0.0.0:3000"))
        );
        assert_eq!(read("{containerPort: 30300}"), None);
    }
}
