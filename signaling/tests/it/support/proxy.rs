//! The network between an instance and Redis, which can fail in every way.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::RedisServer;

/// State of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Everything passes.
    Open,
    /// Nothing passes, and nobody is told. What was sent arrives when the network is open again, as TCP has it.
    BlackHole,
    /// Only what goes to Redis passes.
    OnlyTo,
    /// Only what comes from Redis passes.
    OnlyFrom,
    /// Everything passes, each piece so much later.
    Slow(Duration),
    /// New connections are closed at once.
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    To,
    From,
}

/// A network. It ends when this is dropped, and with it all connections.
pub(crate) struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    /// Connections of an earlier generation are broken.
    generation: watch::Sender<u64>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// An open network to `redis`.
    pub(crate) async fn to(redis: &RedisServer) -> Self {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (network, generation) = (watch::Sender::new(Network::Open), watch::Sender::new(0));
        let (state, breaks) = (network.subscribe(), generation.subscribe());
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connection(near, target, state.clone(), breaks.clone()));
            }
        });
        Self {
            address,
            network,
            generation,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// `REDIS_URL` through this network.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Changes the network for all connections.
    pub(crate) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// Breaks all connections.
    pub(crate) fn reset(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

async fn connection(
    near: TcpStream,
    target: SocketAddr,
    network: watch::Receiver<Network>,
    mut breaks: watch::Receiver<u64>,
) {
    if *network.borrow() == Network::Refused {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
        // Whoever is cut off by a reset sees one.
        stream.set_zero_linger().unwrap();
    }
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    breaks.mark_unchanged();
    tokio::select! {
        () = pump(near_read, far_write, Direction::To, network.clone()) => {}
        () = pump(far_read, near_write, Direction::From, network) => {}
        _ = breaks.changed() => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    mut network: watch::Receiver<Network>,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let Ok(state) = network
            .wait_for(|network| network.passes(direction))
            .await
            .map(|state| *state)
        else {
            return;
        };
        if let Network::Slow(delay) = state {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

impl Network {
    fn passes(self, direction: Direction) -> bool {
        match self {
            Self::Open | Self::Slow(_) | Self::Refused => true,
            Self::BlackHole => false,
            Self::OnlyTo => direction == Direction::To,
            Self::OnlyFrom => direction == Direction::From,
        }
    }
}
