//! What peers say: real signaling messages of a wanted size, numbered, and known to the byte to whoever hears them.
//!
//! The fields and their order are those in which Berth relays them, so that a bare relay and Berth deliver the same bytes.

use std::ops::Range;

use super::frame;

/// Digits of a number.
const DIGITS: usize = 10;

/// A kind of message, with its size as text in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An ICE candidate.
    Candidate(usize),
    /// An SDP offer.
    Offer(usize),
}

/// What is written to a socket: one message after the other.
#[derive(Debug)]
pub(crate) struct Speaker {
    /// The next frame.
    frame: Vec<u8>,
    payload_at: usize,
    digits_at: usize,
    digits: [u8; DIGITS],
}

/// What must come from a socket.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The next message.
    expected: Vec<u8>,
    digits: Range<usize>,
}

/// A socket heard what it must not hear next.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("lost, repeated, changed or out of order: expected {expected}, heard {heard}")]
pub(crate) struct Wrong {
    expected: String,
    heard: String,
}

/// Both sides of what `speaker` says, from number 0 on. `speaker` tells apart who speaks, so that a message that crosses rooms
/// is noticed.
pub(crate) fn script(kind: Kind, speaker: &str) -> (Speaker, Listener) {
    let digits = "0".repeat(DIGITS);
    let (before, after, size) = match kind {
        Kind::Candidate(size) => (
            format!(
                "{{\"type\":\"candidate\",\"candidate\":\"candidate:842163049 1 udp 1677729535 203.0.113.7 61234 typ srflx \
                 raddr 10.0.0.5 rport 61234 ufrag {speaker}."
            ),
            "\",\"sdpMid\":\"0\",\"sdpMLineIndex\":0}",
            size,
        ),
        Kind::Offer(size) => (
            format!(
                "{{\"type\":\"offer\",\"sdp\":\"v=0\\r\\no=- 4611731400430051336 2 IN IP4 127.0.0.1\\r\\ns={speaker}."
            ),
            "\"}",
            size,
        ),
    };
    let digits_at = before.len();
    let filler = size.saturating_sub(before.len() + DIGITS + after.len());
    let text = [&before, &digits, "x".repeat(filler).as_str(), after].concat();
    let (frame, payload_at) = frame::text(text.as_bytes());
    let speaker = Speaker {
        frame,
        payload_at,
        digits_at,
        digits: [b'0'; DIGITS],
    };
    let listener = Listener {
        expected: text.into_bytes(),
        digits: digits_at..digits_at + DIGITS,
    };
    (speaker, listener)
}

impl Speaker {
    /// Appends the next frame.
    pub(crate) fn say(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.frame);
        increment(&mut self.digits);
        for (index, digit) in self.digits.iter().enumerate() {
            let at = self.digits_at + index;
            self.frame[self.payload_at + at] = frame::masked(*digit, at);
        }
    }
}

impl Listener {
    /// Takes the next message.
    pub(crate) fn hear(&mut self, text: &[u8]) -> Result<(), Wrong> {
        if text != self.expected {
            let show = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
            return Err(Wrong {
                expected: show(&self.expected),
                heard: show(text),
            });
        }
        increment(&mut self.expected[self.digits.clone()]);
        Ok(())
    }
}

/// Adds one to a decimal number.
fn increment(digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// The texts of the first messages.
    fn texts(kind: Kind, count: usize) -> (Vec<Vec<u8>>, Listener) {
        let (mut speaker, listener) = script(kind, "r1a");
        let said = (0..count).map(|_| {
            let mut frame = Vec::new();
            speaker.say(&mut frame);
            let payload = &frame[speaker.payload_at..];
            payload
                .iter()
                .enumerate()
                .map(|(index, byte)| frame::masked(*byte, index))
                .collect()
        });
        (said.collect(), listener)
    }

    #[test]
    fn messages_have_the_wanted_size_and_are_signaling_messages() {
        for kind in [Kind::Candidate(200), Kind::Candidate(512), Kind::Offer(4096)] {
            let (texts, _) = texts(kind, 2);
            let (name, size) = match kind {
                Kind::Candidate(size) => ("candidate", size),
                Kind::Offer(size) => ("offer", size),
            };
            for text in &texts {
                assert_eq!(text.len(), size);
                let json: Value = serde_json::from_slice(text).unwrap();
                assert_eq!(json["type"], name);
                let relayed = match berth_signaling::protocol::v1::judge(text) {
                    berth_signaling::protocol::v1::Verdict::Relay(relayed) => relayed,
                    other => panic!("{other:?}"),
                };
                assert_eq!(relayed.as_bytes(), text, "Berth must relay it unchanged");
            }
            assert_ne!(texts[0], texts[1]);
        }
    }

    #[test]
    fn who_listens_accepts_everything_once_and_in_order() {
        let (texts, mut listener) = texts(Kind::Candidate(200), 1200);
        for text in &texts {
            listener.hear(text).unwrap();
        }
    }

    #[test]
    fn who_listens_notices_loss_repetition_order_and_strangers() {
        let kind = Kind::Candidate(200);
        let (said, _) = texts(kind, 4);
        for wrong in [vec![0, 2], vec![0, 0], vec![1, 0]] {
            let (_, mut listener) = script(kind, "r1a");
            let all = wrong.iter().try_for_each(|number| listener.hear(&said[*number]));
            assert!(all.is_err(), "{wrong:?}");
        }
        let (_, mut listener) = script(kind, "r2a");
        assert!(listener.hear(&said[0]).is_err());
    }
}
