//! A network between the operator and the real API server that does what a network and a server may do, on request.
//!
//! ```text
//! operator ─▶ Network: log ─▶ Plan: a fault for this request? ─▶ the real API server
//!          ◀─ the lines of watches, through an editor ◀───────────┘
//! ```
//!
//! A [`Network`] is one life of the operator: after a planned crash it carries nothing more, in either direction, and the test
//! drops the operator and starts the next one on a network of its own. Everything that is sent is in the log, with what the *server*
//! answered, also when the operator never heard of it.
//!
//! What is chosen at random comes out of a seed that is printed; `BERTH_ORACLE_SEED` repeats a run.

mod asked;
mod network;
mod plan;
mod seed;
mod stream;

pub(crate) use asked::{Asked, Entry, Summary};
pub(crate) use network::Network;
pub(crate) use plan::{Fault, Plan};
pub(crate) use seed::{Random, seed};
pub(crate) use stream::{Edit, Line};
