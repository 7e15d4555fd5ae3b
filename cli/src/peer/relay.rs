//! A relayed address on a TURN server over UDP (RFC 8656).
//!
//! The protocol (long-term credential, allocation, permissions, channels, refreshes) is a state
//! machine of `turn-client-proto`; this file gives it a socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use stun_proto::Instant;
use stun_proto::types::TransportType;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use turn_client_proto::api::{Transmit, TurnClientApi, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::types::{AddressFamily, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

use super::host_socket::enlarge_buffers;
use super::transport::MAX_READS;

/// Addresses that one relay lets in; remote candidates are bounded as well.
const MAX_PERMISSIONS: usize = 64;
const FIRST_RETRANSMIT: Duration = Duration::from_millis(250);
const LONGEST_RETRANSMIT: Duration = Duration::from_secs(4);
const RETRANSMITS: u32 = 6;
const LAST_WAIT: Duration = Duration::from_secs(4);

/// One allocation, or the attempt to get one. Holds a credential: no `Debug`.
pub(super) struct Relay {
    socket: UdpSocket,
    local: SocketAddr,
    server: SocketAddr,
    client: TurnClientUdp,
    relayed: Option<SocketAddr>,
    /// Peers that arrived before the allocation did.
    waiting: Vec<IpAddr>,
    permitted: Vec<IpAddr>,
    channel: Option<SocketAddr>,
    closed: bool,
}

/// What a relay reports.
pub(super) enum RelayEvent {
    /// The server allocated this address.
    Allocated(SocketAddr),
    /// A peer sent this to the relayed address.
    Datagram {
        /// The peer.
        source: SocketAddr,
        /// What it sent.
        contents: Vec<u8>,
    },
}

impl Relay {
    /// Opens a socket towards `server` and starts an allocation.
    pub(super) async fn open(server: SocketAddr, username: &str, credential: &str) -> io::Result<Self> {
        let any: SocketAddr = if server.is_ipv4() {
            (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(any).await?;
        // Connecting picks the interface and lets only the server's datagrams in.
        socket.connect(server).await?;
        enlarge_buffers(&socket);
        let local = socket.local_addr()?;
        // Until the runtime has seen the socket once, sending at once would fail.
        socket.writable().await?;
        let mut config = TurnConfig::new(TurnCredentials::new(username, credential));
        if server.is_ipv6() {
            config.set_address_family(AddressFamily::IPV6);
        }
        config.set_request_retransmits(FIRST_RETRANSMIT, LONGEST_RETRANSMIT, RETRANSMITS, LAST_WAIT);
        Ok(Self {
            client: TurnClientUdp::allocate(local, server, config),
            socket,
            local,
            server,
            relayed: None,
            waiting: Vec::new(),
            permitted: Vec::new(),
            channel: None,
            closed: false,
        })
    }

    /// The allocated address.
    pub(super) fn relayed(&self) -> Option<SocketAddr> {
        self.relayed
    }

    /// The address from which the server is asked.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Lets a peer's address in.
    pub(super) fn permit(&mut self, peer: IpAddr, now: Instant) {
        let list = if self.relayed.is_some() {
            &mut self.permitted
        } else {
            &mut self.waiting
        };
        if list.contains(&peer) || list.len() >= MAX_PERMISSIONS {
            return;
        }
        list.push(peer);
        if self.relayed.is_some() {
            // An address of the other IP family has no allocation to be let in to.
            let _ = self.client.create_permission(TransportType::Udp, peer, now);
        }
    }

    /// Uses a channel towards the peer that carries the connection, which saves 32 bytes a packet.
    pub(super) fn bind_channel(&mut self, peer: SocketAddr, now: Instant) {
        if self.channel != Some(peer) && self.client.bind_channel(TransportType::Udp, peer, now).is_ok() {
            self.channel = Some(peer);
        }
    }

    /// Sends to a peer through the relay. Loss is the receiver's business, as with any datagram.
    pub(super) fn send(&mut self, peer: SocketAddr, contents: &[u8], now: Instant) {
        match self.client.send_to(TransportType::Udp, peer, contents, now) {
            Ok(Some(transmit)) => {
                let _ = self.socket.try_send(&transmit.build().data);
            }
            Ok(None) => {}
            // Checks are repeated, so the first one to a new peer only opens the way.
            Err(_) => self.permit(peer.ip(), now),
        }
    }

    /// Waits for something to report.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        now: Instant,
    ) -> Poll<RelayEvent> {
        for _ in 0..MAX_READS {
            if let Some(event) = self.next_event(now) {
                return Poll::Ready(event);
            }
            if self.closed {
                return Poll::Pending;
            }
            let mut read = ReadBuf::new(buffer);
            if ready!(self.socket.poll_recv(cx, &mut read)).is_err() {
                // An ICMP error of an earlier datagram; the protocol has its own timeouts.
                continue;
            }
            let transmit = Transmit::new(read.filled(), TransportType::Udp, self.server, self.local);
            if let TurnRecvRet::PeerData(data) = self.client.recv(transmit, now) {
                return Poll::Ready(RelayEvent::Datagram {
                    source: data.peer,
                    contents: data.data().to_vec(),
                });
            }
            self.flush(now);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Sends what the protocol has ready.
    pub(super) fn flush(&mut self, now: Instant) {
        while let Some(transmit) = self.client.poll_transmit(now) {
            let _ = self.socket.try_send(&transmit.data);
        }
    }

    /// When to call [`flush`](Self::flush) again.
    pub(super) fn timeout(&mut self, now: Instant) -> Option<Instant> {
        if self.closed {
            return None;
        }
        match self.client.poll(now) {
            TurnPollRet::WaitUntil(at) => Some(at),
            TurnPollRet::Closed => {
                self.closed = true;
                None
            }
            TurnPollRet::AllocateTcpSocket { .. } | TurnPollRet::TcpClose { .. } => Some(now),
        }
    }

    /// Gives the allocation back.
    pub(super) fn close(&mut self, now: Instant) {
        if self.client.delete(now).is_ok() {
            self.flush(now);
        }
        self.closed = true;
    }

    fn next_event(&mut self, now: Instant) -> Option<RelayEvent> {
        while let Some(event) = self.client.poll_event() {
            match event {
                TurnEvent::AllocationCreated(_, address) if self.relayed.is_none() => {
                    self.relayed = Some(address);
                    for peer in std::mem::take(&mut self.waiting) {
                        self.permit(peer, now);
                    }
                    self.flush(now);
                    return Some(RelayEvent::Allocated(address));
                }
                TurnEvent::AllocationCreateFailed(_) => {
                    tracing::debug!(server = %self.server, "TURN server refused an allocation");
                    self.closed = true;
                }
                // The next check to this peer asks again.
                TurnEvent::PermissionCreateFailed(_, peer) => {
                    self.permitted.retain(|permitted| *permitted != peer);
                }
                TurnEvent::ChannelCreateFailed(_, peer) if self.channel == Some(peer) => {
                    self.channel = None;
                }
                _ => {}
            }
        }
        None
    }
}
