//! A player's session: offer, answer, measuring, leaving.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::event::{PlayEvent, Sink};
use super::options::PlayOptions;
use super::probe::{CHANNEL, Probe, ProbeNote};
use super::report::{Outcome, Report};
use crate::peer::connection::{Connection, ConnectionOptions, Notice, OfferOptions};
use crate::peer::millis;
use crate::peer::signal::Signal;
use crate::peer::signaling::{SignalingClient, SignalingEvent};

/// An offer without an answer is sent again after this time: some relays lose the first message
/// of a socket.
const REPEAT_AFTER: Duration = Duration::from_secs(3);

/// Why a game ends other than well.
#[derive(Debug)]
pub(super) struct Failure {
    /// Its kind.
    pub(super) outcome: Outcome,
    /// A sentence.
    pub(super) error: String,
}

/// One session, from the open signaling socket to the end.
pub(super) struct Game<'a> {
    options: &'a PlayOptions,
    events: &'a Sink,
    report: &'a mut Report,
    /// Start of the whole run.
    started: Instant,
    offered: Instant,
    phase: Phase,
    answered: bool,
    next_repeat: Instant,
}

/// What a game waits for, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// For the connection.
    Connecting { until: Instant },
    /// For frames and round trips.
    Measuring { until: Instant },
    /// For the end of the wanted time.
    Holding { until: Instant },
}

/// How a game ended.
enum End {
    Well,
    Failed(Failure),
    /// The connection ended by itself, and knows why.
    ConnectionOver,
}

/// Whether the game goes on.
enum Step {
    Continue,
    Done,
}

impl<'a> Game<'a> {
    /// A game that starts now; `connect_until` bounds the time to the connection.
    pub(super) fn new(
        options: &'a PlayOptions,
        events: &'a Sink,
        report: &'a mut Report,
        started: Instant,
        connect_until: Instant,
    ) -> Self {
        let offered = Instant::now();
        Self {
            options,
            events,
            report,
            started,
            offered,
            phase: Phase::Connecting { until: connect_until },
            answered: false,
            next_repeat: offered + REPEAT_AFTER,
        }
    }

    /// Plays, then leaves connection and room in order.
    pub(super) async fn play(
        mut self,
        mut signaling: SignalingClient,
        connection: ConnectionOptions,
        shutdown: &CancellationToken,
    ) -> Result<(), Failure> {
        let probe = Probe::new(self.options.goals(), self.offered);
        let offer = OfferOptions {
            channel: CHANNEL.into(),
            video: self.options.wants_video(),
        };
        let mut connection = Connection::offering(probe, connection, offer);
        let end = self.run(&mut signaling, &mut connection, shutdown).await;
        let finished = connection.close().await;
        signaling.leave().await;
        if let Some(finished) = &finished {
            self.report.measure(&finished.application, Instant::now());
        }
        match end {
            End::Well => Ok(()),
            End::Failed(failure) => Err(failure),
            End::ConnectionOver => {
                let reason = finished.map(|finished| finished.reason);
                Err(self.fail(reason.map_or_else(
                    || "the connection's task is gone".to_owned(),
                    |reason| format!("the connection ended: {reason}"),
                )))
            }
        }
    }

    async fn run(
        &mut self,
        signaling: &mut SignalingClient,
        connection: &mut Connection<Probe>,
        shutdown: &CancellationToken,
    ) -> End {
        loop {
            let wake = self.next_wake();
            let step = tokio::select! {
                event = signaling.next() => match event {
                    Some(event) => self.hear(event, connection),
                    None => Err(self.fail("the signaling task is gone".to_owned())),
                },
                notice = connection.next() => match notice {
                    Some(notice) => self.note(notice, signaling),
                    None => return End::ConnectionOver,
                },
                () = sleep_until(wake.into()) => self.time_passed(connection),
                () = shutdown.cancelled() => {
                    self.report.interrupted = true;
                    match self.phase {
                        Phase::Holding { .. } => Ok(Step::Done),
                        _ => Err(self.fail("interrupted".to_owned())),
                    }
                }
            };
            match step {
                Ok(Step::Continue) => {}
                Ok(Step::Done) => return End::Well,
                Err(failure) => return End::Failed(failure),
            }
        }
    }

    fn hear(&mut self, event: SignalingEvent, connection: &Connection<Probe>) -> Result<Step, Failure> {
        match event {
            SignalingEvent::Message(Signal::Answer { sdp }) => {
                self.answered = true;
                connection.answer(sdp);
            }
            SignalingEvent::Message(Signal::Candidate(signal)) => {
                connection.candidate(signal.candidate);
            }
            SignalingEvent::Message(Signal::PeerDisconnected) => {
                (self.events)(PlayEvent::HostLeftSignaling);
                // Before the connection is up the host may still come back and answer.
                if !matches!(self.phase, Phase::Connecting { .. }) {
                    connection.peer_left();
                }
            }
            SignalingEvent::Message(Signal::Control { .. } | Signal::Offer { .. })
            | SignalingEvent::Joined { .. } => {}
            SignalingEvent::Closed { close, retry_in } => {
                if close.is_refusal() && matches!(self.phase, Phase::Connecting { .. }) {
                    let error = format!("signaling {close}");
                    return Err(Failure {
                        outcome: Outcome::SignalingRefused,
                        error,
                    });
                }
                self.report.signaling_losses += 1;
                (self.events)(PlayEvent::Reconnect {
                    code: close.code,
                    reason: close.to_string(),
                    in_ms: millis(retry_in),
                });
            }
        }
        Ok(Step::Continue)
    }

    fn note(&mut self, notice: Notice<ProbeNote>, signaling: &SignalingClient) -> Result<Step, Failure> {
        match notice {
            Notice::Signal(signal) => {
                signaling.send(signal);
            }
            Notice::Connected(candidate_pair) => {
                self.report.time_to_connected_ms = Some(millis(self.started.elapsed()));
                self.report.connect_ms = Some(millis(self.offered.elapsed()));
                self.report.candidate_pair = Some(candidate_pair.clone());
                (self.events)(PlayEvent::Connected { candidate_pair });
                if matches!(self.phase, Phase::Connecting { .. }) {
                    self.phase = Phase::Measuring {
                        until: Instant::now() + self.options.limit(),
                    };
                }
            }
            Notice::Note(note) => return self.listen(note),
        }
        Ok(Step::Continue)
    }

    fn listen(&mut self, note: ProbeNote) -> Result<Step, Failure> {
        match note {
            ProbeNote::ChannelOpened => (self.events)(PlayEvent::ChannelOpened),
            ProbeNote::ChannelClosed => {
                return Err(self.fail("the data channel closed".to_owned()));
            }
            ProbeNote::FirstFrame => {
                self.report.time_to_first_frame_ms = Some(millis(self.started.elapsed()));
                (self.events)(PlayEvent::FirstFrame);
            }
            ProbeNote::GoalsReached => {
                (self.events)(PlayEvent::GoalsReached);
                let until = self.hold_until();
                if Instant::now() >= until {
                    return Ok(Step::Done);
                }
                self.phase = Phase::Holding { until };
            }
            ProbeNote::Alive {
                silent_for,
                round_trips,
                frames,
            } => {
                (self.events)(PlayEvent::Alive {
                    silent_ms: millis(silent_for),
                    round_trips,
                    frames,
                });
                if self.options.round_trips > 0 && silent_for > Duration::from_secs(self.options.max_gap) {
                    let seconds = silent_for.as_secs();
                    return Err(self.fail(format!("the data channel is silent for {seconds} s")));
                }
            }
        }
        Ok(Step::Continue)
    }

    /// When a game whose goals are reached now is over.
    fn hold_until(&self) -> Instant {
        let now = Instant::now();
        let connected_ms = self.report.time_to_connected_ms.unwrap_or_default();
        let connected = self.started + Duration::from_millis(connected_ms);
        let played = self
            .options
            .seconds
            .map(|seconds| connected + Duration::from_secs(seconds));
        let held = self
            .options
            .hold
            .map(|seconds| now + Duration::from_secs(seconds));
        played.into_iter().chain(held).max().unwrap_or(now)
    }

    fn time_passed(&mut self, connection: &Connection<Probe>) -> Result<Step, Failure> {
        let now = Instant::now();
        match self.phase {
            Phase::Connecting { until } if now >= until => {
                let what = if self.answered {
                    "no connection"
                } else {
                    "no answer from the host"
                };
                return Err(self.fail(format!("{what} in time")));
            }
            Phase::Measuring { until } if now >= until => {
                return Err(self.fail("frames or round trips were not reached in time".to_owned()));
            }
            Phase::Holding { until } if now >= until => return Ok(Step::Done),
            Phase::Connecting { .. } if !self.answered && now >= self.next_repeat => {
                self.next_repeat = now + REPEAT_AFTER;
                connection.repeat();
            }
            _ => {}
        }
        Ok(Step::Continue)
    }

    fn next_wake(&self) -> Instant {
        match self.phase {
            Phase::Connecting { until } if !self.answered => until.min(self.next_repeat),
            Phase::Connecting { until } | Phase::Measuring { until } | Phase::Holding { until } => until,
        }
    }

    /// A failure of the present phase.
    fn fail(&self, error: String) -> Failure {
        let outcome = match self.phase {
            Phase::Connecting { .. } => Outcome::NotConnected,
            Phase::Measuring { .. } | Phase::Holding { .. } => Outcome::StreamFailed,
        };
        Failure { outcome, error }
    }
}
