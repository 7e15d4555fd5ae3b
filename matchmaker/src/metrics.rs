//! Metrics of the matchmaker.
//!
//! Counts of the pool are the same on every replica, because they come from the shared store; counters are each
//! replica's own.

mod results;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use berth_dataplane::telemetry::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::api::Refusal;
use crate::host::HostState;
use crate::slots::Change;
use crate::store::{Counts, EventKind, RegionCounts};

/// Most regions that are named; the others are counted together.
pub const MOST_REGIONS: usize = 64;
/// Name of all regions beyond [`MOST_REGIONS`].
pub const OTHER_REGIONS: &str = "other";

/// Upper bounds in seconds.
const FIND_BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// Upper bounds in seconds, close together where a heartbeat that is a little late costs the host its place.
const GAP_BUCKETS: [f64; 15] = [
    1.0, 5.0, 10.0, 15.0, 18.0, 20.0, 22.0, 24.0, 26.0, 28.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];

type Labels = [(&'static str, &'static str); 1];
type RegionLabel = [(&'static str, String); 1];
type OwnedLabels = Vec<(&'static str, String)>;

/// Handles of the metrics; clones share the values.
#[derive(Clone)]
pub struct MatchmakerMetrics {
    finds: Family<Labels, Counter>,
    find_seconds: Histogram,
    finds_refused: Family<RegionLabel, Counter>,
    heartbeats: Family<Labels, Counter>,
    heartbeat_gap: Histogram,
    heartbeat_ttl: Gauge,
    heartbeats_waiting: Gauge,
    reservations: Family<Labels, Counter>,
    resumes: Family<Labels, Counter>,
    dropped: Family<Labels, Counter>,
    hosts_lost: Counter,
    hosts_left: Counter,
    labels_ignored: Counter,
    counts: Arc<ArcSwap<Counts>>,
    totals: Arc<Totals>,
}

/// Plain numbers for `/statusz`.
#[derive(Default)]
struct Totals {
    granted: AtomicU64,
    refused: AtomicU64,
    heartbeats: AtomicU64,
}

/// Measures one find.
pub struct FindTimer<'a> {
    metrics: &'a MatchmakerMetrics,
    begun: Instant,
}

impl MatchmakerMetrics {
    /// Makes the metrics and registers `berth_finds_total`, `berth_find_seconds`, `berth_finds_refused_total`,
    /// `berth_heartbeats_total`, `berth_heartbeat_gap_seconds`, `berth_heartbeat_ttl_seconds`, `berth_heartbeats_waiting`,
    /// `berth_heartbeat_fields_dropped_total`, `berth_labels_ignored_total`, `berth_reservations_total`, `berth_resumes_total`,
    /// `berth_hosts_lost_total`, `berth_hosts_left_total`, `berth_hosts`, `berth_slots`, `berth_region_hosts`,
    /// `berth_region_free_slots`, `berth_occupancy_known` and `berth_store_quiet`.
    pub fn register(metrics: &Metrics) -> Self {
        let this = Self {
            finds: Family::default(),
            find_seconds: Histogram::new(FIND_BUCKETS),
            finds_refused: Family::default(),
            heartbeats: Family::default(),
            heartbeat_gap: Histogram::new(GAP_BUCKETS),
            heartbeat_ttl: Gauge::default(),
            heartbeats_waiting: Gauge::default(),
            reservations: Family::default(),
            resumes: Family::default(),
            dropped: Family::default(),
            hosts_lost: Counter::default(),
            hosts_left: Counter::default(),
            labels_ignored: Counter::default(),
            counts: Arc::default(),
            totals: Arc::default(),
        };
        this.begin();
        metrics.register(|registry| {
            registry.register("berth_finds", "Requests for a host by result", this.finds.clone());
            registry.register(
                "berth_find_seconds",
                "Time to answer a request for a host",
                this.find_seconds.clone(),
            );
            registry.register(
                "berth_finds_refused",
                "Requests for a host that were refused because none was free, by the region that was asked for",
                this.finds_refused.clone(),
            );
            registry.register(
                "berth_heartbeats",
                "Heartbeats of hosts by result",
                this.heartbeats.clone(),
            );
            registry.register(
                "berth_heartbeat_gap_seconds",
                "Time from one heartbeat of a host to its next",
                this.heartbeat_gap.clone(),
            );
            registry.register(
                "berth_heartbeat_ttl_seconds",
                "Gap after which a host is lost",
                this.heartbeat_ttl.clone(),
            );
            registry.register(
                "berth_heartbeats_waiting",
                "Hosts whose last heartbeat the store could not be told yet",
                this.heartbeats_waiting.clone(),
            );
            registry.register(
                "berth_heartbeat_fields_dropped",
                "Fields of accepted heartbeats that did not fit and were left out",
                this.dropped.clone(),
            );
            registry.register(
                "berth_reservations",
                "Granted slots and what became of them",
                this.reservations.clone(),
            );
            registry.register(
                "berth_resumes",
                "Matches that players asked for again, by result",
                this.resumes.clone(),
            );
            registry.register(
                "berth_hosts_lost",
                "Hosts whose heartbeats ceased",
                this.hosts_lost.clone(),
            );
            registry.register(
                "berth_labels_ignored",
                "Heartbeats whose labels no find can ask for: too many combinations of region and labels",
                this.labels_ignored.clone(),
            );
            registry.register("berth_hosts_left", "Hosts that left", this.hosts_left.clone());
            registry.register_collector(Box::new(PoolCollector(Arc::clone(&this.counts))));
        });
        this
    }

    /// Shows every series before its first event.
    fn begin(&self) {
        start_at_zero(&self.finds, "result", results::OF_FINDS);
        start_at_zero(&self.heartbeats, "result", results::OF_HEARTBEATS);
        start_at_zero(&self.resumes, "result", results::OF_RESUMES);
        start_at_zero(&self.dropped, "field", ["publicIp", "gameInfo"]);
        start_at_zero(
            &self.reservations,
            "outcome",
            EventKind::ALL.into_iter().filter_map(outcome).chain(["granted"]),
        );
    }

    /// Begins to measure a find.
    pub(crate) fn find_timer(&self) -> FindTimer<'_> {
        FindTimer {
            metrics: self,
            begun: Instant::now(),
        }
    }

    /// Counts a heartbeat that was accepted or refused.
    pub(crate) fn heartbeat(&self, refusal: Option<&Refusal>) {
        if refusal.is_none() {
            self.totals.heartbeats.fetch_add(1, Ordering::Relaxed);
        }
        let result = results::of_heartbeat(refusal);
        self.heartbeats.get_or_create(&[("result", result)]).inc();
    }

    /// Counts a find that was refused, under the name of a region; see [`Demand`](crate::demand::Demand) for how many there are.
    pub(crate) fn find_refused(&self, region: String) {
        self.finds_refused.get_or_create(&[("region", region)]).inc();
    }

    /// Notes how long a host had been silent before a heartbeat.
    pub(crate) fn heartbeat_gap(&self, silent_ms: u64) {
        self.heartbeat_gap
            .observe(Duration::from_millis(silent_ms).as_secs_f64());
    }

    /// Shows after which gap a host is lost, and how many hosts have heartbeats that wait for the store.
    pub(crate) fn show_heartbeats(&self, ttl: Duration, waiting: usize) {
        let shown = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.heartbeat_ttl.set(shown(ttl.as_secs()));
        self.heartbeats_waiting.set(shown(waiting as u64));
    }

    /// Counts a match that was asked for again.
    pub(crate) fn resume(&self, refusal: Option<&Refusal>) {
        let result = results::of_resume(refusal);
        self.resumes.get_or_create(&[("result", result)]).inc();
    }

    /// Counts a field of a heartbeat that was left out.
    pub(crate) fn dropped(&self, field: &'static str) {
        self.dropped.get_or_create(&[("field", field)]).inc();
    }

    /// Counts what the store found changed.
    pub(crate) fn event(&self, kind: EventKind) {
        match (kind, outcome(kind)) {
            (_, Some(outcome)) => self.reservations.get_or_create(&[("outcome", outcome)]).inc(),
            (EventKind::LabelsIgnored, None) => self.labels_ignored.inc(),
            (EventKind::HostLeft, None) => self.hosts_left.inc(),
            (_, None) => self.hosts_lost.inc(),
        };
    }

    /// Shows these counts from now on.
    pub(crate) fn show(&self, counts: Arc<Counts>) {
        self.counts.store(counts);
    }

    /// The counts that are shown.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        self.counts.load_full()
    }

    /// Finds granted, finds refused and heartbeats accepted since the start.
    pub(crate) fn totals(&self) -> [u64; 3] {
        let Totals {
            granted,
            refused,
            heartbeats,
        } = &*self.totals;
        [granted, refused, heartbeats].map(|total| total.load(Ordering::Relaxed))
    }
}

impl FindTimer<'_> {
    /// The find was granted, or refused for this reason.
    pub(crate) fn done(self, refusal: Option<&Refusal>) {
        let Self { metrics, begun } = self;
        let total = if refusal.is_none() {
            &metrics.totals.granted
        } else {
            &metrics.totals.refused
        };
        total.fetch_add(1, Ordering::Relaxed);
        if refusal.is_none() {
            metrics
                .reservations
                .get_or_create(&[("outcome", "granted")])
                .inc();
        }
        let result = results::of_find(refusal);
        metrics.finds.get_or_create(&[("result", result)]).inc();
        metrics.find_seconds.observe(begun.elapsed().as_secs_f64());
    }
}

/// Shows series before their first event, so that their rise is seen.
fn start_at_zero(
    family: &Family<Labels, Counter>,
    label: &'static str,
    values: impl IntoIterator<Item = &'static str>,
) {
    for value in values {
        drop(family.get_or_create(&[(label, value)]));
    }
}

/// What became of a reservation; `None` for what happens to hosts.
fn outcome(kind: EventKind) -> Option<&'static str> {
    match kind {
        EventKind::HostLost | EventKind::HostLeft | EventKind::LabelsIgnored => None,
        EventKind::Reservation(Change::Joined) => Some("joined"),
        EventKind::Reservation(Change::Left) => Some("left"),
        EventKind::Reservation(Change::Expired) => Some("expired"),
        EventKind::EndedByLoss => Some("host_lost"),
        EventKind::EndedByLeave => Some("host_left"),
        EventKind::EndedByRoomChange => Some("room_changed"),
        EventKind::Released => Some("released"),
    }
}

/// The regions with the most hosts, at most [`MOST_REGIONS`], and all others together.
pub fn largest_regions(counts: &Counts) -> Vec<(&str, RegionCounts)> {
    let mut regions: Vec<(&str, RegionCounts)> = counts
        .regions
        .iter()
        .map(|(name, region)| (name.as_str(), region.clone()))
        .collect();
    regions.sort_by(|(a, of_a), (b, of_b)| of_b.hosts.cmp(&of_a.hosts).then(a.cmp(b)));
    let rest = regions.split_off(regions.len().min(MOST_REGIONS));
    if !rest.is_empty() {
        let mut other = RegionCounts::default();
        for (_, region) in &rest {
            other.add(region);
        }
        match regions.iter_mut().find(|(name, _)| *name == OTHER_REGIONS) {
            Some((_, region)) => region.add(&other),
            None => regions.push((OTHER_REGIONS, other)),
        }
    }
    regions
}

fn label(name: &'static str, value: &str) -> (&'static str, String) {
    (name, value.to_owned())
}

/// Writes the counts of the pool when somebody asks, so that regions without hosts vanish.
#[derive(Debug)]
struct PoolCollector(Arc<ArcSwap<Counts>>);

impl Collector for PoolCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.0.load();
        let mut write = |name: &str, help: &str, values: Vec<(OwnedLabels, u64)>| {
            let family = Family::<OwnedLabels, Gauge>::default();
            for (labels, number) in values {
                let number = i64::try_from(number).unwrap_or(i64::MAX);
                family.get_or_create(&labels).set(number);
            }
            family.encode(encoder.encode_descriptor(name, help, None, family.metric_type())?)
        };
        let by_state = HostState::ALL.map(|state| {
            let number = counts.hosts.get(state.as_str()).copied().unwrap_or_default();
            (vec![label("state", state.as_str())], number)
        });
        write("berth_hosts", "Hosts by state", by_state.into())?;
        let slots = [
            ("total", counts.capacity),
            ("free", counts.free),
            ("taken", counts.taken),
        ];
        let slots = slots.map(|(kind, number)| (vec![label("kind", kind)], number));
        write(
            "berth_slots",
            "Sessions that all hosts could serve, and that could begin now",
            slots.into(),
        )?;
        let regions = largest_regions(&counts);
        let of_regions = |number: fn(&RegionCounts) -> u64| {
            let region =
                |(name, region): &(&str, RegionCounts)| (vec![label("region", name)], number(region));
            regions.iter().map(region).collect()
        };
        let hosts = regions.iter().flat_map(|(name, region)| {
            let states = region.states.iter();
            states.map(|(state, hosts)| (vec![label("region", name), label("state", state)], *hosts))
        });
        write("berth_region_hosts", "Hosts by region and state", hosts.collect())?;
        write(
            "berth_region_slots",
            "Sessions that all hosts of a region could serve",
            of_regions(|region| region.slots),
        )?;
        write(
            "berth_region_free_slots",
            "Sessions that could begin now by region",
            of_regions(|region| region.available_slots),
        )?;
        let known = Gauge::<i64>::default();
        known.set(i64::from(counts.occupancy_known));
        let help = "Whether a signaling server keeps the rooms of this pool on the same store";
        known.encode(encoder.encode_descriptor(
            "berth_occupancy_known",
            help,
            None,
            known.metric_type(),
        )?)?;
        let quiet = Gauge::<i64>::default();
        quiet.set(i64::from(counts.quiet));
        let help = "Whether no host is handed out because the store lost what was granted";
        quiet.encode(encoder.encode_descriptor("berth_store_quiet", help, None, quiet.metric_type())?)
    }
}
