//! `Ready`, `Reconciling`, `Stalled` and `ResolvedRefs`: the same rules for all kinds.

use super::conditions::{Conditions, Truth};
use super::reason::{ConditionType, Reason};
use super::rollout::Rollout;
use super::settings::Verdict;
use crate::resolve::{Missing, Purpose};

/// Why a resource could not be brought where its spec says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The spec breaks a rule.
    InvalidSpec(String),
    /// An object with the name of a child belongs to someone else.
    NameConflict(String),
    /// The API server refuses a child.
    Rejected(String),
    /// The operator lacks a permission.
    Forbidden(String),
    /// The API server has not taken what it should for a while.
    ApiUnavailable(String),
    /// Objects of a deleted resource of the same name are still there.
    WaitingForDeletion(String),
}

impl Trouble {
    fn tell(&self) -> (Reason, &str) {
        match self {
            Self::InvalidSpec(message) => (Reason::InvalidSpec, message),
            Self::NameConflict(message) => (Reason::NameConflict, message),
            Self::Rejected(message) => (Reason::Rejected, message),
            Self::Forbidden(message) => (Reason::Forbidden, message),
            Self::ApiUnavailable(message) => (Reason::ApiUnavailable, message),
            Self::WaitingForDeletion(message) => (Reason::WaitingForDeletion, message),
        }
    }

    /// Whether it stays until someone changes something.
    fn is_stalled(&self) -> bool {
        !matches!(self, Self::ApiUnavailable(_) | Self::WaitingForDeletion(_))
    }
}

/// What decides about readiness.
#[derive(Clone, Debug, Default)]
pub struct Progress<'a> {
    /// What went wrong.
    pub trouble: Option<&'a Trouble>,
    /// What is named and does not exist; absent when that was not found out.
    pub missing: Option<&'a [Missing]>,
    /// What is still on the way, first things first.
    pub waiting: Vec<(Reason, String)>,
    /// Why the namespace lets no pod in.
    pub blocked: Option<String>,
    /// Why Kubernetes gave up a rollout.
    pub stuck: Option<String>,
    /// Whether the pods follow the newest settings.
    pub settings: Option<Verdict>,
}

impl Progress<'_> {
    /// Adds `Ready`, `Reconciling` and `Stalled`, and `ResolvedRefs`.
    pub fn tell(&self, conditions: &mut Conditions<'_>) {
        let (reason, message, stalled) = self.judge();
        let ready = reason == Reason::UpToDate;
        conditions.set(ConditionType::Ready, ready.into(), reason, message.clone());
        conditions.set(
            ConditionType::Reconciling,
            (!ready && !stalled).into(),
            reason,
            message.clone(),
        );
        conditions.set(ConditionType::Stalled, stalled.into(), reason, message);
        match self.missing {
            Some([]) => conditions.set(
                ConditionType::ResolvedRefs,
                Truth::True,
                Reason::Resolved,
                "everything that is named exists",
            ),
            Some(missing) => conditions.set(
                ConditionType::ResolvedRefs,
                Truth::False,
                reason_of(missing).0,
                self.missing_text(),
            ),
            None => conditions.keep(
                ConditionType::ResolvedRefs,
                (Truth::Unknown, reason, "references were not looked at"),
            ),
        }
    }

    /// The same for a kind with a Deployment or DaemonSet, whose `rollout` is added to what is waited for, and `Available`. `applied` is
    /// the hash of what was applied; a rollout of anything else is not the one that counts. Gives the rollout as the
    /// status shows it.
    pub(super) fn tell_rollout(
        mut self,
        rollout: Option<&Rollout>,
        applied: Option<&str>,
        conditions: &mut Conditions<'_>,
    ) -> Rollout {
        let seen = rollout.cloned().unwrap_or_default();
        let current = rollout.is_some() && applied.is_none_or(|hash| hash == seen.hash);
        if !current {
            self.waiting.push((
                Reason::RollingOut,
                "what makes the pods is being made or changed".into(),
            ));
        } else if let (Some(stuck), false) = (&seen.stuck, seen.is_complete()) {
            self.stuck = Some(stuck.clone());
        } else if !seen.is_complete() {
            self.waiting.push((
                Reason::RollingOut,
                format!(
                    "{} of {} pods are of the newest version and {} are ready",
                    seen.updated, seen.desired, seen.ready
                ),
            ));
        }
        if seen.available > 0 {
            conditions.set(
                ConditionType::Available,
                Truth::True,
                Reason::PodsAvailable,
                "at least one pod serves",
            );
        } else if rollout.is_some() && seen.desired == 0 {
            conditions.set(
                ConditionType::Available,
                Truth::False,
                Reason::ScaledToZero,
                "no pods are wanted",
            );
        } else {
            conditions.set(
                ConditionType::Available,
                Truth::False,
                Reason::NoPodAvailable,
                "no pod serves",
            );
        }
        self.tell(conditions);
        seen
    }

    /// Reason, message, and whether it stays so until someone changes something.
    fn judge(&self) -> (Reason, String, bool) {
        if let Some(trouble) = self.trouble {
            let (reason, message) = trouble.tell();
            return (reason, message.to_owned(), trouble.is_stalled());
        }
        if let Some(missing @ [_, ..]) = self.missing {
            let (reason, stalled) = reason_of(missing);
            return (reason, self.missing_text(), stalled);
        }
        if let Some(blocked) = &self.blocked {
            return (Reason::PodSecurityBlocked, blocked.clone(), true);
        }
        if let Some(stuck) = &self.stuck {
            return (Reason::RolloutStuck, stuck.clone(), true);
        }
        if let Some((reason, message)) = self.waiting.first() {
            return (*reason, message.clone(), false);
        }
        match &self.settings {
            Some(settings) if settings.truth != Truth::True => {
                let stalled = settings.reason == Reason::SettingsRefused;
                (settings.reason, settings.message.clone(), stalled)
            }
            _ => (Reason::UpToDate, "all is as the spec says".into(), false),
        }
    }

    fn missing_text(&self) -> String {
        let missing = self.missing.unwrap_or_default();
        let texts: Vec<_> = missing.iter().map(ToString::to_string).collect();
        texts.join("; ")
    }
}

/// The reason for what is missing, and whether it stays so until someone changes something. What is not there may be on its
/// way; a value that is refused is not.
fn reason_of(missing: &[Missing]) -> (Reason, bool) {
    let is_weak = |one: &&Missing| matches!(one, Missing::Weak(..));
    let first = missing.iter().find(is_weak).or(missing.first());
    let reason = match first {
        None => Reason::Resolved,
        Some(Missing::SignalingCluster(_)) => Reason::SignalingClusterNotFound,
        Some(Missing::TurnConfig(_)) => Reason::TurnConfigNotFound,
        Some(Missing::InvalidTurnConfig(_)) => Reason::TurnConfigInvalid,
        Some(Missing::Secret(_)) => Reason::SecretNotFound,
        Some(Missing::Key(_)) => Reason::SecretKeyMissing,
        Some(Missing::RedisUrl(_)) => Reason::RedisUrlInvalid,
        Some(Missing::Weak(purpose, _)) => weak(*purpose),
    };
    (reason, first.is_some_and(|first| is_weak(&first)))
}

/// The reason for a secret that everybody knows.
pub(super) fn weak(purpose: Purpose) -> Reason {
    match purpose {
        Purpose::Hosts => Reason::WeakHostSecret,
        Purpose::Admin => Reason::WeakAdminToken,
        Purpose::Tokens => Reason::WeakTokenSecret,
    }
}
