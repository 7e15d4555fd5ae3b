//! The signaling server over real sockets and, where it matters, a real Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a test"
)]

mod cluster;
mod drain;
mod faults;
mod limits;
mod outages;
mod process;
mod protocol;
mod protocol_frames;
mod protocol_http;
mod protocol_order;
mod reference_defects;
mod refusals;
mod relay;
mod soak;
mod support;
