//! Rate limits: buckets of this process ([`berth_dataplane::limits`]), asked without a call to anybody.
//!
//! Those of client addresses ([`Clients`]) are brought into line with the other instances once a second ([`sync`]), off
//! the way of any message.

mod clients;
mod exchange;
pub(crate) mod sync;

pub(crate) use berth_dataplane::limits::Bucket;
pub(crate) use clients::{Client, Clients};
