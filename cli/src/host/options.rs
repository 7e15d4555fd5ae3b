//! Flags of `berth host`.

use std::time::Duration;

use clap::Args;
use rand::seq::IndexedRandom;
use url::Url;

use crate::peer::connection::ConnectionOptions;
use crate::peer::ice_server::{IceEndpoints, IceServer};
use crate::peer::secret::Secret;
use crate::peer::transport::GatherOptions;

/// Time from an offer to an established connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a player that left signaling may be silent before its session ends.
const ORPHAN_GRACE: Duration = Duration::from_secs(5);
/// Letters and digits that are not mistaken for each other.
const CODE_ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// A simulated streaming host: registers, joins its room and answers players with a real WebRTC
/// connection that echoes data channels and sends a test pattern.
#[derive(Debug, Clone, Args)]
pub struct HostOptions {
    /// Base URL of the matchmaker.
    #[arg(long, value_name = "URL", default_value = "http://localhost:3000")]
    pub matchmaker: Url,

    /// URL of signaling.
    #[arg(long, value_name = "URL", default_value = "ws://localhost:3002")]
    pub signaling: Url,

    /// Host secret, sent as bearer token with each heartbeat.
    #[arg(
        long,
        env = "HOST_SECRET",
        hide_env_values = true,
        default_value = "berth-local"
    )]
    pub secret: Secret,

    /// Region that the host registers in.
    #[arg(long, default_value = "local")]
    pub region: String,

    /// Players that the host says it serves at once.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub capacity: u32,

    /// Host id; `berth-host-` and a random code when absent. With --count, a number is added.
    #[arg(long)]
    pub id: Option<String>,

    /// Room id; the host id when absent. With --count, a number is added.
    #[arg(long)]
    pub room: Option<String>,

    /// Seconds between heartbeats; each is moved by up to a tenth.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub heartbeat_interval: u64,

    /// Hosts to simulate in this process.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub count: u32,

    /// Send the constant heartbeat of native hosts in the field: idle with one free slot, also in
    /// the middle of a session.
    #[arg(long)]
    pub present_host: bool,

    /// How candidates are gathered.
    #[command(flatten)]
    pub network: NetworkOptions,

    /// Print one JSON object per event instead of text.
    #[arg(long)]
    pub json: bool,
}

/// How candidates are gathered; the same for host and player.
#[derive(Debug, Clone, Default, Args)]
pub struct NetworkOptions {
    /// Use relayed candidates only.
    #[arg(long)]
    pub relay_only: bool,

    /// Use loopback addresses too; without other addresses they are used anyway.
    #[arg(long)]
    pub loopback: bool,

    /// STUN or TURN server, for example stun:HOST:3478 or turn:HOST:3478. May be repeated.
    #[arg(long = "ice-server", value_name = "URL")]
    pub ice_servers: Vec<String>,

    /// User name for the TURN servers.
    #[arg(long, value_name = "NAME")]
    pub ice_username: Option<String>,

    /// Credential for the TURN servers.
    #[arg(long, value_name = "SECRET", env = "ICE_CREDENTIAL", hide_env_values = true)]
    pub ice_credential: Option<Secret>,
}

/// Who one simulated host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Host id.
    pub host: String,
    /// Room id.
    pub room: String,
}

// === impl HostOptions ===

impl HostOptions {
    /// The identities of all hosts of this process.
    pub fn identities(&self) -> Vec<Identity> {
        let host = self
            .id
            .clone()
            .unwrap_or_else(|| format!("berth-host-{}", random_code(6)));
        let room = self.room.clone().unwrap_or_else(|| host.clone());
        if self.count == 1 {
            return vec![Identity { host, room }];
        }
        (1..=self.count)
            .map(|n| Identity {
                host: format!("{host}-{n}"),
                room: format!("{room}-{n}"),
            })
            .collect()
    }
}

// === impl NetworkOptions ===

impl NetworkOptions {
    /// The servers of the flags.
    pub fn servers(&self) -> Vec<IceServer> {
        self.ice_servers
            .iter()
            .map(|url| {
                IceServer::new(
                    url.clone(),
                    self.ice_username.clone(),
                    self.ice_credential.clone(),
                )
            })
            .collect()
    }

    /// What a connection is made of, with these ICE servers.
    pub fn connection(&self, servers: &[IceServer], connect_timeout: Duration) -> ConnectionOptions {
        let ice = IceEndpoints::from_servers(servers);
        for (url, reason) in &ice.ignored {
            tracing::warn!(%url, %reason, "ICE server is not used");
        }
        ConnectionOptions {
            gather: GatherOptions {
                relay_only: self.relay_only,
                loopback: self.loopback,
            },
            ice,
            connect_timeout,
            orphan_grace: ORPHAN_GRACE,
        }
    }

    /// What a host's connection is made of.
    pub fn host_connection(&self) -> ConnectionOptions {
        self.connection(&self.servers(), CONNECT_TIMEOUT)
    }
}

fn random_code(length: usize) -> String {
    let mut rng = rand::rng();
    (0..length)
        .filter_map(|_| CODE_ALPHABET.choose(&mut rng))
        .map(|byte| char::from(*byte))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        host: HostOptions,
    }

    fn parse(args: &[&str]) -> HostOptions {
        Cli::try_parse_from(std::iter::once(&"host").chain(args))
            .unwrap()
            .host
    }

    #[test]
    fn one_host_has_a_random_id_and_its_own_room() {
        let first = parse(&[]).identities();
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].host, first[0].room);
        assert_ne!(first, parse(&[]).identities());
    }

    #[test]
    fn many_hosts_are_numbered() {
        let identities = parse(&["--count", "3", "--id", "h", "--room", "r"]).identities();
        let names: Vec<_> = identities
            .iter()
            .map(|i| (i.host.as_str(), i.room.as_str()))
            .collect();
        assert_eq!(names, [("h-1", "r-1"), ("h-2", "r-2"), ("h-3", "r-3")]);
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let options = parse(&["--secret", "hunter2", "--ice-credential", "hunter3"]);
        let text = format!("{options:?}");
        assert!(!text.contains("hunter"), "{text}");
    }

    #[test]
    fn bounds_are_enforced() {
        for args in [
            ["--count", "0"],
            ["--capacity", "0"],
            ["--heartbeat-interval", "0"],
        ] {
            assert!(Cli::try_parse_from(std::iter::once(&"host").chain(&args)).is_err());
        }
    }
}
