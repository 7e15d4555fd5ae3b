//! The signaling server over real sockets and, where it matters, a real Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a test"
)]

mod cluster;
mod drain;
mod limits;
mod outages;
mod process;
mod protocol;
mod redis_modes;
mod reference_defects;
mod refusals;
mod relay;
mod support;
