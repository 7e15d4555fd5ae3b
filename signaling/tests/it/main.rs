//! The signaling server over real sockets and, where it matters, a real Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a test"
)]

mod addresses;
mod auth;
mod cluster;
mod drain;
mod faults;
mod limits;
mod logs;
mod metrics;
mod outages;
mod process;
mod protocol;
mod protocol_frames;
mod protocol_http;
mod protocol_order;
mod protocol_page;
mod redis_modes;
mod reference_defects;
mod refusals;
mod relay;
mod resume;
mod settings;
mod slow;
mod soak;
mod starting;
mod support;
mod who;
