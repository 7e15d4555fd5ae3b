//! The load: client sockets that say known messages and check every byte that comes back.
//!
//! Each message that a socket hears must be exactly the next one of its peer. So nothing is lost, repeated, changed,
//! reordered or delivered to a stranger without being noticed, and a run in which it is fails.

mod fleet;
mod frame;
mod joins;
mod rate;
mod saturation;
mod script;
mod seats;
mod socket;

pub(crate) use fleet::{Addresses, Fleet};
pub(crate) use joins::{Joined, Joins};
pub(crate) use rate::{FixedRate, Paced, micros};
pub(crate) use saturation::{Saturated, Saturation};
pub(crate) use script::Kind;
pub(crate) use seats::{Freed, first_messages, freed_seats};
