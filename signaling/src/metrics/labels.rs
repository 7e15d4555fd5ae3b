//! Labels: each a closed set, so that the number of series is.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// Why a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DropReason {
    /// More messages than the connection may send.
    ClientRate,
    /// More messages than the client address may send.
    IpRate,
    /// More messages than may be sent in the room.
    RoomRate,
    /// No JSON.
    NotJson,
    /// JSON, but no signaling message.
    Schema,
    /// More messages before a second peer than are kept.
    EarlyFull,
    /// The other instance was not reached and came back too late.
    Unreachable,
    /// From another instance, of a member that is not in the room.
    Stranger,
    /// From another instance, heard already.
    Stale,
    /// From another instance, not understood.
    Malformed,
    /// The receiver's connection is closing.
    Closing,
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Path {
    /// To a socket of the same instance.
    Local,
    /// To another instance.
    Remote,
}

/// How an attempt to join ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum JoinResult {
    /// With a seat.
    Joined,
    /// The room was full.
    Full,
    /// Redis is left alone for the moment.
    Unavailable,
    /// Redis failed.
    Failed,
}

/// What became of an attempt to resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ResumeResult {
    /// The seat was still there.
    Resumed,
    /// It was not: the peer has joined anew under its old id.
    Expired,
}

/// Label `result` of an attempt to resume.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResumeLabel {
    /// What became of it.
    pub(crate) result: ResumeResult,
}

/// Label `reason`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DropLabel {
    /// Why.
    pub(crate) reason: DropReason,
}

/// Label `path`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PathLabel {
    /// Which way.
    pub(crate) path: Path,
}

/// Label `result`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct JoinLabel {
    /// How it ended.
    pub(crate) result: JoinResult,
}

/// Label `code`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CloseLabel {
    /// Close code.
    pub(crate) code: u16,
}

impl EncodeLabelValue for DropReason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::ClientRate => "client-rate",
            Self::IpRate => "ip-rate",
            Self::RoomRate => "room-rate",
            Self::NotJson => "not-json",
            Self::Schema => "schema",
            Self::EarlyFull => "early-full",
            Self::Unreachable => "unreachable",
            Self::Stranger => "stranger",
            Self::Stale => "stale",
            Self::Malformed => "malformed",
            Self::Closing => "closing",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

impl EncodeLabelValue for Path {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Local => "local",
            Self::Remote => "remote",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

impl EncodeLabelValue for ResumeResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Resumed => "resumed",
            Self::Expired => "expired",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

impl EncodeLabelValue for JoinResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Joined => "joined",
            Self::Full => "full",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}
