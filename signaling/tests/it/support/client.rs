//! A peer, with its handshake written by hand so that it can be wrong in every way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::DEADLINE;

/// A handshake.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) target: String,
    pub(crate) host: bool,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Sent right behind the request, in the same write.
    pub(crate) behind: Vec<u8>,
    /// Socket buffers of the peer, for one that is slow.
    pub(crate) receive_buffer: Option<u32>,
}

/// A connected peer.
pub(crate) struct Client {
    pub(crate) stream: WebSocketStream<TcpStream>,
    pub(crate) headers: HashMap<String, String>,
}

impl Request {
    /// A plain handshake for a room.
    pub(crate) fn room(room: &str) -> Self {
        Self::target(&format!("/?roomId={room}"))
    }

    /// A plain handshake.
    pub(crate) fn target(target: &str) -> Self {
        Self {
            target: target.to_owned(),
            host: true,
            headers: Vec::new(),
            behind: Vec::new(),
            receive_buffer: None,
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Client {
    /// Connects to a room and waits until it has its seat there. On a machine that stands still a join may be refused, as any peer's may;
    /// then it comes again.
    pub(crate) async fn join(node: &super::Node, room: &str) -> Self {
        let joined = || node.metric("signaling_joins_total{result=\"joined\"}");
        let mut heard = Vec::new();
        for _ in 0..6 {
            let before = joined();
            let mut client = Self::connect(node.address, room).await;
            let seated = super::eventually_true("a seat", || joined() > before);
            if timeout(super::DEADLINE / 6, seated).await.is_ok() {
                return client;
            }
            heard.push(timeout(super::DEADLINE / 60, client.stream.next()).await);
        }
        panic!("no seat in {room}: {heard:?}")
    }

    /// Connects to a room; `None` when it is closed instead of seated.
    pub(crate) async fn try_join(address: SocketAddr, room: &str) -> Option<Self> {
        Self::try_open(address, Request::room(room)).await
    }

    /// The same with this handshake.
    pub(crate) async fn try_open(address: SocketAddr, request: Request) -> Option<Self> {
        let mut client = Self::open(address, request).await;
        // What is no message is answered to a seated peer.
        client.stream.send(Message::text("[]")).await.ok()?;
        let seated = matches!(client.next().await, Some(Ok(Message::Text(_))));
        seated.then_some(client)
    }

    /// Connects to a room.
    pub(crate) async fn connect(address: SocketAddr, room: &str) -> Self {
        Self::open(address, Request::room(room)).await
    }

    /// Connects with this handshake, which must be answered by 101.
    pub(crate) async fn open(address: SocketAddr, request: Request) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        if let Some(bytes) = request.receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let mut stream = socket.connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut bytes = head(&request).into_bytes();
        bytes.extend_from_slice(&request.behind);
        stream.write_all(&bytes).await.unwrap();
        let (status, headers, rest) = timeout(DEADLINE, answer(&mut stream)).await.expect("an answer");
        assert_eq!(status, 101, "{headers:?}");
        let stream = WebSocketStream::from_partially_read(stream, rest, Role::Client, None).await;
        Self { stream, headers }
    }

    pub(crate) async fn send(&mut self, text: impl Into<String>) {
        self.stream.send(Message::text(text.into())).await.unwrap();
    }

    /// The next text.
    pub(crate) async fn hear(&mut self) -> String {
        match self.next().await {
            Some(Ok(Message::Text(text))) => text.to_string(),
            other => panic!("expected a text, got {other:?}"),
        }
    }

    /// The next `count` texts.
    pub(crate) async fn hear_many(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            texts.push(self.hear().await);
        }
        texts
    }

    /// Whether a text comes within `wait`. Only to drive something that is retried, never as a proof of silence.
    pub(crate) async fn hears_within(&mut self, wait: Duration) -> Option<String> {
        match timeout(wait, self.stream.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => Some(text.to_string()),
            _ => None,
        }
    }

    /// Code and reason with which the server closes, after whatever it says before.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    // The next poll answers the close.
                    let _ = timeout(DEADLINE, self.stream.next()).await;
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(Message::Close(None))) => return (1005, String::new()),
                Some(Ok(_)) => {}
                Some(Err(Error::ConnectionClosed)) | None => return (1006, String::new()),
                Some(Err(_)) => return (1006, "reset".to_owned()),
            }
        }
    }

    /// Closes as a browser does.
    pub(crate) async fn leave(mut self) {
        let _ = self.stream.close(None).await;
        while let Ok(Some(Ok(_))) = timeout(DEADLINE, self.stream.next()).await {}
    }

    /// Sends bytes past the WebSocket.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.unwrap();
    }

    async fn next(&mut self) -> Option<Result<Message, Error>> {
        loop {
            let next = timeout(DEADLINE, self.stream.next())
                .await
                .expect("a message or the end in time");
            if !matches!(next, Some(Ok(Message::Ping(_) | Message::Pong(_)))) {
                return next;
            }
        }
    }
}

fn head(request: &Request) -> String {
    let mut head = format!(
        "GET {} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        request.target
    );
    if request.host {
        head.push_str("Host: localhost\r\n");
    }
    for (name, value) in &request.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head + "\r\n"
}

/// Status, headers and what came behind them.
async fn answer(stream: &mut TcpStream) -> (u16, HashMap<String, String>, Vec<u8>) {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(
            read > 0,
            "the server closed during the handshake: {}",
            String::from_utf8_lossy(&bytes)
        );
        bytes.extend_from_slice(&chunk[..read]);
    };
    let rest = bytes.split_off(end + 4);
    let head = String::from_utf8(bytes).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    (
        status,
        headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        rest,
    )
}

/// `GET target`: status and body.
pub(crate) async fn get(address: SocketAddr, target: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    timeout(DEADLINE, async {
        let (status, _, mut body) = answer(&mut stream).await;
        stream.read_to_end(&mut body).await.unwrap();
        (status, String::from_utf8(body).unwrap())
    })
    .await
    .expect("an answer in time")
}
