//! Writing an H.264 bit stream (ITU-T H.264 clause 7.2 and 9.1).

/// Start code of a NAL unit in Annex B form.
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Collects the bits of one raw byte sequence payload.
#[derive(Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are in use; 0 when the last byte is full.
    used: u8,
}

impl BitWriter {
    /// An empty payload with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            used: 0,
        }
    }

    /// One bit, `u(1)`.
    pub fn bit(&mut self, bit: bool) {
        if self.used == 0 {
            self.bytes.push(0);
        }
        if bit && let Some(last) = self.bytes.last_mut() {
            *last |= 0x80 >> self.used;
        }
        self.used = (self.used + 1) % 8;
    }

    /// The lowest `count` bits of `value`, `u(n)`.
    pub fn bits(&mut self, value: u32, count: u8) {
        for shift in (0..count).rev() {
            self.bit(value >> shift & 1 == 1);
        }
    }

    /// An unsigned Exp-Golomb code, `ue(v)`.
    pub fn ue(&mut self, value: u32) {
        let code = u64::from(value) + 1;
        let length = 64 - code.leading_zeros();
        for _ in 1..length {
            self.bit(false);
        }
        for shift in (0..length).rev() {
            self.bit(code >> shift & 1 == 1);
        }
    }

    /// A signed Exp-Golomb code, `se(v)`.
    pub fn se(&mut self, value: i32) {
        let magnitude = value.unsigned_abs();
        self.ue(if value > 0 {
            2 * magnitude - 1
        } else {
            2 * magnitude
        });
    }

    /// Zero bits up to the next byte.
    pub fn align(&mut self) {
        self.used = 0;
    }

    /// Whole bytes. The payload must be byte-aligned; what is not is aligned first.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.align();
        self.bytes.extend_from_slice(bytes);
    }

    /// The stop bit and zero bits, `rbsp_trailing_bits()`.
    pub fn finish(mut self) -> Vec<u8> {
        self.bit(true);
        self.bytes
    }
}

/// Appends a NAL unit in Annex B form: start code, header, payload with emulation prevention.
pub fn push_nal(out: &mut Vec<u8>, header: u8, rbsp: &[u8]) {
    out.extend_from_slice(&START_CODE);
    out.push(header);
    let mut zeros = 0;
    for &byte in rbsp {
        if zeros == 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::frame_marker::{nal_units, unescape};

    fn written(write: impl FnOnce(&mut BitWriter)) -> String {
        let mut writer = BitWriter::default();
        write(&mut writer);
        let unused = (8 - usize::from(writer.used)) % 8;
        let bits = writer
            .bytes
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1));
        let mut bits: String = bits.map(|bit| if bit == 1 { '1' } else { '0' }).collect();
        bits.truncate(bits.len() - unused);
        bits
    }

    #[test]
    fn exp_golomb_codes_are_those_of_table_9_2() {
        let expected = ["1", "010", "011", "00100", "00101", "00110", "00111", "0001000"];
        for (value, code) in (0..).zip(expected) {
            assert_eq!(written(|w| w.ue(value)), code, "ue({value})");
        }
        assert_eq!(written(|w| w.ue(255)), "00000000100000000");
    }

    #[test]
    fn signed_codes_alternate() {
        for (value, mapped) in [(0, 0), (1, 1), (-1, 2), (2, 3), (-2, 4)] {
            assert_eq!(written(|w| w.se(value)), written(|w| w.ue(mapped)), "se({value})");
        }
    }

    #[test]
    fn payload_ends_with_a_stop_bit() {
        let mut writer = BitWriter::default();
        writer.bits(0b101, 3);
        assert_eq!(writer.finish(), [0b1011_0000]);
        let mut writer = BitWriter::default();
        writer.bits(0xab, 8);
        assert_eq!(writer.finish(), [0xab, 0x80]);
    }

    #[test]
    fn emulation_prevention_is_reversible() {
        for rbsp in [
            vec![0, 0, 0, 0, 0, 1, 0x80],
            vec![0, 0, 1, 0, 0, 2, 0, 0, 3, 0, 0, 4, 0x80],
            vec![7, 0, 0x80],
        ] {
            let mut stream = Vec::new();
            push_nal(&mut stream, 0x06, &rbsp);
            push_nal(&mut stream, 0x65, &[0x80]);
            let units: Vec<_> = nal_units(&stream).collect();
            assert_eq!(units.len(), 2, "{stream:?}");
            assert_eq!(unescape(&units[0][1..]), rbsp);
        }
    }
}
