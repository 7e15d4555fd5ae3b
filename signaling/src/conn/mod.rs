//! One WebSocket, shared between the task that owns it and those that deliver to it.
//!
//! There is one task per socket: no writer task, no channel. The owner polls for frames under a short lock
//! ([`Conn::poll_next`]). Whoever has a message for the peer takes the same lock and writes into the socket at once
//! ([`Conn::deliver`]); only what the kernel does not take is kept, and the owner's task is woken when there is room.
//!
//! A peer that says much at once says it in one segment. What that brings to a socket is written once, at the end
//! ([`Conn::hold`], [`Conn::flush`]): a write costs several times what everything else about a message does.
//!
//! The frames are read and written here ([`incoming`], [`outgoing`]), and not by tungstenite's `WebSocket`, because of what
//! that one keeps for each socket: a read buffer of its own, and for ever as much memory as the largest message that
//! passed in either direction. This one reads into a buffer of the thread, and an idle connection holds none. tungstenite
//! is the oracle of its tests.
//!
//! One rule for slow receivers, everywhere: what waits for a peer is bounded, and the first message beyond the bound
//! closes its connection with 1013.
//!
//! Lock order: a room, then a connection. Nobody takes a room's lock while he holds a connection's, and no
//! lock is held across an `.await`.

mod connections;
mod incoming;
mod io;
mod outgoing;

use std::cell::RefCell;
use std::io::{ErrorKind, Read};
use std::task::{Context, Poll};
use std::time::Duration;

use berth_crds::settings::WebSocketSettings;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::close::Close;
use crate::metrics::Ending;
use crate::protocol::Text;
use crate::protocol::v2::say;
use incoming::{Incoming, Received};
use io::OwnerIo;
use outgoing::{Outgoing, Sent};

pub(crate) use connections::Connections;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use incoming::hear;

/// Read at a time.
const READ_BYTES: usize = 16 * 1024;
/// Room for control frames behind a full buffer.
const CONTROL_BYTES: usize = 512;

thread_local! {
    /// Where bytes are read into. No connection has a buffer of its own.
    static READ: RefCell<[u8; READ_BYTES]> = const { RefCell::new([0; READ_BYTES]) };
}

/// One WebSocket.
pub(crate) struct Conn {
    socket: Mutex<Socket>,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each asked for alone"
)]
struct Socket {
    /// `None` when the connection is gone.
    stream: Option<OwnerIo>,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Why it is being closed, by us.
    closing: Option<Close>,
    /// The peer gave a sign of life since the last ping.
    alive: bool,
    /// The peer has closed the connection by a close frame.
    said_goodbye: bool,
    /// It was given up because the peer gave no sign of life.
    fell_silent: bool,
    /// The owner waits for what the peer says. Otherwise a sign of life may be there, unread.
    listening: bool,
    /// The peer speaks v2, and is told why its connection is closed.
    v2: bool,
    /// The owner is to send ICE servers again.
    ice_is_due: bool,
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
    pub(crate) fn new(stream: TcpStream, early: &[u8], settings: &WebSocketSettings, v2: bool) -> Self {
        let mut incoming = Incoming::new(settings.max_message_bytes);
        incoming.push(early);
        let socket = Socket {
            stream: Some(OwnerIo::new(stream)),
            incoming,
            outgoing: Outgoing::new(settings.backpressure_close_bytes),
            closing: None,
            alive: true,
            said_goodbye: false,
            fell_silent: false,
            listening: false,
            v2,
            ice_is_due: false,
        };
        Self {
            socket: Mutex::new(socket),
        }
    }

    /// The next message. Only the owner calls this.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Event> {
        self.socket.lock().poll_next(context)
    }

    /// Whether [`Conn::poll_next`] has one message more at once. Only the owner calls this.
    pub(crate) fn has_message(&self) -> bool {
        self.socket.lock().incoming.has_message()
    }

    /// Gives the peer a message.
    pub(crate) fn deliver(&self, text: &Text) -> Delivery {
        self.socket.lock().send(OpCode::Data(Data::Text), text.as_bytes())
    }

    /// Gives the peer a message that may wait for the next one, or for [`Conn::flush`], which must follow at once: then one
    /// write is enough for both.
    pub(crate) fn hold(&self, text: &Text) -> Delivery {
        self.socket.lock().hold(text)
    }

    /// Writes what is held.
    pub(crate) fn flush(&self) {
        self.socket.lock().flush();
    }

    /// Pings the peer, or ends the connection if it gave no sign of life since the last ping, and would have been heard.
    pub(crate) fn ping(&self) {
        let mut socket = self.socket.lock();
        let is_alive = std::mem::take(&mut socket.alive);
        if is_alive || !socket.listening {
            socket.send(OpCode::Control(Control::Ping), &[]);
        } else {
            socket.fell_silent |= socket.stream.is_some() && socket.closing.is_none();
            socket.end();
        }
    }

    /// Whether the peer itself has closed the connection by a close frame.
    pub(crate) fn said_goodbye(&self) -> bool {
        self.socket.lock().said_goodbye
    }

    /// How the connection ended.
    pub(crate) fn ending(&self) -> Ending {
        let socket = self.socket.lock();
        match socket.closing {
            Some(_) => Ending::Server,
            None if socket.said_goodbye => Ending::Peer,
            None if socket.fell_silent => Ending::Silence,
            None => Ending::Lost,
        }
    }

    /// Has the owner of a connection that speaks v2 send ICE servers again.
    pub(crate) fn renew_ice(&self) {
        let mut socket = self.socket.lock();
        if socket.v2
            && let Socket {
                stream: Some(stream),
                ice_is_due,
                ..
            } = &mut *socket
        {
            *ice_is_due = true;
            stream.owner().wake_by_ref();
        }
    }

    /// Whether ICE servers are to be sent again. Only the owner calls this.
    pub(crate) fn takes_ice(&self) -> bool {
        std::mem::take(&mut self.socket.lock().ice_is_due)
    }

    /// Closes the connection for this reason, unless it is closing already. Its owner is woken.
    pub(crate) fn close(&self, close: Close) {
        self.socket.lock().close(close);
    }

    /// Closes the connection because the process ends, with this code if the peer speaks v1.
    pub(crate) fn drain(&self, code: u16) {
        let mut socket = self.socket.lock();
        let code = if socket.v2 { Close::Draining.code() } else { code };
        socket.close_as(Close::Draining, code);
    }

    /// Whether nothing can be said to the peer any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.socket.lock().stream.is_none()
    }

    /// Whether the peer speaks v2.
    pub(crate) fn speaks_v2(&self) -> bool {
        self.socket.lock().v2
    }

    /// How many bytes wait until the peer reads.
    pub(crate) fn waiting(&self) -> usize {
        self.socket.lock().outgoing.waiting()
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
        if let Some(stream) = &mut self.stream {
            stream.set_owner(context.waker());
        }
        self.flush();
        self.listening = false;
        while self.stream.is_some() && self.closing.is_none() {
            match self.incoming.next() {
                Ok(Some(received)) => {
                    self.alive = true;
                    if let Some(message) = self.answer(received) {
                        return Poll::Ready(Event::Message(message));
                    }
                }
                Ok(None) => match self.read() {
                    Poll::Ready(()) => {}
                    Poll::Pending => {
                        self.listening = true;
                        return Poll::Pending;
                    }
                },
                Err(close) => self.close(close),
            }
        }
        Poll::Ready(Event::Ended)
    }

    /// A message is for the owner, everything else is dealt with here.
    fn answer(&mut self, received: Received) -> Option<Bytes> {
        match received {
            Received::Message(message) => return Some(message),
            Received::Pong => {}
            Received::Ping(payload) => {
                self.send(OpCode::Control(Control::Pong), &payload);
            }
            Received::Close(payload) => {
                self.said_goodbye = true;
                self.send(OpCode::Control(Control::Close), &payload);
                self.end();
            }
        }
        None
    }

    /// Reads what has come.
    fn read(&mut self) -> Poll<()> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(());
        };
        let read = READ.with_borrow_mut(|buffer| {
            let count = stream.read(buffer)?;
            self.incoming.push(buffer.get(..count).unwrap_or_default());
            Ok::<usize, std::io::Error>(count)
        });
        match read {
            Ok(1..) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
            Ok(0) | Err(_) => self.end(),
        }
        Poll::Ready(())
    }

    fn send(&mut self, opcode: OpCode, payload: &[u8]) -> Delivery {
        let Some(stream) = self.stream.as_mut().filter(|_| self.closing.is_none()) else {
            return Delivery::Closing;
        };
        let sent = self.outgoing.send(stream, opcode, payload);
        self.delivered(&sent)
    }

    fn hold(&mut self, text: &Text) -> Delivery {
        let Some(stream) = self.stream.as_mut().filter(|_| self.closing.is_none()) else {
            return Delivery::Closing;
        };
        let sent = self
            .outgoing
            .hold(stream, OpCode::Data(Data::Text), text.as_bytes());
        self.delivered(&sent)
    }

    fn delivered(&mut self, sent: &std::io::Result<Sent>) -> Delivery {
        match sent {
            Ok(Sent::Taken) => Delivery::Done,
            Ok(Sent::Full) => {
                self.close(Close::Overloaded);
                Delivery::Overloaded
            }
            Err(_) => {
                self.end();
                Delivery::Closing
            }
        }
    }

    fn close(&mut self, close: Close) {
        self.close_as(close, close.code());
    }

    fn close_as(&mut self, close: Close, code: u16) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(close);
        let Some(stream) = &mut self.stream else { return };
        self.outgoing.widen(CONTROL_BYTES);
        if self.v2
            && let Some(error) = say::closing(close)
            && self
                .outgoing
                .send(stream, OpCode::Data(Data::Text), error.as_bytes())
                .is_err()
        {
            return self.end();
        }
        let payload = [&code.to_be_bytes()[..], close.reason().as_bytes()].concat();
        stream.owner().wake_by_ref();
        if self
            .outgoing
            .send(stream, OpCode::Control(Control::Close), &payload)
            .is_err()
        {
            self.end();
        }
    }

    fn flush(&mut self) {
        if let Some(stream) = &mut self.stream
            && self.outgoing.is_waiting()
            && self.outgoing.flush(stream).is_err()
        {
            self.end();
        }
    }

    /// Sends what waits and reads until the peer is done: closing a connection with unread bytes would reset it, and
    /// the close frame might not arrive.
    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(stream) = &mut self.stream {
            stream.set_owner(context.waker());
        }
        self.flush();
        let frames = self.closing.is_some_and(Close::leaves_frames_readable);
        if frames {
            self.poll_closed()
        } else {
            self.poll_silent()
        }
    }

    /// Reads frames to the close frame or the end.
    fn poll_closed(&mut self) -> Poll<()> {
        while self.stream.is_some() {
            match self.incoming.next() {
                Ok(Some(Received::Close(_))) | Err(_) => self.end(),
                Ok(Some(_)) => {}
                Ok(None) => match self.read() {
                    Poll::Ready(()) => {}
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
        Poll::Ready(())
    }

    /// Reads bytes to the end. The peer, which cannot be expected to answer, is told of the end first.
    fn poll_silent(&mut self) -> Poll<()> {
        let is_flushed = !self.outgoing.is_waiting();
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(());
        };
        if is_flushed && stream.shut_writing().is_err() {
            return Poll::Ready(());
        }
        loop {
            match READ.with_borrow_mut(|buffer| stream.read(buffer)) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// Drops the connection and wakes its owner.
    fn end(&mut self) {
        if let Some(stream) = self.stream.take() {
            // Nobody reads it any more.
            self.outgoing.clear();
            stream.owner().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests;
