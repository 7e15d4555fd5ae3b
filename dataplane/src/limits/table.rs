//! Something for each client address, in bounded memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Most addresses that are remembered. What comes beyond shares one entry, so that memory is bounded and inventing
/// addresses gains nothing.
pub const MOST_ADDRESSES: usize = 65_536;
/// Between two searches for entries that can be forgotten, while the table is full.
const SWEEP: Duration = Duration::from_secs(1);

/// What an address counts as: an IPv6 client has a /64 of its own (RFC 6177), all of whose addresses it may use.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

/// An entry for each client address.
#[derive(Debug)]
pub struct AddressTable<E> {
    entries: HashMap<IpAddr, E>,
    /// Of those that came while the table was full.
    others: Option<E>,
    swept_at: Option<Instant>,
    most: usize,
}

impl<E> AddressTable<E> {
    /// Remembers at most `most` addresses.
    pub fn new(most: usize) -> Self {
        Self {
            entries: HashMap::new(),
            others: None,
            swept_at: None,
            most,
        }
    }

    /// The entry of the client with this address. If there is none yet, `new` makes it: of the client's network, or of
    /// all those for whom there is no room (`None`). Room is sought now and then, among the entries that are idle.
    pub fn entry(
        &mut self,
        address: IpAddr,
        now: Instant,
        new: impl FnOnce(Option<IpAddr>) -> E,
        is_idle: impl FnMut(&E) -> bool,
    ) -> &mut E {
        let network = network_of(address);
        if self.is_full() && !self.entries.contains_key(&network) {
            let is_due = |at: Instant| now.saturating_duration_since(at) >= SWEEP;
            if self.swept_at.is_none_or(is_due) {
                self.swept_at = Some(now);
                self.forget(is_idle);
            }
            if self.is_full() {
                return self.others.get_or_insert_with(|| new(None));
            }
        }
        self.entries.entry(network).or_insert_with(|| new(Some(network)))
    }

    /// Forgets the entries that are idle.
    pub fn forget(&mut self, mut is_idle: impl FnMut(&E) -> bool) {
        self.entries.retain(|_, entry| !is_idle(entry));
        if !self.is_full() {
            self.others = None;
        }
    }

    /// How many addresses are remembered.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.most
    }
}
