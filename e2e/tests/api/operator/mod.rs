//! The operator against a real API server: what it writes, what it leaves alone, and what it says about it.

mod apply;
pub(crate) mod bed;
mod conflict;
mod counts;
mod deletion;
mod leader;
mod metrics;
pub(crate) mod needed;
mod pause;
mod permissions;
pub(crate) mod pods;
mod reach;
mod references;
mod replicas;
mod rest;
mod status;
mod way_in;

pub(crate) use deletion::{CHILDREN, labelled};
pub(crate) use status::follow;
