//! A peer's place in its room, kept for as long as the peer lives.
//!
//! One task owns the socket. It reports what arrives, sends what it is given and, when the socket
//! ends, comes back: at once (within a jitter) when the server drains, later otherwise. The peer
//! connection does not notice.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::backoff::Backoff;
use super::close::{Close, CloseKind};
use super::secret::Secret;
use super::signal::Signal;
use super::socket::{Seat, SignalingSocket};

/// Messages that wait for the socket, in each direction.
const QUEUE: usize = 64;
/// A message that waited longer for a socket is about a session that is over.
const STALE_AFTER: Duration = Duration::from_secs(10);
/// Refusals come after the upgrade, so a socket that lives this long has a seat.
const SETTLE: Duration = Duration::from_millis(250);
/// A seat held this long means that the server is well, and delays start over.
const STEADY: Duration = Duration::from_secs(10);
/// Spread of the peers of a drained server.
const DRAIN_JITTER: Duration = Duration::from_millis(500);
/// Draining servers in a row to which a peer returns at once; after that something else is wrong.
const MAX_DRAINED: u32 = 5;
/// First and longest delay after a lost or unreachable server.
const LOST_DELAY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// First and longest delay after a refusal, which does not go away by asking quickly.
const REFUSED_DELAY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// What happens at the signaling side of a peer.
#[derive(Debug)]
pub enum SignalingEvent {
    /// The socket stayed open after the upgrade: the peer is in its room.
    Joined {
        /// `x-berth-instance` of the upgrade answer.
        instance: Option<String>,
    },
    /// A message from the other peer or from signaling.
    Message(Signal),
    /// The socket ended; the next attempt follows after `retry_in`.
    Closed {
        /// Why.
        close: Close,
        /// Delay before the next attempt.
        retry_in: Duration,
    },
}

/// The handle of a peer's signaling task. Dropping it leaves the room abruptly;
/// [`leave`](Self::leave) leaves it properly.
pub struct SignalingClient {
    outgoing: mpsc::Sender<(Instant, Signal)>,
    events: mpsc::Receiver<SignalingEvent>,
    leaving: CancellationToken,
    task: JoinHandle<()>,
}

struct Keeper {
    seat: Seat,
    tokens: watch::Receiver<Option<Secret>>,
    outgoing: mpsc::Receiver<(Instant, Signal)>,
    events: mpsc::Sender<SignalingEvent>,
    leaving: CancellationToken,
    delays: Delays,
}

/// How long to stay away after the end of a socket.
struct Delays {
    lost: Backoff,
    refused: Backoff,
    /// Times that a server drained since the last steady seat.
    drained: u32,
}

/// Why a socket is no longer served.
enum Ended {
    /// The peer leaves.
    Leaving,
    /// The socket is gone.
    Closed(Close),
}

// === impl SignalingClient ===

impl SignalingClient {
    /// Starts the task. `socket` is a socket that is open already; `tokens` carries the token for
    /// the next attempt, and a new one ends the wait for it.
    pub fn start(
        seat: Seat,
        socket: Option<SignalingSocket>,
        tokens: watch::Receiver<Option<Secret>>,
    ) -> Self {
        let (outgoing, outgoing_queue) = mpsc::channel(QUEUE);
        let (event_queue, events) = mpsc::channel(QUEUE);
        let leaving = CancellationToken::new();
        let keeper = Keeper {
            seat,
            tokens,
            outgoing: outgoing_queue,
            events: event_queue,
            leaving: leaving.clone(),
            delays: Delays::new(),
        };
        let task = tokio::spawn(keeper.run(socket));
        Self {
            outgoing,
            events,
            leaving,
            task,
        }
    }

    /// Queues a message. `false` when the queue is full, which only a long outage brings about:
    /// the message is then about a session that cannot come up.
    pub fn send(&self, signal: Signal) -> bool {
        self.outgoing.try_send((Instant::now(), signal)).is_ok()
    }

    /// The next event. `None` after the task ended. Safe to drop and call again.
    pub async fn next(&mut self) -> Option<SignalingEvent> {
        self.events.recv().await
    }

    /// Sends what is queued, closes the socket with 1000 and waits for it, within bounds.
    pub async fn leave(mut self) {
        self.leaving.cancel();
        self.events.close();
        let _ = timeout(Duration::from_secs(5), &mut self.task).await;
    }
}

impl Drop for SignalingClient {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Keeper ===

impl Keeper {
    async fn run(mut self, mut first: Option<SignalingSocket>) {
        loop {
            let opening = async {
                match first.take() {
                    Some(socket) => Ok(socket),
                    None => SignalingSocket::open(&self.seat).await,
                }
            };
            let opened = tokio::select! {
                opened = opening => opened,
                () = self.leaving.cancelled() => return,
            };
            let close = match opened {
                Err(close) => close,
                Ok(socket) => match self.serve(socket).await {
                    Ended::Leaving => return,
                    Ended::Closed(close) => close,
                },
            };
            let retry_in = self.delays.after(&close, rand::random());
            debug!(room = %self.seat.room, %close, ?retry_in, "signaling socket ended");
            let retry_at = Instant::now() + retry_in;
            if self
                .events
                .send(SignalingEvent::Closed { close, retry_in })
                .await
                .is_err()
            {
                return;
            }
            if !self.wait_until(retry_at).await {
                return;
            }
        }
    }

    /// Serves an open socket until it ends.
    async fn serve(&mut self, mut socket: SignalingSocket) -> Ended {
        let opened = Instant::now();
        let mut joined = false;
        loop {
            let arrived = tokio::select! {
                received = socket.receive() => match received {
                    Err(close) => return Ended::Closed(close),
                    Ok(signal) => Some(SignalingEvent::Message(signal)),
                },
                Some((queued, signal)) = self.outgoing.recv() => {
                    if queued.elapsed() < STALE_AFTER
                        && let Err(close) = socket.send(&signal).await
                    {
                        return Ended::Closed(close);
                    }
                    None
                }
                () = sleep_until(opened + SETTLE), if !joined => None,
                () = sleep_until(opened + STEADY), if joined && opened.elapsed() < STEADY => {
                    self.delays.reset();
                    None
                }
                () = self.leaving.cancelled() => return self.leave(socket).await,
            };
            if !joined && (arrived.is_some() || opened.elapsed() >= SETTLE) {
                joined = true;
                let instance = socket.instance().map(str::to_owned);
                if self
                    .events
                    .send(SignalingEvent::Joined { instance })
                    .await
                    .is_err()
                {
                    return self.leave(socket).await;
                }
            }
            if let Some(event) = arrived
                && self.events.send(event).await.is_err()
            {
                return self.leave(socket).await;
            }
        }
    }

    /// Sends what is still queued and closes.
    async fn leave(&mut self, mut socket: SignalingSocket) -> Ended {
        while let Ok((_, signal)) = self.outgoing.try_recv() {
            if socket.send(&signal).await.is_err() {
                break;
            }
        }
        socket.close().await;
        Ended::Leaving
    }

    /// Waits for the next attempt; a new token ends the wait, because it may be what was missing.
    /// `false` when the peer leaves meanwhile.
    async fn wait_until(&mut self, retry_at: Instant) -> bool {
        loop {
            self.seat.token.clone_from(&self.tokens.borrow_and_update());
            tokio::select! {
                () = sleep_until(retry_at) => return true,
                changed = self.tokens.changed() => match changed {
                    Ok(()) if *self.tokens.borrow() != self.seat.token => {
                        self.seat.token.clone_from(&self.tokens.borrow_and_update());
                        return true;
                    }
                    Ok(()) => {}
                    // No more tokens will come; the delay still counts.
                    Err(_) => {
                        tokio::select! {
                            () = sleep_until(retry_at) => return true,
                            () = self.leaving.cancelled() => return false,
                        }
                    }
                },
                () = self.leaving.cancelled() => return false,
            }
        }
    }
}

// === impl Delays ===

impl Delays {
    fn new() -> Self {
        Self {
            lost: Backoff::new(LOST_DELAY.0, LOST_DELAY.1),
            refused: Backoff::new(REFUSED_DELAY.0, REFUSED_DELAY.1),
            drained: 0,
        }
    }

    /// The delay after `close`. `random` is uniform in 0..1.
    fn after(&mut self, close: &Close, random: f64) -> Duration {
        match close.kind {
            CloseKind::Draining if self.drained < MAX_DRAINED => {
                self.drained += 1;
                DRAIN_JITTER.mul_f64(random)
            }
            CloseKind::RoomFull | CloseKind::Unauthorized | CloseKind::Policy | CloseKind::TryLater => {
                self.refused.next(random)
            }
            CloseKind::Draining | CloseKind::Closed | CloseKind::Lost | CloseKind::Unreachable => {
                self.lost.next(random)
            }
        }
    }

    fn reset(&mut self) {
        self.lost.reset();
        self.refused.reset();
        self.drained = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drained_peer_returns_at_once_but_not_for_ever() {
        let draining = Close::from_frame(1012, "Server draining");
        let mut delays = Delays::new();
        for _ in 0..MAX_DRAINED {
            assert!(delays.after(&draining, 1.0) <= DRAIN_JITTER);
        }
        for _ in 0..20 {
            delays.after(&draining, 1.0);
        }
        assert_eq!(delays.after(&draining, 1.0), LOST_DELAY.1);
        delays.reset();
        assert!(delays.after(&draining, 1.0) <= DRAIN_JITTER);
    }

    #[test]
    fn refusals_and_losses_wait_longer_each_time_up_to_a_limit() {
        let full = Close::from_frame(1000, "Room is full");
        let gone = Close::unreachable("refused");
        let mut delays = Delays::new();
        assert_eq!(delays.after(&full, 1.0), REFUSED_DELAY.0);
        assert_eq!(delays.after(&gone, 1.0), LOST_DELAY.0);
        for _ in 0..20 {
            delays.after(&full, 1.0);
            delays.after(&gone, 1.0);
        }
        assert_eq!(delays.after(&full, 1.0), REFUSED_DELAY.1);
        assert_eq!(delays.after(&gone, 1.0), LOST_DELAY.1);
        delays.reset();
        assert_eq!(delays.after(&full, 1.0), REFUSED_DELAY.0);
    }
}
