//! The test pattern: colour bars, the host's name, a clock, a frame number and a moving block.
//!
//! One character fills one macroblock, so a digit that changes costs one macroblock.

use super::font::{HEIGHT, WIDTH, glyph};
use super::picture::{BLOCK, Block, Colour, Picture};
use crate::peer::frame_marker::FrameMarker;

/// Width in macroblocks: 256 pixels.
pub const COLUMNS: usize = 16;
/// Height in macroblocks: 144 pixels.
pub const ROWS: usize = 9;

/// Dots of a glyph are squares of this many pixels.
const DOT: usize = 2;
const PAPER: Colour = Colour {
    y: 28,
    cb: 138,
    cr: 122,
};
const INK: u8 = 225;
const MARK: Colour = Colour {
    y: 170,
    cb: 60,
    cr: 150,
};
/// Colour bars at 75 %: white, yellow, cyan, green, magenta, red, blue, black.
const BARS: [Colour; 8] = [
    Colour {
        y: 180,
        cb: 128,
        cr: 128,
    },
    Colour {
        y: 162,
        cb: 44,
        cr: 142,
    },
    Colour {
        y: 131,
        cb: 156,
        cr: 44,
    },
    Colour {
        y: 112,
        cb: 72,
        cr: 58,
    },
    Colour {
        y: 84,
        cb: 184,
        cr: 198,
    },
    Colour {
        y: 65,
        cb: 100,
        cr: 212,
    },
    Colour {
        y: 35,
        cb: 212,
        cr: 114,
    },
    Colour {
        y: 16,
        cb: 128,
        cr: 128,
    },
];
/// Rows of the picture.
const BAR_ROWS: [usize; 2] = [0, 7];
const NAME_ROW: usize = 2;
const CLOCK_ROW: usize = 4;
const NUMBER_ROW: usize = 5;
const MARK_ROW: usize = 8;

/// Draws the frames of one session.
#[derive(Debug)]
pub struct Pattern {
    background: Picture,
}

impl Pattern {
    /// A pattern that shows `name`, as far as it fits.
    pub fn new(name: &str) -> Self {
        let mut background = Picture::filled(COLUMNS, ROWS, PAPER);
        for row in BAR_ROWS {
            for column in 0..COLUMNS {
                let bar = BARS[column * BARS.len() / COLUMNS];
                background.set(column, row, Block::filled(bar));
            }
        }
        write(&mut background, NAME_ROW, name);
        Self { background }
    }

    /// The picture with this number and time.
    pub fn draw(&self, marker: FrameMarker) -> Picture {
        let mut picture = self.background.clone();
        write(&mut picture, CLOCK_ROW, &clock(marker.drawn_at));
        write(&mut picture, NUMBER_ROW, &format!("#{:08}", marker.number));
        let columns = COLUMNS as u64;
        let column = usize::try_from(marker.number % columns).unwrap_or_default();
        picture.set(column, MARK_ROW, Block::filled(MARK));
        picture
    }
}

/// `HH:MM:SS.mmm` in UTC.
fn clock(unix_millis: u64) -> String {
    let (seconds, millis) = (unix_millis / 1000, unix_millis % 1000);
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{millis:03}", seconds % 60)
}

/// Writes a line, centred; what does not fit is left out.
fn write(picture: &mut Picture, row: usize, text: &str) {
    let length = text.chars().count().min(COLUMNS);
    let first = (COLUMNS - length) / 2;
    for (column, character) in text.chars().take(COLUMNS).enumerate() {
        picture.set(first + column, row, letter(character));
    }
}

fn letter(character: char) -> Block {
    let mut block = Block::filled(PAPER);
    let left = (BLOCK - WIDTH * DOT) / 2;
    let top = (BLOCK - HEIGHT * DOT) / 2;
    for (row, dots) in glyph(character).into_iter().enumerate() {
        for column in (0..WIDTH).filter(|column| dots >> (WIDTH - 1 - column) & 1 == 1) {
            for (dx, dy) in (0..DOT).flat_map(|dx| (0..DOT).map(move |dy| (dx, dy))) {
                block.set_luma(left + column * DOT + dx, top + row * DOT + dy, INK);
            }
        }
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(number: u64, drawn_at: u64) -> FrameMarker {
        FrameMarker { number, drawn_at }
    }

    fn changed(a: &Picture, b: &Picture) -> usize {
        a.blocks().iter().zip(b.blocks()).filter(|(a, b)| a != b).count()
    }

    #[test]
    fn the_clock_shows_utc() {
        assert_eq!(clock(0), "00:00:00.000");
        assert_eq!(clock(86_399_999), "23:59:59.999");
        assert_eq!(clock(90_061_007), "01:01:01.007");
    }

    #[test]
    fn little_changes_from_frame_to_frame() {
        let pattern = Pattern::new("host-1");
        let total: usize = (0..100)
            .map(|n| {
                let before = pattern.draw(marker(n, n * 66));
                changed(&before, &pattern.draw(marker(n + 1, (n + 1) * 66)))
            })
            .sum();
        assert!(total < 800, "{total} of {} blocks", 100 * COLUMNS * ROWS);
        assert!(total >= 300, "clock, number and block must move: {total}");
    }

    #[test]
    fn samples_are_in_video_range() {
        let picture = Pattern::new("Zz?-#").draw(marker(42, 123_456));
        for block in picture.blocks() {
            assert!(block.samples().iter().all(|sample| (16..=240).contains(sample)));
        }
    }

    #[test]
    fn equal_moments_look_equal_and_others_do_not() {
        let pattern = Pattern::new("a");
        assert_eq!(pattern.draw(marker(1, 5)), pattern.draw(marker(1, 5)));
        assert_ne!(pattern.draw(marker(1, 5)), pattern.draw(marker(2, 5)));
        assert_ne!(pattern.draw(marker(1, 5)), pattern.draw(marker(1, 6)));
        assert_ne!(pattern.draw(marker(1, 5)), Pattern::new("b").draw(marker(1, 5)));
    }
}
