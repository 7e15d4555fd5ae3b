//! Child processes: how they start, end for certain, and what they cost.

mod child;
mod cores;
mod meter;
mod proc;
mod redis;
mod usage;

pub use child::{Child, Program, free_port, http_get};
pub use cores::Cores;
pub use meter::{Cost, Meter};
pub use proc::{Memory, file_limit, memory};
pub use redis::{Commands, Redis};
pub use usage::{Threads, Usage};
