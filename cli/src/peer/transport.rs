//! Every UDP socket of a connection, and every local candidate.
//!
//! Host candidates come from the interfaces, server-reflexive ones from asking STUN servers over
//! the same sockets, relayed ones from TURN servers. Everything above sees one thing that yields
//! candidates and datagrams, and sends a datagram from one of the candidates' addresses.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use str0m::{Candidate, CandidateKind};
use stun_proto::Instant as ProtoInstant;
use tokio::time::timeout;
use tracing::debug;

use super::host_socket::HostSocket;
use super::ice_server::{Endpoint, IceEndpoints};
use super::interfaces::host_addresses;
use super::relay::{Relay, RelayEvent};

/// Largest datagram that is read; WebRTC keeps below 1,500 bytes.
const MAX_DATAGRAM: usize = 2048;
/// Reads that may lead to nothing before others get a turn.
pub(super) const MAX_READS: usize = 16;
/// Time for the addresses of all ICE servers.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How candidates are gathered.
#[derive(Debug, Clone, Default)]
pub struct GatherOptions {
    /// Relayed candidates only: nothing reveals or uses this machine's own addresses.
    pub relay_only: bool,
    /// Loopback addresses too, even where others exist.
    pub loopback: bool,
}

/// ICE servers with their addresses looked up.
#[derive(Debug, Default)]
pub struct ResolvedServers {
    stun: Vec<SocketAddr>,
    turn: Vec<ResolvedTurn>,
}

#[derive(Debug)]
struct ResolvedTurn {
    address: SocketAddr,
    username: String,
    credential: super::secret::Secret,
}

/// Something that arrived at, or became of, the transport.
pub enum TransportEvent {
    /// A new local candidate.
    Candidate(Candidate),
    /// A datagram from a peer.
    Datagram {
        /// Who sent it.
        source: SocketAddr,
        /// The address of the candidate at which it arrived.
        destination: SocketAddr,
        /// What it holds.
        contents: Vec<u8>,
    },
}

/// The sockets of one connection.
pub struct Transport {
    options: GatherOptions,
    hosts: Vec<HostSocket>,
    relays: Vec<Relay>,
    ready: VecDeque<Candidate>,
    /// Remote addresses, for relays that are opened later.
    peers: Vec<IpAddr>,
    buffer: Vec<u8>,
    epoch: Instant,
}

// === impl ResolvedServers ===

impl ResolvedServers {
    /// Looks up the servers' addresses. A name that has none is left out.
    pub async fn resolve(endpoints: IceEndpoints) -> Self {
        let mut resolved = Self::default();
        // What was found in time is used even if a later name hangs.
        let _ = timeout(RESOLVE_TIMEOUT, resolved.look_up(endpoints)).await;
        resolved
    }

    async fn look_up(&mut self, endpoints: IceEndpoints) {
        for server in endpoints.turn {
            for address in addresses(&server.endpoint).await {
                self.turn.push(ResolvedTurn {
                    address,
                    username: server.username.clone(),
                    credential: server.credential.clone(),
                });
            }
        }
        for server in endpoints.stun {
            self.stun.extend(addresses(&server).await);
        }
    }
}

/// The first address of each IP family.
async fn addresses(endpoint: &Endpoint) -> Vec<SocketAddr> {
    match tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await {
        Ok(found) => {
            let found: Vec<_> = found.collect();
            let first = |v4: bool| found.iter().copied().find(|address| address.is_ipv4() == v4);
            first(true).into_iter().chain(first(false)).collect()
        }
        Err(error) => {
            debug!(host = %endpoint.host, %error, "ICE server has no address");
            Vec::new()
        }
    }
}

// === impl Transport ===

impl Transport {
    /// Opens the host sockets. Their candidates are ready at once.
    ///
    /// # Errors
    /// When the interfaces cannot be listed, or no socket can be opened where one is needed.
    pub async fn open(options: GatherOptions) -> io::Result<Self> {
        let mut transport = Self {
            hosts: Vec::new(),
            relays: Vec::new(),
            ready: VecDeque::new(),
            peers: Vec::new(),
            buffer: vec![0; MAX_DATAGRAM],
            epoch: Instant::now(),
            options,
        };
        if transport.options.relay_only {
            return Ok(transport);
        }
        let mut last_error = None;
        for address in host_addresses(transport.options.loopback)? {
            match HostSocket::open(address).await {
                Ok(host) => {
                    transport.ready.extend(Candidate::host(host.local(), "udp").ok());
                    transport.hosts.push(host);
                }
                // For example an IPv6 address that is still being checked for duplicates.
                Err(error) => {
                    debug!(%address, %error, "no socket on this address");
                    last_error = Some(error);
                }
            }
        }
        match last_error {
            Some(error) if transport.hosts.is_empty() => Err(error),
            _ => Ok(transport),
        }
    }

    /// Starts asking ICE servers; candidates follow as they answer.
    pub async fn add_servers(&mut self, servers: ResolvedServers) {
        let now = self.now();
        if !self.options.relay_only {
            for host in &mut self.hosts {
                for &server in &servers.stun {
                    host.query(server, now);
                }
            }
        }
        for turn in servers.turn {
            match Relay::open(turn.address, &turn.username, turn.credential.expose()).await {
                Ok(mut relay) => {
                    for peer in &self.peers {
                        relay.permit(*peer, now);
                    }
                    relay.flush(now);
                    self.relays.push(relay);
                }
                Err(error) => debug!(server = %turn.address, %error, "no socket towards TURN server"),
            }
        }
    }

    /// A host candidate that has not been handed out yet; used to put them into the description.
    pub fn take_candidate(&mut self) -> Option<Candidate> {
        self.ready.pop_front()
    }

    /// Lets a peer through the relays.
    pub fn permit(&mut self, peer: IpAddr) {
        let now = self.now();
        if !self.peers.contains(&peer) && self.peers.len() < super::candidate::MAX_REMOTE_CANDIDATES {
            self.peers.push(peer);
        }
        for relay in &mut self.relays {
            relay.permit(peer, now);
            relay.flush(now);
        }
    }

    /// Tells that a pair carries the connection now.
    pub fn selected(&mut self, local: SocketAddr, remote: SocketAddr) {
        let now = self.now();
        if let Some(relay) = self
            .relays
            .iter_mut()
            .find(|relay| relay.relayed() == Some(local))
        {
            relay.bind_channel(remote, now);
            relay.flush(now);
        }
    }

    /// The kind of the local candidate with this address.
    pub fn kind_of(&self, local: SocketAddr) -> CandidateKind {
        if self.relays.iter().any(|relay| relay.relayed() == Some(local)) {
            CandidateKind::Relayed
        } else {
            CandidateKind::Host
        }
    }

    /// Sends a datagram from a candidate's address. What cannot be sent is lost, as datagrams are.
    pub fn send(&mut self, source: SocketAddr, destination: SocketAddr, contents: &[u8]) {
        if let Some(host) = self.hosts.iter().find(|host| host.local() == source) {
            host.send(destination, contents);
            return;
        }
        let now = self.now();
        if let Some(relay) = self
            .relays
            .iter_mut()
            .find(|relay| relay.relayed() == Some(source))
        {
            relay.send(destination, contents, now);
            relay.flush(now);
        }
    }

    /// Waits for a candidate or a datagram. Safe to drop and call again.
    pub async fn next(&mut self) -> TransportEvent {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<TransportEvent> {
        let now = self.now();
        if let Some(candidate) = self.ready.pop_front() {
            return Poll::Ready(TransportEvent::Candidate(candidate));
        }
        for host in &mut self.hosts {
            if let Poll::Ready(event) = host.poll(cx, &mut self.buffer, now) {
                return Poll::Ready(event);
            }
        }
        for relay in &mut self.relays {
            match relay.poll_receive(cx, &mut self.buffer, now) {
                Poll::Pending => {}
                Poll::Ready(RelayEvent::Datagram { source, contents }) => {
                    let Some(destination) = relay.relayed() else {
                        continue;
                    };
                    return Poll::Ready(TransportEvent::Datagram {
                        source,
                        destination,
                        contents,
                    });
                }
                Poll::Ready(RelayEvent::Allocated(address)) => {
                    if let Ok(candidate) = Candidate::relayed(address, relay.local(), "udp") {
                        return Poll::Ready(TransportEvent::Candidate(candidate));
                    }
                }
            }
        }
        Poll::Pending
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn timeout(&mut self) -> Option<Instant> {
        let now = self.now();
        let earliest = self
            .hosts
            .iter_mut()
            .filter_map(|host| host.timeout(now))
            .chain(self.relays.iter_mut().filter_map(|relay| relay.timeout(now)))
            .min_by_key(ProtoInstant::as_nanos)?;
        Some(earliest.to_std(self.epoch))
    }

    /// Sends what STUN and TURN have due.
    pub fn handle_timeout(&mut self) {
        let now = self.now();
        for host in &mut self.hosts {
            host.repeat_queries(now);
        }
        for relay in &mut self.relays {
            relay.flush(now);
        }
    }

    /// Gives allocations back; the sockets close when the transport is dropped.
    pub fn close(&mut self) {
        let now = self.now();
        for relay in &mut self.relays {
            relay.close(now);
        }
    }

    /// STUN and TURN count time from an epoch of their own.
    fn now(&self) -> ProtoInstant {
        let nanos = i64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(i64::MAX);
        ProtoInstant::from_nanos(nanos)
    }
}
