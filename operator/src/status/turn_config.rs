//! Status of a TurnConfig.

use berth_crds::TurnConfig;
use berth_crds::api::TurnConfigStatus;
use jiff::Timestamp;

use super::conditions::{Conditions, Truth};
use super::progress::{Progress, Trouble};
use super::reason::{ConditionType, Reason};
use crate::probe::Reach;
use crate::resolve::Missing;

/// What was seen of a TurnConfig.
#[derive(Clone, Debug, Default)]
pub struct TurnConfigFacts {
    /// What is named and does not exist; absent when that was not found out.
    pub missing: Option<Vec<Missing>>,
    /// SignalingClusters and HostPools that name it.
    pub consumers: usize,
    /// Whether its servers answer.
    pub reach: Reach,
}

/// The status of `resource` after `previous`; `trouble` is what went wrong.
pub fn turn_config(
    resource: &TurnConfig,
    previous: &TurnConfigStatus,
    facts: &TurnConfigFacts,
    trouble: Option<&Trouble>,
    now: Timestamp,
) -> TurnConfigStatus {
    let mut conditions = Conditions::after(&previous.conditions, resource.metadata.generation, now);
    Progress {
        trouble,
        missing: facts.missing.as_deref(),
        ..Progress::default()
    }
    .tell(&mut conditions);
    tell_reach(&facts.reach, &mut conditions);
    TurnConfigStatus {
        observed_generation: resource.metadata.generation,
        consumers: i32::try_from(facts.consumers).unwrap_or(i32::MAX),
        conditions: conditions.finish(),
    }
}

/// Adds `ServersReachable`.
fn tell_reach(reach: &Reach, conditions: &mut Conditions<'_>) {
    const KIND: ConditionType = ConditionType::ServersReachable;
    if *reach == Reach::default() {
        // Nobody asked since this process leads.
        let message = "no server was asked yet";
        return conditions.keep(KIND, (Truth::Unknown, Reason::ServersNotAsked, message));
    }
    let (truth, reason) = match (reach.asked(), reach.silent.is_empty()) {
        (0, _) => (Truth::Unknown, Reason::ServersNotAsked),
        (_, true) => (Truth::True, Reason::ServersAnswer),
        (_, false) => (Truth::False, Reason::ServersSilent),
    };
    conditions.set(KIND, truth, reason, reach.text());
}
