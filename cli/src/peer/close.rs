//! Why a signaling socket ended, read from close codes, reasons and connection errors.

use std::fmt;

/// The end of a signaling socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// What it means for this peer.
    pub kind: CloseKind,
    /// WebSocket close code, when the server sent one.
    pub code: Option<u16>,
    /// The server's reason or a description of the failure; never contains a token.
    pub reason: String,
}

/// What the end of a signaling socket means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseKind {
    /// 1012: the server drains; another one takes over at once.
    Draining,
    /// 1000 "Room is full".
    RoomFull,
    /// 1008 "Unauthorized" or "Forbidden": the token is missing, wrong or for another room.
    Unauthorized,
    /// 1008 with any other reason: this peer will not be let in as it is configured.
    Policy,
    /// 1013: rate limit, overload or no store; later.
    TryLater,
    /// The server closed for another reason.
    Closed,
    /// The connection broke or went silent without a close frame.
    Lost,
    /// No socket came about.
    Unreachable,
}

impl Close {
    /// Reads a close frame of the server.
    pub fn from_frame(code: u16, reason: &str) -> Self {
        let kind = match (code, reason) {
            (1012 | 1001, _) => CloseKind::Draining,
            (1000, "Room is full") => CloseKind::RoomFull,
            (1008, "Unauthorized" | "Forbidden") => CloseKind::Unauthorized,
            (1008, _) => CloseKind::Policy,
            (1013, _) => CloseKind::TryLater,
            _ => CloseKind::Closed,
        };
        Self {
            kind,
            code: Some(code),
            reason: reason.to_owned(),
        }
    }

    /// A socket that ended without a close frame.
    pub fn lost(reason: impl Into<String>) -> Self {
        Self {
            kind: CloseKind::Lost,
            code: None,
            reason: reason.into(),
        }
    }

    /// A socket that did not come about.
    pub fn unreachable(reason: impl Into<String>) -> Self {
        Self {
            kind: CloseKind::Unreachable,
            code: None,
            reason: reason.into(),
        }
    }

    /// Whether trying again with the same room and token leads nowhere.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self.kind,
            CloseKind::RoomFull | CloseKind::Unauthorized | CloseKind::Policy
        )
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.reason.is_empty()) {
            (Some(code), true) => write!(f, "closed with {code}"),
            (Some(code), false) => write!(f, "closed with {code} ({})", self.reason),
            (None, _) => f.write_str(&self.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_v1_table_have_a_meaning() {
        let kinds = [
            (1012, "Server draining", CloseKind::Draining),
            (1000, "Room is full", CloseKind::RoomFull),
            (1000, "", CloseKind::Closed),
            (1008, "Unauthorized", CloseKind::Unauthorized),
            (1008, "Forbidden", CloseKind::Unauthorized),
            (1008, "Origin not allowed", CloseKind::Policy),
            (1008, "Invalid roomId", CloseKind::Policy),
            (1013, "Rate limited", CloseKind::TryLater),
            (1013, "Service unavailable", CloseKind::TryLater),
            (1011, "Internal error", CloseKind::Closed),
        ];
        for (code, reason, kind) in kinds {
            assert_eq!(Close::from_frame(code, reason).kind, kind, "{code} {reason}");
        }
    }

    #[test]
    fn only_refusals_are_final() {
        assert!(Close::from_frame(1008, "Forbidden").is_refusal());
        assert!(Close::from_frame(1000, "Room is full").is_refusal());
        assert!(!Close::from_frame(1012, "").is_refusal());
        assert!(!Close::unreachable("refused").is_refusal());
    }
}
