//! Conditions: built anew each time, equal to the old ones when nothing changed.

use berth_crds::api::{HostPoolStatus, SignalingClusterStatus, TurnConfigStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::reason::{ConditionType, Reason};

/// Longest message; the API allows 32768 characters.
const LONGEST_MESSAGE: usize = 1024;

/// `True`, `False` or `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It is not known.
    Unknown,
}

impl Truth {
    /// The word in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Builds the conditions of one status.
pub struct Conditions<'a> {
    previous: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    built: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// Conditions that speak of `generation`, seen at `now`, after those of the `previous` status.
    pub fn after(previous: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self {
            previous,
            generation,
            now,
            built: Vec::new(),
        }
    }

    /// Adds a condition. The time of its last transition changes only with its truth.
    pub fn set(&mut self, kind: ConditionType, truth: Truth, reason: Reason, message: impl Into<String>) {
        let mut message: String = message.into();
        if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
            message.truncate(end);
        }
        let last_transition_time = self
            .before(kind)
            .filter(|before| before.status == truth.as_str())
            .map_or_else(
                || Time(whole_seconds(self.now)),
                |before| before.last_transition_time.clone(),
            );
        self.built.push(Condition {
            type_: kind.as_str().into(),
            status: truth.as_str().into(),
            reason: reason.as_str().into(),
            message,
            observed_generation: self.generation,
            last_transition_time,
        });
    }

    /// Adds the condition as it was, or `otherwise` when there was none.
    pub fn keep(&mut self, kind: ConditionType, otherwise: (Truth, Reason, &str)) {
        if let Some(before) = self.before(kind) {
            let before = Condition {
                observed_generation: self.generation,
                ..before.clone()
            };
            self.built.push(before);
        } else {
            let (truth, reason, message) = otherwise;
            self.set(kind, truth, reason, message);
        }
    }

    /// Whether the condition had this truth before.
    pub(super) fn was(&self, kind: ConditionType, truth: Truth) -> bool {
        self.before(kind)
            .is_some_and(|before| before.status == truth.as_str())
    }

    /// The conditions, in the order in which they were added.
    pub fn finish(self) -> Vec<Condition> {
        self.built
    }

    fn before(&self, kind: ConditionType) -> Option<&'a Condition> {
        self.previous
            .iter()
            .find(|condition| condition.type_ == kind.as_str())
    }
}

/// A status with conditions.
pub(crate) trait HasConditions {
    /// The conditions.
    fn conditions(&self) -> &[Condition];
}

impl HasConditions for SignalingClusterStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

impl HasConditions for HostPoolStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

impl HasConditions for TurnConfigStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

/// The condition `kind` among `conditions`.
pub(crate) fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == kind.as_str())
}

/// The API server keeps whole seconds; a fraction would look like a change.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
