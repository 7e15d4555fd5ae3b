//! Frames with any mask and any form of their length, fed byte by byte, and frames that are damaged on the way.

use proptest::sample::{Index, select};

use super::*;

/// How the length of a payload is written: longer than needed is allowed (RFC 6455 asks for the shortest form, and no
/// implementation checks it).
#[derive(Clone, Copy, Debug)]
enum Length {
    Shortest,
    TwoBytes,
    EightBytes,
}

fn written(first: u8, mask: Option<[u8; 4]>, length: Length, payload: &[u8]) -> Vec<u8> {
    let flag = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match (length, payload.len()) {
        (Length::Shortest, size @ 0..=125) => bytes.push(flag | u8::try_from(size).unwrap()),
        (Length::Shortest | Length::TwoBytes, size) => {
            bytes.push(flag | 0x7e);
            bytes.extend(u16::try_from(size).unwrap().to_be_bytes());
        }
        (Length::EightBytes, size) => {
            bytes.push(flag | 0x7f);
            bytes.extend((size as u64).to_be_bytes());
        }
    }
    let mask = mask.inspect(|mask| bytes.extend(mask)).unwrap_or_default();
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        12 => select(vec![0x81u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a]),
        1 => Just(0x88),
    ];
    let length =
        prop_oneof![6 => Just(Length::Shortest), 1 => Just(Length::TwoBytes), 1 => Just(Length::EightBytes)];
    (first, any::<[u8; 4]>(), length, payload())
        .prop_map(|(first, mask, length, payload)| written(first, Some(mask), length, &payload))
}

/// A text in fragments that are cut anywhere, also inside of characters, with control frames in between.
fn fragmented() -> impl Strategy<Value = Vec<u8>> {
    let cuts = prop::collection::vec(any::<Index>(), 0..6);
    let control = prop::option::of((
        select(vec![0x89u8, 0x8a]),
        prop::collection::vec(any::<u8>(), 0..126),
    ));
    let controls = prop::collection::vec(control, 7);
    ("[a-zé€😀]{0,80}", cuts, controls, any::<[u8; 4]>()).prop_map(|(text, cuts, controls, mask)| {
        let bytes = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let last = cuts.len() - 2;
        let mut out = Vec::new();
        for (number, ends) in cuts.windows(2).enumerate() {
            let opcode = u8::from(number == 0);
            let last = if number == last { 0x80 } else { 0 };
            out.extend(written(
                opcode | last,
                Some(mask),
                Length::Shortest,
                &bytes[ends[0]..ends[1]],
            ));
            if let Some((first, payload)) = &controls[number] {
                out.extend(written(*first, Some(mask), Length::Shortest, payload));
            }
        }
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, max_shrink_iters: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn byte_by_byte_is_the_same_as_at_once(frames in prop::collection::vec(any_frame(), 1..6)) {
        let bytes = frames.concat();
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        let heard = ours(&single);
        prop_assert_eq!(&heard, &ours(&[&bytes]));
        prop_assert_eq!(heard, theirs(&bytes));
    }

    #[test]
    fn fragments_are_one_text_wherever_they_are_cut(bytes in fragmented(), cut in any::<Index>()) {
        let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
        let heard = ours(&[head, tail]);
        prop_assert_eq!(heard.1, None);
        prop_assert_eq!(heard, theirs(&bytes));
    }

    #[test]
    fn damaged_frames_are_refused_as_tungstenite_refuses_them(
        frames in prop::collection::vec(any_frame(), 1..6),
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<Index>()),
    ) {
        let mut bytes = frames.concat();
        for (at, byte) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        let heard = ours(&[&bytes]);
        if heard.1.is_some() && theirs(&bytes).1.is_none() {
            // What a head gives away is refused before the payload is there; tungstenite waits for it.
            bytes.extend([0; MAX]);
        }
        prop_assert_eq!(heard, theirs(&bytes));
    }
}
