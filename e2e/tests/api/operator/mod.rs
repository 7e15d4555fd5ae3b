//! The operator against a real API server: what it writes, what it leaves alone, and what it says about it.

mod apply;
pub(crate) mod bed;
mod conflict;
mod counts;
mod deletion;
mod images;
pub(crate) mod leader;
pub(crate) mod metrics;
pub(crate) mod needed;
mod optional;
mod pause;
mod permissions;
pub(crate) mod pods;
mod reach;
mod redis;
mod references;
mod released;
pub(crate) mod replicas;
mod rest;
mod status;
mod turn;
mod turn_server;
mod way_in;

pub(crate) use deletion::{CHILDREN, labelled};
pub(crate) use status::follow;
