//! The operator against a real API server: what it writes, what it leaves alone, and what it says about it.

mod apply;
pub(crate) mod bed;
mod conflict;
mod counts;
mod deletion;
pub(crate) mod leader;
pub(crate) mod metrics;
pub(crate) mod needed;
mod pause;
mod permissions;
pub(crate) mod pods;
mod reach;
mod references;
pub(crate) mod replicas;
mod rest;
mod status;
mod way_in;
