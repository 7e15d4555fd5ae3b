//! How a connection stands, and what only the clock decides about it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::peer::connection::EndReason;

/// The state of one connection.
pub(super) struct Link {
    started: Instant,
    connect_timeout: Duration,
    orphan_grace: Duration,
    connected: bool,
    /// ICE and DTLS are up, but the owner was not told yet.
    unannounced: bool,
    pair: Option<(SocketAddr, SocketAddr)>,
    last_heard: Instant,
    /// Since when the other peer has no signaling socket.
    orphaned: Option<Instant>,
}

impl Link {
    /// A link that is not up, and has `connect_timeout` to get there.
    pub(super) fn new(now: Instant, connect_timeout: Duration, orphan_grace: Duration) -> Self {
        Self {
            started: now,
            connect_timeout,
            orphan_grace,
            connected: false,
            unannounced: false,
            pair: None,
            last_heard: now,
            orphaned: None,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// ICE and DTLS are up.
    pub(super) fn connect(&mut self, now: Instant) {
        self.connected = true;
        self.unannounced = true;
        self.last_heard = now;
    }

    /// Something came from the other peer.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// The other peer's signaling socket is gone. A link that is not up cannot come up then.
    pub(super) fn orphan(&mut self, now: Instant) -> Result<(), EndReason> {
        if !self.connected {
            return Err(EndReason::PeerLeft);
        }
        self.orphaned = Some(now);
        Ok(())
    }

    /// Takes note of the pair that carries data. Whether it is another one than before.
    pub(super) fn carry(&mut self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.pair.replace((local, remote)) != Some((local, remote))
    }

    /// The pair to announce, once: when the link is up and its pair is known.
    pub(super) fn announce(&mut self) -> Option<(SocketAddr, SocketAddr)> {
        let pair = self.pair?;
        std::mem::take(&mut self.unannounced).then_some(pair)
    }

    /// Whether time has ended the link.
    pub(super) fn check(&self, now: Instant) -> Result<(), EndReason> {
        if !self.connected && now >= self.started + self.connect_timeout {
            return Err(EndReason::NotConnected);
        }
        if self.silence_ends().is_some_and(|end| now >= end) {
            return Err(EndReason::PeerLeft);
        }
        Ok(())
    }

    /// When [`check`](Self::check) may say something new.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        if self.connected {
            self.silence_ends()
        } else {
            Some(self.started + self.connect_timeout)
        }
    }

    /// When an orphaned peer that stays silent counts as gone.
    fn silence_ends(&self) -> Option<Instant> {
        self.orphaned
            .map(|since| self.last_heard.max(since) + self.orphan_grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn link(now: Instant) -> Link {
        Link::new(now, 30 * SECOND, 5 * SECOND)
    }

    #[test]
    fn a_link_that_does_not_come_up_ends() {
        let now = Instant::now();
        let link = link(now);
        assert_eq!(link.wake_at(), Some(now + 30 * SECOND));
        assert_eq!(link.check(now + 29 * SECOND), Ok(()));
        assert_eq!(link.check(now + 30 * SECOND), Err(EndReason::NotConnected));
    }

    #[test]
    fn an_orphan_lives_as_long_as_it_is_heard() {
        let now = Instant::now();
        let mut link = link(now);
        assert_eq!(link.orphan(now), Err(EndReason::PeerLeft));
        link.connect(now);
        assert_eq!(link.wake_at(), None);
        assert_eq!(link.check(now + 600 * SECOND), Ok(()));
        assert_eq!(link.orphan(now + 600 * SECOND), Ok(()));
        link.heard(now + 604 * SECOND);
        assert_eq!(link.check(now + 608 * SECOND), Ok(()));
        assert_eq!(link.wake_at(), Some(now + 609 * SECOND));
        assert_eq!(link.check(now + 609 * SECOND), Err(EndReason::PeerLeft));
    }

    #[test]
    fn the_pair_is_announced_once_and_only_when_up() {
        let (a, b): (SocketAddr, SocketAddr) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        let now = Instant::now();
        let mut link = link(now);
        assert!(link.carry(a, b));
        assert!(!link.carry(a, b));
        assert_eq!(link.announce(), None);
        link.connect(now);
        assert_eq!(link.announce(), Some((a, b)));
        assert_eq!(link.announce(), None);
    }
}
