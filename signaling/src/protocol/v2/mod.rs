//! Protocol v2, which a peer chooses by offering the subprotocol [`SUBPROTOCOL`]: peers have ids and roles, messages have
//! numbers and may be addressed, and a lost connection is resumed at any instance without a message being lost.
//!
//! | file | what |
//! |---|---|
//! | `message` | every message of both directions as a type; the JSON Schema is made of them |
//! | `request` | what a peer sends, read the fast way; the types of `message` are its oracle |
//! | `say` | what the server says |
//!
//! What is relayed travels in one form: the object that a peer of either version sent, its known fields alone, without number
//! and addressee. [`say::relayed`] puts sender and number before it for a peer that speaks v2, and [`super::v1::judge`] takes
//! out what v1 does not know.

mod message;
mod request;
pub mod say;

pub use message::{
    Answer, Candidate, ClientHello, ClientMessage, Control, ErrorCode, Offer, Peer, PeerState, Relayed,
    Resume, ServerError, ServerHello, ServerMessage,
};
pub use request::{Refused, Relay, Request, read, read_hello};

/// The subprotocol by which a peer chooses this version.
pub const SUBPROTOCOL: &str = "berth.v2";
/// Most peers of whom a resuming peer may say what it has heard; a room has at most 64 members.
pub const MOST_HEARD: usize = 64;
