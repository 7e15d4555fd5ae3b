//! The video of a simulated host: a test pattern, drawn and encoded at run time.

pub mod bits;
pub mod font;
pub mod h264;
pub mod pattern;
pub mod picture;
