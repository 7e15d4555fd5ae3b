//! Every message of protocol v2 as a type. The published JSON Schema is made of these, and tests check against them.

use std::collections::BTreeMap;

use berth_dataplane::ice::IceServer;
use berth_dataplane::match_token::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ClientMessage {
    /// First message of a connection, within 10 seconds.
    Hello(ClientHello),
    /// An SDP offer.
    Offer(Relayed<Offer>),
    /// An SDP answer.
    Answer(Relayed<Answer>),
    /// An ICE candidate.
    Candidate(Relayed<Candidate>),
    /// Anything else that the peers have to tell each other.
    Control(Relayed<Control>),
    /// Asks for a `pong`, because a browser does not see the pings of the WebSocket.
    Ping,
    /// Leaves the room for good. So does a close frame.
    Bye,
}

/// What the server sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ServerMessage {
    /// Answer to `hello`, before anything else.
    Hello(Box<ServerHello>),
    /// An offer of a peer.
    Offer(Relayed<Offer>),
    /// An answer of a peer.
    Answer(Relayed<Answer>),
    /// An ICE candidate of a peer.
    Candidate(Relayed<Candidate>),
    /// A control message of a peer.
    Control(Relayed<Control>),
    /// A peer has joined, or one that was away is back.
    #[serde(rename_all = "camelCase")]
    PeerJoined {
        /// The peer.
        peer: Peer,
        /// It was here before under this id: what it and this client know of each other still holds.
        resumed: bool,
    },
    /// The connection of a peer is lost; it may come back. Messages to it are kept.
    PeerReconnecting {
        /// The peer.
        peer: Peer,
    },
    /// A peer has left and will not come back under this id.
    PeerLeft {
        /// The peer.
        peer: Peer,
    },
    /// The server has passed on, or holds for a lost connection, every message of this client up to this number.
    Ack {
        /// The number.
        seq: u64,
    },
    /// ICE servers with fresh credentials, in time before the earlier ones expire.
    #[serde(rename_all = "camelCase")]
    IceServers {
        /// The servers, as `RTCConfiguration.iceServers`.
        #[schemars(with = "Vec<IceServerSchema>")]
        ice_servers: Vec<IceServer>,
        /// How long the credentials are valid from now on, milliseconds; absent: they do not expire.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ice_ttl_ms: Option<u64>,
    },
    /// Answer to `ping`.
    Pong,
    /// Something was refused. The connection goes on unless a close frame follows.
    Error(ServerError),
}

/// First message of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientHello {
    /// What the client is in the room. A match token decides; who brings one must not say otherwise.
    #[schemars(with = "RoleSchema")]
    pub role: Role,
    /// Token that opens the room, for clients that keep it out of the URL; the URL and the header `Authorization` come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Present when the client resumes a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// The connection that is resumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resume {
    /// `resumeToken` of the `hello` that the connection began with.
    pub token: String,
    /// Number of the last message that the client has heard of each peer, by the peer's id; at most 64.
    #[serde(default)]
    pub heard: BTreeMap<String, u64>,
}

/// First message of the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerHello {
    /// Version of the protocol: 2.
    pub version: u8,
    /// Id of the client, by which its peers know it.
    pub client_id: String,
    /// The room.
    pub room: String,
    /// What the client is in the room.
    #[schemars(with = "RoleSchema")]
    pub role: Role,
    /// Opens the same seat again after the connection is lost. A secret: whoever has it is this client.
    pub resume_token: String,
    /// How long the seat waits for a lost connection, milliseconds.
    pub resume_window_ms: u64,
    /// The seat of the resumed connection was still there.
    pub resumed: bool,
    /// Number of the last message of this client that this server has; what came after it must be sent again. 0 after a resume at
    /// another instance, which drops what the peers have heard already.
    pub seq: u64,
    /// Everybody else in the room.
    pub peers: Vec<Peer>,
    /// The ICE servers, as `RTCConfiguration.iceServers`.
    #[schemars(with = "Vec<IceServerSchema>")]
    pub ice_servers: Vec<IceServer>,
    /// How long their credentials are valid from now on, milliseconds; absent: they do not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ice_ttl_ms: Option<u64>,
    /// Largest message that the client may send, bytes.
    pub max_message_bytes: u64,
    /// Name of the instance that answered.
    pub instance: String,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Its id.
    pub id: String,
    /// What it is in the room; absent: it speaks v1, which has no roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoleSchema>")]
    pub role: Option<Role>,
    /// Whether its connection stands.
    pub state: PeerState,
}

/// Whether a peer's connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PeerState {
    /// It stands.
    Connected,
    /// It is lost and may come back.
    Reconnecting,
    /// It will not come back.
    Gone,
}

/// A message between peers. A client sends `seq` and perhaps `to`; the server sends `from` and `seq`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Relayed<T> {
    /// Id of the sender; from the server only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Number of the message: the sender counts its messages from 1, whomever they are for.
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    pub seq: u64,
    /// Whom it is for: the id of a peer, `host` or `player`; absent: everybody. From clients only. `host` and `player` include peers
    /// that speak v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What it says.
    #[serde(flatten)]
    pub body: T,
}

/// An SDP offer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Offer {
    /// The session description.
    #[schemars(length(min = 1))]
    pub sdp: String,
}

/// An SDP answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The session description.
    #[schemars(length(min = 1))]
    pub sdp: String,
}

/// An ICE candidate, as `RTCIceCandidate.toJSON()` gives it. A field that is null is one that is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The candidate; empty: there are no more (end of candidates). The end is not told to peers that speak v1.
    pub candidate: String,
    /// Media identification of the m-line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    /// Index of the m-line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_m_line_index: Option<u32>,
    /// Fragment of the ICE user name, which tells the candidates of an ICE restart apart. Not told to peers that speak v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_fragment: Option<String>,
}

/// Anything else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Control {
    /// What is to be done.
    #[schemars(length(min = 1))]
    pub action: String,
    /// With what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
}

/// Something was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerError {
    /// What.
    pub code: ErrorCode,
    /// Why, for people.
    pub message: String,
    /// Number of the refused message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When it is worth another try, milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The message is no JSON.
    NotJson,
    /// The message is JSON, but none of this protocol.
    BadMessage,
    /// The connection, its address or its room said too much. The message is lost; send it again under a new number.
    RateLimited,
    /// There is no such peer in the room.
    UnknownPeer,
    /// More waits for a peer that has not come than is kept. The message is lost.
    BufferFull,
    /// The first message was no `hello`, or came too late.
    HelloExpected,
    /// The token is missing, wrong or expired.
    Unauthorized,
    /// The token does not open this room, or not in this role.
    Forbidden,
    /// The request is refused for what it is: room id, origin, TLS or subprotocol.
    Refused,
    /// The room has as many members as it may have.
    RoomFull,
    /// The server cannot do it now.
    Unavailable,
    /// The server is ending: connect again, which leads to another one.
    Draining,
    /// This client did not read what waits for it.
    Overloaded,
    /// Another connection has resumed this seat.
    Replaced,
}

/// How `IceServer` looks in the schema.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "its fields are read by the schema alone")]
struct IceServerSchema {
    /// The server, for example `turn:host:3478?transport=udp`.
    urls: String,
    /// User name, for TURN.
    username: Option<String>,
    /// Credential, for TURN.
    credential: Option<String>,
}

/// How `Role` looks in the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "its variants are read by the schema alone")]
enum RoleSchema {
    /// The streaming host.
    Host,
    /// A player.
    Player,
}
