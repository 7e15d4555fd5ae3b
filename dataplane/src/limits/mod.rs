//! Rate limits of one process: numbers per ten seconds ([`PERIOD`]), for whatever has a [`Bucket`], and per client address
//! ([`AddressLimit`], or whatever stands in an [`AddressTable`]).

mod addresses;
mod bucket;
mod table;

pub use addresses::AddressLimit;
pub use bucket::{Bucket, MOST_DEBT, PERIOD};
pub use table::{AddressTable, MOST_ADDRESSES};
