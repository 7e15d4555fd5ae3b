//! How fast Berth is, and against what.
//!
//! The program under test and its baseline run as child processes on a core of their own, one after the other in turns, so that
//! what else happens on the machine hits both. The load comes from here, by one thread that knows nothing of tokio. What is
//! compared is CPU time of the servers alone; rates and latencies are printed beside it.
//!
//! | module | one idea |
//! |---|---|
//! | [`process`] | child processes: how they start, end for certain, and what they cost |
//! | [`report`] | tables of samples, as Markdown and as JSON |
//! | [`signaling`] | everything about the signaling server: the bare relay, the load, the figures |
//! | [`matchmaker`] | the same about the matchmaker: what heartbeats cost |
//! | [`operator`] | the same about the operator: a thousand resources, beside a client that applies the same objects |
//!
//! `docs/benchmarks.md` says how the figures come about and what they were.

#![allow(
    clippy::cast_precision_loss,
    reason = "messages, bytes and nanoseconds of a run are far below 2^52"
)]

mod cli;
pub mod matchmaker;
pub mod operator;
pub mod process;
pub mod report;
pub mod signaling;

pub use cli::Args;
