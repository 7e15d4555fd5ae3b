//! Reads the bit stream back with a small parser of its own and compares every sample.

use super::*;
use crate::host::video::pattern::{COLUMNS, Pattern, ROWS};
use crate::host::video::picture::{Block, Colour};
use crate::peer::frame_marker::{nal_units, unescape};

/// Reads an RBSP, the opposite of [`BitWriter`].
struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    fn bit(&mut self) -> u32 {
        let byte = self.bytes[self.position / 8];
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        u32::from(bit)
    }

    fn bits(&mut self, count: usize) -> u32 {
        (0..count).fold(0, |value, _| value << 1 | self.bit())
    }

    fn ue(&mut self) -> u32 {
        let mut zeros = 0;
        while self.bit() == 0 {
            zeros += 1;
        }
        (1 << zeros) - 1 + self.bits(zeros)
    }

    fn se(&mut self) -> i64 {
        let code = i64::from(self.ue());
        if code % 2 == 1 {
            (code + 1) / 2
        } else {
            -(code / 2)
        }
    }

    fn aligned(&mut self, count: usize) -> &'a [u8] {
        while !self.position.is_multiple_of(8) {
            assert_eq!(self.bit(), 0, "pcm_alignment_zero_bit");
        }
        let start = self.position / 8;
        self.position += count * 8;
        &self.bytes[start..start + count]
    }

    /// Whether only the stop bit and zeros follow, `more_rbsp_data()`.
    fn at_end(&self) -> bool {
        let mut rest = Self::new(self.bytes);
        rest.position = self.position;
        rest.bit() == 1 && (rest.position..self.bytes.len() * 8).all(|_| rest.bit() == 0)
    }
}

/// A decoder for exactly what the encoder may produce.
#[derive(Default)]
struct Decoder {
    blocks: Vec<Vec<u8>>,
    frame_num: Option<u32>,
    idr_pic_id: Option<u32>,
}

impl Decoder {
    fn decode(&mut self, unit: &AccessUnit) {
        let nals: Vec<_> = nal_units(&unit.data)
            .map(|nal| (nal[0], unescape(&nal[1..])))
            .collect();
        let headers: Vec<u8> = nals.iter().map(|(header, _)| *header).collect();
        if unit.keyframe {
            assert_eq!(headers, [NAL_SPS, NAL_PPS, NAL_SEI, NAL_IDR]);
            let (width, height) = read_sps(&nals[0].1);
            read_pps(&nals[1].1);
            self.blocks = vec![Vec::new(); (width * height) as usize];
            self.intra(&nals[3].1);
        } else {
            assert_eq!(headers, [NAL_SEI, NAL_SLICE]);
            self.predicted(&nals[1].1);
        }
    }

    fn intra(&mut self, rbsp: &[u8]) {
        let mut r = BitReader::new(rbsp);
        assert_eq!((r.ue(), r.ue(), r.ue()), (0, 7, 0), "first_mb, slice_type, pps");
        assert_eq!(r.bits(8), 0, "frame_num of an IDR picture");
        self.frame_num = Some(0);
        let id = r.ue();
        assert_ne!(
            Some(id),
            self.idr_pic_id,
            "consecutive IDR pictures differ in idr_pic_id"
        );
        self.idr_pic_id = Some(id);
        assert_eq!(r.bits(2), 0, "dec_ref_pic_marking");
        assert_eq!((r.se(), r.ue()), (0, 1), "qp delta, deblocking off");
        for block in &mut self.blocks {
            assert_eq!(r.ue(), 25, "mb_type I_PCM");
            *block = r.aligned(384).to_vec();
        }
        assert!(r.at_end());
    }

    fn predicted(&mut self, rbsp: &[u8]) {
        let mut r = BitReader::new(rbsp);
        assert_eq!((r.ue(), r.ue(), r.ue()), (0, 5, 0), "first_mb, slice_type, pps");
        let expected = self.frame_num.map(|n| (n + 1) % 256);
        self.frame_num = Some(r.bits(8));
        assert_eq!(self.frame_num, expected, "frame_num");
        assert_eq!(r.bits(3), 0, "override, modification, adaptive marking");
        assert_eq!((r.se(), r.ue()), (0, 1), "qp delta, deblocking off");
        let mut place = 0;
        while place < self.blocks.len() {
            place += r.ue() as usize; // mb_skip_run
            if place < self.blocks.len() {
                assert_eq!(r.ue(), 30, "mb_type I_PCM in a P slice");
                self.blocks[place] = r.aligned(384).to_vec();
                place += 1;
            }
            if r.at_end() {
                break;
            }
        }
        assert_eq!(place, self.blocks.len(), "every macroblock is sent or skipped");
        assert!(r.at_end());
    }

    fn assert_shows(&self, picture: &Picture) {
        assert_eq!(self.blocks.len(), picture.blocks().len());
        for (decoded, drawn) in self.blocks.iter().zip(picture.blocks()) {
            assert_eq!(decoded.as_slice(), drawn.samples().as_slice());
        }
    }
}

/// Width and height in macroblocks.
fn read_sps(rbsp: &[u8]) -> (u32, u32) {
    let mut r = BitReader::new(rbsp);
    assert_eq!(
        (r.bits(8), r.bits(8), r.bits(8)),
        (0x42, 0xe0, 0x1f),
        "profile-level-id 42e01f"
    );
    assert_eq!((r.ue(), r.ue()), (0, 4), "id, frame_num of 8 bits");
    assert_eq!(
        (r.ue(), r.ue(), r.bit()),
        (2, 1, 0),
        "order type, references, gaps"
    );
    let (width, height) = (r.ue() + 1, r.ue() + 1);
    assert_eq!(
        (r.bit(), r.bit(), r.bit()),
        (1, 1, 0),
        "frames only, inference, no cropping"
    );
    assert_eq!(r.bit(), 1, "VUI present");
    assert_eq!(
        r.bits(8),
        0,
        "no aspect, overscan, signal, chroma, timing, HRDs, structure"
    );
    assert_eq!((r.bit(), r.bit()), (1, 1), "restriction, vectors over boundaries");
    assert_eq!((r.ue(), r.ue(), r.ue(), r.ue()), (0, 0, 10, 10), "limits");
    assert_eq!((r.ue(), r.ue()), (0, 1), "no reordering, one buffered picture");
    assert!(r.at_end());
    (width, height)
}

fn read_pps(rbsp: &[u8]) {
    let mut r = BitReader::new(rbsp);
    assert_eq!((r.ue(), r.ue(), r.bit(), r.bit()), (0, 0, 0, 0), "ids, CAVLC");
    assert_eq!(
        (r.ue(), r.ue(), r.ue()),
        (0, 0, 0),
        "one slice group, one reference"
    );
    assert_eq!(r.bits(3), 0, "no weighting");
    assert_eq!((r.se(), r.se(), r.se()), (0, 0, 0), "quantisers");
    assert_eq!(r.bits(3), 0b100, "deblocking control only");
    assert!(r.at_end());
}

fn marker(number: u64) -> FrameMarker {
    FrameMarker {
        number,
        drawn_at: 1_700_000_000_000 + number * 67,
    }
}

#[test]
fn every_sample_of_the_pattern_comes_back() {
    let pattern = Pattern::new("berth-host-7");
    let mut encoder = Encoder::default();
    let mut decoder = Decoder::default();
    for number in 1..=600 {
        let picture = pattern.draw(marker(number));
        let unit = encoder.encode(&picture, marker(number), number % 60 == 1);
        assert_eq!(unit.keyframe, number % 60 == 1);
        assert_eq!(FrameMarker::find(&unit.data), Some(marker(number)));
        decoder.decode(&unit);
        decoder.assert_shows(&picture);
    }
}

#[test]
fn frame_numbers_wrap_without_a_key_frame() {
    let pattern = Pattern::new("wrap");
    let mut encoder = Encoder::default();
    let mut decoder = Decoder::default();
    for number in 1..=520 {
        decoder.decode(&encoder.encode(&pattern.draw(marker(number)), marker(number), false));
    }
    assert_eq!(decoder.frame_num, Some(519 % 256));
}

#[test]
fn a_picture_without_change_is_one_run_of_skips() {
    let picture = Pattern::new("still").draw(marker(1));
    let mut encoder = Encoder::default();
    let mut decoder = Decoder::default();
    decoder.decode(&encoder.encode(&picture, marker(1), false));
    let still = encoder.encode(&picture, marker(2), false);
    assert!(!still.keyframe);
    assert!(still.data.len() < 64, "{} bytes", still.data.len());
    decoder.decode(&still);
    decoder.assert_shows(&picture);
}

#[test]
fn changes_in_the_corners_are_found() {
    let dark = Colour {
        y: 16,
        cb: 128,
        cr: 128,
    };
    let light = Block::filled(Colour {
        y: 235,
        cb: 90,
        cr: 200,
    });
    let mut picture = Picture::filled(COLUMNS, ROWS, dark);
    let mut encoder = Encoder::default();
    let mut decoder = Decoder::default();
    decoder.decode(&encoder.encode(&picture, marker(1), false));
    for (column, row) in [(0, 0), (COLUMNS - 1, 0), (0, ROWS - 1), (COLUMNS - 1, ROWS - 1)] {
        picture.set(column, row, light.clone());
        decoder.decode(&encoder.encode(&picture, marker(2), false));
        decoder.assert_shows(&picture);
    }
}

#[test]
fn zero_samples_survive_emulation_prevention() {
    let black = Picture::filled(2, 2, Colour { y: 0, cb: 0, cr: 0 });
    let mut decoder = Decoder::default();
    let unit = Encoder::default().encode(&black, marker(1), true);
    assert!(
        unit.data
            .windows(4)
            .skip(1)
            .filter(|w| w[..3] == [0, 0, 0])
            .count()
            <= 4
    );
    decoder.decode(&unit);
    decoder.assert_shows(&black);
}

#[test]
fn another_size_starts_over() {
    let mut encoder = Encoder::default();
    let small = Picture::filled(
        2,
        2,
        Colour {
            y: 50,
            cb: 128,
            cr: 128,
        },
    );
    let large = Picture::filled(
        3,
        2,
        Colour {
            y: 50,
            cb: 128,
            cr: 128,
        },
    );
    assert!(encoder.encode(&small, marker(1), false).keyframe);
    assert!(!encoder.encode(&small, marker(2), false).keyframe);
    assert!(encoder.encode(&large, marker(3), false).keyframe);
}

#[test]
fn the_bit_rate_stays_modest() {
    let pattern = Pattern::new("rate");
    let mut encoder = Encoder::default();
    let seconds = 20;
    let bytes: usize = (1..=15 * seconds)
        .map(|n| {
            encoder
                .encode(&pattern.draw(marker(n)), marker(n), n % 60 == 1)
                .data
                .len()
        })
        .sum();
    let kilobits = bytes * 8 / 1000 / usize::try_from(seconds).unwrap();
    assert!((100..600).contains(&kilobits), "{kilobits} kbit/s");
}
