//! The operator against a real API server: what it writes, what it leaves alone, and what it says about it.

mod apply;
mod bed;
mod conflict;
mod counts;
mod deletion;
mod leader;
mod metrics;
mod permissions;
mod references;
mod replicas;
mod rest;
mod status;
