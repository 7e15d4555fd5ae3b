//! The steps of `berth play --events`.

use std::io::Write;
use std::sync::Arc;

use serde::Serialize;

use crate::peer::candidate::CandidatePair;
use crate::peer::unix_millis;

/// A step of a player.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum PlayEvent {
    /// The matchmaker gave a host.
    Matched {
        /// Room.
        room_id: String,
    },
    /// A signaling socket is open.
    Joined {
        /// Signaling instance, where signaling tells.
        instance: Option<String>,
    },
    /// The avoided instance answered; another socket follows.
    Avoided {
        /// That instance.
        instance: String,
    },
    /// ICE and DTLS are up.
    Connected {
        /// The pair that carries the connection.
        candidate_pair: CandidatePair,
    },
    /// The data channel is open.
    ChannelOpened,
    /// The first video frame is there.
    FirstFrame,
    /// Frames and round trips are reached.
    GoalsReached,
    /// How the connection is doing; once per second after the goals are reached.
    Alive {
        /// Milliseconds since the last echo.
        silent_ms: u64,
        /// All round trips.
        round_trips: u64,
        /// All frames.
        frames: u64,
    },
    /// The signaling socket ended; the connection goes on.
    Reconnect {
        /// Close code.
        code: Option<u16>,
        /// Why.
        reason: String,
        /// Delay in milliseconds.
        in_ms: u64,
    },
    /// Signaling says that the host's socket left.
    HostLeftSignaling,
}

/// Where steps go. Called from the player's task; must return at once.
pub type Sink = Arc<dyn Fn(PlayEvent) + Send + Sync>;

#[derive(Serialize)]
struct Line<'a> {
    at: u64,
    #[serde(flatten)]
    event: &'a PlayEvent,
}

/// A sink that writes one JSON object per step to standard output.
pub fn stdout_sink() -> Sink {
    Arc::new(|event| {
        let line = serde_json::to_string(&Line {
            at: unix_millis(),
            event: &event,
        })
        .unwrap_or_default();
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    })
}

/// A sink that drops everything.
pub fn silent_sink() -> Sink {
    Arc::new(|_| {})
}
