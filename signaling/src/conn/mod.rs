//! One WebSocket, shared between the task that owns it and those that deliver to it.
//!
//! There is one task per socket: no writer task, no channel. The owner polls for frames under a short lock
//! ([`Conn::poll_next`]). Whoever has a message for the peer takes the same lock and writes into the socket at once
//! ([`Conn::deliver`]); only what the kernel does not take stays in the socket's buffer, and the owner's task is woken
//! when there is room. The socket is a plain tungstenite state machine over [`io::OwnerIo`] instead of
//! `tokio_tungstenite`'s stream, because that one wakes whichever task polled last, and keeps two wakers and a boxed stream
//! per socket.
//!
//! One rule for slow receivers, everywhere: what waits for a peer is bounded, and the first message beyond the bound
//! closes its connection with 1013.
//!
//! Lock order: a room, then a connection. Nobody takes a room's lock while he holds a connection's, and no
//! lock is held across an `.await`.

mod connections;
mod io;

use std::io::{ErrorKind, Read};
use std::task::{Context, Poll};
use std::time::Duration;

use berth_crds::settings::WebSocketSettings;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, error::ProtocolError};

use crate::close::Close;
use crate::protocol::Text;
use io::OwnerIo;

pub(crate) use connections::Connections;

/// Allocated for each socket: most signaling messages fit, and a session description takes a few reads once.
const READ_BUFFER_BYTES: usize = 4096;
/// Room in the buffer for the header of one frame, beside the bytes that the settings allow.
const FRAME_HEADER_BYTES: usize = 14;
/// Room for a ping and a close frame behind a full buffer.
const CONTROL_BYTES: usize = 512;
/// Read and thrown away at once from a peer whose frames cannot be understood.
const DISCARD_BYTES: usize = 2048;

/// One WebSocket.
pub(crate) struct Conn {
    socket: Mutex<Socket>,
}

struct Socket {
    /// `None` when the connection is gone.
    stream: Option<WebSocket<OwnerIo>>,
    /// Why it is being closed, by us.
    closing: Option<Close>,
    /// Bytes wait until the peer reads.
    unflushed: bool,
    /// The peer gave a sign of life since the last ping.
    alive: bool,
}

/// What the owner hears from its peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A text or binary message.
    Message(Bytes),
    /// The connection is gone, or is being closed: see [`Conn::finish`].
    Ended,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Written, or waiting in the socket's buffer.
    Done,
    /// The bound is reached: the connection is now being closed.
    Overloaded,
    /// The connection is closing or gone.
    Closing,
}

impl Conn {
    /// Takes over an upgraded connection; `early` was read together with the request.
    pub(crate) fn new(stream: TcpStream, early: &Bytes, settings: &WebSocketSettings) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(settings.backpressure_close_bytes + FRAME_HEADER_BYTES)
            .max_message_size(Some(settings.max_message_bytes))
            .max_frame_size(Some(settings.max_message_bytes));
        let stream = OwnerIo::new(stream);
        let stream = if early.is_empty() {
            WebSocket::from_raw_socket(stream, Role::Server, Some(config))
        } else {
            WebSocket::from_partially_read(stream, early.to_vec(), Role::Server, Some(config))
        };
        let socket = Socket {
            stream: Some(stream),
            closing: None,
            unflushed: false,
            alive: true,
        };
        Self {
            socket: Mutex::new(socket),
        }
    }

    /// The next message. Only the owner calls this.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Event> {
        self.socket.lock().poll_next(context)
    }

    /// Gives the peer a message.
    pub(crate) fn deliver(&self, text: &Text) -> Delivery {
        self.socket.lock().write(Message::Text(text.clone()))
    }

    /// Pings the peer, or ends the connection if it gave no sign of life since the last ping.
    pub(crate) fn ping(&self) -> Delivery {
        let mut socket = self.socket.lock();
        if std::mem::take(&mut socket.alive) {
            return socket.write(Message::Ping(Bytes::new()));
        }
        socket.end();
        Delivery::Closing
    }

    /// Closes the connection for this reason, unless it is closing already. Its owner is woken.
    pub(crate) fn close(&self, close: Close) {
        self.socket.lock().close(close);
    }

    /// Why the connection is being or was closed by the server.
    pub(crate) fn closed(&self) -> Option<Close> {
        self.socket.lock().closing
    }

    /// Lets the close frame reach the peer and waits for its answer, at most for `patience`; then the connection is gone.
    /// Only the owner calls this.
    pub(crate) async fn finish(&self, patience: Duration) {
        let farewell = std::future::poll_fn(|context| self.socket.lock().poll_finish(context));
        // Who does not answer in time is cut off.
        let _ = tokio::time::timeout(patience, farewell).await;
        self.socket.lock().end();
    }
}

impl Socket {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let Some(stream) = self.stream.as_mut().filter(|_| self.closing.is_none()) else {
            return Poll::Ready(Event::Ended);
        };
        stream.get_mut().set_owner(context.waker());
        if self.unflushed {
            self.flush();
        }
        loop {
            let Some(stream) = &mut self.stream else {
                return Poll::Ready(Event::Ended);
            };
            let read = stream.read();
            self.alive |= read.is_ok();
            let close = match read {
                Ok(Message::Text(text)) => return Poll::Ready(Event::Message(text.into())),
                Ok(Message::Binary(bytes)) => return Poll::Ready(Event::Message(bytes)),
                // The next read sends the answer to a ping or a close.
                Ok(_) => continue,
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
                Err(Error::Capacity(_)) => Close::TooLarge,
                Err(Error::Utf8(_)) => Close::NotUtf8,
                Err(Error::Protocol(error)) if error != ProtocolError::ResetWithoutClosingHandshake => {
                    Close::ProtocolError
                }
                Err(_) => {
                    self.end();
                    return Poll::Ready(Event::Ended);
                }
            };
            self.close(close);
            return Poll::Ready(Event::Ended);
        }
    }

    fn write(&mut self, message: Message) -> Delivery {
        let Some(stream) = self.stream.as_mut().filter(|_| self.closing.is_none()) else {
            return Delivery::Closing;
        };
        match stream.write(message) {
            // The buffer is empty: what waited before went first.
            Ok(()) => self.unflushed = false,
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => self.unflushed = true,
            Err(Error::WriteBufferFull(_)) => {
                self.close(Close::Overloaded);
                return Delivery::Overloaded;
            }
            Err(_) => {
                self.end();
                return Delivery::Closing;
            }
        }
        Delivery::Done
    }

    fn close(&mut self, close: Close) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(close);
        let Some(stream) = &mut self.stream else { return };
        stream.set_config(|config| {
            config.max_write_buffer_size = config.max_write_buffer_size.saturating_add(CONTROL_BYTES);
        });
        stream.get_ref().owner().wake_by_ref();
        match stream.close(Some(close.frame())) {
            Ok(()) => self.unflushed = false,
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => self.unflushed = true,
            Err(_) => self.end(),
        }
    }

    fn flush(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        match stream.flush() {
            Ok(()) => self.unflushed = false,
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.end(),
        }
    }

    /// Sends what waits and reads until the peer is done: closing a connection with unread bytes would reset it, and
    /// the close frame might not arrive.
    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(stream) = &mut self.stream {
            stream.get_mut().set_owner(context.waker());
        }
        if self.unflushed {
            self.flush();
        }
        let frames = self.closing.is_some_and(Close::leaves_frames_readable);
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(());
        };
        let blocked = if frames {
            until_closed(stream)
        } else {
            until_silent(stream.get_mut(), self.unflushed)
        };
        if blocked { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Drops the connection and wakes its owner.
    fn end(&mut self) {
        if let Some(stream) = self.stream.take() {
            stream.get_ref().owner().wake_by_ref();
        }
    }
}

/// Reads frames to the close frame or the end; whether more may come.
fn until_closed(stream: &mut WebSocket<OwnerIo>) -> bool {
    loop {
        match stream.read() {
            Ok(_) => {}
            Err(Error::Io(error)) => return error.kind() == ErrorKind::WouldBlock,
            Err(_) => return false,
        }
    }
}

/// Reads bytes to the end; whether more may come. The peer is told of the end first: it cannot be expected to answer.
fn until_silent(stream: &mut OwnerIo, unflushed: bool) -> bool {
    if !unflushed && stream.shut_writing().is_err() {
        return false;
    }
    let mut discarded = [0; DISCARD_BYTES];
    loop {
        match stream.read(&mut discarded) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}
