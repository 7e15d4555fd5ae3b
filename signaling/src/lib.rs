//! Berth's signaling server: rooms in which a player and a host exchange SDP and ICE candidates.
//!
//! ```text
//!  http ──101──> session ──message──> rooms ──Effects──┬──> conn (sockets of this instance)
//!                  │  ▲                 ▲              ├──> lane ──PUBLISH──> inbox of another instance
//!              admission limits       inbox            └──> seating ──script──> the store of seats
//! ```
//!
//! | module | one idea |
//! |---|---|
//! | [`protocol`] | what peers may say, and what of it is relayed |
//! | [`room`] | the room protocol: a pure state machine, proven by simulation |
//! | [`envelope`] | the bytes between instances |
//! | [`close`] | close codes and reasons |
//! | `admission`, `limits` | who may connect and how much it may say: pure, time comes as an argument |
//! | `auth` | tokens, and the keys that they are checked with |
//! | `conn` | a WebSocket shared by its owner and those who deliver to it; pings |
//! | `session` | the life of one connection |
//! | `rooms`, `core` | all rooms and their locks; how effects are carried out |
//! | `lane`, `inbox` | to and from other instances |
//! | `seating`, `lease`, `deadlines` | what the store is told, when, and what follows from a dead instance or a lost connection |
//! | `resume_token` | how a peer that speaks v2 proves that a seat is its own |
//! | `http`, `status`, `metrics`, `events`, `drain` | ports, what the server tells of itself, its end |
//! | `server`, `process` | the whole: as a part of another program, and as a program |
//!
//! What must hold: a message between two sockets of one instance costs no Redis command and needs no Redis; one to
//! another instance costs exactly one command. A connection has one task and no channel. Every queue is bounded. Locks
//! are taken in the order shard, room, connection or queue, and never held across an `.await`.

mod admission;
mod auth;
pub mod close;
mod conn;
mod core;
mod deadlines;
mod drain;
pub mod envelope;
mod events;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod http;
mod inbox;
mod lane;
mod lease;
mod limits;
mod metrics;
mod process;
pub mod protocol;
mod resume_token;
pub mod room;
mod rooms;
mod seating;
mod server;
mod session;
mod status;

pub use process::Args;
pub use server::{Server, ServerOptions, Store, Timing};
