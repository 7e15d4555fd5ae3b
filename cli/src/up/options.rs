//! Flags of `berth up`, and what follows from them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

/// Ports without `--port-base`: those that the Node services and their clients know.
const MATCHMAKER: u16 = 3000;
const SIGNALING: u16 = 3002;
const INTERNAL: u16 = 8080;

/// Signaling and matchmaker in one process, from the manifests that a cluster takes.
///
/// Without --redis everything is kept in memory and ends with the process. Hosts register with the secret berth-local unless
/// `HOST_SECRET` says otherwise. Changes of the manifests are in force within a second.
#[derive(Debug, Clone, Args)]
pub struct UpOptions {
    /// File or folder with one SignalingCluster, one HostPool and what they name [default: examples/local/, or its copy in
    /// this program]
    #[arg(long, value_name = "PATH")]
    pub manifests: Option<PathBuf>,

    /// Keep rooms and hosts in this Redis instead, for example redis://host:port; `REDIS_URL` does the same
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true)]
    pub redis: Option<String>,

    /// Ports N (matchmaker), N+1 (internal) and N+2 (signaling) instead of 3000, 8080 and 3002
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=65533))]
    pub port_base: Option<u16>,

    /// Address to listen on; 0.0.0.0 lets other machines in
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub bind: IpAddr,

    /// Folder with Secrets that the manifests name: one folder per Secret, one file per key
    #[arg(long, value_name = "DIR")]
    pub secrets: Option<PathBuf>,

    /// Host secret instead of the one that the manifests give
    #[arg(long, env = "HOST_SECRET", hide_env_values = true)]
    pub host_secret: Option<String>,
}

/// Where the three listeners are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The matchmaker's API.
    pub matchmaker: SocketAddr,
    /// Health, metrics, state.
    pub internal: SocketAddr,
    /// Signaling.
    pub signaling: SocketAddr,
    /// The flag behind them, for the error when one is taken.
    pub from: &'static str,
}

impl UpOptions {
    /// Where the three listeners are to be.
    pub fn ports(&self) -> Ports {
        let at = |port| SocketAddr::new(self.bind, port);
        match self.port_base {
            None => Ports {
                matchmaker: at(MATCHMAKER),
                internal: at(INTERNAL),
                signaling: at(SIGNALING),
                from: "--port-base takes others",
            },
            Some(base) => Ports {
                matchmaker: at(base),
                internal: at(base + 1),
                signaling: at(base + 2),
                from: "--port-base",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: UpOptions,
    }

    fn ports(args: &[&str]) -> [u16; 3] {
        let line = Line::parse_from([&["up"], args].concat());
        let ports = line.options.ports();
        [ports.matchmaker, ports.internal, ports.signaling].map(|address| address.port())
    }

    #[test]
    fn ports_are_the_known_ones_or_three_in_a_row() {
        assert_eq!(ports(&[]), [3000, 8080, 3002]);
        assert_eq!(ports(&["--port-base", "4000"]), [4000, 4001, 4002]);
        assert!(Line::try_parse_from(["up", "--port-base", "65534"]).is_err());
    }
}
