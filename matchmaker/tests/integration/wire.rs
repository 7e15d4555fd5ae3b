//! The public API over real HTTP, against what hosts and pages of the Node services send and read.

mod common;
mod document;
mod find;
mod heartbeat;
mod hosts;
mod ice;
mod lists;
mod matches;
mod picking;
