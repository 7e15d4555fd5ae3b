//! The baseline: a bare relay on tokio-tungstenite, as one would simply write it, and no slower than that.
//!
//! Rooms are in memory; every text or binary message goes to the other members of the room `?roomId=`. There is no validation, no
//! limit, no metric, no heartbeat and no Redis. One task per socket reads its socket and its inbox, and writes all that waits in the
//! inbox with one flush. The usual design with a split socket and a task for writing was measured too: it is slower
//! (`docs/benchmarks.md`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Of each socket, as the server under test is compared with a relay that does not waste memory.
const READ_BUFFER: usize = 4096;
/// Messages that wait for a socket; one that has more waiting is cut off, so that memory is bounded.
const INBOX: usize = 1024;
/// Messages that are written with one flush.
const BATCH: usize = 64;

/// All rooms.
#[derive(Debug, Default)]
struct Rooms {
    rooms: Mutex<HashMap<String, Arc<Room>>>,
    next: AtomicUsize,
}

/// The members of a room, by number.
#[derive(Debug, Default)]
struct Room {
    members: Mutex<Vec<(usize, Sender<Message>)>>,
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
    let (mut joined, mut inbox) = (None, None);
    // In the room before the handshake is answered, so that nothing is missed.
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let join = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let (place, messages) = rooms.join(room_of(request));
        (joined, inbox) = (Some(place), Some(messages));
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async_with_config(stream, join, Some(config)).await;
    if let (Ok(socket), Some(place), Some(inbox)) = (socket, joined, inbox) {
        let _ = relay(socket, &place, inbox).await;
    }
}

async fn relay(
    mut socket: WebSocketStream<TcpStream>,
    place: &Place,
    mut inbox: Receiver<Message>,
) -> Result<(), Error> {
    let mut waiting = Vec::new();
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(message) => place.give(&message?),
                None => return Ok(()),
            },
            count = inbox.recv_many(&mut waiting, BATCH) => {
                if count == 0 {
                    return Ok(());
                }
                for message in waiting.drain(..) {
                    socket.feed(message).await?;
                }
                socket.flush().await?;
            }
        }
    }
}

impl Rooms {
    fn join(self: &Arc<Self>, name: String) -> (Place, Receiver<Message>) {
        let (sender, inbox) = channel(INBOX);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut rooms = self.rooms.lock();
        let room = Arc::clone(rooms.entry(name.clone()).or_default());
        room.members.lock().push((number, sender));
        let place = Place {
            rooms: Arc::clone(self),
            name,
            room,
            number,
        };
        (place, inbox)
    }
}

impl Place {
    /// Gives a message to the other members.
    fn give(&self, message: &Message) {
        if matches!(message, Message::Text(_) | Message::Binary(_)) {
            let mut members = self.room.members.lock();
            members
                .retain(|(number, inbox)| *number == self.number || inbox.try_send(message.clone()).is_ok());
        }
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
