//! One signaling socket: open, send, receive, close.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use url::Url;

use super::close::Close;
use super::secret::Secret;
use super::signal::Signal;

/// Header of the upgrade answer that names the signaling instance.
pub const INSTANCE_HEADER: &str = "x-berth-instance";
/// Time for DNS, TCP, TLS and the upgrade together.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a close handshake; after it the socket is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that cannot push one message out in this time has no connection.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Own pings keep middle boxes open and reveal a server that is gone; servers ping every 25 to 30 s.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Silence after which the connection counts as lost: two pings without an answer.
const SILENCE_LIMIT: Duration = Duration::from_secs(50);
/// The largest message that signaling passes.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// Where a peer sits: server, room and the right to be there.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Base URL of signaling (`ws:` or `wss:`).
    pub url: Url,
    /// Room id.
    pub room: String,
    /// Match token or JWT.
    pub token: Option<Secret>,
}

/// An open signaling socket.
///
/// Signaling refuses a peer by closing after the upgrade, so an open socket is not yet a seat.
pub struct SignalingSocket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    instance: Option<String>,
    next_ping: Instant,
    last_heard: Instant,
}

// === impl Seat ===

impl Seat {
    /// The URL that is opened. Holds the token: not for logs.
    fn request_url(&self) -> Url {
        let mut url = self.url.clone();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("roomId", &self.room);
            if let Some(token) = &self.token {
                query.append_pair("token", token.expose());
            }
        }
        url
    }
}

// === impl SignalingSocket ===

impl SignalingSocket {
    /// Opens a socket to the seat's room.
    ///
    /// # Errors
    /// When no WebSocket comes about.
    pub async fn open(seat: &Seat) -> Result<Self, Close> {
        let config = WebSocketConfig::default()
            .read_buffer_size(4 * 1024)
            .write_buffer_size(0)
            .max_write_buffer_size(2 * MAX_MESSAGE_BYTES)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let url = seat.request_url();
        // Boxed, so that a peer that sits in its room does not keep room for another handshake.
        let opening = Box::pin(connect_async_with_config(url.as_str(), Some(config), true));
        let (stream, response) = match timeout(OPEN_TIMEOUT, opening).await {
            Err(_) => return Err(Close::unreachable("the upgrade took too long")),
            Ok(Err(error)) => return Err(Close::unreachable(describe(&error))),
            Ok(Ok(opened)) => opened,
        };
        let instance = response
            .headers()
            .get(INSTANCE_HEADER)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let now = Instant::now();
        Ok(Self {
            stream,
            instance,
            next_ping: now + PING_INTERVAL,
            last_heard: now,
        })
    }

    /// The signaling instance that answered, where it says so.
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// Sends one message.
    ///
    /// # Errors
    /// When the socket is gone.
    pub async fn send(&mut self, signal: &Signal) -> Result<(), Close> {
        let sending = self.stream.send(Message::text(signal.to_json()));
        match timeout(SEND_TIMEOUT, sending).await {
            Err(_) => Err(Close::lost("the server does not take messages")),
            Ok(Err(error)) => Err(Close::lost(describe(&error))),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// Waits for the next message, answering and sending pings meanwhile. Safe to drop and call
    /// again.
    ///
    /// # Errors
    /// When the socket ended; the socket is then of no further use.
    pub async fn receive(&mut self) -> Result<Signal, Close> {
        loop {
            let silence = self.last_heard + SILENCE_LIMIT;
            let wake = self.next_ping.min(silence);
            tokio::select! {
                frame = self.stream.next() => {
                    self.last_heard = Instant::now();
                    if let Some(signal) = read_frame(frame)? {
                        return Ok(signal);
                    }
                }
                () = tokio::time::sleep_until(wake) => {
                    let now = Instant::now();
                    if now >= silence {
                        return Err(Close::lost("the server is silent"));
                    }
                    self.next_ping = now + PING_INTERVAL;
                    let ping = self.stream.send(Message::Ping(bytes::Bytes::new()));
                    if timeout(SEND_TIMEOUT, ping).await.is_err() {
                        return Err(Close::lost("the server does not take messages"));
                    }
                }
            }
        }
    }

    /// Leaves with code 1000, so that the seat is free at once.
    pub async fn close(mut self) {
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        let leaving = async {
            if self.stream.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.stream.next().await {}
            }
        };
        // A server that does not answer loses the connection when the stream is dropped.
        let _ = timeout(CLOSE_TIMEOUT, leaving).await;
    }
}

fn read_frame(frame: Option<Result<Message, WsError>>) -> Result<Option<Signal>, Close> {
    match frame {
        None => Err(Close::lost("the connection ended without a close frame")),
        Some(Err(error)) => Err(Close::lost(describe(&error))),
        Some(Ok(Message::Text(text))) => Ok(Signal::parse(&text)),
        Some(Ok(Message::Binary(bytes))) => Ok(std::str::from_utf8(&bytes).ok().and_then(Signal::parse)),
        Some(Ok(Message::Close(frame))) => Err(match frame {
            Some(frame) => Close::from_frame(frame.code.into(), &frame.reason),
            None => Close::from_frame(1005, ""),
        }),
        Some(Ok(_)) => Ok(None),
    }
}

/// An error text without the URL, which holds the token.
fn describe(error: &WsError) -> String {
    match error {
        WsError::Http(response) => format!("the upgrade was answered with {}", response.status()),
        WsError::Url(_) => "the signaling URL cannot be used".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_holds_room_and_token() {
        let seat = Seat {
            url: "ws://localhost:3002".parse().unwrap(),
            room: "a:b c".into(),
            token: Some(Secret::new("t")),
        };
        assert_eq!(
            seat.request_url().as_str(),
            "ws://localhost:3002/?roomId=a%3Ab+c&token=t"
        );
        assert!(!format!("{seat:?}").contains("\"t\""));
    }
}
