//! A limit for each client address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Bucket;

/// Most addresses that are remembered. What comes beyond shares one bucket, so that memory is bounded and inventing
/// addresses gains nothing.
pub const MOST_ADDRESSES: usize = 65_536;
/// Between two searches for entries that can be forgotten, while the table is full.
const SWEEP: Duration = Duration::from_secs(1);

/// What an address counts as: an IPv6 client has a /64 of its own (RFC 6177), all of whose addresses it may use.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

/// One limit, for each client address.
#[derive(Debug)]
pub struct AddressLimit {
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    buckets: HashMap<IpAddr, Bucket>,
    /// Of those that came while the table was full.
    others: Option<Bucket>,
    swept_at: Option<Instant>,
    most: usize,
}

impl Default for AddressLimit {
    fn default() -> Self {
        Self::with_most(MOST_ADDRESSES)
    }
}

impl AddressLimit {
    fn with_most(most: usize) -> Self {
        let table = Table {
            buckets: HashMap::new(),
            others: None,
            swept_at: None,
            most,
        };
        Self {
            table: Mutex::new(table),
        }
    }

    /// Counts one more of `address`, of `limit` per ten seconds, or says how long to wait until there may be one.
    pub fn take(&self, address: IpAddr, limit: u32, now: Instant) -> Result<(), Duration> {
        let mut table = self.table.lock();
        let bucket = table.bucket(network_of(address), limit, now);
        if bucket.take(limit, now) {
            Ok(())
        } else {
            Err(bucket.wait(limit, now))
        }
    }

    /// How many addresses are remembered.
    pub fn addresses(&self) -> usize {
        self.table.lock().buckets.len()
    }
}

impl Table {
    fn bucket(&mut self, address: IpAddr, limit: u32, now: Instant) -> &mut Bucket {
        if self.buckets.len() >= self.most && !self.buckets.contains_key(&address) {
            self.sweep(limit, now);
            if self.buckets.len() >= self.most {
                return self.others.get_or_insert_with(|| Bucket::new(limit, now));
            }
        }
        self.buckets
            .entry(address)
            .or_insert_with(|| Bucket::new(limit, now))
    }

    /// Forgets addresses whose buckets are full again, now and then.
    fn sweep(&mut self, limit: u32, now: Instant) {
        let is_due = |at: Instant| now.saturating_duration_since(at) >= SWEEP;
        if !self.swept_at.is_none_or(is_due) {
            return;
        }
        self.swept_at = Some(now);
        self.buckets.retain(|_, bucket| !bucket.is_full(limit, now));
        if self.buckets.len() < self.most {
            self.others = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PERIOD;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_own_limit_and_hears_how_long_to_wait() {
        let (limit, now) = (AddressLimit::default(), Instant::now());
        for _ in 0..2 {
            assert_eq!(limit.take(ip("10.0.0.1"), 2, now), Ok(()));
        }
        let wait = limit.take(ip("10.0.0.1"), 2, now).unwrap_err();
        assert!(
            wait > Duration::from_millis(4999) && wait < Duration::from_millis(5001),
            "{wait:?}"
        );
        assert_eq!(limit.take(ip("10.0.0.2"), 2, now), Ok(()));
        assert_eq!(limit.take(ip("10.0.0.1"), 2, now + wait), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_and_both_forms_of_ipv4_are_one_client() {
        let (limit, now) = (AddressLimit::default(), Instant::now());
        assert_eq!(limit.take(ip("2001:db8::1"), 1, now), Ok(()));
        assert!(limit.take(ip("2001:db8::ffff:1"), 1, now).is_err());
        assert_eq!(limit.take(ip("2001:db8:0:1::1"), 1, now), Ok(()));
        assert_eq!(limit.take(ip("10.0.0.1"), 1, now), Ok(()));
        assert!(limit.take(ip("::ffff:10.0.0.1"), 1, now).is_err());
    }

    #[test]
    fn inventing_addresses_gains_nothing_and_takes_no_memory() {
        let (limit, start) = (AddressLimit::with_most(4), Instant::now());
        let address = |number: u8| IpAddr::from([10, 0, 0, number]);
        let allowed = (0..200).filter(|number| limit.take(address(*number), 1, start).is_ok());
        assert_eq!(allowed.count(), 5, "four of their own, and one for all others");
        assert_eq!(limit.addresses(), 4);
        // When they have their limit back, they are forgotten, and others are remembered.
        let later = start + PERIOD;
        assert_eq!(limit.take(address(250), 1, later), Ok(()));
        assert_eq!(limit.addresses(), 1);
    }
}
