//! Addresses of a node, chosen so that they collide with nothing that the machine already reaches.

use std::fmt;
use std::num::ParseIntError;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process;

/// So many clusters can run on one machine side by side.
const SLOTS: u8 = 16;

/// The interfaces and subnets of one of [`SLOTS`] possible clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    slot: u8,
}

impl Network {
    /// The first whose subnets the machine has no route into.
    pub(super) fn free() -> Result<Self> {
        for slot in 0..SLOTS {
            let network = Self { slot };
            let mut taken = false;
            for subnet in [
                network.uplink_subnet(),
                network.pod_subnet(),
                network.service_subnet(),
            ] {
                taken |= !ip(&["route", "show", "root", &subnet])?.trim().is_empty();
            }
            if !taken {
                return Ok(network);
            }
        }
        bail!(
            "the machine has routes into all subnets that a cluster may use (10.250.N.0/30, 10.244.N.0/24, 10.96-111.0.0/16)"
        );
    }

    /// Lays the cable between the machine and the network namespace of process `id`.
    pub(super) fn connect(self, id: u32) -> Result<()> {
        let (name, id) = (self.name(), id.to_string());
        ip(&[
            "link", "add", &name, "type", "veth", "peer", "name", "uplink", "netns", &id,
        ])
        .with_context(|| format!("is another cluster being started right now? It would use {name} too"))?;
        ip(&[
            "address",
            "add",
            &format!("{}/30", self.host_address()),
            "dev",
            &name,
        ])?;
        ip(&["link", "set", &name, "up"])?;
        for subnet in [self.pod_subnet(), self.service_subnet()] {
            ip(&["route", "add", &subnet, "via", &self.node_address()])?;
        }
        Ok(())
    }

    /// Takes it away, and the routes with it. The end of the namespace does the same, a moment later.
    pub(super) fn disconnect(self, limit: Duration) -> Result<()> {
        let name = self.name();
        process::wait_for(&format!("the interface {name} to vanish"), limit, || {
            // It may vanish between a look and the command, so only the look counts.
            process::succeeds(Command::new("ip").args(["link", "delete", &name]));
            Ok((!process::succeeds(Command::new("ip").args(["link", "show", &name]))).then_some(()))
        })
    }

    /// Name of the machine's end of the cable to the node; also of the cgroup of its pods.
    pub(super) fn name(self) -> String {
        format!("berth{}", self.slot)
    }

    fn uplink_subnet(self) -> String {
        format!("10.250.{}.0/30", self.slot)
    }

    /// The machine, as pods see it.
    pub(super) fn host_address(self) -> String {
        format!("10.250.{}.1", self.slot)
    }

    /// The node: API server on 6443, `NodePorts`.
    pub(super) fn node_address(self) -> String {
        format!("10.250.{}.2", self.slot)
    }

    pub(super) fn pod_subnet(self) -> String {
        format!("10.244.{}.0/24", self.slot)
    }

    fn pod_gateway(self) -> String {
        format!("10.244.{}.1", self.slot)
    }

    pub(super) fn service_subnet(self) -> String {
        format!("10.{}.0.0/16", 96 + self.slot)
    }

    /// The Service `kubernetes`.
    pub(super) fn api_service(self) -> String {
        format!("10.{}.0.1", 96 + self.slot)
    }

    fn dns_address(self) -> String {
        format!("10.{}.0.10", 96 + self.slot)
    }

    /// The variables of `cluster/node.sh` and of the `${...}` in the files beside it.
    pub(super) fn variables(self) -> [(&'static str, String); 7] {
        [
            ("CGROUP", format!("/{}", self.name())),
            ("HOST_ADDRESS", self.host_address()),
            ("NODE_ADDRESS", self.node_address()),
            ("POD_GATEWAY", self.pod_gateway()),
            ("POD_SUBNET", self.pod_subnet()),
            ("SERVICE_SUBNET", self.service_subnet()),
            ("DNS_ADDRESS", self.dns_address()),
        ]
    }
}

/// As it is kept in the state folder.
impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.slot)
    }
}

impl FromStr for Network {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(|slot| Self { slot })
    }
}

fn ip(arguments: &[&str]) -> Result<String> {
    process::output(Command::new("ip").args(arguments))
}
