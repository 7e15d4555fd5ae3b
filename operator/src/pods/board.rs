//! What the pods of every service said last, and whom to ask next. No I/O and no clock of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::reader::{PodReport, ReportedRedis, ReportedSettings};
use super::wanted::Generations;
use crate::cluster::Service;
use crate::status::Followers;

/// First wait after a pod that does not follow yet was asked; services follow a change within milliseconds.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait between two questions to a pod that does not follow.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// How long a question may be on its way before the pod is asked again.
const ON_ITS_WAY: Duration = Duration::from_secs(4);
/// How long a pod may not answer before it counts as out of reach.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// What the pods of every service said last.
#[derive(Debug, Default)]
pub(crate) struct Board {
    entries: Mutex<HashMap<Service, Entry>>,
}

/// The pods of one service.
#[derive(Debug, Default)]
struct Entry {
    wanted: Option<Generations>,
    pods: BTreeMap<IpAddr, Pod>,
    /// Whether every pod of the beginning was asked: until then nobody knows more than the status says.
    is_known: bool,
    round: Option<Round>,
    connections: Option<i64>,
    /// What the last pod that spoke of it said of Redis.
    redis: Option<ReportedRedis>,
    /// When a pod that is not ready was asked for it last.
    asked_for_redis: Option<Instant>,
}

/// One count of the connections of all pods.
#[derive(Debug)]
struct Round {
    began: Instant,
    is_over: bool,
}

#[derive(Debug)]
struct Pod {
    report: Option<ReportedSettings>,
    open: i64,
    waits: u32,
    failing_since: Option<Instant>,
    /// It has not answered for longer than [`GRACE`].
    is_lost: bool,
    next: Instant,
    asked_at: Option<Instant>,
}

/// Pods that are ready, and those of them that follow the settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) ready: usize,
    pub(crate) following: usize,
}

impl Board {
    /// What is known of the pods of `service` with regard to `wanted`; `None` when they were not asked yet.
    pub(crate) fn followers(&self, service: &Service, wanted: Option<&Generations>) -> Option<Followers> {
        let entries = self.entries.lock();
        let entry = entries.get(service).filter(|entry| entry.is_known)?;
        Some(entry.followers(wanted))
    }

    /// Open connections of all pods of `service`, as of the last count.
    pub(crate) fn connections(&self, service: &Service) -> Option<i64> {
        self.entries.lock().get(service)?.connections
    }

    /// What the pods of `service` said of their Redis last.
    pub(crate) fn redis(&self, service: &Service) -> Option<ReportedRedis> {
        self.entries.lock().get(service)?.redis.clone()
    }

    /// Whether a pod of `service` that is not ready is to be asked for its Redis at `now`, which counts as asking it. Pods that do not
    /// reach Redis are not ready, and nobody else can say why.
    pub(super) fn redis_is_due(&self, service: &Service, every: Duration, now: Instant) -> bool {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(service) else {
            return false;
        };
        let asked = entry.asked_for_redis;
        let due = asked.is_none_or(|at| now.saturating_duration_since(at) >= every);
        if due {
            entry.asked_for_redis = Some(now);
        }
        due
    }

    /// The pods of `service` to ask at `now`, which counts as asking them. `count` is how often connections are counted.
    /// Also says whether what is told of the pods changed, because some came or went.
    pub(super) fn plan(
        &self,
        service: &Service,
        wanted: Option<Generations>,
        ready: &BTreeSet<IpAddr>,
        count: Option<Duration>,
        now: Instant,
    ) -> (Vec<IpAddr>, bool) {
        let mut entries = self.entries.lock();
        let entry = entries.entry(service.clone()).or_default();
        let before = entry.told();
        let ask = entry.plan(wanted, ready, count, now);
        (ask, entry.told() != before)
    }

    /// Notes the answer of a pod; says whether what is told of the pods changed.
    pub(super) fn answered(
        &self,
        service: &Service,
        pod: IpAddr,
        answer: Option<PodReport>,
        now: Instant,
    ) -> bool {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(service) else {
            return false;
        };
        let before = entry.told();
        entry.answered(pod, answer, now);
        entry.told() != before
    }

    /// Forgets the services that are gone.
    pub(super) fn retain(&self, exists: impl Fn(&Service) -> bool) {
        self.entries.lock().retain(|service, _| exists(service));
    }

    /// Pods of all services of a kind.
    pub(super) fn tally(&self, is_kind: impl Fn(&Service) -> bool) -> Tally {
        let mut tally = Tally::default();
        for (service, entry) in self.entries.lock().iter() {
            if is_kind(service) {
                let followers = entry.followers(entry.wanted.as_ref());
                tally.ready += followers.ready;
                tally.following += followers.following;
            }
        }
        tally
    }
}

impl Entry {
    fn followers(&self, wanted: Option<&Generations>) -> Followers {
        let mut told = Followers {
            ready: self.pods.len(),
            ..Followers::default()
        };
        let Some(wanted) = wanted else { return told };
        for pod in self.pods.values() {
            if pod.follows(wanted) {
                told.following += 1;
            } else if let Some(reason) = pod.refuses(wanted) {
                told.refused.get_or_insert_with(|| reason.to_owned());
            } else if pod.is_lost {
                told.lost += 1;
            }
        }
        told
    }

    /// What the status is made from.
    fn told(&self) -> (bool, Followers, Option<i64>, Option<ReportedRedis>) {
        (
            self.is_known,
            self.followers(self.wanted.as_ref()),
            self.connections,
            self.redis.clone(),
        )
    }

    fn plan(
        &mut self,
        wanted: Option<Generations>,
        ready: &BTreeSet<IpAddr>,
        count: Option<Duration>,
        now: Instant,
    ) -> Vec<IpAddr> {
        self.pods.retain(|address, _| ready.contains(address));
        for address in ready {
            self.pods.entry(*address).or_insert_with(|| Pod::new(now));
        }
        if self.wanted != wanted {
            self.wanted = wanted;
            self.pods.values_mut().for_each(|pod| pod.begin_anew(now));
        }
        let is_due = |every: Duration| {
            self.round
                .as_ref()
                .is_none_or(|round| now.saturating_duration_since(round.began) >= every)
        };
        if count.is_some_and(is_due) {
            self.round = Some(Round {
                began: now,
                is_over: false,
            });
        }
        let round = self.round.as_ref().map(|round| round.began);
        let mut ask = Vec::new();
        for (address, pod) in &mut self.pods {
            let settings = self.wanted.as_ref().is_some_and(|wanted| !pod.follows(wanted)) && pod.next <= now;
            let connections = round.is_some_and(|began| pod.asked_at.is_none_or(|at| at < began));
            if settings || (connections && pod.next <= now) {
                pod.next = now + ON_ITS_WAY;
                ask.push(*address);
            }
        }
        self.close(now);
        ask
    }

    fn answered(&mut self, address: IpAddr, answer: Option<PodReport>, now: Instant) {
        if let Some(redis) = answer.as_ref().and_then(|report| report.redis.as_ref()) {
            self.redis = Some(redis.clone());
        }
        let Some(pod) = self.pods.get_mut(&address) else {
            return;
        };
        pod.asked_at = Some(now);
        pod.next = now + FIRST_WAIT.saturating_mul(1 << pod.waits.min(5)).min(LONGEST_WAIT);
        pod.waits = pod.waits.saturating_add(1);
        if let Some(report) = answer {
            pod.open = report.connections.unwrap_or_default().open;
            pod.report = Some(report.settings);
            pod.failing_since = None;
            pod.is_lost = false;
        } else {
            let since = *pod.failing_since.get_or_insert(now);
            pod.is_lost = now.saturating_duration_since(since) >= GRACE;
        }
        self.close(now);
    }

    /// Ends what every pod was asked for. A pod that does not answer has as many connections as it said last.
    fn close(&mut self, now: Instant) {
        self.is_known |= self.wanted.is_none() || self.pods.values().all(|pod| pod.asked_at.is_some());
        let pods = &self.pods;
        if let Some(round) = &mut self.round
            && !round.is_over
            && pods
                .values()
                .all(|pod| pod.asked_at.is_some_and(|at| at >= round.began && at <= now))
        {
            round.is_over = true;
            self.connections = Some(pods.values().map(|pod| pod.open).sum());
        }
    }
}

impl Pod {
    fn new(now: Instant) -> Self {
        Self {
            report: None,
            open: 0,
            waits: 0,
            failing_since: None,
            is_lost: false,
            next: now,
            asked_at: None,
        }
    }

    /// Other settings are wanted: it is asked at once, and has the whole grace.
    fn begin_anew(&mut self, now: Instant) {
        self.waits = 0;
        self.failing_since = None;
        self.is_lost = false;
        self.next = now;
    }

    fn follows(&self, wanted: &Generations) -> bool {
        let in_force = self
            .report
            .as_ref()
            .and_then(|report| report.generations.as_ref());
        in_force.is_some_and(|in_force| covers(in_force, wanted))
    }

    /// Why it refuses `wanted`, if it does. A version that it could not read at all is the newest, and so this one.
    fn refuses(&self, wanted: &Generations) -> Option<&str> {
        let refused = self.report.as_ref()?.refused.as_ref()?;
        let generations = refused.generations.as_ref();
        generations
            .is_none_or(|refused| covers(refused, wanted))
            .then_some(refused.reason.as_str())
    }
}

/// Whether `is` holds exactly what is `wanted` of each kind. A pod may be ahead of what is known here; that passes.
fn covers(is: &BTreeMap<String, i64>, wanted: &Generations) -> bool {
    wanted
        .iter()
        .all(|(kind, generation)| is.get(*kind) == Some(generation))
}
