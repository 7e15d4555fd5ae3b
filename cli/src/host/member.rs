//! A simulated host in its room: it brings messages of the room and sessions together.

use std::collections::VecDeque;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::echo::InputReport;
use super::event::{HostEvent, Reporter};
use super::heartbeat::{Presence, Standing};
use super::session::Session;
use crate::peer::connection::{ConnectionOptions, Notice};
use crate::peer::signal::Signal;
use crate::peer::signaling::{SignalingClient, SignalingEvent};
use crate::peer::{candidate, millis, sdp};

/// Candidates that are kept for an offer that they overtook.
const MAX_EARLY_CANDIDATES: usize = 64;

/// One host in its room.
pub struct Member {
    name: String,
    connection: ConnectionOptions,
    reporter: Reporter,
    standing: watch::Sender<Standing>,
    session: Option<Session>,
    sessions: u64,
    early: VecDeque<String>,
}

impl Member {
    /// A host without a session. `name` is shown in its video.
    pub fn new(
        name: String,
        connection: ConnectionOptions,
        reporter: Reporter,
        standing: watch::Sender<Standing>,
    ) -> Self {
        let early = VecDeque::new();
        Self {
            name,
            connection,
            reporter,
            standing,
            session: None,
            sessions: 0,
            early,
        }
    }

    /// Serves the room until `shutdown`, then says goodbye to player and room.
    pub async fn run(mut self, mut signaling: SignalingClient, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                event = signaling.next() => match event {
                    Some(event) => self.hear(event).await,
                    None => break,
                },
                notice = next_notice(&mut self.session) => match notice {
                    Some(notice) => self.note(notice, &signaling),
                    None => self.session_is_over().await,
                },
                () = shutdown.cancelled() => break,
            }
        }
        self.end_session("closed").await;
        signaling.leave().await;
    }

    async fn hear(&mut self, event: SignalingEvent) {
        match event {
            SignalingEvent::Joined { instance } => {
                self.standing
                    .send_modify(|standing| standing.presence = Presence::Joined);
                self.reporter.report(HostEvent::Joined { instance });
            }
            SignalingEvent::Closed { close, retry_in } => {
                self.standing
                    .send_modify(|standing| standing.presence = Presence::Away);
                self.reporter.report(HostEvent::Reconnect {
                    code: close.code,
                    reason: close.to_string(),
                    in_ms: millis(retry_in),
                });
            }
            SignalingEvent::Message(Signal::Offer { sdp }) => self.offered(sdp).await,
            SignalingEvent::Message(Signal::Candidate(signal)) => self.route(signal.candidate),
            SignalingEvent::Message(Signal::PeerDisconnected) => {
                self.early.clear();
                if let Some(session) = &mut self.session {
                    session.peer_left();
                }
            }
            SignalingEvent::Message(Signal::Control { action }) => {
                debug!(%action, "control message");
            }
            // A host never offers, so nobody has anything to answer.
            SignalingEvent::Message(Signal::Answer { .. }) => {}
        }
    }

    /// An offer with the certificate of the present session changes that session; any other one
    /// is from a new peer connection, which takes its place.
    async fn offered(&mut self, sdp: String) {
        let ufrag = sdp::ufrag(&sdp).map(str::to_owned);
        match &mut self.session {
            Some(session) if session.is_same_peer(&sdp) => session.renegotiate(sdp),
            _ => {
                self.end_session("replaced").await;
                self.sessions += 1;
                let session = Session::start(self.sessions, &self.name, self.connection.clone(), sdp);
                self.session = Some(session);
                self.count_sessions();
            }
        }
        // Candidates may overtake their offer; those of another ICE generation are of no use.
        for line in std::mem::take(&mut self.early) {
            let fits = candidate::ufrag(&line).is_none_or(|of| Some(of) == ufrag.as_deref());
            if fits && let Some(session) = &self.session {
                session.candidate(line);
            }
        }
    }

    fn route(&mut self, line: String) {
        match &self.session {
            Some(session) if session.owns(&line) => session.candidate(line),
            _ => {
                if self.early.len() == MAX_EARLY_CANDIDATES {
                    self.early.pop_front();
                }
                self.early.push_back(line);
            }
        }
    }

    fn note(&mut self, notice: Notice<InputReport>, signaling: &SignalingClient) {
        let Some(session) = &mut self.session else { return };
        match notice {
            Notice::Signal(signal) => {
                signaling.send(signal);
            }
            Notice::Connected(candidate_pair) => {
                session.connected = true;
                self.reporter.report(HostEvent::SessionStarted {
                    session: session.number,
                    candidate_pair,
                    connect_ms: millis(session.started.elapsed()),
                });
            }
            Notice::Note(input) => self.reporter.report(HostEvent::Input {
                session: session.number,
                channel: input.label,
                messages: input.messages,
                bytes: input.bytes,
            }),
        }
    }

    /// Takes away a session that ended by itself.
    async fn session_is_over(&mut self) {
        if let Some(session) = self.session.take() {
            self.count_sessions();
            self.reporter.report(session.finished().await);
        }
    }

    /// Ends the session, if there is one.
    async fn end_session(&mut self, reason: &'static str) {
        if let Some(session) = self.session.take() {
            self.count_sessions();
            self.reporter.report(session.close(reason).await);
        }
    }

    fn count_sessions(&self) {
        let sessions = u32::from(self.session.is_some());
        self.standing.send_if_modified(|standing| {
            let changed = standing.sessions != sessions;
            standing.sessions = sessions;
            changed
        });
    }
}

async fn next_notice(session: &mut Option<Session>) -> Option<Notice<InputReport>> {
    match session {
        Some(session) => session.next().await,
        None => std::future::pending().await,
    }
}
