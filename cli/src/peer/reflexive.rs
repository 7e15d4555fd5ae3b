//! Asking STUN servers how they see a host socket (server-reflexive candidates).

use std::net::SocketAddr;
use std::time::Duration;

use stun_proto::Instant;
use stun_proto::agent::{StunAgent, StunAgentPollRet};
use stun_proto::types::TransportType;
use stun_proto::types::attribute::XorMappedAddress;
use stun_proto::types::message::{BINDING, Message, MessageWriteVec};
use stun_proto::types::prelude::MessageWrite;

/// A binding request is repeated quickly at first: a session waits for its answer.
const FIRST_RETRANSMIT: Duration = Duration::from_millis(250);
const LONGEST_RETRANSMIT: Duration = Duration::from_secs(2);
const RETRANSMITS: u32 = 5;
const LAST_WAIT: Duration = Duration::from_secs(2);

/// One query: a host socket and a STUN server. No I/O; the transport sends and receives for it.
pub(super) struct ReflexiveQuery {
    agent: StunAgent,
    server: SocketAddr,
    done: bool,
}

impl ReflexiveQuery {
    /// Starts a query and returns it with its first datagram.
    pub(super) fn start(local: SocketAddr, server: SocketAddr, now: Instant) -> Option<(Self, Vec<u8>)> {
        let mut agent = StunAgent::builder(TransportType::Udp, local)
            .remote_addr(server)
            .request_retransmits(FIRST_RETRANSMIT, LONGEST_RETRANSMIT, RETRANSMITS, LAST_WAIT)
            .build();
        let request = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
        let datagram = agent.send_request(&request, server, now).ok()?.data.to_vec();
        Some((
            Self {
                agent,
                server,
                done: false,
            },
            datagram,
        ))
    }

    /// The server that is asked.
    pub(super) fn server(&self) -> SocketAddr {
        self.server
    }

    /// Whether an answer is still awaited.
    pub(super) fn is_pending(&self) -> bool {
        !self.done
    }

    /// Looks at a datagram from the server. The mapped address, if this is the answer.
    pub(super) fn receive(&mut self, datagram: &[u8], now: Instant) -> Option<SocketAddr> {
        let message = Message::from_bytes(datagram).ok()?;
        if !message.is_response()
            || !self
                .agent
                .handle_stun_message_with_time(&message, self.server, now)
        {
            return None;
        }
        self.done = true;
        let mapped = message.attribute::<XorMappedAddress>().ok()?;
        Some(mapped.addr(message.transaction_id()))
    }

    /// The next datagram to repeat, if one is due.
    pub(super) fn transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.done {
            return None;
        }
        self.agent
            .poll_transmit(now)
            .map(|transmit| transmit.data.to_vec())
    }

    /// When to look again. `None` when the query is over.
    pub(super) fn timeout(&mut self, now: Instant) -> Option<Instant> {
        if self.done {
            return None;
        }
        match self.agent.poll(now) {
            StunAgentPollRet::WaitUntil(at) => Some(at),
            StunAgentPollRet::TransactionTimedOut(_) | StunAgentPollRet::TransactionCancelled(_) => {
                self.done = true;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stun_proto::types::prelude::MessageWriteExt;

    fn answer(request: &[u8], mapped: SocketAddr) -> Vec<u8> {
        let request = Message::from_bytes(request).unwrap();
        let mut response = Message::builder_success(&request, MessageWriteVec::new());
        response
            .add_attribute(&XorMappedAddress::new(mapped, request.transaction_id()))
            .unwrap();
        response.finish()
    }

    #[test]
    fn the_answer_names_the_mapped_address() {
        let now = Instant::ZERO;
        let server = "192.0.2.9:3478".parse().unwrap();
        let mapped = "203.0.113.5:40000".parse().unwrap();
        let (mut query, request) =
            ReflexiveQuery::start("10.0.0.1:5000".parse().unwrap(), server, now).unwrap();
        assert_eq!(query.receive(b"not stun", now), None);
        assert!(query.is_pending());
        assert_eq!(query.receive(&answer(&request, mapped), now), Some(mapped));
        assert!(!query.is_pending());
        assert_eq!(query.receive(&answer(&request, mapped), now), None);
    }

    #[test]
    fn a_silent_server_is_asked_again_and_then_given_up() {
        let mut now = Instant::ZERO;
        let (mut query, _) = ReflexiveQuery::start(
            "10.0.0.1:5000".parse().unwrap(),
            "192.0.2.9:3478".parse().unwrap(),
            now,
        )
        .unwrap();
        let mut repeated = 0;
        while let Some(at) = query.timeout(now) {
            now = at;
            while query.transmit(now).is_some() {
                repeated += 1;
            }
            assert!(now.secs() < 60, "a query must end");
        }
        assert!(repeated >= 3, "{repeated}");
        assert!(!query.is_pending());
    }
}
