//! What must hold for any bytes, for the fuzz targets in `fuzz/` and for the bounded run of the same in the tests.

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::conn::hear;
use crate::envelope;
use crate::protocol::v1::{Verdict, judge};

/// Largest message in the properties of frames.
const MAX: usize = 4096;

/// Frames of a peer: the same is heard however the bytes are cut, and no more is kept than one message and a head.
///
/// # Panics
/// When that does not hold.
pub fn frames(bytes: &[u8]) {
    let (cut, bytes) = bytes
        .split_first()
        .map_or((1, bytes), |(cut, rest)| (usize::from(*cut).max(1), rest));
    let whole = hear(MAX, std::iter::once(bytes));
    assert_eq!(hear(MAX, bytes.chunks(cut)), whole, "cut every {cut} bytes");
}

/// A message of a peer: what is relayed is JSON, and is relayed unchanged if it is sent again.
///
/// # Panics
/// When that does not hold.
pub fn message(bytes: &[u8]) {
    if let Verdict::Relay(text) = judge(bytes) {
        assert!(
            serde_json::from_str::<IgnoredAny>(&text).is_ok(),
            "relayed what is no JSON: {text}"
        );
        assert_eq!(judge(text.as_bytes()), Verdict::Relay(text.clone()));
    }
}

/// A notice of another instance: what is understood is written in this one way.
///
/// # Panics
/// When that does not hold.
pub fn notice(bytes: &[u8]) {
    if let Ok(read) = envelope::decode(Bytes::copy_from_slice(bytes)) {
        assert_eq!(
            envelope::encode(&read.room, (read.published_at, read.publisher), &read.notice),
            bytes
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn hold_for_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600), kind in 0u8..4) {
            frames(&bytes);
            message(&bytes);
            notice(&bytes);
            // The heads that bytes rarely have by chance.
            frames(&[&[kind + 1, 0x81 + kind, 0xfe, 0, 200, 1, 2, 3, 4], &bytes[..]].concat());
            message(&[b"{\"type\":\"control\",\"action\":\"a\",\"payload\":", &bytes[..], b"}"].concat());
            notice(&[&[1, kind][..], &bytes].concat());
        }
    }
}
