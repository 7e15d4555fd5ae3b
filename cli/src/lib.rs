//! Berth on one machine: all services in one process, simulated host, probe, offline validation.

pub mod crds;
pub mod failure;
pub mod host;
pub mod interrupt;
pub mod logs;
pub mod peer;
pub mod play;
pub mod render;
pub mod up;
pub mod validate;
