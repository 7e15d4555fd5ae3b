//! What a headless player does on its connection: it measures round trips and counts frames.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::channel::ChannelId;
use str0m::media::Mid;

use super::options::Goals;
use crate::peer::application::{Action, Application, PeerEvent};
use crate::peer::frame_marker::FrameMarker;

/// Label of the data channel.
pub const CHANNEL: &str = "berth-probe";
/// Between an echo and the next message, until the goals are reached.
const QUICK: Duration = Duration::from_millis(20);
/// The same afterwards.
const STEADY: Duration = Duration::from_millis(250);
/// A message without an echo for this long counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// How often the probe says how it is doing.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Round trips that are kept for the median.
const MAX_SAMPLES: usize = 4096;
/// Requests for key frames are no closer than this.
const KEYFRAME_SPACING: Duration = Duration::from_millis(500);

/// The application of a player's connection.
#[derive(Debug)]
pub struct Probe {
    goals: Goals,
    channel: Option<ChannelId>,
    awaited: Option<Awaited>,
    next_message: Instant,
    sequence: u64,
    echoes: Echoes,
    video: Video,
    keyframe_request: Option<Mid>,
    last_request: Option<Instant>,
    reached: bool,
    next_report: Option<Instant>,
    notes: VecDeque<ProbeNote>,
}

/// A message whose echo is awaited.
#[derive(Debug)]
struct Awaited {
    text: String,
    sent: Instant,
}

/// What the data channel brought.
#[derive(Debug, Clone, Default)]
pub struct Echoes {
    /// Round trips in the order in which they were made; the oldest fall out.
    pub samples: VecDeque<Duration>,
    /// All round trips.
    pub count: u64,
    /// Messages without an echo.
    pub lost: u64,
    /// The last echo, or the opening of the channel.
    pub last: Option<Instant>,
    /// The longest time between two echoes.
    pub longest_gap: Duration,
}

/// What the video track brought.
#[derive(Debug, Clone, Default)]
pub struct Video {
    /// Complete frames.
    pub frames: u64,
    /// Of these, key frames.
    pub keyframes: u64,
    /// Times that something was missing before a frame.
    pub gaps: u64,
    /// Encoded bytes.
    pub bytes: u64,
    /// The first and the last frame.
    pub span: Option<(Instant, Instant)>,
    /// Number of the last test frame.
    pub last_number: Option<u64>,
    /// Test frames whose number was not above the one before.
    pub out_of_order: u64,
}

/// What the probe tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeNote {
    /// The data channel is open.
    ChannelOpened,
    /// The data channel closed.
    ChannelClosed,
    /// The first video frame is there.
    FirstFrame,
    /// Frames and round trips are reached.
    GoalsReached,
    /// How the connection is doing, once per second after the goals are reached.
    Alive {
        /// Time since the last echo.
        silent_for: Duration,
        /// All round trips.
        round_trips: u64,
        /// All frames.
        frames: u64,
    },
}

impl Probe {
    /// A probe that has not seen anything.
    pub fn new(goals: Goals, now: Instant) -> Self {
        Self {
            goals,
            channel: None,
            awaited: None,
            next_message: now,
            sequence: 0,
            echoes: Echoes::default(),
            video: Video::default(),
            keyframe_request: None,
            last_request: None,
            reached: false,
            next_report: None,
            notes: VecDeque::new(),
        }
    }

    /// What the data channel brought up to `now`.
    pub fn echoes(&self, now: Instant) -> Echoes {
        let mut echoes = self.echoes.clone();
        echoes.longest_gap = echoes.longest_gap.max(echoes.silence(now));
        echoes
    }

    /// What the video track brought.
    pub fn video(&self) -> &Video {
        &self.video
    }

    fn receive(&mut self, data: &[u8], now: Instant) {
        // Anything else is the host's own talk.
        let Some(awaited) = self.awaited.take_if(|awaited| awaited.text.as_bytes() == data) else {
            return;
        };
        self.echoes.add(now.saturating_duration_since(awaited.sent), now);
        self.next_message = now + if self.reached { STEADY } else { QUICK };
        self.check_goals(now);
    }

    fn see(&mut self, frame: &[u8], keyframe: bool, contiguous: bool, now: Instant) {
        let video = &mut self.video;
        if video.frames == 0 {
            self.notes.push_back(ProbeNote::FirstFrame);
        }
        video.frames += 1;
        video.bytes += frame.len() as u64;
        video.keyframes += u64::from(keyframe);
        video.gaps += u64::from(!contiguous);
        video.span = Some((video.span.map_or(now, |(first, _)| first), now));
        if let Some(marker) = FrameMarker::find(frame) {
            video.out_of_order += u64::from(video.last_number.is_some_and(|last| marker.number <= last));
            video.last_number = Some(marker.number);
        }
        self.check_goals(now);
    }

    fn check_goals(&mut self, now: Instant) {
        let reached = self.video.frames >= self.goals.frames && self.echoes.count >= self.goals.round_trips;
        if reached && !self.reached {
            self.reached = true;
            self.next_report = Some(now + REPORT_INTERVAL);
            self.notes.push_back(ProbeNote::GoalsReached);
        }
    }

    fn message(&mut self, now: Instant) -> Option<Action<ProbeNote>> {
        let channel = self.channel?;
        if self
            .awaited
            .take_if(|awaited| now >= awaited.sent + LOST_AFTER)
            .is_some()
        {
            self.echoes.lost += 1;
        }
        if self.awaited.is_some() || now < self.next_message {
            return None;
        }
        self.sequence += 1;
        let text = format!("{CHANNEL} {}", self.sequence);
        let data = Bytes::from(text.clone());
        self.awaited = Some(Awaited { text, sent: now });
        // Text and binary in turn: a host has to pass both.
        Some(Action::Send {
            channel,
            binary: self.sequence.is_multiple_of(2),
            data,
        })
    }

    fn alive(&mut self, now: Instant) -> Option<Action<ProbeNote>> {
        self.next_report.take_if(|at| now >= *at)?;
        self.next_report = Some(now + REPORT_INTERVAL);
        Some(Action::Notify(ProbeNote::Alive {
            silent_for: self.echoes.silence(now),
            round_trips: self.echoes.count,
            frames: self.video.frames,
        }))
    }
}

impl Application for Probe {
    type Note = ProbeNote;

    fn handle(&mut self, event: PeerEvent, now: Instant) {
        match event {
            PeerEvent::ChannelOpened { channel, label } if label == CHANNEL => {
                self.channel = Some(channel);
                self.next_message = now;
                self.echoes.last = Some(now);
                self.notes.push_back(ProbeNote::ChannelOpened);
            }
            PeerEvent::ChannelClosed(channel) if self.channel == Some(channel) => {
                self.channel = None;
                self.notes.push_back(ProbeNote::ChannelClosed);
            }
            PeerEvent::Message { channel, data, .. } if self.channel == Some(channel) => {
                self.receive(&data, now);
            }
            PeerEvent::Frame {
                mid,
                data,
                keyframe,
                contiguous,
            } => {
                let unusable = !keyframe && (!contiguous || self.video.keyframes == 0);
                let spaced = self
                    .last_request
                    .is_none_or(|last| now >= last + KEYFRAME_SPACING);
                if unusable && spaced {
                    self.last_request = Some(now);
                    self.keyframe_request = Some(mid);
                }
                self.see(&data, keyframe, contiguous, now);
            }
            PeerEvent::Connected(_) => self.check_goals(now),
            PeerEvent::ChannelOpened { .. }
            | PeerEvent::ChannelClosed(_)
            | PeerEvent::Message { .. }
            | PeerEvent::VideoWanted { .. }
            | PeerEvent::KeyframeWanted(_) => {}
        }
    }

    fn next_action(&mut self, now: Instant) -> Option<Action<ProbeNote>> {
        if let Some(note) = self.notes.pop_front() {
            return Some(Action::Notify(note));
        }
        if let Some(mid) = self.keyframe_request.take() {
            return Some(Action::RequestKeyframe(mid));
        }
        self.message(now).or_else(|| self.alive(now))
    }

    fn wake_at(&self) -> Option<Instant> {
        let message = self.channel.map(|_| match &self.awaited {
            Some(awaited) => awaited.sent + LOST_AFTER,
            None => self.next_message,
        });
        [message, self.next_report].into_iter().flatten().min()
    }
}

// === impl Echoes ===

impl Echoes {
    fn add(&mut self, round_trip: Duration, now: Instant) {
        self.longest_gap = self.longest_gap.max(self.silence(now));
        self.last = Some(now);
        self.count += 1;
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(round_trip);
    }

    fn silence(&self, now: Instant) -> Duration {
        self.last
            .map_or(Duration::ZERO, |last| now.saturating_duration_since(last))
    }
}

#[cfg(test)]
mod tests;
