//! What a simulated host does on a connection: it echoes input and sends the test pattern.

use std::time::{Duration, Instant};

use str0m::media::Mid;

use super::echo::{Echo, InputReport};
use super::video::h264::Encoder;
use super::video::pattern::Pattern;
use crate::peer::application::{Action, Application, PeerEvent};
use crate::peer::frame_marker::FrameMarker;

/// Frames per second.
pub const FRAME_RATE: u32 = 15;
/// A key frame is 55 KB, so one comes only this often unless the player asks.
const KEYFRAME_INTERVAL: u64 = 4 * FRAME_RATE as u64;
/// A player's requests in quick succession are about one loss.
const MIN_KEYFRAME_SPACING: Duration = Duration::from_millis(300);

/// The application of a host's connection.
#[derive(Debug)]
pub struct HostStream {
    echo: Echo,
    pattern: Pattern,
    encoder: Encoder,
    started: Instant,
    /// Milliseconds since the Unix epoch at `started`.
    started_unix: u64,
    video: Option<Video>,
    connected: bool,
    totals: StreamTotals,
}

/// The track that the player wants.
#[derive(Debug)]
struct Video {
    mid: Mid,
    next_frame: Instant,
    keyframe_wanted: bool,
    last_keyframe: Option<Instant>,
    since_keyframe: u64,
}

/// What one session carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamTotals {
    /// Video frames sent.
    pub frames: u64,
    /// Of these, key frames.
    pub keyframes: u64,
    /// Encoded bytes.
    pub video_bytes: u64,
    /// Messages sent back.
    pub echoed: u64,
    /// Messages that were not sent back, because the player does not read.
    pub dropped: u64,
}

impl HostStream {
    /// A stream that shows `name`. `started_unix` is the time `now` in milliseconds since the Unix
    /// epoch.
    pub fn new(name: &str, now: Instant, started_unix: u64) -> Self {
        Self {
            echo: Echo::new(now),
            pattern: Pattern::new(name),
            encoder: Encoder::default(),
            started: now,
            started_unix,
            video: None,
            connected: false,
            totals: StreamTotals::default(),
        }
    }

    /// What was carried so far.
    pub fn totals(&self) -> StreamTotals {
        let (echoed, dropped) = self.echo.totals();
        StreamTotals {
            echoed,
            dropped,
            ..self.totals
        }
    }

    fn next_frame(&mut self, now: Instant) -> Option<Action<InputReport>> {
        let video = self
            .video
            .as_mut()
            .filter(|video| self.connected && now >= video.next_frame)?;
        let interval = Duration::from_secs(1) / FRAME_RATE;
        // After a stall the stream goes on from now; frames that nobody saw are not made up for.
        video.next_frame += interval;
        if video.next_frame <= now {
            video.next_frame = now + interval;
        }

        let spaced = video
            .last_keyframe
            .is_none_or(|last| now >= last + MIN_KEYFRAME_SPACING);
        let keyframe = spaced && (video.keyframe_wanted || video.since_keyframe >= KEYFRAME_INTERVAL);
        let since_start = now.saturating_duration_since(self.started).as_millis();
        let marker = FrameMarker {
            number: self.totals.frames + 1,
            drawn_at: self.started_unix + u64::try_from(since_start).unwrap_or_default(),
        };
        let unit = self.encoder.encode(&self.pattern.draw(marker), marker, keyframe);
        if unit.keyframe {
            video.keyframe_wanted = false;
            video.last_keyframe = Some(now);
            video.since_keyframe = 0;
            self.totals.keyframes += 1;
        }
        video.since_keyframe += 1;
        self.totals.frames += 1;
        self.totals.video_bytes += unit.data.len() as u64;
        Some(Action::SendFrame {
            mid: video.mid,
            at: now,
            data: unit.data.into(),
        })
    }
}

impl Application for HostStream {
    type Note = InputReport;

    fn handle(&mut self, event: PeerEvent, now: Instant) {
        match event {
            PeerEvent::Connected(_) => self.connected = true,
            PeerEvent::ChannelOpened { channel, label } => self.echo.opened(channel, label),
            PeerEvent::ChannelClosed(channel) => self.echo.closed(channel),
            PeerEvent::Message {
                channel,
                binary,
                data,
            } => self.echo.received(channel, binary, data),
            PeerEvent::VideoWanted { mid, wanted: true } if self.video.is_none() => {
                self.video = Some(Video {
                    mid,
                    next_frame: now,
                    keyframe_wanted: true,
                    last_keyframe: None,
                    since_keyframe: 0,
                });
            }
            PeerEvent::VideoWanted { mid, wanted: false } => {
                self.video = self.video.take().filter(|video| video.mid != mid);
            }
            PeerEvent::KeyframeWanted(mid) => {
                if let Some(video) = self.video.as_mut().filter(|video| video.mid == mid) {
                    video.keyframe_wanted = true;
                }
            }
            // A second video section, and what a player sends, is of no interest.
            PeerEvent::VideoWanted { .. } | PeerEvent::Frame { .. } => {}
        }
    }

    fn next_action(&mut self, now: Instant) -> Option<Action<InputReport>> {
        if let Some(message) = self.echo.pop() {
            let (channel, binary, data) = (message.channel, message.binary, message.data);
            return Some(Action::Send {
                channel,
                binary,
                data,
            });
        }
        if let Some(report) = self.echo.report(now) {
            return Some(Action::Notify(report));
        }
        self.next_frame(now)
    }

    fn wake_at(&self) -> Option<Instant> {
        let frame = self
            .video
            .as_ref()
            .filter(|_| self.connected)
            .map(|video| video.next_frame);
        [frame, self.echo.report_at()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::candidate::{CandidateEnd, CandidatePair};

    fn connected() -> PeerEvent {
        let end = CandidateEnd {
            kind: "host",
            address: "127.0.0.1:1".parse().unwrap(),
        };
        PeerEvent::Connected(CandidatePair {
            local: end.clone(),
            remote: end,
        })
    }

    /// Runs the stream for a time and gives back the frames with their times.
    fn frames(stream: &mut HostStream, from: Instant, time: Duration) -> Vec<(Instant, Vec<u8>)> {
        let mut sent = Vec::new();
        let mut now = from;
        while now < from + time {
            while let Some(action) = stream.next_action(now) {
                if let Action::SendFrame { data, .. } = action {
                    sent.push((now, data.to_vec()));
                }
            }
            let Some(wake) = stream.wake_at() else { break };
            assert!(
                wake > now,
                "a stream that has nothing to do must not wake at once"
            );
            now = wake;
        }
        sent
    }

    fn is_keyframe(unit: &[u8]) -> bool {
        unit.windows(4).any(|bytes| bytes == [0, 0, 1, 0x65])
    }

    fn started(now: Instant) -> HostStream {
        let mut stream = HostStream::new("host", now, 1_000);
        let mid = Mid::from("0");
        stream.handle(PeerEvent::VideoWanted { mid, wanted: true }, now);
        stream.handle(connected(), now);
        stream
    }

    #[test]
    fn nothing_is_sent_before_the_connection_or_without_a_track() {
        let now = Instant::now();
        let mut stream = HostStream::new("host", now, 0);
        stream.handle(
            PeerEvent::VideoWanted {
                mid: Mid::from("0"),
                wanted: true,
            },
            now,
        );
        assert!(frames(&mut stream, now, Duration::from_secs(1)).is_empty());
        let mut stream = HostStream::new("host", now, 0);
        stream.handle(connected(), now);
        assert!(frames(&mut stream, now, Duration::from_secs(1)).is_empty());
    }

    #[test]
    fn frames_come_at_the_frame_rate_with_regular_key_frames() {
        let now = Instant::now();
        let sent = frames(&mut started(now), now, Duration::from_secs(7));
        let expected = 7 * FRAME_RATE as usize;
        assert!(sent.len().abs_diff(expected) <= 1, "{}", sent.len());
        let keys: Vec<_> = (0..sent.len()).filter(|n| is_keyframe(&sent[*n].1)).collect();
        assert_eq!(keys, [0, 60]);
        let numbers: Vec<_> = sent
            .iter()
            .map(|(_, unit)| FrameMarker::find(unit).unwrap().number)
            .collect();
        assert!(
            numbers
                .iter()
                .zip(1..)
                .all(|(number, expected)| *number == expected)
        );
        assert_eq!(FrameMarker::find(&sent[0].1).unwrap().drawn_at, 1_000);
    }

    #[test]
    fn a_request_brings_a_key_frame_but_a_flood_of_them_does_not_bring_more() {
        let now = Instant::now();
        let mut stream = started(now);
        let mut sent = Vec::new();
        for tenth in 0..10 {
            stream.handle(PeerEvent::KeyframeWanted(Mid::from("0")), now);
            let from = now + Duration::from_millis(100) * tenth;
            sent.extend(frames(&mut stream, from, Duration::from_millis(100)));
        }
        let keys = sent.iter().filter(|(_, unit)| is_keyframe(unit)).count();
        assert!((2..=4).contains(&keys), "{keys} key frames in one second");
    }

    #[test]
    fn a_stall_is_not_made_up_for() {
        let now = Instant::now();
        let mut stream = started(now);
        frames(&mut stream, now, Duration::from_millis(500));
        let later = now + Duration::from_mins(1);
        let sent = frames(&mut stream, later, Duration::from_secs(1));
        assert!(sent.len() <= FRAME_RATE as usize + 1, "{}", sent.len());
    }

    #[test]
    fn a_track_that_is_no_longer_wanted_stops() {
        let now = Instant::now();
        let mut stream = started(now);
        stream.handle(
            PeerEvent::VideoWanted {
                mid: Mid::from("0"),
                wanted: false,
            },
            now,
        );
        assert!(frames(&mut stream, now, Duration::from_secs(1)).is_empty());
        assert_eq!(stream.totals().frames, 0);
    }
}
