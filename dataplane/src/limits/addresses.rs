//! A limit for each client address.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{AddressTable, Bucket, MOST_ADDRESSES};

/// One limit, for each client address.
#[derive(Debug)]
pub struct AddressLimit {
    table: Mutex<AddressTable<Bucket>>,
}

impl Default for AddressLimit {
    fn default() -> Self {
        Self::with_most(MOST_ADDRESSES)
    }
}

impl AddressLimit {
    fn with_most(most: usize) -> Self {
        Self {
            table: Mutex::new(AddressTable::new(most)),
        }
    }

    /// Counts one more of `address`, of `limit` per ten seconds, or says how long to wait until there may be one.
    pub fn take(&self, address: IpAddr, limit: u32, now: Instant) -> Result<(), Duration> {
        let mut table = self.table.lock();
        let new = |_| Bucket::new(limit, now);
        let bucket = table.entry(address, now, new, |bucket| bucket.is_full(limit, now));
        if bucket.take(limit, now) {
            Ok(())
        } else {
            Err(bucket.wait(limit, now))
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
        assert_eq!(limit.table.lock().len(), 4);
        // When they have their limit back, they are forgotten, and others are remembered.
        let later = start + PERIOD;
        assert_eq!(limit.take(address(250), 1, later), Ok(()));
        assert_eq!(limit.table.lock().len(), 1);
    }
}
