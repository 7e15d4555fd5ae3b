//! How a peer speaks v2 that loses its connection and comes back, as `docs/protocol.md` says what a client does.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::peer::{AGAIN, End, Peer, Socket, connect, end};

/// Most messages that a client keeps.
const MOST_KEPT: usize = 64;
/// Longest pause between two attempts.
const LONGEST: Duration = Duration::from_secs(1);

/// What a client keeps from one connection to the next.
#[derive(Default)]
struct Kept {
    token: Option<String>,
    window: Duration,
    /// Number of the last message of each peer.
    heard: BTreeMap<String, u64>,
    /// What it has said lately, oldest first.
    said: VecDeque<(u64, Instant, String)>,
}

impl Kept {
    fn hello(&self, role: &str) -> String {
        let resume = |token: &String| json!({"token": token, "heard": self.heard});
        let mut hello = json!({"type": "hello", "role": role});
        if let Some(resume) = self.token.as_ref().map(resume) {
            hello["resume"] = resume;
        }
        hello.to_string()
    }

    fn keep(&mut self, number: u64, message: &str) {
        self.said.push_back((number, Instant::now(), message.to_owned()));
        let too_old = |at: &Instant| at.elapsed() > self.window;
        while self.said.len() > MOST_KEPT || self.said.front().is_some_and(|(_, at, _)| too_old(at)) {
            self.said.pop_front();
        }
    }
}

impl Peer {
    pub(super) async fn talk_v2(&self) {
        let (mut kept, mut pause) = (Kept::default(), AGAIN);
        for attempt in 0.. {
            // Each time to another one, as a load balancer has it.
            let (instance, address) = self.shared.address(self.home + attempt);
            let end = match connect(address, &self.room, self.version).await {
                Some(socket) => self.live_v2(socket, instance, &mut kept).await,
                None => End::Refused,
            };
            {
                let mut state = self.state.lock();
                state.seated = false;
                state.cord = None;
            }
            match end {
                End::Over => return,
                End::Lost => pause = AGAIN,
                End::Refused => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST);
                }
            }
        }
    }

    async fn live_v2(&self, mut socket: Socket, instance: usize, kept: &mut Kept) -> End {
        let role = if self.slot == 0 { "host" } else { "player" };
        if socket.send(Message::text(kept.hello(role))).await.is_err() {
            return End::Refused;
        }
        let first = loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => break serde_json::from_str::<Value>(&text).expect("JSON"),
                Some(Ok(Message::Ping(_))) => {}
                _ => return End::Refused,
            }
        };
        if first["type"] != "hello" {
            return End::Refused;
        }
        let cord = self.is_seated(&first, instance, kept);
        let has = first["seq"].as_u64().expect("a number");
        for (_, _, message) in kept.said.iter().filter(|(number, ..)| *number > has) {
            // A failure is seen by the next read.
            let _ = socket.send(Message::text(message.clone())).await;
        }
        let mut ticks = self.ticks();
        loop {
            let received = tokio::select! {
                received = socket.next() => received,
                _ = ticks.tick() => {
                    if let Some((said, number)) = self.next_words() {
                        let message = json!({"type": "candidate", "seq": number, "candidate": said}).to_string();
                        kept.keep(number, &message);
                        let _ = socket.send(Message::text(message)).await;
                    }
                    continue;
                }
                () = cord.cancelled() => return End::Lost,
                () = self.shared.over.cancelled() => {
                    let _ = socket.send(Message::text(r#"{"type":"bye"}"#)).await;
                    end(&mut socket).await;
                    return End::Over;
                }
            };
            match received {
                Some(Ok(Message::Text(text))) => {
                    self.hear_v2(&serde_json::from_str(&text).expect("JSON"), kept);
                }
                Some(Ok(Message::Close(frame))) => {
                    if !self.shared.is_dead(instance) {
                        self.violation(&format!("was closed: {frame:?}"));
                    }
                    return End::Lost;
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

    /// The server has said `hello`. What breaks the connection.
    fn is_seated(&self, hello: &Value, instance: usize, kept: &mut Kept) -> CancellationToken {
        let token = hello["resumeToken"].as_str().map(str::to_owned);
        if kept.token.is_some() && kept.token != token {
            self.violation("is somebody else now");
        }
        kept.token = token;
        kept.window = Duration::from_millis(hello["resumeWindowMs"].as_u64().expect("a time"));
        let cord = CancellationToken::new();
        let mut state = self.state.lock();
        state.life = 1;
        state.connections += 1;
        state.instance = instance;
        state.seated = true;
        state.cord = Some(cord.clone());
        state.heard_at.get_or_insert_with(Instant::now);
        cord
    }

    fn hear_v2(&self, value: &Value, kept: &mut Kept) {
        match value["type"].as_str() {
            Some("candidate") => {
                let from = value["from"].as_str().expect("a sender").to_owned();
                kept.heard.insert(from, value["seq"].as_u64().expect("a number"));
                self.hear_words(value);
            }
            Some("ack") => self.state.lock().acked = value["seq"].as_u64().expect("a number"),
            Some("peer-left") => self.is_told_of_a_departure(),
            Some("peer-joined" | "peer-reconnecting") => {}
            Some("error") if value["code"] == "buffer-full" && self.has_said_more_than_is_kept() => {}
            _ => self.violation(&format!("heard {value}")),
        }
    }
}
