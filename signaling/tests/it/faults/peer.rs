//! One peer that talks all the time and checks what it hears.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{DEADLINE, candidate};

/// Between two messages of a peer.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two attempts to get a seat.
const AGAIN: Duration = Duration::from_millis(100);

/// What all peers of a field share.
#[derive(Default)]
pub(crate) struct Shared {
    /// Messages carry the round in which they were sent.
    pub(crate) round: AtomicU64,
    /// Addresses of the instances; `None` for one that is dead.
    pub(crate) instances: Mutex<Vec<Option<SocketAddr>>>,
    /// What must not happen and did.
    pub(crate) violations: Mutex<Vec<String>>,
    /// Everybody leaves.
    pub(crate) over: tokio_util::sync::CancellationToken,
}

/// One place in a room, and who sits there.
pub(crate) struct Peer {
    pub(crate) room: String,
    pub(crate) slot: usize,
    /// The instance it connects to first.
    pub(crate) home: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// How often it connected.
    pub(crate) life: u64,
    /// It has its seat.
    pub(crate) seated: bool,
    /// Last round heard of the others, in this life: by slot and life.
    pub(crate) heard: HashMap<(usize, u64), u64>,
    /// Departures that it was told of in all its lives.
    pub(crate) told: usize,
}

type Socket = WebSocketStream<TcpStream>;

/// Why a connection is over.
enum End {
    /// No seat: try again.
    Refused,
    /// The instance died.
    Died,
    /// Everybody leaves.
    Over,
}

impl Shared {
    pub(crate) fn violation(&self, what: String) {
        self.violations.lock().push(what);
    }

    fn address(&self, wanted: usize) -> (usize, SocketAddr) {
        let instances = self.instances.lock();
        let alive = (0..instances.len()).map(|step| (wanted + step) % instances.len());
        let mut alive = alive.filter_map(|number| Some((number, instances[number]?)));
        alive.next().expect("some instance lives")
    }

    fn is_dead(&self, instance: usize) -> bool {
        self.instances.lock()[instance].is_none()
    }
}

impl Peer {
    /// Talks until it is over.
    pub(crate) async fn talk(self: Arc<Self>) {
        loop {
            let (instance, address) = self.shared.address(self.home);
            let Some(socket) = connect(address, &self.room).await else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            {
                let mut state = self.state.lock();
                state.life += 1;
                state.heard.clear();
            }
            let end = self.live(socket, instance).await;
            self.state.lock().seated = false;
            match end {
                End::Over => return,
                End::Refused => tokio::time::sleep(AGAIN).await,
                End::Died => {}
            }
        }
    }

    async fn live(&self, mut socket: Socket, instance: usize) -> End {
        let life = self.state.lock().life;
        // What is no message is answered to who has a seat.
        let mut number = 0;
        if socket.send(Message::text("[]")).await.is_err() {
            return End::Refused;
        }
        let mut seated = false;
        let mut last: HashMap<(usize, u64), u64> = HashMap::new();
        let mut ticks = tokio::time::interval(PAUSE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let received = tokio::select! {
                received = socket.next() => received,
                _ = ticks.tick(), if seated => {
                    number += 1;
                    let round = self.shared.round.load(Ordering::Relaxed);
                    let text = candidate(&format!("{} {} {life} {number} {round}", self.room, self.slot));
                    // A failure is seen by the next read.
                    let _ = socket.send(Message::text(text)).await;
                    continue;
                }
                () = self.shared.over.cancelled() => {
                    let _ = socket.close(None).await;
                    // Polled to its end, so that the close is answered.
                    while let Ok(Some(Ok(_))) = tokio::time::timeout(DEADLINE, socket.next()).await {}
                    return End::Over;
                }
            };
            match received {
                Some(Ok(Message::Text(text))) if text.contains("schema-error") => {
                    seated = true;
                    self.state.lock().seated = true;
                }
                Some(Ok(Message::Text(text))) => self.hear(&text, life, &mut last),
                Some(Ok(Message::Close(_)) | Err(_)) | None if self.shared.is_dead(instance) => {
                    return End::Died;
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
                    return End::Died;
                }
                Some(Ok(_)) => {}
            }
        }
    }

    fn hear(&self, text: &str, life: u64, last: &mut HashMap<(usize, u64), u64>) {
        let value: Value = serde_json::from_str(text).expect("JSON");
        if value["type"] == "peer-disconnected" {
            // At the end everybody leaves.
            self.state.lock().told += usize::from(!self.shared.over.is_cancelled());
            return;
        }
        let said = value["candidate"].as_str().expect("a candidate");
        let parts: Vec<&str> = said.split(' ').collect();
        let [room, slot, of_life, number, round] = parts[..] else {
            return self.violation(&format!("heard {text}"));
        };
        let sender: (usize, u64) = (slot.parse().unwrap(), of_life.parse().unwrap());
        let (number, round): (u64, u64) = (number.parse().unwrap(), round.parse().unwrap());
        if room != self.room {
            self.violation(&format!("heard {said} of another room"));
        }
        if sender == (self.slot, life) {
            self.violation(&format!("heard itself: {said}"));
        }
        let before = last.insert(sender, number).unwrap_or(0);
        if number <= before {
            self.violation(&format!("heard {said} after number {before}"));
        }
        self.state.lock().heard.insert(sender, round);
    }

    fn violation(&self, what: &str) {
        self.shared
            .violation(format!("{}/{}: {what}", self.room, self.slot));
    }
}

/// A handshake; `None` if the instance is gone.
async fn connect(address: SocketAddr, room: &str) -> Option<Socket> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let url = format!("ws://{address}/?roomId={room}");
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await.ok()?;
    Some(socket)
}

/// Somebody who wants a third seat in a room of two. Whether it got one.
pub(crate) async fn intrude(address: SocketAddr, room: &str) -> bool {
    let Some(mut socket) = connect(address, room).await else {
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
