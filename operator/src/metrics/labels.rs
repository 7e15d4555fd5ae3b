//! Labels of the operator's metrics, each out of a closed set.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::error::Class;

/// One of our kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    SignalingCluster,
    HostPool,
    TurnConfig,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::SignalingCluster, Self::HostPool, Self::TurnConfig];

    /// The word in manifests.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::SignalingCluster => "SignalingCluster",
            Self::HostPool => "HostPool",
            Self::TurnConfig => "TurnConfig",
        }
    }
}

impl EncodeLabelValue for Kind {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        self.as_str().encode(encoder)
    }
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Done,
    Failed(FailureLabel),
}

impl Outcome {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [
        Self::Done,
        Self::Failed(FailureLabel::Transient),
        Self::Failed(FailureLabel::Conflict),
        Self::Failed(FailureLabel::Forbidden),
        Self::Failed(FailureLabel::Invalid),
    ];
}

/// Why a reconcile failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FailureLabel {
    Transient,
    Conflict,
    Forbidden,
    Invalid,
}

impl From<Class> for Outcome {
    fn from(class: Class) -> Self {
        Self::Failed(match class {
            Class::Transient => FailureLabel::Transient,
            Class::Conflict => FailureLabel::Conflict,
            Class::Forbidden => FailureLabel::Forbidden,
            Class::Invalid => FailureLabel::Invalid,
        })
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        match self {
            Self::Done => "done",
            Self::Failed(FailureLabel::Transient) => "transient",
            Self::Failed(FailureLabel::Conflict) => "conflict",
            Self::Failed(FailureLabel::Forbidden) => "forbidden",
            Self::Failed(FailureLabel::Invalid) => "invalid",
        }
        .encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReconcileLabels {
    pub(super) kind: Kind,
    pub(super) result: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabel {
    pub(super) kind: Kind,
}

/// Whether a pod answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answered {
    Yes,
    No,
}

impl EncodeLabelValue for Answered {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
        }
        .encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AskedLabels {
    pub(super) kind: Kind,
    pub(super) answered: Answered,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StateLabel {
    pub(super) state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ObjectLabel {
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) verb: &'static str,
    pub(super) kind: &'static str,
    pub(super) code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ConditionLabels {
    pub(super) kind: Kind,
    pub(super) condition: &'static str,
    pub(super) status: &'static str,
}
