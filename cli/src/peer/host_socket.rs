//! A UDP socket on one address of this machine, with the STUN queries that go over it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use str0m::Candidate;
use stun_proto::Instant;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use super::reflexive::ReflexiveQuery;
use super::transport::{MAX_READS, TransportEvent};

/// A key frame is one burst of about fifty datagrams; the default buffers hold it barely.
const SOCKET_BUFFER: usize = 1024 * 1024;

/// A socket that makes a host candidate, and a server-reflexive one behind a NAT.
pub(super) struct HostSocket {
    socket: UdpSocket,
    local: SocketAddr,
    queries: Vec<ReflexiveQuery>,
}

impl HostSocket {
    /// Opens a socket on this address.
    pub(super) async fn open(address: IpAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((address, 0)).await?;
        enlarge_buffers(&socket);
        let local = socket.local_addr()?;
        // Until the runtime has seen the socket once, sending at once would fail.
        socket.writable().await?;
        Ok(Self {
            socket,
            local,
            queries: Vec::new(),
        })
    }

    /// Its address: that of its host candidate.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends a datagram. What cannot be sent is lost.
    pub(super) fn send(&self, destination: SocketAddr, contents: &[u8]) {
        let _ = self.socket.try_send_to(contents, destination);
    }

    /// Asks a STUN server.
    pub(super) fn query(&mut self, server: SocketAddr, now: Instant) {
        // A server elsewhere cannot answer to a loopback address, and the other way round.
        let reachable = server.is_ipv4() == self.local.is_ipv4()
            && server.ip().is_loopback() == self.local.ip().is_loopback();
        if !reachable {
            return;
        }
        if let Some((query, datagram)) = ReflexiveQuery::start(self.local, server, now) {
            let _ = self.socket.try_send_to(&datagram, server);
            self.queries.push(query);
        }
    }

    /// When [`repeat_queries`](Self::repeat_queries) is due.
    pub(super) fn timeout(&mut self, now: Instant) -> Option<Instant> {
        self.queries
            .iter_mut()
            .filter_map(|query| query.timeout(now))
            .min_by_key(Instant::as_nanos)
    }

    /// Asks those servers again that did not answer.
    pub(super) fn repeat_queries(&mut self, now: Instant) {
        for query in &mut self.queries {
            while let Some(datagram) = query.transmit(now) {
                let _ = self.socket.try_send_to(&datagram, query.server());
            }
        }
    }

    /// Waits for a candidate or a datagram.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        now: Instant,
    ) -> Poll<TransportEvent> {
        for _ in 0..MAX_READS {
            let mut read = ReadBuf::new(buffer);
            // An ICMP error of an earlier datagram says nothing about the socket.
            let Ok(source) = ready!(self.socket.poll_recv_from(cx, &mut read)) else {
                continue;
            };
            let contents = read.filled();
            let mapped = self
                .queries
                .iter_mut()
                .filter(|query| query.is_pending() && query.server() == source)
                .find_map(|query| query.receive(contents, now));
            match mapped {
                None => {
                    return Poll::Ready(TransportEvent::Datagram {
                        source,
                        destination: self.local,
                        contents: contents.to_vec(),
                    });
                }
                Some(mapped) if mapped != self.local => {
                    if let Ok(candidate) = Candidate::server_reflexive(mapped, self.local, "udp") {
                        return Poll::Ready(TransportEvent::Candidate(candidate));
                    }
                }
                // Not behind a NAT: the host candidate says it already.
                Some(_) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Makes room for bursts. Systems grant less than asked, but never an error that matters.
pub(super) fn enlarge_buffers(socket: &UdpSocket) {
    let raw = SockRef::from(socket);
    let _ = raw.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = raw.set_send_buffer_size(SOCKET_BUFFER);
}
