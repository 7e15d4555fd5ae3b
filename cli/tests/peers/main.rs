//! Simulated hosts and headless players meet over test doubles of the services, and over a real
//! TURN server; and the real services agree on who may join.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod host_and_player;
mod match_keys;
mod room;
mod support;
mod turn;
