//! A picture as H.264 sees it: macroblocks of 16 x 16 pixels in YUV 4:2:0.

/// Side of a macroblock in luma samples.
pub const BLOCK: usize = 16;
/// Bytes of a macroblock without compression: 256 luma, 64 + 64 chroma samples.
pub const BLOCK_BYTES: usize = BLOCK * BLOCK * 3 / 2;

/// A colour in video range (luma 16-235, chroma 16-240, neutral 128).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    /// Luma.
    pub y: u8,
    /// Blue difference.
    pub cb: u8,
    /// Red difference.
    pub cr: u8,
}

/// The samples of one macroblock, in the order in which the stream has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    samples: [u8; BLOCK_BYTES],
}

/// A picture of whole macroblocks, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    columns: usize,
    blocks: Vec<Block>,
}

// === impl Block ===

impl Block {
    /// A block of one colour.
    pub fn filled(colour: Colour) -> Self {
        let mut samples = [colour.y; BLOCK_BYTES];
        samples[256..320].fill(colour.cb);
        samples[320..].fill(colour.cr);
        Self { samples }
    }

    /// Sets the luma of one pixel. Positions outside of the block are left out.
    pub fn set_luma(&mut self, x: usize, y: usize, luma: u8) {
        if x < BLOCK && y < BLOCK {
            self.samples[y * BLOCK + x] = luma;
        }
    }

    /// Luma, then blue difference, then red difference.
    pub fn samples(&self) -> &[u8; BLOCK_BYTES] {
        &self.samples
    }
}

// === impl Picture ===

impl Picture {
    /// A picture of `columns` x `rows` macroblocks in one colour.
    pub fn filled(columns: usize, rows: usize, colour: Colour) -> Self {
        Self {
            columns,
            blocks: vec![Block::filled(colour); columns * rows],
        }
    }

    /// Width in macroblocks.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Height in macroblocks.
    pub fn rows(&self) -> usize {
        self.blocks.len() / self.columns.max(1)
    }

    /// All blocks in raster order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Replaces one block. Positions outside of the picture are left out.
    pub fn set(&mut self, column: usize, row: usize, block: Block) {
        if column < self.columns
            && let Some(place) = self.blocks.get_mut(row * self.columns + column)
        {
            *place = block;
        }
    }
}
