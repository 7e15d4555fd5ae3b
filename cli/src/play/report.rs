//! The result of `berth play`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::probe::{Echoes, Probe, Video};
use crate::peer::candidate::CandidatePair;
use crate::peer::millis;

/// How it went, with its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Frames and round trips were reached.
    Ok,
    /// The matchmaker has no host (404).
    NoHost,
    /// Signaling refused the player or was not reached.
    SignalingRefused,
    /// No connection in time.
    NotConnected,
    /// The connection was up, but data channel or video failed.
    StreamFailed,
    /// Anything else, for example a matchmaker that is not reached.
    Error,
}

/// What a player went through. Times are in milliseconds since the start.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How it went.
    pub outcome: Outcome,
    /// The exit code of `berth play`.
    pub exit_code: u8,
    /// What went wrong.
    pub error: Option<String>,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// Room of the match.
    pub room_id: Option<String>,
    /// Reservation of the match.
    pub match_id: Option<String>,
    /// Signaling URL of the match.
    pub signaling_url: Option<String>,
    /// URLs of the ICE servers of the match.
    pub ice_servers: Vec<String>,
    /// Signaling instance to which the offer went.
    pub instance: Option<String>,
    /// Sockets that were opened to get to another instance than the avoided one.
    pub signaling_attempts: u32,
    /// Times that signaling was lost during the session.
    pub signaling_losses: u32,
    /// When the match was there.
    pub time_to_match_ms: Option<u64>,
    /// When the signaling socket was open.
    pub time_to_joined_ms: Option<u64>,
    /// When ICE and DTLS were up.
    pub time_to_connected_ms: Option<u64>,
    /// When the first video frame was there.
    pub time_to_first_frame_ms: Option<u64>,
    /// From the offer to the connection.
    pub connect_ms: Option<u64>,
    /// The pair that carries the connection.
    pub candidate_pair: Option<CandidatePair>,
    /// The data channel.
    pub round_trip: RoundTrip,
    /// The video track.
    pub video: VideoReport,
}

/// Round trips on the data channel.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoundTrip {
    /// How many.
    pub count: u64,
    /// Messages without an echo.
    pub lost: u64,
    /// Fastest, in milliseconds.
    pub min_ms: Option<f64>,
    /// Median of the last 4,096, in milliseconds.
    pub median_ms: Option<f64>,
    /// Slowest, in milliseconds.
    pub max_ms: Option<f64>,
    /// Longest time between two echoes, in milliseconds.
    pub longest_gap_ms: u64,
}

/// The received video.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VideoReport {
    /// Complete frames.
    pub frames: u64,
    /// Of these, key frames.
    pub keyframes: u64,
    /// Times that something was missing before a frame.
    pub gaps: u64,
    /// Encoded bytes per second, in kbit/s.
    pub kilobits_per_second: Option<u64>,
    /// Number of the last test frame, where the host sends the test pattern.
    pub last_frame_number: Option<u64>,
    /// Whether test frames came in ascending order.
    pub in_order: Option<bool>,
}

// === impl Outcome ===

impl Outcome {
    /// The exit code of `berth play`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => crate::failure::GENERAL,
            Self::NoHost => 2,
            Self::SignalingRefused => 3,
            Self::NotConnected => 4,
            Self::StreamFailed => 5,
        }
    }
}

// === impl Report ===

impl Default for Report {
    fn default() -> Self {
        Self {
            outcome: Outcome::Error,
            exit_code: Outcome::Error.exit_code(),
            error: None,
            interrupted: false,
            room_id: None,
            match_id: None,
            signaling_url: None,
            ice_servers: Vec::new(),
            instance: None,
            signaling_attempts: 0,
            signaling_losses: 0,
            time_to_match_ms: None,
            time_to_joined_ms: None,
            time_to_connected_ms: None,
            time_to_first_frame_ms: None,
            connect_ms: None,
            candidate_pair: None,
            round_trip: RoundTrip::default(),
            video: VideoReport::default(),
        }
    }
}

impl Report {
    /// Sets how it went.
    pub fn conclude(&mut self, outcome: Outcome, error: Option<String>) {
        self.outcome = outcome;
        self.exit_code = outcome.exit_code();
        self.error = error;
    }

    /// Takes over what the probe measured.
    pub fn measure(&mut self, probe: &Probe, now: Instant) {
        self.round_trip = RoundTrip::from(probe.echoes(now));
        self.video = VideoReport::from(probe.video());
    }

    /// The report for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = writeln!(text, "{name:<16}{value}");
            }
        };
        let ms = |value: Option<u64>| value.map(|value| format!("{value} ms"));
        line("room", self.room_id.clone());
        line("instance", self.instance.clone());
        line("match", ms(self.time_to_match_ms));
        line("joined", ms(self.time_to_joined_ms));
        line("connected", ms(self.time_to_connected_ms));
        line(
            "pair",
            self.candidate_pair.as_ref().map(|pair| {
                let (local, remote) = (&pair.local, &pair.remote);
                format!(
                    "{} {} <-> {} {}",
                    local.kind, local.address, remote.kind, remote.address
                )
            }),
        );
        let trip = &self.round_trip;
        if let (Some(min), Some(median), Some(max)) = (trip.min_ms, trip.median_ms, trip.max_ms) {
            let times = format!("{min:.2} / {median:.2} / {max:.2} ms (min / median / max)");
            line(
                "round trip",
                Some(format!("{times}, {} made, {} lost", trip.count, trip.lost)),
            );
        }
        line("first frame", ms(self.time_to_first_frame_ms));
        if self.video.frames > 0 {
            let rate = self.video.kilobits_per_second;
            let rate = rate.map(|rate| format!(", {rate} kbit/s")).unwrap_or_default();
            let (frames, keys) = (self.video.frames, self.video.keyframes);
            line("video", Some(format!("{frames} frames, {keys} key frames{rate}")));
        }
        line(
            "signaling lost",
            (self.signaling_losses > 0).then(|| format!("{} times", self.signaling_losses)),
        );
        line("failed", self.error.clone());
        line(
            "result",
            Some(
                if self.outcome == Outcome::Ok {
                    "ok"
                } else {
                    "failed"
                }
                .to_owned(),
            ),
        );
        text
    }
}

// === impl RoundTrip ===

impl From<Echoes> for RoundTrip {
    fn from(echoes: Echoes) -> Self {
        let mut sorted: Vec<Duration> = echoes.samples.into();
        sorted.sort_unstable();
        let at = |index: Option<usize>| {
            index
                .and_then(|index| sorted.get(index))
                .map(|time| time.as_secs_f64() * 1000.0)
        };
        Self {
            count: echoes.count,
            lost: echoes.lost,
            min_ms: at(Some(0)),
            median_ms: at(Some(sorted.len() / 2)),
            max_ms: at(sorted.len().checked_sub(1)),
            longest_gap_ms: millis(echoes.longest_gap),
        }
    }
}

// === impl VideoReport ===

impl From<&Video> for VideoReport {
    fn from(video: &Video) -> Self {
        let span = video
            .span
            .map(|(first, last)| last.saturating_duration_since(first));
        let span_ms = span.map(millis).filter(|millis| *millis > 0);
        Self {
            frames: video.frames,
            keyframes: video.keyframes,
            gaps: video.gaps,
            kilobits_per_second: span_ms.map(|millis| video.bytes * 8 / millis),
            last_frame_number: video.last_number,
            in_order: video.last_number.map(|_| video.out_of_order == 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_help_text() {
        let codes = [
            (Outcome::Ok, 0),
            (Outcome::Error, 1),
            (Outcome::NoHost, 2),
            (Outcome::SignalingRefused, 3),
            (Outcome::NotConnected, 4),
            (Outcome::StreamFailed, 5),
        ];
        for (outcome, code) in codes {
            assert_eq!(outcome.exit_code(), code);
        }
    }

    #[test]
    fn round_trips_are_summed_up() {
        let millis = [5, 1, 9, 3, 2].map(Duration::from_millis);
        let trip = RoundTrip::from(Echoes {
            samples: millis.into(),
            count: 5,
            ..Echoes::default()
        });
        assert_eq!(
            (trip.min_ms, trip.median_ms, trip.max_ms),
            (Some(1.0), Some(3.0), Some(9.0))
        );
        let none = RoundTrip::from(Echoes::default());
        assert_eq!((none.min_ms, none.median_ms, none.max_ms), (None, None, None));
    }

    #[test]
    fn json_has_camel_case_names_and_words_for_outcomes() {
        let mut report = Report::default();
        report.conclude(Outcome::NoHost, Some("no host".into()));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["outcome"], "no-host");
        assert_eq!(json["exitCode"], 2);
        assert!(json["roundTrip"]["medianMs"].is_null());
        assert!(json.as_object().unwrap().contains_key("timeToConnectedMs"));
    }
}
