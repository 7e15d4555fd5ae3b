//! Labels: each a closed set, so that the number of series is.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::close::Close;

/// Values of one label: the enum, its names, and the label set that holds nothing else.
macro_rules! label {
    (
        $(#[$about:meta])*
        $value:ident as $set:ident { $label:ident }
        $($(#[$doc:meta])* $variant:ident = $name:literal,)+
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $value {
            $($(#[$doc])* $variant,)+
        }

        impl $value {
            /// Every value there is.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As metrics and logs show it.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl EncodeLabelValue for $value {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                EncodeLabelValue::encode(&self.name(), encoder)
            }
        }

        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(crate) struct $set {
            pub(crate) $label: $value,
        }
    };
}

label! {
    /// Why a message was dropped.
    DropReason as DropLabel { reason }
    /// More messages than the connection may send.
    ClientRate = "client-rate",
    /// More messages than the client address may send.
    IpRate = "ip-rate",
    /// More messages than may be sent in the room.
    RoomRate = "room-rate",
    /// No JSON.
    NotJson = "not-json",
    /// JSON, but no signaling message.
    Schema = "schema",
    /// More messages before a second peer than are kept.
    EarlyFull = "early-full",
    /// The other instance was not reached and came back too late.
    Unreachable = "unreachable",
    /// From another instance, of a member that is not in the room.
    Stranger = "stranger",
    /// From another instance, heard already.
    Stale = "stale",
    /// From another instance, not understood.
    Malformed = "malformed",
    /// The receiver's connection is closing.
    Closing = "closing",
}

label! {
    /// Which way a message went.
    Path as PathLabel { path }
    /// To a socket of the same instance.
    Local = "local",
    /// To another instance.
    Remote = "remote",
}

label! {
    /// How an attempt to join ended.
    JoinResult as JoinLabel { result }
    /// With a seat.
    Joined = "joined",
    /// The room was full.
    Full = "full",
    /// Redis is left alone for the moment.
    Unavailable = "unavailable",
    /// Redis failed.
    Failed = "failed",
}

label! {
    /// How an attempt to resume ended.
    ResumeResult as ResumeLabel { result }
    /// The peer has its old seat.
    Resumed = "resumed",
    /// The time to come back was over.
    Expired = "expired",
    /// Nobody knows the token.
    Unknown = "unknown",
}

label! {
    /// What became of a round in which instances bring their limits into line.
    SyncResult as SyncLabel { result }
    /// What was taken elsewhere is known.
    Done = "done",
    /// Redis failed.
    Failed = "failed",
    /// Redis was away, so it was not asked.
    Skipped = "skipped",
}

label! {
    /// How the connection of a peer with a seat ended.
    Ending as EndingLabel { by }
    /// The server closed it.
    Server = "server",
    /// The peer closed it by a close frame.
    Peer = "peer",
    /// The peer gave no sign of life between two pings.
    Silence = "silence",
    /// It was lost without a word.
    Lost = "lost",
}

/// Close code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CloseLabel {
    pub(crate) code: u16,
}

/// Why somebody was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RefusalLabel {
    pub(crate) reason: Refusal,
}

/// A [`Close`] that refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Refusal(&'static str);

impl Refusal {
    /// `None` for a reason that only meets who has a seat.
    pub(crate) fn of(close: Close) -> Option<Self> {
        close.refusal().map(Self)
    }
}

impl EncodeLabelValue for Refusal {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}
