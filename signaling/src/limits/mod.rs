//! Rate limits: local to the process, without a call to anybody.

mod bucket;
mod clients;

pub(crate) use bucket::Bucket;
pub(crate) use clients::{Client, Clients};
