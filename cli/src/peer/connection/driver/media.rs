//! Codecs, outgoing video and the media events of the WebRTC state machine.

use std::sync::Arc;
use std::time::Instant;

use str0m::format::{Codec, PayloadParams};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, MediaTime, Mid, Pt};
use str0m::{Event, Rtc, RtcConfig};
use tracing::debug;

use crate::peer::application::PeerEvent;
use crate::peer::connection::OfferOptions;

/// Bytes that data channels buffer; a message of the largest size fits several times.
const CHANNEL_BUFFER: usize = 1024 * 1024;
/// Constrained Baseline: the upper 16 bits of `profile-level-id`.
const CONSTRAINED_BASELINE: u32 = 0x42e0;

/// The configuration of an offering peer, or of an answering one when there is no offer.
pub(super) fn config(offer: Option<&OfferOptions>) -> RtcConfig {
    // Opus is answered so that an offer with audio is a valid session; nothing is sent on it.
    RtcConfig::new()
        .clear_codecs()
        .enable_opus(offer.is_none(), false)
        .enable_h264(true)
        .set_sctp_max_buffered_amount(CHANNEL_BUFFER)
}

/// Sends access units on the media section that wants them.
pub(super) struct VideoSender {
    epoch: Instant,
    payload_type: Option<(Mid, Pt)>,
}

impl VideoSender {
    /// Presentation times count from `epoch`.
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            payload_type: None,
        }
    }

    /// Sends one access unit. A section without a usable H.264 format gets nothing.
    pub(super) fn send(&mut self, rtc: &mut Rtc, mid: Mid, at: Instant, data: Arc<[u8]>) {
        let Some(writer) = rtc.writer(mid) else { return };
        let payload_type = match self.payload_type {
            Some((known, payload_type)) if known == mid => payload_type,
            _ => {
                let Some(chosen) = choose(writer.payload_params()) else {
                    return;
                };
                self.payload_type = Some((mid, chosen));
                chosen
            }
        };
        let micros = at.saturating_duration_since(self.epoch).as_micros();
        let time = MediaTime::from_90khz(u64::try_from(micros * 9 / 100).unwrap_or_default());
        if let Err(error) = writer.write(payload_type, at, time, data) {
            debug!(%error, "frame cannot be sent");
        }
    }
}

/// The format for a Constrained Baseline stream whose access units span packets: that profile
/// first, any other H.264 profile second, because each of them decodes it.
fn choose<'a>(params: impl Iterator<Item = &'a PayloadParams>) -> Option<Pt> {
    params
        .filter(|params| {
            let spec = params.spec();
            spec.codec == Codec::H264 && spec.format.packetization_mode == Some(1)
        })
        .max_by_key(|params| {
            params
                .spec()
                .format
                .profile_level_id
                .map(|id| id >> 8 == CONSTRAINED_BASELINE)
        })
        .map(PayloadParams::pt)
}

/// Asks for a key frame where the other side sends one stream already.
pub(super) fn request_keyframe(rtc: &mut Rtc, mid: Mid) {
    if let Some(mut writer) = rtc.writer(mid)
        && let Err(error) = writer.request_keyframe(None, KeyframeRequestKind::Pli)
    {
        debug!(%error, "no key frame can be requested");
    }
}

/// Media events that an application hears of.
pub(super) fn translate(rtc: &mut Rtc, event: Event) -> Option<PeerEvent> {
    match event {
        Event::MediaAdded(added) if added.kind == MediaKind::Video => {
            Some(video_wanted(rtc, added.mid, added.direction))
        }
        Event::MediaChanged(changed) => Some(video_wanted(rtc, changed.mid, changed.direction)),
        Event::KeyframeRequest(request) => Some(PeerEvent::KeyframeWanted(request.mid)),
        Event::MediaData(media) if media.params.spec().codec == Codec::H264 => {
            let keyframe = media.is_keyframe();
            Some(PeerEvent::Frame {
                mid: media.mid,
                keyframe,
                contiguous: media.contiguous,
                data: media.data,
            })
        }
        _ => None,
    }
}

/// A section that is to be sent on, and whose formats include one that can be.
fn video_wanted(rtc: &mut Rtc, mid: Mid, direction: Direction) -> PeerEvent {
    let sends = matches!(direction, Direction::SendOnly | Direction::SendRecv);
    let usable = rtc
        .writer(mid)
        .and_then(|writer| choose(writer.payload_params()))
        .is_some();
    PeerEvent::VideoWanted {
        mid,
        wanted: sends && usable,
    }
}
