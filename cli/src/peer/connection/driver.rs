//! The task of one connection: takes turns between network, signaling, timers and application.

mod early;
mod link;
mod media;
mod negotiation;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use str0m::{Event, IceConnectionState, Input, Output, Rtc};
use tokio::sync::mpsc;
use tracing::debug;

use self::early::{Datagram, Early};
use self::link::Link;
use self::media::VideoSender;
use self::negotiation::Negotiation;
use super::{Command, ConnectionOptions, EndReason, Finished, Notice, OfferOptions};
use crate::peer::application::{Action, Application, PeerEvent};
use crate::peer::candidate::{CandidateEnd, CandidatePair, kind_name};
use crate::peer::transport::{ResolvedServers, Transport, TransportEvent};

/// Application actions between two looks at the network.
const MAX_ACTIONS: usize = 64;
/// When to try again to send on a full data channel.
const BLOCKED_RETRY: Duration = Duration::from_millis(10);
/// STUN packets start with a byte below this; DTLS, RTP and RTCP above (RFC 7983).
const FIRST_NON_STUN_BYTE: u8 = 20;

struct Driver<A: Application> {
    rtc: Rtc,
    transport: Transport,
    application: A,
    options: ConnectionOptions,
    commands: mpsc::Receiver<Command>,
    notices: mpsc::Sender<Notice<A::Note>>,
    /// Notices of the current turn.
    outbox: VecDeque<Notice<A::Note>>,
    negotiation: Negotiation,
    video: VideoSender,
    early: Early,
    link: Link,
    /// A message that the data channel did not take yet.
    blocked: Option<Action<A::Note>>,
    resolving: Option<BoxFuture<'static, ResolvedServers>>,
    /// When the WebRTC state machine wants to be called.
    deadline: Instant,
}

/// A turn ends normally or with the connection.
type Turn = Result<(), EndReason>;

/// Runs a connection to its end.
pub(super) async fn run<A: Application>(
    application: A,
    options: ConnectionOptions,
    offer: Option<OfferOptions>,
    commands: mpsc::Receiver<Command>,
    notices: mpsc::Sender<Notice<A::Note>>,
) -> Finished<A> {
    let transport = match Transport::open(options.gather.clone()).await {
        Ok(transport) => transport,
        Err(error) => {
            let reason = EndReason::Failed(format!("no host address can be used: {error}"));
            return Finished { reason, application };
        }
    };
    let now = Instant::now();
    let mut driver = Driver {
        rtc: media::config(offer.as_ref()).build(now),
        transport,
        application,
        commands,
        notices,
        outbox: VecDeque::new(),
        negotiation: Negotiation::default(),
        video: VideoSender::new(now),
        early: Early::default(),
        link: Link::new(now, options.connect_timeout, options.orphan_grace),
        blocked: None,
        resolving: Some(ResolvedServers::resolve(options.ice.clone()).boxed()),
        deadline: now,
        options,
    };
    let reason = match driver.drive(offer).await {
        Err(reason) => reason,
        Ok(never) => match never {},
    };
    debug!(reason = reason.name(), "connection ended");
    driver.shut_down();
    Finished {
        reason,
        application: driver.application,
    }
}

/// The main loop has no normal end.
enum Never {}

impl<A: Application> Driver<A> {
    async fn drive(&mut self, offer: Option<OfferOptions>) -> Result<Never, EndReason> {
        if self.options.gather.relay_only && self.options.ice.turn.is_empty() {
            return Err(EndReason::Failed(
                "relay only, but there is no usable TURN server".into(),
            ));
        }
        // ICE has no timers before it was told the time once.
        self.rtc
            .handle_input(Input::Timeout(Instant::now()))
            .map_err(failed)?;
        self.drain()?;
        while let Some(candidate) = self.transport.take_candidate() {
            self.add_local_candidate(candidate);
            self.drain()?;
        }
        if let Some(offer) = offer {
            self.make_offer(&offer)?;
        }
        loop {
            self.settle().await?;
            self.link.check(Instant::now())?;
            let wake = tokio::time::Instant::from_std(self.next_wake());
            tokio::select! {
                command = self.commands.recv() => self.obey(command)?,
                event = self.transport.next() => self.take_in(event)?,
                servers = look_up(&mut self.resolving), if self.resolving.is_some() => {
                    self.resolving = None;
                    self.transport.add_servers(servers).await;
                }
                () = tokio::time::sleep_until(wake) => {
                    self.transport.handle_timeout();
                    self.rtc.handle_input(Input::Timeout(Instant::now())).map_err(failed)?;
                }
            }
        }
    }

    /// Brings the state machine to rest, lets the application act and sends the notices.
    async fn settle(&mut self) -> Turn {
        self.drain()?;
        self.take_in_early()?;
        for _ in 0..MAX_ACTIONS {
            let now = Instant::now();
            let action = match self.blocked.take() {
                Some(action) => action,
                None => match self.application.next_action(now) {
                    Some(action) => action,
                    None => break,
                },
            };
            self.blocked = self.perform(action);
            self.drain()?;
            if self.blocked.is_some() {
                break;
            }
        }
        while let Some(notice) = self.outbox.pop_front() {
            // An owner that listens no more wants the end, and says so by a command.
            let _ = self.notices.send(notice).await;
        }
        Ok(())
    }

    /// Polls the state machine until it has nothing left, as its contract asks after each change.
    fn drain(&mut self) -> Turn {
        loop {
            match self.rtc.poll_output().map_err(failed)? {
                Output::Timeout(at) => {
                    self.deadline = at;
                    return Ok(());
                }
                Output::Transmit(transmit) => {
                    self.transport
                        .send(transmit.source, transmit.destination, &transmit.contents);
                    let carries = transmit
                        .contents
                        .first()
                        .is_some_and(|b| *b >= FIRST_NON_STUN_BYTE);
                    if carries {
                        self.note_pair(transmit.source, transmit.destination);
                    }
                }
                Output::Event(event) => self.translate(event)?,
            }
        }
    }

    fn translate(&mut self, event: Event) -> Turn {
        let now = Instant::now();
        let event = match event {
            Event::Connected => {
                self.link.connect(now);
                self.early.clear();
                self.announce();
                return Ok(());
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) if self.link.is_connected() => {
                return Err(EndReason::IceDisconnected);
            }
            Event::Closed => return Err(EndReason::RemoteClosed),
            Event::ChannelOpen(channel, label) => PeerEvent::ChannelOpened { channel, label },
            Event::ChannelData(data) => PeerEvent::Message {
                channel: data.id,
                binary: data.binary,
                data: data.data,
            },
            Event::ChannelClose(channel) => {
                if matches!(&self.blocked, Some(Action::Send { channel: c, .. }) if *c == channel) {
                    self.blocked = None;
                }
                PeerEvent::ChannelClosed(channel)
            }
            other => match media::translate(&mut self.rtc, other) {
                Some(event) => event,
                None => return Ok(()),
            },
        };
        self.application.handle(event, now);
        Ok(())
    }

    /// Does one thing for the application. Gives back what has to wait.
    fn perform(&mut self, action: Action<A::Note>) -> Option<Action<A::Note>> {
        match action {
            Action::Send {
                channel,
                binary,
                data,
            } => {
                let mut open = self.rtc.channel(channel)?;
                match open.write(binary, &data) {
                    Ok(true) => None,
                    Ok(false) => Some(Action::Send {
                        channel,
                        binary,
                        data,
                    }),
                    Err(error) => {
                        debug!(%error, bytes = data.len(), "message cannot be sent");
                        None
                    }
                }
            }
            Action::SendFrame { mid, at, data } => {
                self.video.send(&mut self.rtc, mid, at, data);
                None
            }
            Action::RequestKeyframe(mid) => {
                media::request_keyframe(&mut self.rtc, mid);
                None
            }
            Action::Notify(note) => {
                self.outbox.push_back(Notice::Note(note));
                None
            }
        }
    }

    fn take_in(&mut self, event: TransportEvent) -> Turn {
        match event {
            TransportEvent::Candidate(candidate) => self.add_local_candidate(candidate),
            TransportEvent::Datagram {
                source,
                destination,
                contents,
            } => {
                let datagram = Datagram {
                    source,
                    destination,
                    contents,
                };
                let now = Instant::now();
                let Some(input) = datagram.input(now) else {
                    return Ok(());
                };
                if self.rtc.accepts(&input) {
                    self.link.heard(now);
                    self.rtc.handle_input(input).map_err(failed)?;
                } else if !self.link.is_connected() {
                    self.early.hold(datagram, now);
                }
            }
        }
        Ok(())
    }

    /// Takes in what came before its path was proven.
    fn take_in_early(&mut self) -> Turn {
        let now = Instant::now();
        while let Some(datagram) = self.early.release(&self.rtc, now) {
            if let Some(input) = datagram.input(now) {
                self.rtc.handle_input(input).map_err(failed)?;
            }
            self.drain()?;
        }
        Ok(())
    }

    fn obey(&mut self, command: Option<Command>) -> Turn {
        match command {
            None | Some(Command::Close) => return Err(EndReason::Closed),
            Some(Command::Offer(sdp)) => self.accept_offer(&sdp)?,
            Some(Command::Answer(sdp)) => self.accept_answer(&sdp)?,
            Some(Command::Candidate(line)) => self.add_remote_candidate(&line),
            Some(Command::Repeat) => self.outbox.extend(self.negotiation.sent()),
            Some(Command::PeerLeft) => self.link.orphan(Instant::now())?,
        }
        Ok(())
    }

    fn note_pair(&mut self, local: SocketAddr, remote: SocketAddr) {
        if self.link.carry(local, remote) {
            self.transport.selected(local, remote);
        }
        self.announce();
    }

    /// Tells that the connection is up, once the pair is known too.
    fn announce(&mut self) {
        let Some((local, remote)) = self.link.announce() else {
            return;
        };
        let pair = CandidatePair {
            local: CandidateEnd {
                kind: kind_name(self.transport.kind_of(local)),
                address: local,
            },
            remote: CandidateEnd {
                kind: self.negotiation.remote_kind(remote),
                address: remote,
            },
        };
        self.application
            .handle(PeerEvent::Connected(pair.clone()), Instant::now());
        self.outbox.push_back(Notice::Connected(pair));
    }

    fn next_wake(&mut self) -> Instant {
        let mut wake = self.deadline;
        let mut earlier = |at: Option<Instant>| wake = at.map_or(wake, |at| wake.min(at));
        earlier(self.transport.timeout());
        earlier(self.link.wake_at());
        if self.blocked.is_some() {
            earlier(Some(Instant::now() + BLOCKED_RETRY));
        } else {
            earlier(self.application.wake_at());
        }
        wake
    }

    /// Says goodbye to the other peer and to the TURN servers.
    fn shut_down(&mut self) {
        if self.rtc.close().is_ok() {
            while let Ok(Output::Transmit(transmit)) = self.rtc.poll_output() {
                self.transport
                    .send(transmit.source, transmit.destination, &transmit.contents);
            }
        }
        self.transport.close();
    }
}

/// Polls the look-up of ICE servers in place, so that a turn may drop this future.
async fn look_up(resolving: &mut Option<BoxFuture<'static, ResolvedServers>>) -> ResolvedServers {
    match resolving {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

fn failed(error: impl std::fmt::Display) -> EndReason {
    EndReason::Failed(error.to_string())
}
