//! Limits per client address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_crds::settings::RateLimitSettings;
use parking_lot::Mutex;

use super::Bucket;

/// Most addresses that are remembered. What comes beyond shares one entry, so that memory is bounded and inventing
/// addresses gains nothing.
const MOST: usize = 65_536;
/// Between two searches for entries that can be forgotten, while the table is full.
const SWEEP: Duration = Duration::from_secs(1);

/// What the limits know of one client address. A connection keeps the entry of its client.
#[derive(Debug)]
pub(crate) struct Client {
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    connections: Bucket,
    messages: Bucket,
}

/// All client addresses.
#[derive(Debug)]
pub(crate) struct Clients {
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    clients: HashMap<IpAddr, Arc<Client>>,
    /// The entry of those that came while the table was full.
    others: Option<Arc<Client>>,
    swept_at: Option<Instant>,
    most: usize,
}

impl Client {
    fn new(limits: &RateLimitSettings, now: Instant) -> Arc<Self> {
        let buckets = Buckets {
            connections: Bucket::new(limits.connections_per_ip, now),
            messages: Bucket::new(limits.messages_per_ip, now),
        };
        Arc::new(Self {
            buckets: Mutex::new(buckets),
        })
    }

    /// How long until the client may say one more message.
    pub(crate) fn message_wait(&self, limits: &RateLimitSettings, now: Instant) -> Duration {
        self.buckets.lock().messages.wait(limits.messages_per_ip, now)
    }

    /// Whether the client may connect once more.
    pub(crate) fn connect(&self, limits: &RateLimitSettings, now: Instant) -> bool {
        self.buckets
            .lock()
            .connections
            .take(limits.connections_per_ip, now)
    }

    /// Whether the client may send one more message.
    pub(crate) fn message(&self, limits: &RateLimitSettings, now: Instant) -> bool {
        self.buckets.lock().messages.take(limits.messages_per_ip, now)
    }

    fn is_forgettable(&self, limits: &RateLimitSettings, now: Instant) -> bool {
        let buckets = self.buckets.lock();
        buckets.connections.is_full(limits.connections_per_ip, now)
            && buckets.messages.is_full(limits.messages_per_ip, now)
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self::with_most(MOST)
    }
}

impl Clients {
    fn with_most(most: usize) -> Self {
        let table = Table {
            clients: HashMap::new(),
            others: None,
            swept_at: None,
            most,
        };
        Self {
            table: Mutex::new(table),
        }
    }

    /// The entry of the client with this address.
    pub(crate) fn client(&self, ip: IpAddr, limits: &RateLimitSettings, now: Instant) -> Arc<Client> {
        let mut table = self.table.lock();
        let key = key(ip);
        if let Some(client) = table.clients.get(&key) {
            return Arc::clone(client);
        }
        if table.clients.len() >= table.most
            && table
                .swept_at
                .is_none_or(|at| now.saturating_duration_since(at) >= SWEEP)
        {
            table.swept_at = Some(now);
            table.forget(limits, now);
        }
        let full = table.clients.len() >= table.most;
        if full {
            return Arc::clone(table.others.get_or_insert_with(|| Client::new(limits, now)));
        }
        Arc::clone(
            table
                .clients
                .entry(key)
                .or_insert_with(|| Client::new(limits, now)),
        )
    }

    /// Forgets addresses without connections whose buckets are full again.
    pub(crate) fn forget(&self, limits: &RateLimitSettings, now: Instant) {
        self.table.lock().forget(limits, now);
    }

    /// How many addresses are remembered.
    pub(crate) fn len(&self) -> usize {
        self.table.lock().clients.len()
    }
}

impl Table {
    fn forget(&mut self, limits: &RateLimitSettings, now: Instant) {
        self.clients
            .retain(|_, client| Arc::strong_count(client) > 1 || !client.is_forgettable(limits, now));
        if self.clients.len() < self.most {
            self.others = None;
        }
    }
}

/// An IPv6 client has a /64 of its own (RFC 6177), all of whose addresses it may use.
fn key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RateLimitSettings = RateLimitSettings {
        connections_per_ip: 2,
        messages_per_client: 1,
        messages_per_ip: 3,
        messages_per_room: 1,
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_of_one_client_share_an_entry() {
        let (clients, now) = (Clients::default(), Instant::now());
        let connect = |text| clients.client(ip(text), &LIMITS, now).connect(&LIMITS, now);
        assert!(connect("203.0.113.1") && connect("::ffff:203.0.113.1") && !connect("203.0.113.1"));
        assert!(connect("203.0.113.2"));
        assert!(connect("2001:db8::1") && connect("2001:db8::2:1") && !connect("2001:db8::3"));
        assert!(connect("2001:db8:0:1::1"));
    }

    #[test]
    fn messages_and_connections_are_counted_apart() {
        let (clients, now) = (Clients::default(), Instant::now());
        let client = clients.client(ip("203.0.113.1"), &LIMITS, now);
        let passed = (0..5).filter(|_| client.message(&LIMITS, now)).count();
        assert_eq!(passed, 3);
        assert!(client.connect(&LIMITS, now));
    }

    #[test]
    fn memory_is_bounded_and_inventing_addresses_gains_nothing() {
        let (clients, now) = (Clients::with_most(100), Instant::now());
        let connect = |number: u32, now| {
            let client = clients.client(IpAddr::from(number.to_be_bytes()), &LIMITS, now);
            client.connect(&LIMITS, now)
        };
        let passed = (0..1000).filter(|number| connect(*number, now)).count();
        assert_eq!((passed, clients.len()), (102, 100));
        let later = now + Duration::from_secs(10);
        assert!(connect(5000, later));
        assert_eq!(clients.len(), 1);
    }

    #[test]
    fn entries_in_use_are_kept() {
        let (clients, now) = (Clients::default(), Instant::now());
        let client = clients.client(ip("203.0.113.1"), &LIMITS, now);
        clients.forget(&LIMITS, now);
        assert_eq!(clients.len(), 1);
        drop(client);
        clients.forget(&LIMITS, now);
        assert_eq!(clients.len(), 0);
    }
}
