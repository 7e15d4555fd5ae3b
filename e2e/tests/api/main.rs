//! What needs the real API server and no pods. One program, so that its tests share servers.

// Clippy's exception for tests does not reach the helpers of a test program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod chart;
mod examples;
mod faults;
mod gitops;
mod helm;
mod matrix;
mod monitoring;
mod operator;
mod oracles;
mod server;
mod settings;
mod validate;
