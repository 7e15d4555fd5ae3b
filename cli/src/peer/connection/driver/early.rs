//! Datagrams that arrive before their path is proven.
//!
//! The peer that nominates a pair sends its DTLS hello at once, often before this side has the
//! answer to its own check of that pair. Dropping the hello costs a DTLS retransmission, a whole
//! second; taking it from anybody would let strangers disturb the handshake. So it waits.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::net::{Protocol, Receive};
use str0m::{Input, Rtc};

/// Datagrams that wait; a first flight is one or two.
const MAX_HELD: usize = 16;
/// After this the sender has repeated it.
const MAX_AGE: Duration = Duration::from_secs(2);

/// A datagram with its way.
pub(super) struct Datagram {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) contents: Vec<u8>,
}

/// Datagrams that wait for their path.
#[derive(Default)]
pub(super) struct Early {
    held: VecDeque<(Instant, Datagram)>,
}

impl Datagram {
    /// The datagram for the WebRTC state machine. `None` when it is not of its protocols:
    /// anybody can send anything to an open port.
    pub(super) fn input(&self, now: Instant) -> Option<Input<'_>> {
        let receive = Receive::new(Protocol::Udp, self.source, self.destination, &self.contents);
        receive.ok().map(|receive| Input::Receive(now, receive))
    }
}

impl Early {
    /// Keeps a datagram; the oldest gives way.
    pub(super) fn hold(&mut self, datagram: Datagram, now: Instant) {
        if self.held.len() == MAX_HELD {
            self.held.pop_front();
        }
        self.held.push_back((now, datagram));
    }

    /// A datagram whose path is proven by now.
    pub(super) fn release(&mut self, rtc: &Rtc, now: Instant) -> Option<Datagram> {
        self.held
            .retain(|(arrived, _)| now.saturating_duration_since(*arrived) < MAX_AGE);
        let ready = self
            .held
            .iter()
            .position(|(_, datagram)| datagram.input(now).is_some_and(|input| rtc.accepts(&input)))?;
        self.held.remove(ready).map(|(_, datagram)| datagram)
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.held.clear();
    }
}
