//! One peer that talks all the time and checks what it hears. Here is what both versions have in common, and how v1 is spoken.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, candidate};

/// Between two attempts to get a seat.
pub(super) const AGAIN: Duration = Duration::from_millis(100);
/// Messages of one sender that are kept for others (`spec.resume.maxMessages`, and what waits for an instance).
const KEPT: u32 = 64;

/// What all peers of a field share.
#[derive(Default)]
pub(crate) struct Shared {
    /// Messages carry the round in which they were sent.
    pub(crate) round: AtomicU64,
    /// Addresses of the instances; `None` for one that is dead.
    pub(crate) instances: Mutex<Vec<Option<SocketAddr>>>,
    /// What must not happen and did.
    pub(crate) violations: Mutex<Vec<String>>,
    /// More went wrong at once than messages are promised to survive.
    pub(crate) excused: AtomicBool,
    /// Nobody says anything more.
    pub(crate) quiet: AtomicBool,
    /// Everybody leaves.
    pub(crate) over: CancellationToken,
}

/// One place in a room, and who sits there.
pub(crate) struct Peer {
    pub(crate) room: String,
    pub(crate) slot: usize,
    /// The instance it connects to first.
    pub(crate) home: usize,
    pub(crate) version: Version,
    /// Between two of its messages.
    pub(crate) pause: Duration,
    pub(crate) shared: Arc<Shared>,
    pub(crate) state: Mutex<State>,
}

/// What a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

#[derive(Default)]
pub(crate) struct State {
    /// How often it joined anew. A peer that speaks v2 has one life, whatever becomes of its connections.
    pub(crate) life: u64,
    /// How often it connected.
    pub(crate) connections: u64,
    /// The instance it is connected to.
    pub(crate) instance: usize,
    /// It has its seat.
    pub(crate) seated: bool,
    /// Breaks its connection, if it can live without.
    pub(crate) cord: Option<CancellationToken>,
    /// Number of its last message, in this life.
    pub(crate) sent: u64,
    /// Number up to which its messages are acknowledged.
    pub(crate) acked: u64,
    /// What it heard last of the others, in this life: by slot and life.
    pub(crate) heard: HashMap<(usize, u64), Said>,
    /// When it heard anything last.
    pub(crate) heard_at: Option<Instant>,
    /// Departures that it was told of in all its lives.
    pub(crate) told: usize,
}

/// A message of a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) number: u64,
    pub(crate) round: u64,
}

pub(super) type Socket = WebSocketStream<TcpStream>;

/// Why a connection is over.
pub(super) enum End {
    /// No seat: try again.
    Refused,
    /// The connection is lost.
    Lost,
    /// Everybody leaves.
    Over,
}

impl Shared {
    pub(crate) fn violation(&self, what: String) {
        self.violations.lock().push(what);
    }

    pub(super) fn address(&self, wanted: usize) -> (usize, SocketAddr) {
        let instances = self.instances.lock();
        let alive = (0..instances.len()).map(|step| (wanted + step) % instances.len());
        let mut alive = alive.filter_map(|number| Some((number, instances[number]?)));
        alive.next().expect("some instance lives")
    }

    pub(super) fn is_dead(&self, instance: usize) -> bool {
        self.instances.lock()[instance].is_none()
    }
}

impl Peer {
    /// Talks until it is over.
    pub(crate) async fn talk(self: Arc<Self>) {
        match self.version {
            Version::V1 => self.talk_v1().await,
            Version::V2 => self.talk_v2().await,
        }
    }

    async fn talk_v1(&self) {
        loop {
            let (instance, address) = self.shared.address(self.home);
            let Some(socket) = connect(address, &self.room, self.version).await else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            {
                let mut state = self.state.lock();
                state.life += 1;
                state.connections += 1;
                state.instance = instance;
                state.sent = 0;
                state.heard.clear();
            }
            let end = self.live(socket, instance).await;
            self.state.lock().seated = false;
            match end {
                End::Over => return,
                End::Refused => tokio::time::sleep(AGAIN).await,
                End::Lost => {}
            }
        }
    }

    async fn live(&self, mut socket: Socket, instance: usize) -> End {
        // What is no message is answered to who has a seat.
        if socket.send(Message::text("[]")).await.is_err() {
            return End::Refused;
        }
        let mut seated = false;
        let mut ticks = self.ticks();
        loop {
            let received = tokio::select! {
                received = socket.next() => received,
                _ = ticks.tick(), if seated => {
                    if let Some((said, _)) = self.next_words() {
                        // A failure is seen by the next read.
                        let _ = socket.send(Message::text(candidate(&said))).await;
                    }
                    continue;
                }
                () = self.shared.over.cancelled() => {
                    let _ = socket.close(None).await;
                    end(&mut socket).await;
                    return End::Over;
                }
            };
            match received {
                Some(Ok(Message::Text(text))) if text.contains("schema-error") => {
                    seated = true;
                    self.state.lock().seated = true;
                }
                Some(Ok(Message::Text(text))) => self.hear(&text),
                Some(Ok(Message::Close(_)) | Err(_)) | None if self.shared.is_dead(instance) => {
                    return End::Lost;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None if !seated => return End::Refused,
                Some(Ok(Message::Close(frame))) => {
                    self.violation(&format!("was closed: {frame:?}"));
                    return End::Refused;
                }
                Some(Err(_)) | None => {
                    // The death of an instance may be seen before it is told.
                    tokio::time::sleep(AGAIN).await;
                    if !self.shared.is_dead(instance) {
                        self.violation("lost its connection");
                    }
                    return End::Lost;
                }
                Some(Ok(_)) => {}
            }
        }
    }

    /// When it may say something. Never faster, so that time tells how much there can be to hear.
    pub(super) fn ticks(&self) -> tokio::time::Interval {
        let mut ticks = tokio::time::interval(self.pause);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks
    }

    /// What it says next, and the number of that; `None` when nobody says anything more.
    pub(super) fn next_words(&self) -> Option<(String, u64)> {
        if self.shared.quiet.load(Ordering::Relaxed) {
            return None;
        }
        let round = self.shared.round.load(Ordering::Relaxed);
        let mut state = self.state.lock();
        state.sent += 1;
        let words = format!(
            "{} {} {} {} {round}",
            self.room, self.slot, state.life, state.sent
        );
        Some((words, state.sent))
    }

    fn hear(&self, text: &Utf8Bytes) {
        let value: Value = serde_json::from_str(text).expect("JSON");
        if value["type"] == "peer-disconnected" {
            return self.is_told_of_a_departure();
        }
        self.hear_words(&value);
    }

    pub(super) fn is_told_of_a_departure(&self) {
        // At the end everybody leaves.
        self.state.lock().told += usize::from(!self.shared.over.is_cancelled());
    }

    /// A message of a peer: of this room, not its own, in order and not twice; and, if it speaks v2, the one that comes next.
    pub(super) fn hear_words(&self, value: &Value) {
        let said = value["candidate"].as_str().expect("a candidate");
        let parts: Vec<&str> = said.split(' ').collect();
        let [room, slot, life, number, round] = parts[..] else {
            return self.violation(&format!("heard {value}"));
        };
        let sender: (usize, u64) = (slot.parse().unwrap(), life.parse().unwrap());
        let (number, round): (u64, u64) = (number.parse().unwrap(), round.parse().unwrap());
        if room != self.room {
            self.violation(&format!("heard {said} of another room"));
        }
        let mut state = self.state.lock();
        if sender.0 == self.slot {
            self.violation(&format!("heard itself: {said}"));
        }
        let before = state.heard.insert(sender, Said { number, round });
        let before = before.map_or(0, |before| before.number);
        let silence = state.heard_at.replace(Instant::now()).map(|at| at.elapsed());
        if number <= before {
            self.violation(&format!("heard {said} after number {before}"));
        } else if self.version == Version::V2 && number > before + 1 && !self.may_miss(silence) {
            self.violation(&format!(
                "heard {said} after number {before}, and nothing between"
            ));
        }
    }

    /// Whether more may have been said in a silence than is kept, or more went wrong than messages survive.
    fn may_miss(&self, silence: Option<Duration>) -> bool {
        let most = self.pause * (KEPT - 4);
        self.shared.excused.load(Ordering::Relaxed) || silence.is_none_or(|silence| silence > most)
    }

    /// As many messages as are kept wait to be acknowledged: one more may be refused.
    pub(super) fn has_said_more_than_is_kept(&self) -> bool {
        let state = self.state.lock();
        state.sent - state.acked > u64::from(KEPT)
    }

    pub(super) fn violation(&self, what: &str) {
        self.shared
            .violation(format!("{}/{}: {what}", self.room, self.slot));
    }
}

/// Polls a socket to its end, so that its close is answered.
pub(super) async fn end(socket: &mut Socket) {
    while let Ok(Some(Ok(_))) = tokio::time::timeout(DEADLINE, socket.next()).await {}
}

/// A handshake; `None` if the instance is gone.
pub(super) async fn connect(address: SocketAddr, room: &str, version: Version) -> Option<Socket> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let url = format!("ws://{address}/?roomId={room}");
    let mut request = url.into_client_request().expect("a request");
    if version == Version::V2 {
        let name = berth_signaling::protocol::v2::SUBPROTOCOL;
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", name.parse().expect("a name"));
    }
    let (socket, _) = tokio_tungstenite::client_async(request, stream).await.ok()?;
    Some(socket)
}

/// Somebody who wants a third seat in a room of two. Whether it got one.
pub(crate) async fn intrude(address: SocketAddr, room: &str) -> bool {
    let Some(mut socket) = connect(address, room, Version::V1).await else {
        return false;
    };
    let _ = socket.send(Message::text("[]")).await;
    let mut seated = false;
    while let Ok(Some(Ok(message))) = tokio::time::timeout(DEADLINE, socket.next()).await {
        if matches!(&message, Message::Text(text) if text.contains("schema-error")) {
            seated = true;
            let _ = socket.close(None).await;
        }
    }
    seated
}
