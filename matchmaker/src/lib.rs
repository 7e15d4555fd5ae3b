//! Matchmaker: streaming hosts, reservations and ICE servers.
//!
//! | module | what |
//! |---|---|
//! | [`api`] | the public API, on the wire of the Node matchmaker |
//! | [`matchmaker`] | what happens between the wire and the store |
//! | [`store`] | hosts and granted slots: in memory, or shared by Redis |
//! | [`slots`] | pure: when a slot is free |
//! | [`idempotency`] | pure: a request and its repetition |
//! | [`resume_token`] | pure: the right to get a match again |
//! | [`secrets`] | which secrets of a pool count |
//! | [`demand`] | pure: finds that were refused, by region |
//! | [`host`] | words that all of them use |
//! | [`metrics`] | what is counted |
//!
//! ```text
//! heartbeat ─┐                        ┌─ memory ─┐
//! find      ─┼─> api ─> matchmaker ─> store       ├─> slots <─ rooms (dataplane::occupancy)
//! internal  ─┘                        └─ redis  ─┘
//! ```
//!
//! A process of its own is [`Args::run`]; another program embeds a [`Server`].

pub mod api;
pub mod demand;
mod events;
pub mod host;
pub mod idempotency;
mod internal;
pub mod matchmaker;
pub mod metrics;
mod process;
pub mod resume_token;
pub mod secrets;
mod server;
pub mod slots;
pub mod store;

pub use process::Args;
pub use server::{Internal, Server, ServerOptions, Store};
