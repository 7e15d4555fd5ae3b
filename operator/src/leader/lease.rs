//! Who leads, by the object Lease of the Kubernetes API. Pure: a lease and the time in, what to do out.
//!
//! A candidate does not compare clocks with the holder. It watches whether the lease changes, by its own monotonic
//! clock: only one that did not change for its whole duration is free. Taking it replaces exactly the version that was
//! seen, so of two candidates one wins.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;

/// The times of an election. `retry` < `renew_deadline` < `duration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a lease that is not renewed stays taken.
    pub duration: Duration,
    /// How long a holder tries to renew before it gives up: earlier than others may take the lease.
    pub renew_deadline: Duration,
    /// Time between two tries.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// What a candidate does next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Claim {
    /// Make the lease.
    Create(Box<Lease>),
    /// Replace the lease that was seen.
    Replace(Box<Lease>),
    /// Look again later.
    Wait,
}

/// One that wants to lead.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    identity: String,
    name: String,
    namespace: String,
    timing: Timing,
    seen: Option<Seen>,
}

/// The lease as it was last seen, and since when it has been so.
#[derive(Clone, Debug)]
struct Seen {
    version: Option<String>,
    since: Instant,
}

impl Candidate {
    pub(super) fn new(identity: String, namespace: String, name: String, timing: Timing) -> Self {
        Self {
            identity,
            name,
            namespace,
            timing,
            seen: None,
        }
    }

    /// What to do about `lease` as it is at `now`; `clock` is written into it for people to read.
    pub(super) fn consider(&mut self, lease: Option<&Lease>, now: Instant, clock: Timestamp) -> Claim {
        let Some(lease) = lease else {
            return Claim::Create(Box::new(Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    namespace: Some(self.namespace.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.spec(0, clock)),
            }));
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let free = spec.holder_identity.as_deref().is_none_or(str::is_empty);
        if free || self.has_expired(lease, &spec, now) {
            let mut taken = lease.clone();
            taken.spec = Some(self.spec(
                spec.lease_transitions.unwrap_or_default().saturating_add(1),
                clock,
            ));
            return Claim::Replace(Box::new(taken));
        }
        Claim::Wait
    }

    /// Whether `lease` is ours.
    pub(super) fn holds(&self, lease: &Lease) -> bool {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
        holder == Some(&self.identity)
    }

    fn has_expired(&mut self, lease: &Lease, spec: &LeaseSpec, now: Instant) -> bool {
        let version = lease.metadata.resource_version.clone();
        match &self.seen {
            Some(seen) if seen.version == version => {
                let duration = spec
                    .lease_duration_seconds
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .map_or(self.timing.duration, Duration::from_secs);
                now.saturating_duration_since(seen.since) >= duration
            }
            _ => {
                self.seen = Some(Seen { version, since: now });
                false
            }
        }
    }

    fn spec(&self, transitions: i32, clock: Timestamp) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            // The field knows whole seconds, and zero is refused.
            lease_duration_seconds: i32::try_from(self.timing.duration.as_secs().max(1)).ok(),
            acquire_time: Some(MicroTime(clock)),
            renew_time: Some(MicroTime(clock)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

/// The held lease, renewed.
pub(super) fn renewed(lease: &Lease, clock: Timestamp) -> Lease {
    let mut renewed = lease.clone();
    if let Some(spec) = &mut renewed.spec {
        spec.renew_time = Some(MicroTime(clock));
    }
    renewed
}

/// The held lease, given back.
pub(super) fn released(lease: &Lease, clock: Timestamp) -> Lease {
    let mut released = renewed(lease, clock);
    if let Some(spec) = &mut released.spec {
        spec.holder_identity = None;
    }
    released
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(identity: &str) -> Candidate {
        Candidate::new(identity.into(), "ns".into(), "lease".into(), Timing::default())
    }

    fn stored(claim: Claim, version: &str) -> Lease {
        let mut lease = match claim {
            Claim::Create(lease) | Claim::Replace(lease) => *lease,
            Claim::Wait => panic!("waits"),
        };
        lease.metadata.resource_version = Some(version.into());
        lease
    }

    #[test]
    fn a_lease_is_taken_only_after_it_stood_still_for_its_duration() {
        let (mut one, mut two) = (candidate("one"), candidate("two"));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let clock = Timestamp::UNIX_EPOCH;
        let lease = stored(one.consider(None, start, clock), "1");
        assert!(one.holds(&lease) && !two.holds(&lease));

        assert_eq!(two.consider(Some(&lease), start, clock), Claim::Wait);
        assert_eq!(two.consider(Some(&lease), at(14), clock), Claim::Wait);
        let mut renewed = renewed(&lease, clock);
        renewed.metadata.resource_version = Some("2".into());
        assert_eq!(two.consider(Some(&renewed), at(15), clock), Claim::Wait);
        assert_eq!(two.consider(Some(&renewed), at(29), clock), Claim::Wait);
        let taken = stored(two.consider(Some(&renewed), at(30), clock), "3");
        assert!(two.holds(&taken));
        assert_eq!(taken.spec.unwrap().lease_transitions, Some(1));
    }

    #[test]
    fn clocks_are_not_compared() {
        let (mut one, mut two) = (candidate("one"), candidate("two"));
        let start = Instant::now();
        let lease = stored(one.consider(None, start, Timestamp::UNIX_EPOCH), "1");
        // The holder's clock is years behind, and still its lease is respected.
        assert_eq!(two.consider(Some(&lease), start, Timestamp::MAX), Claim::Wait);
    }

    #[test]
    fn what_was_given_back_is_taken_at_once() {
        let (mut one, mut two) = (candidate("one"), candidate("two"));
        let now = Instant::now();
        let lease = stored(one.consider(None, now, Timestamp::UNIX_EPOCH), "1");
        let released = released(&lease, Timestamp::UNIX_EPOCH);
        assert!(matches!(
            two.consider(Some(&released), now, Timestamp::UNIX_EPOCH),
            Claim::Replace(_)
        ));
    }
}
