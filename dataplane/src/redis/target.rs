//! How a connection finds its server, and how it learns that it should be at another one.

use std::fmt;
use std::sync::Arc;

use ::redis::Client;
use ::redis::cluster_routing::Slot;
use berth_crds::settings::RedisAddress;
use tokio::sync::watch;

use super::cluster::Topology;
use super::endpoint::{EndpointError, RedisEndpoint};
use super::probe::Demand;
use super::sentinel::{Sentinels, Switch};

/// Where a connection leads.
#[derive(Clone)]
pub(super) enum Target {
    /// The server of the URL.
    Url(RedisEndpoint),
    /// The master that the Sentinels name.
    Master(Arc<Sentinels>),
    /// Any Sentinel.
    Sentinel(Arc<Sentinels>),
    /// This node of a Redis Cluster.
    Node(Arc<Topology>, RedisAddress),
    /// The node that owns this slot.
    Owner(Arc<Topology>, Slot),
}

/// Follows whether a connection is at the right server.
pub(super) enum Follower {
    /// It always is.
    Settled,
    /// It is until the Sentinels switch to another one.
    Sentinels(watch::Receiver<Option<Switch>>),
    /// It is while the slot is there.
    Slot(watch::Receiver<Arc<super::cluster::SlotTable>>, Slot),
}

/// Why no server was found.
#[derive(Debug, thiserror::Error)]
pub(super) enum FindError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("no Sentinel named a master")]
    Sentinels(#[source] SentinelError),
    #[error("no node of the cluster is known to own the slot")]
    NoOwner,
}

/// Why a Sentinel named no master.
#[derive(Debug, thiserror::Error)]
pub(super) enum SentinelError {
    #[error("it knows no master of that name")]
    UnknownName,
    #[error("it names a server that another Sentinel has just replaced")]
    Stale,
    #[error("it did not answer in time")]
    Timeout,
    #[error(transparent)]
    Redis(#[from] ::redis::RedisError),
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl Target {
    /// The server, as of now.
    pub(super) async fn find(&self) -> Result<(Client, RedisAddress), FindError> {
        match self {
            Self::Url(endpoint) => {
                let access = endpoint.access().await?;
                // A URL has at least one.
                let address = access.url().addresses.first().ok_or(FindError::NoOwner)?;
                Ok((access.server(address)?, address.clone()))
            }
            Self::Master(sentinels) => sentinels.master().await,
            Self::Sentinel(sentinels) => sentinels.any().await,
            Self::Node(topology, address) => {
                let access = topology.endpoint().access().await?;
                Ok((access.server(address)?, address.clone()))
            }
            Self::Owner(topology, slot) => {
                let table = topology.table();
                let Some(address) = table.owner(*slot) else {
                    topology.doubt();
                    return Err(FindError::NoOwner);
                };
                let access = topology.endpoint().access().await?;
                Ok((access.server(address)?, address.clone()))
            }
        }
    }

    /// What the server must be. The URL of one server is believed, until a command is refused.
    pub(super) fn demand(&self) -> Demand {
        match self {
            Self::Url(_) | Self::Sentinel(_) => Demand::Answers,
            Self::Master(_) | Self::Node(..) | Self::Owner(..) => Demand::Primary,
        }
    }

    /// Starts to follow; before the server is looked for, so that no change is missed.
    pub(super) fn follow(&self) -> Follower {
        match self {
            Self::Url(_) | Self::Sentinel(_) | Self::Node(..) => Follower::Settled,
            Self::Master(sentinels) => {
                let mut switches = sentinels.watch_switches();
                switches.mark_unchanged();
                Follower::Sentinels(switches)
            }
            Self::Owner(topology, slot) => Follower::Slot(topology.watch(), *slot),
        }
    }

    /// Something does not fit: whoever knows where servers are should look again.
    pub(super) fn doubt(&self) {
        if let Self::Node(topology, _) | Self::Owner(topology, _) = self {
            topology.doubt();
        }
    }

    /// The server said that a slot is elsewhere.
    pub(super) fn learn(&self, error: &::redis::RedisError, asked: &RedisAddress) {
        if let Self::Node(topology, _) | Self::Owner(topology, _) = self {
            topology.learn(error, asked);
        }
    }
}

impl Follower {
    /// Waits until the connection should be at another server than `address`.
    pub(super) async fn left(&mut self, address: &RedisAddress) {
        match self {
            Self::Settled => std::future::pending().await,
            Self::Sentinels(switches) => {
                while switches.changed().await.is_ok() {
                    let switch = switches.borrow_and_update().clone();
                    if switch.is_some_and(|switch| switch.to != *address) {
                        return;
                    }
                }
            }
            Self::Slot(table, slot) => {
                let elsewhere = |table: &Arc<super::cluster::SlotTable>| table.owner(*slot) != Some(address);
                if table.wait_for(elsewhere).await.is_ok() {
                    return;
                }
            }
        }
        // Nobody tells any more: the link is ending.
        std::future::pending::<()>().await;
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(endpoint) => endpoint.fmt(f),
            Self::Master(sentinels) | Self::Sentinel(sentinels) => sentinels.endpoint().fmt(f),
            Self::Node(topology, address) => write!(f, "{address} of {}", topology.endpoint()),
            Self::Owner(topology, _) => topology.endpoint().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ::redis::{AsyncConnectionConfig, ErrorKind, RedisError, ServerErrorKind};
    use futures::FutureExt;

    use super::super::cluster::slot_of;
    use super::super::metrics::RedisMetrics;
    use super::super::news::News;
    use super::*;

    fn address(port: u16) -> RedisAddress {
        RedisAddress {
            host: "a".to_owned(),
            port,
        }
    }

    #[tokio::test]
    async fn a_slot_is_followed_to_its_owner() {
        let endpoint = RedisEndpoint::from_url("redis+cluster://a").unwrap();
        let news = Arc::new(News::new(RedisMetrics::unregistered()));
        let config = AsyncConnectionConfig::new();
        let topology = Arc::new(Topology::new(endpoint, config, Duration::ZERO, news));
        // CLUSTER KEYSLOT 123456789
        let slot = slot_of("123456789");
        let moved = |slot: u16, port: u16| {
            let text = format!("{slot} a:{port}");
            let error = RedisError::from((ErrorKind::Server(ServerErrorKind::Moved), "moved", text));
            topology.learn(&error, &address(1));
        };
        let target = Target::Owner(Arc::clone(&topology), slot);
        assert!(matches!(target.find().await, Err(FindError::NoOwner)));
        moved(12739, 1);
        let mut follower = target.follow();
        assert_eq!(target.find().await.unwrap().1, address(1));
        moved(12740, 2);
        assert_eq!(follower.left(&address(1)).now_or_never(), None, "another slot");
        moved(12739, 2);
        assert_eq!(follower.left(&address(1)).now_or_never(), Some(()));
        assert_eq!(target.find().await.unwrap().1, address(2));
        // What changed while it was connecting counts as well.
        let mut follower = target.follow();
        moved(12739, 3);
        assert_eq!(follower.left(&address(2)).now_or_never(), Some(()));
        assert_eq!(follower.left(&address(3)).now_or_never(), None);
    }
}
