//! `SettingsApplied`: whether every pod follows the newest settings.

use berth_crds::api::SettingsStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::{Conditions, Truth, find};
use super::reason::{ConditionType, Reason};
use super::rollout::Rollout;
use crate::pods::Generations;

/// What was seen of the settings of a service.
#[derive(Clone, Debug, Default)]
pub struct SettingsFacts {
    /// What the pods should follow; absent while one of the resources is not there.
    pub wanted: Option<Generations>,
    /// What they said; absent when they were not asked since the operator started.
    pub followers: Option<Followers>,
}

/// What the ready pods of a service said of their settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followers {
    /// Pods that are ready.
    pub ready: usize,
    /// Pods that follow the newest settings.
    pub following: usize,
    /// Why a pod refuses them, if one does.
    pub refused: Option<String>,
    /// Pods that have not answered for a while.
    pub lost: usize,
}

/// What is told of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether every pod follows them.
    pub truth: Truth,
    /// Why.
    pub reason: Reason,
    /// The same in words.
    pub message: String,
}

impl Verdict {
    fn new(truth: Truth, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            truth,
            reason,
            message: message.into(),
        }
    }

    /// Adds `SettingsApplied`.
    pub(super) fn tell(&self, conditions: &mut Conditions<'_>) {
        conditions.set(
            ConditionType::SettingsApplied,
            self.truth,
            self.reason,
            self.message.clone(),
        );
    }
}

/// The verdict on a resource of `generation`, after the conditions and numbers of the `previous` status.
pub(super) fn judge(
    facts: &SettingsFacts,
    rollout: Option<&Rollout>,
    generation: Option<i64>,
    previous: (&[Condition], SettingsStatus),
) -> (Verdict, SettingsStatus) {
    let (conditions, numbers) = previous;
    let pods = rollout.map_or(0, |rollout| rollout.ready);
    let Some(followers) = &facts.followers else {
        // An operator that has just started: what was told of this generation still stands.
        if let Some(before) = before(conditions, generation) {
            return (before, numbers);
        }
        let verdict = Verdict::new(Truth::False, Reason::SettingsPending, "no pod was asked yet");
        return (verdict, of(0, pods));
    };
    // Slices and the Deployment are seen by two watches; neither may hide a pod.
    let total = pods.max(i32::try_from(followers.ready).unwrap_or(i32::MAX));
    let following = i32::try_from(followers.following).unwrap_or(i32::MAX);
    let count = format!("{following} of {total} pods follow the newest settings");
    let verdict = if facts.wanted.is_none() {
        let message = "a resource that is named does not exist";
        Verdict::new(Truth::False, Reason::SettingsPending, message)
    } else if total == 0 && rollout.is_some_and(|rollout| rollout.desired == 0) {
        Verdict::new(Truth::True, Reason::ScaledToZero, "no pods are wanted")
    } else if let Some(why) = &followers.refused {
        Verdict::new(
            Truth::False,
            Reason::SettingsRefused,
            format!("{count}; the last good ones stay in force because of {why}"),
        )
    } else if total > 0 && following == total {
        Verdict::new(Truth::True, Reason::SettingsInForce, count)
    } else if followers.lost > 0 && followers.following + followers.lost >= followers.ready {
        let message = format!("{count}; {} cannot be asked", followers.lost);
        Verdict::new(Truth::Unknown, Reason::PodsUnreachable, message)
    } else {
        Verdict::new(Truth::False, Reason::SettingsPending, count)
    };
    (verdict, of(following, total))
}

fn of(applied_pods: i32, total_pods: i32) -> SettingsStatus {
    SettingsStatus {
        applied_pods,
        total_pods,
    }
}

fn before(conditions: &[Condition], generation: Option<i64>) -> Option<Verdict> {
    let before = find(conditions, ConditionType::SettingsApplied)
        .filter(|before| before.observed_generation == generation)?;
    let truth = [Truth::True, Truth::False, Truth::Unknown]
        .into_iter()
        .find(|truth| truth.as_str() == before.status)?;
    let reason = Reason::ALL
        .iter()
        .find(|reason| reason.as_str() == before.reason)?;
    Some(Verdict::new(truth, *reason, before.message.clone()))
}
