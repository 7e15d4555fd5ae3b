//! The baseline: a bare relay on tokio-tungstenite, as one would simply write it, and no slower than that.
//!
//! Rooms are in memory; every text or binary message goes to the other members of the room `?roomId=`. There is no validation, no
//! limit, no metric, no heartbeat and no Redis. One task per socket reads messages and writes them straight into the sockets of the
//! others, with one flush for all messages that have come together. Two other designs were measured too, an inbox that the task of a
//! socket reads beside its socket, and the usual second task for writing: both are slower.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use futures::stream::{SplitSink, SplitStream};
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Of each socket: the server under test is compared with a relay that does not waste memory.
const READ_BUFFER: usize = 4096;

type Socket = WebSocketStream<TcpStream>;
/// Where messages to a member are written; nothing once it is gone.
type Out = Option<SplitSink<Socket, Message>>;

/// All rooms.
#[derive(Default)]
struct Rooms {
    rooms: Mutex<HashMap<String, Arc<Room>>>,
    next: AtomicUsize,
}

/// The members of a room, by number.
#[derive(Default)]
struct Room {
    members: Mutex<Vec<(usize, Arc<AsyncMutex<Out>>)>>,
}

/// A place in a room, until it is dropped.
struct Place {
    rooms: Arc<Rooms>,
    name: String,
    room: Arc<Room>,
    number: usize,
}

/// Serves until the process ends, with the runtime that the server under test has.
pub fn run(listen: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}"))?;
        let rooms = Arc::new(Rooms::default());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(Arc::clone(&rooms), stream));
        }
    })
}

/// One socket. How it ends is nobody's concern.
async fn serve(rooms: Arc<Rooms>, stream: TcpStream) {
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let mut joined = None;
    // In the room before the handshake is answered, so that nothing is missed: who writes earlier waits for the lock.
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let join = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        joined = rooms.join(room_of(request));
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async_with_config(stream, join, Some(config)).await;
    if let (Ok(socket), Some((place, mut out))) = (socket, joined) {
        let (sink, messages) = socket.split();
        *out = Some(sink);
        drop(out);
        let _ = relay(&place, messages).await;
    }
}

async fn relay(place: &Place, mut messages: SplitStream<Socket>) -> Result<(), Error> {
    let mut next = messages.next().await;
    while let Some(message) = next.transpose()? {
        let others = place.others();
        if matches!(message, Message::Text(_) | Message::Binary(_)) {
            for other in &others {
                if let Some(out) = other.lock().await.as_mut() {
                    // Who is gone needs no message.
                    let _ = out.feed(message.clone()).await;
                }
            }
        }
        next = if let Some(next) = messages.next().now_or_never() {
            next
        } else {
            for other in &others {
                if let Some(out) = other.lock().await.as_mut() {
                    let _ = out.flush().await;
                }
            }
            messages.next().await
        };
    }
    Ok(())
}

impl Rooms {
    /// A place in a room, and the lock on where its messages are written.
    fn join(self: &Arc<Self>, name: String) -> Option<(Place, OwnedMutexGuard<Out>)> {
        let out = Arc::new(AsyncMutex::new(None));
        let guard = Arc::clone(&out).try_lock_owned().ok()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut rooms = self.rooms.lock();
        let room = Arc::clone(rooms.entry(name.clone()).or_default());
        room.members.lock().push((number, out));
        let place = Place {
            rooms: Arc::clone(self),
            name,
            room,
            number,
        };
        Some((place, guard))
    }
}

impl Place {
    /// Where messages to the other members are written.
    fn others(&self) -> SmallVec<[Arc<AsyncMutex<Out>>; 1]> {
        let members = self.room.members.lock();
        let others = members.iter().filter(|(number, _)| *number != self.number);
        others.map(|(_, out)| Arc::clone(out)).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut rooms = self.rooms.rooms.lock();
        let mut members = self.room.members.lock();
        members.retain(|(number, _)| *number != self.number);
        if members.is_empty() {
            rooms.remove(&self.name);
        }
    }
}

/// The room that a handshake asks for.
fn room_of(request: &Request) -> String {
    let query = request.uri().query().unwrap_or_default();
    let room = query.split('&').find_map(|pair| pair.strip_prefix("roomId="));
    room.unwrap_or_default().to_owned()
}
