//! A WebRTC connection in one task.
//!
//! The handle [`Connection`] carries descriptions and candidates between the task and signaling;
//! everything that happens on the connection itself happens inside the task, between the WebRTC
//! state machine, the [`Transport`](super::transport) and the [`Application`].

mod driver;

use std::fmt;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::application::Application;
use super::candidate::CandidatePair;
use super::ice_server::IceEndpoints;
use super::signal::Signal;
use super::transport::GatherOptions;

/// Commands and notices that may wait; a session takes about forty of them.
const QUEUE: usize = 128;
/// How long a closing connection has to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a connection is made of.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// Which candidates are gathered.
    pub gather: GatherOptions,
    /// STUN and TURN servers.
    pub ice: IceEndpoints,
    /// Time from the first description to an established connection.
    pub connect_timeout: Duration,
    /// How long a peer that left signaling may be silent before it counts as gone.
    pub orphan_grace: Duration,
}

/// What an offering peer asks for.
#[derive(Debug, Clone)]
pub struct OfferOptions {
    /// Label of the data channel.
    pub channel: String,
    /// Whether to receive video (H.264).
    pub video: bool,
}

/// What the task tells its owner.
#[derive(Debug)]
pub enum Notice<N> {
    /// A description or candidate for the other peer.
    Signal(Signal),
    /// ICE and DTLS are up.
    Connected(CandidatePair),
    /// A word of the application.
    Note(N),
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndReason {
    /// The other peer closed it.
    RemoteClosed,
    /// Nothing came through any more.
    IceDisconnected,
    /// It did not come up in time.
    NotConnected,
    /// The other peer left signaling and is silent.
    PeerLeft,
    /// Its owner closed it.
    Closed,
    /// A description was refused or the protocol failed.
    Failed(String),
}

/// A connection that ended, with its application and what that learned.
#[derive(Debug)]
pub struct Finished<A> {
    /// Why.
    pub reason: EndReason,
    /// The application in its last state.
    pub application: A,
}

/// The handle of a connection. Dropping it cuts the connection off; [`close`](Self::close) ends it
/// so that the other peer knows.
pub struct Connection<A: Application> {
    commands: mpsc::Sender<Command>,
    notices: mpsc::Receiver<Notice<A::Note>>,
    task: JoinHandle<Finished<A>>,
}

/// What signaling brings for the task.
enum Command {
    Offer(String),
    Answer(String),
    Candidate(String),
    Repeat,
    PeerLeft,
    Close,
}

// === impl EndReason ===

impl EndReason {
    /// A stable word for events.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RemoteClosed => "remote-closed",
            Self::IceDisconnected => "ice-disconnected",
            Self::NotConnected => "not-connected",
            Self::PeerLeft => "peer-left",
            Self::Closed => "closed",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(detail) => f.write_str(detail),
            other => f.write_str(other.name()),
        }
    }
}

// === impl Connection ===

impl<A: Application> Connection<A> {
    /// Starts a connection that makes an offer; the offer is its first notice.
    pub fn offering(application: A, options: ConnectionOptions, offer: OfferOptions) -> Self {
        Self::start(application, options, Some(offer))
    }

    /// Starts a connection that waits for an offer.
    pub fn answering(application: A, options: ConnectionOptions) -> Self {
        Self::start(application, options, None)
    }

    fn start(application: A, options: ConnectionOptions, offer: Option<OfferOptions>) -> Self {
        let (commands, command_queue) = mpsc::channel(QUEUE);
        let (notice_queue, notices) = mpsc::channel(QUEUE);
        let task = tokio::spawn(driver::run(
            application,
            options,
            offer,
            command_queue,
            notice_queue,
        ));
        Self {
            commands,
            notices,
            task,
        }
    }

    /// Hands over a remote offer, the first or a later one of the same peer connection.
    pub fn offer(&self, sdp: String) {
        self.command(Command::Offer(sdp));
    }

    /// Hands over the answer to the own offer.
    pub fn answer(&self, sdp: String) {
        self.command(Command::Answer(sdp));
    }

    /// Hands over a remote candidate line.
    pub fn candidate(&self, line: String) {
        self.command(Command::Candidate(line));
    }

    /// Sends the own description and candidates once more, for a relay that lost them.
    pub fn repeat(&self) {
        self.command(Command::Repeat);
    }

    /// Tells that the other peer's signaling socket is gone. The connection stays up for as long
    /// as something is heard from the peer.
    pub fn peer_left(&self) {
        self.command(Command::PeerLeft);
    }

    /// The next notice. `None` once the connection ended. Safe to drop and call again.
    pub async fn next(&mut self) -> Option<Notice<A::Note>> {
        self.notices.recv().await
    }

    /// Closes the connection and waits for its end. `None` when it did not end in time.
    pub async fn close(self) -> Option<Finished<A>> {
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.commands.send(Command::Close)).await;
        self.finished().await
    }

    /// Waits for the end of a connection that ends by itself. `None` when it does not in time.
    pub async fn finished(mut self) -> Option<Finished<A>> {
        self.notices.close();
        tokio::time::timeout(CLOSE_TIMEOUT, &mut self.task)
            .await
            .ok()?
            .ok()
    }

    /// A full queue means that somebody floods the room; what does not fit is dropped.
    fn command(&self, command: Command) {
        let _ = self.commands.try_send(command);
    }
}

impl<A: Application> Drop for Connection<A> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
