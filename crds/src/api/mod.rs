//! The three kinds as they stand in a manifest.
//!
//! Conventions: every number has bounds and a unit in its name; every string and list has a maximum, which also bounds
//! the cost of the CEL rules; no defaults inside list items, because server-side apply and GitOps tools fight over
//! them; the description of each field of a spec ends with its reload class (see [`crate::reload`]).

// The schema derive puts a public copy of each struct into a function.
#![allow(unreachable_pub)]

mod auth;
mod common;
mod host_pool;
mod managed_turn;
mod signaling_cluster;
mod turn_config;
mod way_in;

pub use auth::*;
pub use common::*;
pub use host_pool::*;
pub use managed_turn::*;
pub use signaling_cluster::*;
pub use turn_config::*;
pub use way_in::*;
