//! Why the server closes a connection: codes and reasons as clients see them.

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
}

impl Close {
    /// Every reason there is.
    pub const ALL: [Self; 16] = [
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
    ];

    /// Close code (RFC 6455, section 7.4.1, and the registry behind it).
    pub fn code(self) -> u16 {
        match self {
            Self::RoomFull => 1000,
            Self::ProtocolError => 1002,
            Self::NotUtf8 => 1007,
            Self::MalformedRequest
            | Self::InvalidRoomId
            | Self::WssRequired
            | Self::OriginNotAllowed
            | Self::SubprotocolRequired
            | Self::Unauthorized
            | Self::Forbidden => 1008,
            Self::TooLarge => 1009,
            Self::InternalError => 1011,
            Self::Draining => 1012,
            Self::ServiceUnavailable | Self::RateLimited | Self::Overloaded => 1013,
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
            Self::RoomFull => "Room is full",
            Self::InternalError => "Internal error",
            Self::Overloaded => "Server overloaded",
            Self::Draining => "Server draining",
            Self::TooLarge | Self::NotUtf8 | Self::ProtocolError => "",
        }
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
            Self::RoomFull => "room-full",
            Self::InternalError => "internal-error",
            Self::Draining => "draining",
            Self::Overloaded | Self::TooLarge | Self::NotUtf8 | Self::ProtocolError => return None,
        })
    }

    /// Whether frames of the peer can still be read after this. They cannot after one that was not understood or not
    /// read to its end.
    pub(crate) fn leaves_frames_readable(self) -> bool {
        !matches!(self, Self::TooLarge | Self::NotUtf8 | Self::ProtocolError)
    }
}
