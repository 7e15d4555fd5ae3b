//! What is told about a resource: pure functions from what was seen to its status.
//!
//! `Ready`, `Reconciling` and `Stalled` follow [kstatus](https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus):
//! `Stalled=True` reads as failed, `Reconciling=True` as in progress, `Ready=True` as current. All three are always
//! present. `Ready=True` means that the newest generation was seen, everything that it names exists, every object
//! is applied, the rollout is complete, the managed Redis is ready and every pod follows the newest settings.

mod around;
mod conditions;
mod host_pool;
mod pause;
mod progress;
mod reason;
mod rollout;
mod security;
mod settings;
mod signaling_cluster;
mod turn_config;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod turn_tests;

pub use around::{AroundFacts, Autoscaler, Route};
pub use conditions::{Conditions, Truth};
pub(crate) use conditions::{HasConditions, find};
pub use host_pool::{HostPoolFacts, Occupation, host_pool};
pub use progress::{Progress, Trouble};
pub use reason::{ConditionType, Reason};
pub use rollout::Rollout;
pub use settings::{Followers, SettingsFacts, Verdict};
pub use signaling_cluster::{RedisFacts, SignalingClusterFacts, signaling_cluster};
pub use turn_config::{ServerFacts, TurnConfigFacts, turn_config};
