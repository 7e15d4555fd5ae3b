//! What a simulated host reports about itself.

use std::io::Write;
use std::sync::Arc;

use serde::Serialize;

use super::stream::StreamTotals;
use crate::peer::candidate::CandidatePair;
use crate::peer::unix_millis;

/// Something that happened to a host.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum HostEvent {
    /// The host sits in its room.
    Joined {
        /// Signaling instance, where signaling tells.
        instance: Option<String>,
    },
    /// The matchmaker took a heartbeat that says something new.
    Registered {
        /// `idle` or `busy`.
        status: &'static str,
        /// Free slots that were reported.
        available_slots: u32,
        /// Seconds for which the matchmaker remembers it.
        ttl: Option<u64>,
    },
    /// The matchmaker was told that the host leaves.
    Left,
    /// A heartbeat did not get through; the next follows soon. Reported once per outage.
    HeartbeatFailed {
        /// Why.
        error: String,
    },
    /// The signaling socket ended and will be opened again.
    Reconnect {
        /// Close code.
        code: Option<u16>,
        /// Why.
        reason: String,
        /// Delay in milliseconds.
        in_ms: u64,
    },
    /// A player is connected.
    SessionStarted {
        /// Counts the sessions of this host.
        session: u64,
        /// The pair that carries the connection.
        candidate_pair: CandidatePair,
        /// Milliseconds from the offer.
        connect_ms: u64,
    },
    /// A session ended, or did not come up.
    SessionEnded {
        /// Counts the sessions of this host.
        session: u64,
        /// `remote-closed`, `peer-left`, `ice-disconnected`, `not-connected`, `replaced`, `closed`
        /// or `failed`.
        reason: &'static str,
        /// What failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        /// Whether it ever was up.
        connected: bool,
        /// Milliseconds since the offer.
        duration_ms: u64,
        /// Video frames sent.
        frames: u64,
        /// Messages sent back.
        echoed: u64,
    },
    /// A player sent messages on a data channel; summed up once per second.
    Input {
        /// Counts the sessions of this host.
        session: u64,
        /// Label of the data channel.
        channel: String,
        /// Messages since the last report.
        messages: u64,
        /// Bytes since the last report.
        bytes: u64,
    },
}

/// An event with the host that it is about: one line of `--json`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostReport {
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// Host id.
    pub host_id: String,
    /// Room id.
    pub room_id: String,
    /// What happened.
    #[serde(flatten)]
    pub event: HostEvent,
}

/// Where reports go. Called from the hosts' tasks; must return at once.
pub type Sink = Arc<dyn Fn(HostReport) + Send + Sync>;

/// Reports for one host.
#[derive(Clone)]
pub struct Reporter {
    host_id: String,
    room_id: String,
    sink: Sink,
}

// === impl Reporter ===

impl Reporter {
    /// Reports about this host go to `sink`.
    pub fn new(host_id: &str, room_id: &str, sink: Sink) -> Self {
        Self {
            host_id: host_id.to_owned(),
            room_id: room_id.to_owned(),
            sink,
        }
    }

    /// Reports an event that happened now.
    pub fn report(&self, event: HostEvent) {
        (self.sink)(HostReport {
            at: unix_millis(),
            host_id: self.host_id.clone(),
            room_id: self.room_id.clone(),
            event,
        });
    }
}

// === impl HostEvent ===

impl HostEvent {
    /// The end of a session with what it carried.
    pub fn session_ended(
        session: u64,
        reason: (&'static str, Option<String>),
        connected: bool,
        duration_ms: u64,
        totals: StreamTotals,
    ) -> Self {
        Self::SessionEnded {
            session,
            reason: reason.0,
            detail: reason.1,
            connected,
            duration_ms,
            frames: totals.frames,
            echoed: totals.echoed,
        }
    }
}

/// A sink that writes lines to standard output, as JSON or as text.
pub fn stdout_sink(json: bool) -> Sink {
    Arc::new(move |report| {
        let line = if json {
            serde_json::to_string(&report).unwrap_or_default()
        } else {
            describe(&report)
        };
        // A reader that went away is no reason to stop hosting.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    })
}

fn describe(report: &HostReport) -> String {
    let host = &report.host_id;
    match &report.event {
        HostEvent::Joined { instance } => {
            let instance = instance.as_deref().unwrap_or("unnamed instance");
            format!("{host}: joined room {} at {instance}", report.room_id)
        }
        HostEvent::Registered {
            status,
            available_slots,
            ..
        } => {
            format!("{host}: registered, {status}, {available_slots} free")
        }
        HostEvent::Left => format!("{host}: left"),
        HostEvent::HeartbeatFailed { error } => format!("{host}: heartbeat failed: {error}"),
        HostEvent::Reconnect { reason, in_ms, .. } => {
            format!("{host}: signaling {reason}; next try in {in_ms} ms")
        }
        HostEvent::SessionStarted {
            session,
            candidate_pair: pair,
            connect_ms,
        } => format!(
            "{host}: session {session} up after {connect_ms} ms, {} {} <-> {} {}",
            pair.local.kind, pair.local.address, pair.remote.kind, pair.remote.address
        ),
        HostEvent::SessionEnded {
            session,
            reason,
            detail,
            duration_ms,
            frames,
            echoed,
            ..
        } => {
            let detail = detail
                .as_ref()
                .map(|detail| format!(" ({detail})"))
                .unwrap_or_default();
            format!(
                "{host}: session {session} ended, {reason}{detail}, after {duration_ms} ms, \
                 {frames} frames, {echoed} messages echoed"
            )
        }
        HostEvent::Input {
            session,
            channel,
            messages,
            bytes,
        } => {
            format!("{host}: session {session} input on {channel}: {messages} messages, {bytes} bytes")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[test]
    fn a_line_names_host_room_and_event() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink: Sink = {
            let lines = lines.clone();
            Arc::new(move |report| lines.lock().push(serde_json::to_value(report).unwrap()))
        };
        let reporter = Reporter::new("h", "r", sink);
        reporter.report(HostEvent::Joined {
            instance: Some("sig-1".into()),
        });
        reporter.report(HostEvent::Registered {
            status: "idle",
            available_slots: 1,
            ttl: Some(30),
        });
        let lines = lines.lock();
        assert_eq!(lines[0]["event"], "joined");
        assert_eq!(lines[0]["hostId"], "h");
        assert_eq!(lines[0]["roomId"], "r");
        assert_eq!(lines[0]["instance"], "sig-1");
        assert_eq!(lines[1]["availableSlots"], 1);
    }
}
