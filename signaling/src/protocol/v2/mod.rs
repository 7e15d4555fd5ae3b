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

use serde_json::{Value, json};

pub use message::{
    Answer, Candidate, ClientHello, ClientMessage, Control, ErrorCode, Offer, Peer, PeerState, Relayed,
    Resume, ServerError, ServerHello, ServerMessage,
};
pub(crate) use request::seq_of;
pub use request::{Refused, Relay, Request, read, read_hello};

/// The JSON Schema (draft 2020-12) of both directions: a message is valid if it is one of `ClientMessage` or, from the server, of
/// `ServerMessage`.
pub fn schema() -> Value {
    let mut generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let client = generator.subschema_for::<ClientMessage>();
    let server = generator.subschema_for::<ServerMessage>();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Berth signaling protocol v2",
        "description": "What clients (ClientMessage) and the server (ServerMessage) say after the subprotocol berth.v2 was chosen.",
        "anyOf": [client, server],
        "$defs": generator.take_definitions(true),
    })
}

/// The subprotocol by which a peer chooses this version.
pub const SUBPROTOCOL: &str = "berth.v2";
/// Most peers of whom a resuming peer may say what it has heard; a room has at most 64 members.
pub const MOST_HEARD: usize = 64;
