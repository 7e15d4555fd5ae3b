//! Rooms in memory and on Redis: one contract, one suite, and a model that both are compared with.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a test"
)]

mod conformance;
mod leases;
mod loss;
mod model;
mod resume;
mod store;
mod who;
