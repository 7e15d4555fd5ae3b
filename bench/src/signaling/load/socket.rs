//! One client socket, without waiting.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use super::frame::{self, Frame};
use super::script::{Listener, Speaker};

/// Most bytes that wait here because the server does not read. No load of ours comes near.
const MOST_UNSENT: usize = 4 * 1024 * 1024;
/// Longest answer to a handshake.
const MOST_HEAD: usize = 8 * 1024;

/// JSON, but no message: who has a seat is told so, and nobody else hears of it.
const QUESTION: &str = "[]";
const ANSWER: &[u8] = br#"{"type":"control","action":"schema-error"}"#;
/// How a server refuses a seat, in the words of [`reason`].
const FULL: &str = "1000 Room is full";

/// One client socket.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    state: State,
    /// Came, and is no whole frame yet.
    rest: Vec<u8>,
    /// What the kernel has not taken yet.
    unsent: Vec<u8>,
    /// Whether it wants to know if it has a seat, and has not heard yet.
    asks: bool,
    /// What is said here.
    pub(crate) speaker: Option<Speaker>,
    /// What must come. Without it every text is welcome and none is counted.
    pub(crate) listener: Option<Listener>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Handshake,
    Open,
    /// A close frame was sent.
    Closing,
}

/// Whether a socket that asked for it has a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    /// It has one.
    Taken,
    /// The room is full, and the connection ends.
    Refused,
}

/// What came from a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    /// The handshake was answered.
    pub(crate) opened: bool,
    /// What the socket asked about.
    pub(crate) seat: Option<Seat>,
    /// So many messages that were expected.
    pub(crate) messages: usize,
    /// The server closed, as it was asked to.
    pub(crate) ended: bool,
    /// When.
    pub(crate) at: Instant,
}

impl Socket {
    /// Connects from an address of this machine and asks for a room. The kernel of a listening server answers without the server.
    pub(crate) fn connect(server: SocketAddr, source: Ipv4Addr, room: &str) -> anyhow::Result<Self> {
        let socket = RawSocket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        // Ports of connections that are gone must not keep a server from listening.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect(&server.into())?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /?roomId={room} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            state: State::Handshake,
            rest: Vec::new(),
            unsent: Vec::new(),
            asks: false,
            speaker: None,
            listener: None,
        })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Says the next `count` messages, in one write. `scratch` is only memory.
    pub(crate) fn say(&mut self, count: usize, scratch: &mut Vec<u8>) -> anyhow::Result<()> {
        let speaker = self
            .speaker
            .as_mut()
            .context("a socket that has nothing to say")?;
        scratch.clear();
        for _ in 0..count {
            speaker.say(scratch);
        }
        self.send(scratch)
    }

    /// Asks Berth whether there is a seat, as soon as the handshake is answered: [`Heard::seat`] follows.
    /// For a socket that has not asked, a refusal is an error.
    pub(crate) fn ask(&mut self) {
        self.asks = true;
    }

    /// Says goodbye; [`Heard::ended`] follows.
    pub(crate) fn close(&mut self) -> anyhow::Result<()> {
        self.send(&frame::close())?;
        self.state = State::Closing;
        self.listener = None;
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let sent = if self.unsent.is_empty() {
            write(&mut self.stream, bytes)?
        } else {
            0
        };
        self.unsent.extend_from_slice(&bytes[sent..]);
        ensure!(
            self.unsent.len() <= MOST_UNSENT,
            "the server has not read for {MOST_UNSENT} bytes"
        );
        Ok(())
    }

    /// Writes what waits, as far as the kernel takes it.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        if !self.unsent.is_empty() {
            let sent = write(&mut self.stream, &self.unsent)?;
            self.unsent.drain(..sent);
        }
        Ok(())
    }

    /// Reads what has come into `buffer`, once more when it fills the buffer, and to the end if the other side has closed
    /// (`ended`).
    pub(crate) fn read(&mut self, buffer: &mut [u8], ended: bool) -> anyhow::Result<Heard> {
        let mut heard = Heard {
            opened: false,
            seat: None,
            messages: 0,
            ended: false,
            at: Instant::now(),
        };
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) if self.state == State::Closing => {
                    heard.ended = true;
                    return Ok(heard);
                }
                Ok(0) => bail!("the server ended a connection"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(heard),
                Err(error) => return Err(error).context("cannot read from a connection"),
            };
            self.take(&buffer[..count], &mut heard)?;
            if count < buffer.len() && !ended {
                return Ok(heard);
            }
        }
    }

    fn take(&mut self, bytes: &[u8], heard: &mut Heard) -> anyhow::Result<()> {
        if self.rest.is_empty() {
            let taken = self.understand(bytes, heard)?;
            self.rest.extend_from_slice(&bytes[taken..]);
            return Ok(());
        }
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(bytes);
        let taken = self.understand(&rest, heard)?;
        rest.drain(..taken);
        if !rest.is_empty() {
            self.rest = rest;
        }
        Ok(())
    }

    /// Takes all that is whole from the front; how many bytes.
    fn understand(&mut self, bytes: &[u8], heard: &mut Heard) -> anyhow::Result<usize> {
        let mut taken = 0;
        if self.state == State::Handshake {
            let Some(end) = head(bytes)? else { return Ok(0) };
            self.state = State::Open;
            heard.opened = true;
            taken = end;
            if self.asks {
                self.send(&frame::text(QUESTION.as_bytes()).0)?;
            }
        }
        while let Some((frame, length)) = frame::parse(&bytes[taken..])? {
            match frame {
                Frame::Text(ANSWER) if self.asks => {
                    self.asks = false;
                    heard.seat = Some(Seat::Taken);
                }
                Frame::Text(text) => {
                    if let Some(listener) = &mut self.listener {
                        listener.hear(text)?;
                        heard.messages += 1;
                    }
                }
                Frame::Ping(payload) => self.send(&frame::pong(payload))?,
                Frame::Pong => {}
                Frame::Close(_) if self.state == State::Closing => {}
                Frame::Close(why) if self.asks && reason(why) == FULL => {
                    heard.seat = Some(Seat::Refused);
                    self.close()?;
                }
                Frame::Close(why) => bail!("the server closed a connection: {}", reason(why)),
            }
            taken += length;
        }
        Ok(taken)
    }
}

/// How long the answer to the handshake is, if all of it is there.
fn head(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        ensure!(bytes.len() <= MOST_HEAD, "an answer without end to the handshake");
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    ensure!(
        head.starts_with("HTTP/1.1 101 "),
        "the server refused a handshake: {head}"
    );
    Ok(Some(end + 4))
}

fn reason(close: &[u8]) -> String {
    match close.split_first_chunk::<2>() {
        Some((code, reason)) => format!(
            "{} {}",
            u16::from_be_bytes(*code),
            String::from_utf8_lossy(reason)
        ),
        None => "without a reason".to_owned(),
    }
}

fn write(stream: &mut TcpStream, bytes: &[u8]) -> anyhow::Result<usize> {
    match stream.write(bytes) {
        Ok(count) => Ok(count),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error).context("cannot write to a connection"),
    }
}
