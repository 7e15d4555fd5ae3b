//! Why the server closes a connection: codes and reasons as clients see them.

use crate::protocol::v2::ErrorCode;

/// Why the server closes a connection. Every refusal comes after the upgrade, because browsers do not show a page the
/// status of a failed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The circuit to Redis is open.
    ServiceUnavailable,
    /// The request has no `Host`.
    MalformedRequest,
    /// The room id is missing or has a wrong form.
    InvalidRoomId,
    /// TLS is required and the client did not use it.
    WssRequired,
    /// The origin is not in the list.
    OriginNotAllowed,
    /// The required subprotocol was not offered.
    SubprotocolRequired,
    /// The token is missing, wrong or expired.
    Unauthorized,
    /// The token does not open this room.
    Forbidden,
    /// Too many connections of this client.
    RateLimited,
    /// The room has as many members as it may have. The code is that of a normal close, as the Node services have it.
    RoomFull,
    /// A join failed.
    InternalError,
    /// More bytes wait for this receiver than may.
    Overloaded,
    /// The process ends.
    Draining,
    /// A message is larger than allowed.
    TooLarge,
    /// A text is not UTF-8.
    NotUtf8,
    /// A frame breaks the protocol.
    ProtocolError,
    /// The room of a peer that speaks v2 is full. Unlike [`Close::RoomFull`] this is no normal close.
    NoSeat,
    /// The first message of a peer that speaks v2 is no `hello`, or it came too late.
    HelloExpected,
    /// Another connection has resumed the seat.
    Replaced,
    /// The peer said that it leaves.
    Bye,
}

/// Subprotocols have their own codes from 4000 on (RFC 6455, section 7.4.2).
const REPLACED: u16 = 4000;

impl Close {
    /// Every reason there is.
    pub const ALL: [Self; 20] = [
        Self::ServiceUnavailable,
        Self::MalformedRequest,
        Self::InvalidRoomId,
        Self::WssRequired,
        Self::OriginNotAllowed,
        Self::SubprotocolRequired,
        Self::Unauthorized,
        Self::Forbidden,
        Self::RateLimited,
        Self::RoomFull,
        Self::InternalError,
        Self::Overloaded,
        Self::Draining,
        Self::TooLarge,
        Self::NotUtf8,
        Self::ProtocolError,
        Self::NoSeat,
        Self::HelloExpected,
        Self::Replaced,
        Self::Bye,
    ];

    /// Close code (RFC 6455, section 7.4.1, and the registry behind it).
    pub fn code(self) -> u16 {
        match self {
            Self::RoomFull | Self::Bye => 1000,
            Self::ProtocolError => 1002,
            Self::NotUtf8 => 1007,
            Self::MalformedRequest
            | Self::InvalidRoomId
            | Self::WssRequired
            | Self::OriginNotAllowed
            | Self::SubprotocolRequired
            | Self::Unauthorized
            | Self::HelloExpected
            | Self::Forbidden => 1008,
            Self::TooLarge => 1009,
            Self::InternalError => 1011,
            Self::Draining => 1012,
            Self::ServiceUnavailable | Self::RateLimited | Self::Overloaded | Self::NoSeat => 1013,
            Self::Replaced => REPLACED,
        }
    }

    /// Reason in the close frame.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ServiceUnavailable => "Service unavailable",
            Self::MalformedRequest => "Malformed request",
            Self::InvalidRoomId => "Invalid roomId",
            Self::WssRequired => "WSS required",
            Self::OriginNotAllowed => "Origin not allowed",
            Self::SubprotocolRequired => "Subprotocol required",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::RateLimited => "Rate limited",
            Self::RoomFull | Self::NoSeat => "Room is full",
            Self::InternalError => "Internal error",
            Self::Overloaded => "Server overloaded",
            Self::Draining => "Server draining",
            Self::HelloExpected => "Hello expected",
            Self::Replaced => "Resumed by another connection",
            Self::TooLarge | Self::NotUtf8 | Self::ProtocolError | Self::Bye => "",
        }
    }

    /// What a peer that speaks v2 is told before the close frame: which refusal, and after how many milliseconds another try is
    /// worth it.
    pub(crate) fn error(self) -> Option<(ErrorCode, Option<u64>)> {
        match self {
            Self::ServiceUnavailable | Self::InternalError => Some((ErrorCode::Unavailable, Some(2000))),
            Self::MalformedRequest
            | Self::InvalidRoomId
            | Self::WssRequired
            | Self::OriginNotAllowed
            | Self::SubprotocolRequired => Some((ErrorCode::Refused, None)),
            Self::Unauthorized => Some((ErrorCode::Unauthorized, None)),
            Self::Forbidden => Some((ErrorCode::Forbidden, None)),
            Self::RateLimited => Some((ErrorCode::RateLimited, Some(1000))),
            Self::RoomFull | Self::NoSeat => Some((ErrorCode::RoomFull, Some(2000))),
            Self::Overloaded => Some((ErrorCode::Overloaded, Some(0))),
            Self::Draining => Some((ErrorCode::Draining, Some(250))),
            Self::HelloExpected => Some((ErrorCode::HelloExpected, None)),
            Self::Replaced => Some((ErrorCode::Replaced, None)),
            Self::TooLarge | Self::NotUtf8 | Self::ProtocolError | Self::Bye => None,
        }
    }

    /// Whether a peer that speaks v2 keeps its seat for a while after this. It does unless it was refused for what it did, or
    /// has left.
    pub(crate) fn keeps_seat(self) -> bool {
        matches!(
            self,
            Self::ServiceUnavailable
                | Self::InternalError
                | Self::Overloaded
                | Self::Draining
                // Its token has expired, and it may bring a new one.
                | Self::Unauthorized
        )
    }

    /// Name in metrics and logs, where somebody without a seat may be closed for this reason: a refusal.
    pub(crate) fn refusal(self) -> Option<&'static str> {
        Some(match self {
            Self::ServiceUnavailable => "service-unavailable",
            Self::MalformedRequest => "malformed-request",
            Self::InvalidRoomId => "invalid-room-id",
            Self::WssRequired => "wss-required",
            Self::OriginNotAllowed => "origin-not-allowed",
            Self::SubprotocolRequired => "subprotocol-required",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate-limited",
            Self::RoomFull | Self::NoSeat => "room-full",
            Self::HelloExpected => "hello-expected",
            Self::InternalError => "internal-error",
            Self::Draining => "draining",
            Self::Overloaded
            | Self::TooLarge
            | Self::NotUtf8
            | Self::ProtocolError
            | Self::Replaced
            | Self::Bye => return None,
        })
    }

    /// Whether frames of the peer can still be read after this. They cannot after one that was not understood or not
    /// read to its end.
    pub(crate) fn leaves_frames_readable(self) -> bool {
        !matches!(self, Self::TooLarge | Self::NotUtf8 | Self::ProtocolError)
    }
}
