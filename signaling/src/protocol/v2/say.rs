//! What the server says.

use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::MemberId;

use super::{Peer, PeerState, Refused, ServerError, ServerMessage};
use crate::close::Close;
use crate::protocol::Text;

/// A message of a peer.
pub fn relayed(from: MemberId, seq: u64, text: &Text) -> Text {
    // What is relayed is an object with at least one field.
    let fields = text.strip_prefix('{').unwrap_or(text);
    Text::from(format!("{{\"from\":\"{from}\",\"seq\":{seq},{fields}"))
}

/// Any message.
pub fn message(message: &ServerMessage) -> Text {
    // These types have nothing in them that JSON cannot say.
    Text::from(serde_json::to_string(message).unwrap_or_default())
}

/// A peer as others hear of it.
pub fn peer(id: MemberId, role: Option<Role>, state: PeerState) -> Peer {
    Peer {
        id: id.to_string(),
        role,
        state,
    }
}

/// A peer has joined, or is back.
pub fn joined(id: MemberId, role: Option<Role>, resumed: bool) -> Text {
    let peer = peer(id, role, PeerState::Connected);
    message(&ServerMessage::PeerJoined { peer, resumed })
}

/// The connection of a peer is lost.
pub fn reconnecting(id: MemberId, role: Option<Role>) -> Text {
    let peer = peer(id, role, PeerState::Reconnecting);
    message(&ServerMessage::PeerReconnecting { peer })
}

/// A peer has left.
pub fn left(id: MemberId, role: Option<Role>) -> Text {
    let peer = peer(id, role, PeerState::Gone);
    message(&ServerMessage::PeerLeft { peer })
}

/// Everything up to this number is in the server's hands.
pub fn ack(seq: u64) -> Text {
    Text::from(format!("{{\"type\":\"ack\",\"seq\":{seq}}}"))
}

/// A message was refused.
pub fn refused(refused: &Refused, retry_after_ms: Option<u64>) -> Text {
    message(&ServerMessage::Error(ServerError {
        code: refused.code,
        message: refused.message.to_owned(),
        seq: refused.seq,
        retry_after_ms,
    }))
}

/// Why a connection is closed, for peers that would rather read than look codes up.
pub(crate) fn closing(close: Close) -> Option<Text> {
    let (code, retry_after_ms) = close.error()?;
    Some(message(&ServerMessage::Error(ServerError {
        code,
        message: close.reason().to_owned(),
        seq: None,
        retry_after_ms,
    })))
}

/// Answer to `ping`.
pub const PONG: Text = Text::from_static(r#"{"type":"pong"}"#);
