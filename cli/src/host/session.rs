//! One player's session at a simulated host.

use std::time::Instant;

use super::echo::InputReport;
use super::event::HostEvent;
use super::stream::{HostStream, StreamTotals};
use crate::peer::connection::{Connection, ConnectionOptions, EndReason, Finished, Notice};
use crate::peer::{candidate, millis, sdp, unix_millis};

/// A connection with what tells its player's messages from those of others.
pub struct Session {
    /// Counts the sessions of one host.
    pub number: u64,
    /// When the offer came.
    pub started: Instant,
    /// Whether it ever was up.
    pub connected: bool,
    connection: Connection<HostStream>,
    /// Certificate of the player's peer connection.
    fingerprint: Option<String>,
    /// ICE generation of the player's last offer.
    ufrag: Option<String>,
    /// The player's signaling socket is gone.
    orphaned: bool,
}

impl Session {
    /// Starts a session with an offer.
    pub fn start(number: u64, name: &str, options: ConnectionOptions, sdp: String) -> Self {
        let started = Instant::now();
        let stream = HostStream::new(name, started, unix_millis());
        let connection = Connection::answering(stream, options);
        let mut session = Self {
            number,
            started,
            connected: false,
            connection,
            fingerprint: sdp::fingerprint(&sdp).map(str::to_owned),
            ufrag: None,
            orphaned: false,
        };
        session.renegotiate(sdp);
        session
    }

    /// Whether an offer comes from this session's peer connection.
    pub fn is_same_peer(&self, sdp: &str) -> bool {
        self.fingerprint.is_some() && self.fingerprint.as_deref() == sdp::fingerprint(sdp)
    }

    /// Hands over an offer of this session's peer connection.
    pub fn renegotiate(&mut self, sdp: String) {
        self.ufrag = sdp::ufrag(&sdp).map(str::to_owned);
        self.orphaned = false;
        self.connection.offer(sdp);
    }

    /// Whether a candidate is for this session. One that does not say is, unless the player left:
    /// then it is the next player's.
    pub fn owns(&self, line: &str) -> bool {
        match candidate::ufrag(line) {
            Some(ufrag) => self.ufrag.as_deref() == Some(ufrag),
            None => !self.orphaned,
        }
    }

    /// Hands over a candidate.
    pub fn candidate(&self, line: String) {
        self.connection.candidate(line);
    }

    /// Tells that the player's signaling socket is gone.
    pub fn peer_left(&mut self) {
        self.orphaned = true;
        self.connection.peer_left();
    }

    /// The next notice of the connection; `None` when it ended.
    pub async fn next(&mut self) -> Option<Notice<InputReport>> {
        self.connection.next().await
    }

    /// Closes the connection and reports the session's end with `reason`.
    pub async fn close(self, reason: &'static str) -> HostEvent {
        let Self {
            number,
            started,
            connected,
            connection,
            ..
        } = self;
        let finished = connection.close().await;
        let totals = finished.map(|f| f.application.totals()).unwrap_or_default();
        HostEvent::session_ended(
            number,
            (reason, None),
            connected,
            millis(started.elapsed()),
            totals,
        )
    }

    /// Reports the end of a session whose connection ended by itself.
    pub async fn finished(self) -> HostEvent {
        let Self {
            number,
            started,
            connected,
            connection,
            ..
        } = self;
        let (reason, totals) = describe(connection.finished().await);
        HostEvent::session_ended(number, reason, connected, millis(started.elapsed()), totals)
    }
}

fn describe(finished: Option<Finished<HostStream>>) -> ((&'static str, Option<String>), StreamTotals) {
    let Some(finished) = finished else {
        return (
            ("failed", Some("the connection's task is gone".into())),
            StreamTotals::default(),
        );
    };
    let detail = match &finished.reason {
        EndReason::Failed(detail) => Some(detail.clone()),
        _ => None,
    };
    ((finished.reason.name(), detail), finished.application.totals())
}
