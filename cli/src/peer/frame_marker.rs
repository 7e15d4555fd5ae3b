//! The number and time of a test frame, carried inside the video stream.
//!
//! The host puts it into each access unit as an H.264 SEI message (user data unregistered, ITU-T
//! H.264 D.1.7), which decoders skip; the probe reads it without decoding a picture.

/// SEI payload type "user data unregistered".
const USER_DATA: u8 = 5;
/// NAL unit type of an SEI message.
const NAL_SEI: u8 = 6;
/// Names the payload as Berth's.
const UUID: [u8; 16] = *b"berth.dev/frame1";
/// UUID, frame number and time.
const PAYLOAD_LENGTH: u8 = 16 + 8 + 8;

/// What a test frame says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameMarker {
    /// Counts frames of one session from 1.
    pub number: u64,
    /// When the frame was drawn, in milliseconds since the Unix epoch.
    pub drawn_at: u64,
}

impl FrameMarker {
    /// The raw SEI payload (before emulation prevention): type, length, UUID, number, time, stop
    /// bit.
    pub fn to_rbsp(self) -> Vec<u8> {
        let mut rbsp = vec![USER_DATA, PAYLOAD_LENGTH];
        rbsp.extend_from_slice(&UUID);
        rbsp.extend_from_slice(&self.number.to_be_bytes());
        rbsp.extend_from_slice(&self.drawn_at.to_be_bytes());
        rbsp.push(0x80);
        rbsp
    }

    /// Finds the marker in an access unit in Annex B form.
    pub fn find(access_unit: &[u8]) -> Option<Self> {
        nal_units(access_unit).find_map(|nal| {
            let (header, payload) = nal.split_first()?;
            // The marker comes first in the unit, so its first bytes suffice; a whole picture is
            // never copied here.
            (header & 0x1f == NAL_SEI)
                .then(|| unescape(payload))
                .and_then(|rbsp| Self::read(&rbsp))
        })
    }

    fn read(rbsp: &[u8]) -> Option<Self> {
        let rest = rbsp
            .strip_prefix(&[USER_DATA, PAYLOAD_LENGTH])?
            .strip_prefix(&UUID)?;
        let number = u64::from_be_bytes(rest.get(..8)?.try_into().ok()?);
        let drawn_at = u64::from_be_bytes(rest.get(8..16)?.try_into().ok()?);
        Some(Self { number, drawn_at })
    }
}

/// The NAL units of an access unit in Annex B form, without start codes.
pub fn nal_units(access_unit: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(access_unit);
    std::iter::from_fn(move || {
        let nal = rest?;
        let end = nal.windows(3).position(|w| w == [0, 0, 1]);
        rest = end.and_then(|end| nal.get(end + 3..));
        let nal = end.map_or(nal, |end| &nal[..end]);
        // The zero byte of a four-byte start code belongs to the start code.
        Some(nal.strip_suffix(&[0]).unwrap_or(nal))
    })
}

fn after_start_code(bytes: &[u8]) -> Option<&[u8]> {
    let start = bytes.windows(3).position(|w| w == [0, 0, 1])?;
    bytes.get(start + 3..)
}

/// Removes emulation prevention bytes (H.264 7.4.1).
pub fn unescape(nal_payload: &[u8]) -> Vec<u8> {
    let mut rbsp = Vec::with_capacity(nal_payload.len());
    let mut zeros = 0;
    for &byte in nal_payload {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        rbsp.push(byte);
    }
    rbsp
}
