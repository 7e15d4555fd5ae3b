//! What a peer does with its connection, as a state machine without I/O.

use std::time::Instant;

use bytes::Bytes;
use str0m::channel::ChannelId;
use str0m::media::Mid;

use super::candidate::CandidatePair;

/// Something that happened on the connection.
#[derive(Debug)]
pub enum PeerEvent {
    /// ICE and DTLS are up.
    Connected(CandidatePair),
    /// A data channel opened.
    ChannelOpened {
        /// Its id.
        channel: ChannelId,
        /// Its label.
        label: String,
    },
    /// A message on a data channel.
    Message {
        /// On which channel.
        channel: ChannelId,
        /// Binary, or text.
        binary: bool,
        /// What it holds.
        data: Vec<u8>,
    },
    /// A data channel closed.
    ChannelClosed(ChannelId),
    /// The other side receives a video track from here, or stops to.
    VideoWanted {
        /// The media section.
        mid: Mid,
        /// Whether it is wanted.
        wanted: bool,
    },
    /// The other side's decoder needs a key frame.
    KeyframeWanted(Mid),
    /// A whole video frame arrived.
    Frame {
        /// The media section.
        mid: Mid,
        /// An access unit in Annex B form.
        data: std::sync::Arc<[u8]>,
        /// It can be decoded by itself.
        keyframe: bool,
        /// Nothing was lost since the frame before.
        contiguous: bool,
    },
}

/// Something that the application wants done.
#[derive(Debug)]
pub enum Action<N> {
    /// Send a message.
    Send {
        /// On which channel.
        channel: ChannelId,
        /// Binary, or text.
        binary: bool,
        /// What it holds.
        data: Bytes,
    },
    /// Send a video frame.
    SendFrame {
        /// The media section.
        mid: Mid,
        /// When the frame was made; also its presentation time.
        at: Instant,
        /// An access unit in Annex B form.
        data: std::sync::Arc<[u8]>,
    },
    /// Ask the sender for a key frame.
    RequestKeyframe(Mid),
    /// Tell the owner of the connection.
    Notify(N),
}

/// A peer's behaviour. All methods return at once.
pub trait Application: Send + 'static {
    /// What it tells the owner of the connection.
    type Note: Send + 'static;

    /// Takes note of an event.
    fn handle(&mut self, event: PeerEvent, now: Instant);

    /// The next thing to do at `now`, until there is none. While the data channel takes no more,
    /// this is not called.
    fn next_action(&mut self, now: Instant) -> Option<Action<Self::Note>>;

    /// When [`next_action`](Self::next_action) has something to do without a new event.
    fn wake_at(&self) -> Option<Instant>;
}
