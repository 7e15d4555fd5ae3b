//! Limits per client address.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_crds::settings::RateLimitSettings;
use berth_dataplane::limits::{AddressTable, MOST_ADDRESSES};
use parking_lot::Mutex;

use super::Bucket;
use super::exchange::{Heard, Report, Taken};

/// Most addresses that are remembered, here and in Redis.
pub(super) const MOST: usize = MOST_ADDRESSES;

/// What the limits know of one client address. A connection keeps the entry of its client.
#[derive(Debug)]
pub(crate) struct Client {
    /// The address and where to tell that something was taken; `None` where nobody is told.
    told: Option<(IpAddr, Arc<Changed>)>,
    buckets: Mutex<Buckets>,
}

/// Clients from which something was taken that was not reported yet, each once. So it is as bounded as the table, which
/// forgets none of them.
#[derive(Debug, Default)]
struct Changed(Mutex<Vec<Arc<Client>>>);

#[derive(Debug)]
struct Buckets {
    connections: Counted,
    messages: Counted,
    /// Stands in [`Changed`].
    changed: bool,
}

/// A bucket, and what was taken from it and not reported yet.
#[derive(Debug)]
struct Counted {
    bucket: Bucket,
    taken: u32,
    /// When the first of `taken` was taken.
    since: Instant,
}

/// All client addresses.
#[derive(Debug)]
pub(crate) struct Clients {
    table: Mutex<AddressTable<Arc<Client>>>,
    /// `None` where this process is alone.
    changed: Option<Arc<Changed>>,
}

impl Client {
    fn new(told: Option<(IpAddr, Arc<Changed>)>, limits: &RateLimitSettings, now: Instant) -> Arc<Self> {
        let buckets = Buckets {
            connections: Counted::new(limits.connections_per_ip, now),
            messages: Counted::new(limits.messages_per_ip, now),
            changed: false,
        };
        Arc::new(Self {
            told,
            buckets: Mutex::new(buckets),
        })
    }

    /// Whether the client may connect once more.
    pub(crate) fn connect(self: &Arc<Self>, limits: &RateLimitSettings, now: Instant) -> bool {
        self.take(|buckets| &mut buckets.connections, limits.connections_per_ip, now)
    }

    /// Whether the client may send one more message.
    pub(crate) fn message(self: &Arc<Self>, limits: &RateLimitSettings, now: Instant) -> bool {
        self.take(|buckets| &mut buckets.messages, limits.messages_per_ip, now)
    }

    /// How long until the client may connect once more; zero if it may.
    pub(crate) fn connect_wait(&self, limits: &RateLimitSettings, now: Instant) -> Duration {
        let buckets = self.buckets.lock();
        buckets.connections.bucket.wait(limits.connections_per_ip, now)
    }

    /// How long until the client may send one more message; zero if it may.
    pub(crate) fn message_wait(&self, limits: &RateLimitSettings, now: Instant) -> Duration {
        let buckets = self.buckets.lock();
        buckets.messages.bucket.wait(limits.messages_per_ip, now)
    }

    fn take(self: &Arc<Self>, which: fn(&mut Buckets) -> &mut Counted, limit: u32, now: Instant) -> bool {
        let mut buckets = self.buckets.lock();
        if !which(&mut buckets).take(limit, now) {
            return false;
        }
        if let Some((_, changed)) = &self.told
            && !std::mem::replace(&mut buckets.changed, true)
        {
            drop(buckets);
            changed.0.lock().push(Arc::clone(self));
        }
        true
    }

    /// What was taken since the last report, which counts as reported from now on.
    fn report(self: Arc<Self>, now: Instant) -> Option<Report> {
        let (address, _) = self.told.as_ref()?;
        let address = *address;
        let mut buckets = self.buckets.lock();
        buckets.changed = false;
        let connections = buckets.connections.report(now);
        let messages = buckets.messages.report(now);
        drop(buckets);
        Some(Report {
            client: self,
            address,
            connections,
            messages,
        })
    }

    /// Takes over what all instances together know of the client, as [`super::exchange::merge`] says.
    pub(super) fn hear(&self, heard: Heard, limits: &RateLimitSettings, now: Instant) {
        let mut buckets = self.buckets.lock();
        let Buckets {
            connections,
            messages,
            ..
        } = &mut *buckets;
        connections.hear(heard.connections, heard.flight, limits.connections_per_ip, now);
        messages.hear(heard.messages, heard.flight, limits.messages_per_ip, now);
    }

    /// How much of its limits the client has taken since the last report, 1 being all of one; `None` if its buckets are
    /// full again, and then there is nothing to report.
    fn share(&self, limits: &RateLimitSettings, now: Instant) -> Option<f64> {
        let mut buckets = self.buckets.lock();
        if buckets.are_full(limits, now) {
            buckets.changed = false;
            buckets.connections.taken = 0;
            buckets.messages.taken = 0;
            return None;
        }
        let share = |taken: u32, limit: u32| f64::from(taken) / f64::from(limit);
        let connections = share(buckets.connections.taken, limits.connections_per_ip);
        Some(connections.max(share(buckets.messages.taken, limits.messages_per_ip)))
    }

    /// Whether it has no connection, and its buckets are full again.
    fn is_idle(self: &Arc<Self>, limits: &RateLimitSettings, now: Instant) -> bool {
        Arc::strong_count(self) == 1 && self.buckets.lock().are_full(limits, now)
    }
}

impl Buckets {
    fn are_full(&self, limits: &RateLimitSettings, now: Instant) -> bool {
        self.connections.bucket.is_full(limits.connections_per_ip, now)
            && self.messages.bucket.is_full(limits.messages_per_ip, now)
    }
}

impl Counted {
    fn new(limit: u32, now: Instant) -> Self {
        Self {
            bucket: Bucket::new(limit, now),
            taken: 0,
            since: now,
        }
    }

    fn take(&mut self, limit: u32, now: Instant) -> bool {
        let takes = self.bucket.take(limit, now);
        if takes {
            if self.taken == 0 {
                self.since = now;
            }
            self.taken = self.taken.saturating_add(1);
        }
        takes
    }

    fn report(&mut self, now: Instant) -> Taken {
        Taken {
            tokens: std::mem::take(&mut self.taken),
            age: now.saturating_duration_since(self.since),
        }
    }

    /// What was taken since the report comes on top of what the others know, and was taken no earlier than it was made.
    fn hear(&mut self, full_in: Duration, flight: Duration, limit: u32, now: Instant) {
        let unreported = Taken::cost(self.taken, limit);
        let full_in = (full_in + unreported).saturating_sub(flight);
        self.bucket.defer(full_in, limit, now);
    }
}

impl Default for Clients {
    /// For a process that is alone.
    fn default() -> Self {
        Self::new(MOST, None)
    }
}

impl Clients {
    /// For an instance among others: somebody must take the reports ([`Self::reports`]), or addresses are never
    /// forgotten.
    pub(crate) fn reporting() -> Self {
        Self::new(MOST, Some(Arc::default()))
    }

    fn new(most: usize, changed: Option<Arc<Changed>>) -> Self {
        Self {
            table: Mutex::new(AddressTable::new(most)),
            changed,
        }
    }

    /// The entry of the client with this address. One that many share is told nobody: it is of no address.
    pub(crate) fn client(&self, ip: IpAddr, limits: &RateLimitSettings, now: Instant) -> Arc<Client> {
        let new = |network: Option<IpAddr>| {
            let told = network.zip(self.changed.clone());
            Client::new(told, limits, now)
        };
        let mut table = self.table.lock();
        Arc::clone(table.entry(ip, now, new, |client| client.is_idle(limits, now)))
    }

    /// What was taken since the last call, of at most `most` addresses: those that took most of their limits. The others
    /// are asked again by the next call, with what they took until then, unless they have it back by then.
    pub(crate) fn reports(&self, most: usize, limits: &RateLimitSettings, now: Instant) -> Vec<Report> {
        let Some(changed) = &self.changed else {
            return Vec::new();
        };
        let mut clients = std::mem::take(&mut *changed.0.lock());
        if clients.len() > most {
            let mut shares: Vec<(f64, Arc<Client>)> = clients
                .into_iter()
                .filter_map(|client| Some((client.share(limits, now)?, client)))
                .collect();
            if shares.len() > most {
                shares.select_nth_unstable_by(most, |(a, _), (b, _)| b.total_cmp(a));
                let later = shares.split_off(most);
                let later = later.into_iter().map(|(_, client)| client);
                changed.0.lock().extend(later);
            }
            clients = shares.into_iter().map(|(_, client)| client).collect();
        }
        clients
            .into_iter()
            .filter_map(|client| client.report(now))
            .collect()
    }

    /// Forgets addresses without connections whose buckets are full again.
    pub(crate) fn forget(&self, limits: &RateLimitSettings, now: Instant) {
        self.table.lock().forget(|client| client.is_idle(limits, now));
    }

    /// How many addresses are remembered.
    pub(crate) fn len(&self) -> usize {
        self.table.lock().len()
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
        assert_eq!(client.connect_wait(&LIMITS, now), Duration::ZERO);
        assert!(client.connect(&LIMITS, now));
        let wait = client.message_wait(&LIMITS, now);
        assert!(!client.message(&LIMITS, now) && client.message(&LIMITS, now + wait));
    }

    #[test]
    fn memory_is_bounded_and_inventing_addresses_gains_nothing() {
        for changed in [None, Some(Arc::default())] {
            let (clients, now) = (Clients::new(100, changed), Instant::now());
            let connect = |number: u32, now| {
                let client = clients.client(IpAddr::from(number.to_be_bytes()), &LIMITS, now);
                client.connect(&LIMITS, now)
            };
            let passed = (0..1000).filter(|number| connect(*number, now)).count();
            assert_eq!((passed, clients.len()), (102, 100));
            drop(clients.reports(100, &LIMITS, now));
            let later = now + Duration::from_secs(10);
            assert!(connect(5000, later));
            assert_eq!(clients.len(), 1);
        }
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

    #[test]
    fn what_was_taken_is_reported_once_and_by_those_that_took_most_first() {
        let (clients, now) = (Clients::reporting(), Instant::now());
        let later = now + Duration::from_mins(1);
        let client = |number: u8| clients.client(IpAddr::from([203, 0, 113, number]), &LIMITS, now);
        let reported = |most| {
            let reports = clients.reports(most, &LIMITS, now + Duration::from_secs(1));
            let mut reports: Vec<_> = reports
                .iter()
                .map(|report| {
                    let IpAddr::V4(ip) = report.address else { panic!() };
                    (ip.octets()[3], report.connections.tokens, report.messages.tokens)
                })
                .collect();
            reports.sort_unstable();
            reports
        };
        for number in 1..=4 {
            assert!(client(number).message(&LIMITS, now));
        }
        assert!(client(3).message(&LIMITS, now) && client(4).connect(&LIMITS, now));
        // A refused attempt takes nothing.
        assert!(client(4).connect(&LIMITS, now) && !client(4).connect(&LIMITS, now));
        assert_eq!(reported(2), [(3, 0, 2), (4, 2, 1)]);
        assert!(client(1).message(&LIMITS, now) && client(3).message(&LIMITS, now));
        assert_eq!(reported(1), [(1, 0, 2)]);
        assert_eq!(reported(9), [(2, 0, 1), (3, 0, 1)]);
        assert_eq!(reported(9), []);
        // Whoever had to wait until he had everything back is not reported any more, and can be forgotten.
        for number in 1..=4 {
            let client = clients.client(IpAddr::from([203, 0, 113, number]), &LIMITS, later);
            assert!(client.message(&LIMITS, later));
        }
        let full = later + Duration::from_secs(10);
        assert!(clients.reports(3, &LIMITS, full).is_empty());
        clients.forget(&LIMITS, full);
        assert_eq!(clients.len(), 0);
        // Nobody takes the reports of a process that is alone, so it keeps none.
        let alone = Clients::default();
        assert!(
            alone
                .client(ip("203.0.113.1"), &LIMITS, now)
                .connect(&LIMITS, now)
        );
        assert!(alone.reports(9, &LIMITS, now).is_empty());
        alone.forget(&LIMITS, now + Duration::from_secs(10));
        assert_eq!(alone.len(), 0);
    }
}
