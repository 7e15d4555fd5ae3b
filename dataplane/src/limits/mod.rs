//! Rate limits of one process: numbers per ten seconds ([`PERIOD`]), for whatever has a [`Bucket`], and per client address
//! ([`AddressLimit`]).

mod addresses;
mod bucket;

pub use addresses::{AddressLimit, MOST_ADDRESSES, network_of};
pub use bucket::{Bucket, MOST_DEBT, PERIOD};
