//! The matchmaker from outside: its stores, its API, its program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on must fail loudly"
)]

mod signaling_killed;
mod support;

mod commands;
mod conformance;
mod contention;
mod internal;
mod lua_slots;
mod metrics;
mod model;
mod picking;
mod pools_apart;
mod program;
mod redis_loss;
mod redis_outage;
mod reference_flow;
mod secrets;
mod wire;
