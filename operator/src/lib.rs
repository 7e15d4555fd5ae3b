//! Kubernetes operator of SignalingCluster, HostPool and TurnConfig.
//!
//! ```text
//!             cluster            what the watches show, and who must be looked at
//!                │
//!           controller           one queue per kind; failure and retry
//!      ┌─────────┴──────────┐
//! signaling_cluster  host_pool  turn_config     the reconcile of each kind:
//!      │   resolve               what it names, and what of that is missing   (pure)
//!      │   render                what it becomes                              (pure)
//!      │   apply                 differences to the server, and only those
//!      └─▶ status                what is told about it                        (pure)
//! ```
//!
//! Beside them: [`leader`] (one process writes), [`counts`] (live numbers of the pools), [`probe`] (whether ICE servers answer), [`rbac`] (what all
//! of it may do). At rest the operator writes nothing but its lease and reads nothing but its watches and, once per
//! interval, the counts of each pool from one of its pods; and it asks ICE servers whether they are there.

mod apply;
pub mod args;
mod backoff;
mod board;
mod client;
mod cluster;
mod controller;
pub mod counts;
pub mod error;
mod events;
pub mod gateway;
mod host_pool;
mod http;
pub mod leader;
pub mod logs;
pub mod metrics;
pub mod names;
pub mod operator;
pub mod pods;
pub mod probe;
pub mod rbac;
pub mod render;
pub mod resolve;
mod signaling_cluster;
pub mod status;
mod turn_config;

pub use operator::{Intervals, Operator, OperatorError, Options};
