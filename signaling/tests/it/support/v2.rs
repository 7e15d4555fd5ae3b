//! A peer that speaks v2.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Client, Node, Request};

/// A connected peer that has said `hello`.
pub(crate) struct Peer {
    pub(crate) client: Client,
    /// What the server said first.
    pub(crate) hello: Value,
    pub(crate) role: &'static str,
    room: String,
    /// Number of its last message.
    pub(crate) seq: u64,
    /// Number of the last message of each other peer.
    pub(crate) heard: BTreeMap<String, u64>,
    /// Number up to which its messages are acknowledged.
    acked: u64,
}

/// A handshake that chooses v2.
pub(crate) fn request(room: &str) -> Request {
    Request::room(room).header("Sec-WebSocket-Protocol", "berth.v2")
}

impl Peer {
    /// Joins a room.
    pub(crate) async fn join(node: &Node, room: &str, role: &'static str) -> Self {
        let client = Client::open(node.address, request(room)).await;
        let hello = json!({"type": "hello", "role": role});
        Self::greet(client, room, role, &hello).await
    }

    /// Says `hello` on a connection.
    pub(crate) async fn greet(client: Client, room: &str, role: &'static str, hello: &Value) -> Self {
        Self::try_greet(client, room, role, hello)
            .await
            .unwrap_or_else(|error| panic!("refused: {error}"))
    }

    /// Says `hello` on a connection. What the server says instead of its own one if it refuses.
    pub(crate) async fn try_greet(
        mut client: Client,
        room: &str,
        role: &'static str,
        hello: &Value,
    ) -> Result<Self, Value> {
        client.send(hello.to_string()).await;
        let hello: Value = serde_json::from_str(&client.hear().await).unwrap();
        if hello["type"] != "hello" {
            return Err(hello);
        }
        Ok(Self {
            client,
            hello,
            role,
            room: room.to_owned(),
            seq: 0,
            heard: BTreeMap::new(),
            acked: 0,
        })
    }

    pub(crate) fn id(&self) -> String {
        self.hello["clientId"].as_str().unwrap().to_owned()
    }

    /// The connection is lost without a word. What is needed to come back.
    pub(crate) fn lose(self) -> Lost {
        Lost {
            role: self.role,
            room: self.room,
            token: self.hello["resumeToken"].clone(),
            seq: self.seq,
            heard: self.heard,
        }
    }

    /// Sends an offer to everybody; its number.
    pub(crate) async fn offer(&mut self) -> u64 {
        self.seq += 1;
        let offer = json!({"type": "offer", "seq": self.seq, "sdp": "v=0"});
        self.client.send(offer.to_string()).await;
        self.seq
    }

    /// The next message of any kind.
    pub(crate) async fn hear(&mut self) -> Value {
        let heard: Value = serde_json::from_str(&self.client.hear().await).unwrap();
        if let (Some(from), Some(seq)) = (heard["from"].as_str(), heard["seq"].as_u64()) {
            let last = self.heard.insert(from.to_owned(), seq);
            assert!(last.is_none_or(|last| last < seq), "{seq} after {last:?}");
        }
        if heard["type"] == "ack" {
            self.acked = heard["seq"].as_u64().unwrap();
        }
        heard
    }

    /// The next message of this type, past others.
    pub(crate) async fn hear_type(&mut self, kind: &str) -> Value {
        loop {
            let heard = self.hear().await;
            if heard["type"] == kind {
                return heard;
            }
        }
    }

    /// Hears of `from` up to this number, without a gap.
    pub(crate) async fn hear_up_to(&mut self, from: &str, number: u64) {
        while self.heard.get(from).copied().unwrap_or(0) < number {
            let next = self.heard.get(from).copied().unwrap_or(0) + 1;
            let heard = self.hear_type("offer").await;
            assert_eq!(
                (heard["from"].as_str(), heard["seq"].as_u64()),
                (Some(from), Some(next))
            );
        }
    }

    /// Waits until everything that it sent is acknowledged.
    pub(crate) async fn acked(&mut self) {
        while self.acked != self.seq {
            self.hear_type("ack").await;
        }
    }
}

/// A peer whose connection is lost.
pub(crate) struct Lost {
    role: &'static str,
    room: String,
    token: Value,
    pub(crate) seq: u64,
    heard: BTreeMap<String, u64>,
}

impl Lost {
    /// Its first message on a new connection.
    pub(crate) fn hello(&self) -> Value {
        json!({
            "type": "hello",
            "role": self.role,
            "resume": {"token": self.token, "heard": self.heard},
        })
    }

    /// Comes back, and sends what the server does not have again.
    pub(crate) async fn resume(self, node: &Node) -> Peer {
        self.try_resume(node, &self.hello())
            .await
            .unwrap_or_else(|error| panic!("refused: {error}"))
    }

    /// The same with this `hello`. What the server says if it refuses.
    pub(crate) async fn try_resume(&self, node: &Node, hello: &Value) -> Result<Peer, Value> {
        let client = Client::open(node.address, request(&self.room)).await;
        let mut peer = Peer::try_greet(client, &self.room, self.role, hello).await?;
        peer.heard.clone_from(&self.heard);
        let first = peer.hello["seq"].as_u64().unwrap() + 1;
        for number in first..=self.seq {
            peer.seq = number - 1;
            peer.offer().await;
        }
        peer.seq = self.seq;
        Ok(peer)
    }
}
