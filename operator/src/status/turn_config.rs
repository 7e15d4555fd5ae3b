//! Status of a TurnConfig.

use berth_crds::TurnConfig;
use berth_crds::api::TurnConfigStatus;
use jiff::Timestamp;

use super::conditions::Conditions;
use super::progress::{Progress, Trouble};
use crate::resolve::Missing;

/// What was seen of a TurnConfig.
#[derive(Clone, Debug, Default)]
pub struct TurnConfigFacts {
    /// What is named and does not exist; absent when that was not found out.
    pub missing: Option<Vec<Missing>>,
    /// SignalingClusters and HostPools that name it.
    pub consumers: usize,
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
    TurnConfigStatus {
        observed_generation: resource.metadata.generation,
        consumers: i32::try_from(facts.consumers).unwrap_or(i32::MAX),
        conditions: conditions.finish(),
    }
}
