//! Status of a HostPool.

use berth_crds::HostPool;
use berth_crds::api::{HostCounts, HostPoolStatus, RegionCounts, RegionDemand, SlotCounts};
use jiff::Timestamp;
use kube::ResourceExt;

use super::around::{self, AroundFacts};
use super::conditions::{Conditions, Truth};
use super::pause;
use super::progress::{Progress, Trouble};
use super::reason::{ConditionType, Reason};
use super::rollout::Rollout;
use super::security;
use super::settings::{self, SettingsFacts};
use crate::names::Component;
use crate::render::ChildId;
use crate::resolve::{Missing, Placeholder};

/// What was seen of a HostPool.
#[derive(Clone, Debug, Default)]
pub struct HostPoolFacts {
    /// What is named and does not exist; absent when that was not found out.
    pub missing: Option<Vec<Missing>>,
    /// What the pods follow.
    pub settings: SettingsFacts,
    /// The Deployment.
    pub rollout: Option<Rollout>,
    /// Hash of the Deployment that was applied; absent when it was withheld.
    pub applied: Option<String>,
    /// Children that are not what they should be, because the resource is paused.
    pub held: Vec<ChildId>,
    /// What stands around the pods.
    pub around: AroundFacts,
    /// The last reading of the counts.
    pub occupation: Occupation,
    /// Secrets that are accepted although everybody knows them; absent when they were not looked at.
    pub placeholders: Option<Vec<Placeholder>>,
}

/// The last reading of a pool's counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Occupation {
    /// There was none yet since the operator started: what the status says stays.
    #[default]
    Unread,
    /// No matchmaker answered: the counts stay, but nobody knows.
    Unreachable,
    /// A matchmaker answered.
    Counted {
        /// Hosts by state.
        hosts: HostCounts,
        /// Slots of all hosts.
        slots: SlotCounts,
        /// By region, ordered by name.
        regions: Vec<RegionCounts>,
        /// Finds that were refused lately, by region, ordered by name.
        demand: Vec<RegionDemand>,
    },
}

/// The status of `resource` after `previous`; `trouble` is what went wrong.
pub fn host_pool(
    resource: &HostPool,
    previous: &HostPoolStatus,
    facts: &HostPoolFacts,
    trouble: Option<&Trouble>,
    now: Timestamp,
) -> HostPoolStatus {
    let mut conditions = Conditions::after(&previous.conditions, resource.metadata.generation, now);
    let (verdict, settings) = settings::judge(
        &facts.settings,
        facts.rollout.as_ref(),
        resource.metadata.generation,
        (&previous.conditions, previous.settings),
    );
    verdict.tell(&mut conditions);
    let in_force = verdict.truth == Truth::True;
    let mut progress = Progress {
        settings: Some(verdict),
        trouble,
        missing: facts.missing.as_deref(),
        ..Progress::default()
    };
    let held = pause::tell(resource.spec.paused, &facts.held, &mut conditions);
    progress.waiting.extend(held);
    around::tell_autoscaling(
        resource.spec.autoscaling.as_ref(),
        resource.spec.replicas,
        false,
        &facts.around,
        &mut conditions,
    );
    let route = around::tell_route(resource.spec.http_route.as_ref(), &facts.around, &mut conditions);
    progress.waiting.extend(route);
    let rollout = progress.tell_rollout(facts.rollout.as_ref(), facts.applied.as_deref(), &mut conditions);
    let warnings = facts.placeholders.as_deref().map(security::of_placeholders);
    security::tell(warnings, &mut conditions);
    let (hosts, slots, regions, demand) = counts(resource, previous, &facts.occupation, &mut conditions);
    capacity(resource, &facts.occupation, &mut conditions);
    drained(resource.spec.drain, in_force, &facts.occupation, &mut conditions);

    HostPoolStatus {
        observed_generation: resource.metadata.generation,
        replicas: rollout.replicas,
        ready_replicas: rollout.ready,
        selector: Component::Matchmaker.selector_text(&resource.name_any()),
        image: rollout.image,
        settings,
        hosts,
        slots,
        regions,
        demand,
        conditions: conditions.finish(),
    }
}

type Counted = (HostCounts, SlotCounts, Vec<RegionCounts>, Vec<RegionDemand>);

/// The counts, and the condition `HostsAvailable`. Counts that cannot be read stay as they are: zero would be a lie.
fn counts(
    resource: &HostPool,
    previous: &HostPoolStatus,
    occupation: &Occupation,
    conditions: &mut Conditions<'_>,
) -> Counted {
    const KIND: ConditionType = ConditionType::HostsAvailable;
    const NO_ANSWER: &str = "no matchmaker answers; the counts are the last that were read";
    match occupation {
        Occupation::Counted {
            hosts,
            slots,
            regions,
            demand,
        } => {
            let (reason, message) = if resource.spec.drain {
                let message = "spec.drain is true: sessions that run go on, and new ones are refused";
                (Reason::Draining, message)
            } else if slots.available > 0 {
                (Reason::FreeSlots, "hosts have free slots")
            } else if hosts.total > 0 {
                (Reason::NoFreeSlots, "no host has a free slot")
            } else {
                (Reason::NoHosts, "no host has a live heartbeat")
            };
            conditions.set(KIND, (reason == Reason::FreeSlots).into(), reason, message);
            return (*hosts, *slots, regions.clone(), demand.clone());
        }
        Occupation::Unreachable => conditions.set(KIND, Truth::Unknown, Reason::CountsUnavailable, NO_ANSWER),
        Occupation::Unread => conditions.keep(KIND, (Truth::Unknown, Reason::CountsUnavailable, NO_ANSWER)),
    }
    let HostPoolStatus {
        hosts,
        slots,
        regions,
        demand,
        ..
    } = previous;
    (*hosts, *slots, regions.clone(), demand.clone())
}

/// `Drained`. `in_force`: every pod follows the settings, so none grants anything any more.
fn drained(drain: bool, in_force: bool, occupation: &Occupation, conditions: &mut Conditions<'_>) {
    const KIND: ConditionType = ConditionType::Drained;
    const UNKNOWN: (Truth, Reason, &str) = (
        Truth::Unknown,
        Reason::CountsUnavailable,
        "spec.drain is true, and no matchmaker has told whether sessions still run",
    );
    if !drain {
        return conditions.set(KIND, Truth::False, Reason::NotDraining, "spec.drain is false");
    }
    match occupation {
        // How many there are is in the status.
        Occupation::Counted { slots, .. } if slots.taken > 0 || !in_force => conditions.set(
            KIND,
            Truth::False,
            Reason::Draining,
            "spec.drain is true, and sessions still run or may still begin",
        ),
        Occupation::Counted { .. } => conditions.set(
            KIND,
            Truth::True,
            Reason::NoSessions,
            "spec.drain is true, and no session is left",
        ),
        Occupation::Unread if conditions.was(KIND, Truth::True) => conditions.keep(KIND, UNKNOWN),
        Occupation::Unreachable | Occupation::Unread => {
            let (truth, reason, message) = UNKNOWN;
            conditions.set(KIND, truth, reason, message);
        }
    }
}

/// `CapacityLow`. A pool that is drained on purpose is not short of slots.
fn capacity(resource: &HostPool, occupation: &Occupation, conditions: &mut Conditions<'_>) {
    const KIND: ConditionType = ConditionType::CapacityLow;
    const NO_ANSWER: &str = "no matchmaker answers";
    let least = resource.spec.min_available_slots;
    if least == 0 {
        return conditions.set(
            KIND,
            Truth::False,
            Reason::NoMinimum,
            "spec.minAvailableSlots is 0",
        );
    }
    if resource.spec.drain {
        return conditions.set(KIND, Truth::False, Reason::Draining, "spec.drain is true");
    }
    match occupation {
        // The numbers are in the status: in the message they would be a second thing that moves.
        Occupation::Counted { slots, .. } if slots.available < i64::from(least) => conditions.set(
            KIND,
            Truth::True,
            Reason::SlotsBelowMinimum,
            format!("fewer than {least} slots are free (spec.minAvailableSlots)"),
        ),
        Occupation::Counted { .. } => conditions.set(
            KIND,
            Truth::False,
            Reason::SlotsAboveMinimum,
            format!("at least {least} slots are free"),
        ),
        Occupation::Unreachable => conditions.set(KIND, Truth::Unknown, Reason::CountsUnavailable, NO_ANSWER),
        Occupation::Unread => conditions.keep(KIND, (Truth::Unknown, Reason::CountsUnavailable, NO_ANSWER)),
    }
}
