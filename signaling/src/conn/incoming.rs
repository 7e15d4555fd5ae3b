//! Frames of a peer (RFC 6455, sections 5 to 7): bytes in, messages out. No I/O.
//!
//! It holds only bytes that are not a whole message yet, so an idle connection holds none. A frame's header is read
//! by tungstenite; what follows from it is decided here, before the payload is waited for.

use std::io::Cursor;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use crate::close::Close;

/// Most bytes in the payload of a control frame.
const MAX_CONTROL: u64 = 125;

/// What the peer has sent and what is not understood yet.
#[derive(Debug)]
pub(super) struct Incoming {
    bytes: BytesMut,
    /// The fragments of a message, until the last one.
    fragments: Option<Box<Fragments>>,
    /// Largest message.
    max: usize,
}

#[derive(Debug)]
struct Fragments {
    is_text: bool,
    payload: BytesMut,
    /// So many bytes of a text are UTF-8; a character may be cut by the end of a fragment.
    checked: usize,
}

/// What a peer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A text, which is UTF-8, or a binary message.
    Message(Bytes),
    /// Wants this back in a pong.
    Ping(Bytes),
    /// An answer to a ping.
    Pong,
    /// Closes, with this payload of the close frame to be sent back.
    Close(Bytes),
}

impl Incoming {
    /// Messages of at most `max` bytes.
    pub(super) fn new(max: usize) -> Self {
        Self {
            bytes: BytesMut::new(),
            fragments: None,
            max,
        }
    }

    /// Takes bytes as they came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next thing that the peer said in full; an error ends the connection.
    pub(super) fn next(&mut self) -> Result<Option<Received>, Close> {
        while let Some((header, payload)) = self.frame()? {
            let received = match header.opcode {
                OpCode::Control(Control::Ping) => Some(Received::Ping(payload.freeze())),
                OpCode::Control(Control::Pong) => Some(Received::Pong),
                OpCode::Control(_) => Some(Received::Close(check_close(payload.freeze())?)),
                OpCode::Data(data) => self.data(data, header.is_final, payload)?,
            };
            if received.is_some() {
                return Ok(received);
            }
        }
        Ok(None)
    }

    /// Whether the peer has said one message more already: [`Incoming::next`] gives it at once, or an error.
    pub(super) fn has_message(&self) -> bool {
        if self.bytes.is_empty() {
            return false;
        }
        let mut cursor = Cursor::new(&self.bytes);
        let Ok(Some((header, length))) = FrameHeader::parse(&mut cursor) else {
            return false;
        };
        let is_message = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        is_message && header.is_final && (self.bytes.len() as u64).saturating_sub(cursor.position()) >= length
    }

    /// Takes one whole frame out, unmasked.
    fn frame(&mut self) -> Result<Option<(FrameHeader, BytesMut)>, Close> {
        let mut cursor = Cursor::new(&self.bytes);
        let header = FrameHeader::parse(&mut cursor).map_err(|_| Close::ProtocolError)?;
        let start = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        let Some((header, length)) = header else {
            return Ok(None);
        };
        let mask = self.check(&header, length)?;
        // The check compared it with the largest message.
        let length = usize::try_from(length).map_err(|_| Close::TooLarge)?;
        let missing = (start + length).saturating_sub(self.bytes.len());
        if missing > 0 {
            self.bytes.reserve(missing);
            return Ok(None);
        }
        self.bytes.advance(start);
        let mut payload = self.bytes.split_to(length);
        if self.bytes.is_empty() {
            // The last payload goes with the memory.
            self.bytes = BytesMut::new();
        }
        unmask(&mut payload, mask);
        Ok(Some((header, payload)))
    }

    /// Whether a frame with this header may come now; its mask.
    fn check(&self, header: &FrameHeader, length: u64) -> Result<[u8; 4], Close> {
        let in_fragments = self.fragments.as_ref().map(|fragments| fragments.payload.len());
        let before = match header.opcode {
            OpCode::Data(Data::Continue) => in_fragments.unwrap_or(0),
            _ => 0,
        };
        let allowed = match header.opcode {
            OpCode::Control(_) => header.is_final && length <= MAX_CONTROL,
            OpCode::Data(Data::Continue) => in_fragments.is_some(),
            OpCode::Data(_) => in_fragments.is_none(),
        };
        if length > self.max as u64 {
            return Err(Close::TooLarge);
        }
        if !allowed || header.rsv1 || header.rsv2 || header.rsv3 || header.mask.is_none() {
            return Err(Close::ProtocolError);
        }
        if length > self.max.saturating_sub(before) as u64 {
            return Err(Close::TooLarge);
        }
        header.mask.ok_or(Close::ProtocolError)
    }

    /// A data frame; a message, if it was the last of one.
    fn data(&mut self, data: Data, is_final: bool, payload: BytesMut) -> Result<Option<Received>, Close> {
        // A message in one frame, as almost all are, needs no memory beside its own.
        let mut fragments = self
            .fragments
            .take()
            .map_or_else(|| Fragments::new(data), |fragments| *fragments);
        fragments.add(payload, is_final)?;
        if is_final {
            return Ok(Some(Received::Message(fragments.payload.freeze())));
        }
        self.fragments = Some(Box::new(fragments));
        Ok(None)
    }
}

impl Fragments {
    fn new(data: Data) -> Self {
        Self {
            is_text: data == Data::Text,
            payload: BytesMut::new(),
            checked: 0,
        }
    }

    fn add(&mut self, payload: BytesMut, is_final: bool) -> Result<(), Close> {
        if self.payload.is_empty() {
            self.payload = payload;
        } else {
            self.payload.extend_from_slice(&payload);
        }
        if !self.is_text {
            return Ok(());
        }
        match std::str::from_utf8(self.payload.get(self.checked..).unwrap_or_default()) {
            Ok(text) => self.checked += text.len(),
            Err(error) if error.error_len().is_none() && !is_final => self.checked += error.valid_up_to(),
            Err(_) => return Err(Close::NotUtf8),
        }
        Ok(())
    }
}

/// Nothing, or a code and a text.
fn check_close(payload: Bytes) -> Result<Bytes, Close> {
    match payload.split_first_chunk::<2>() {
        None if payload.is_empty() => Ok(payload),
        Some((_, reason)) if std::str::from_utf8(reason).is_err() => Err(Close::NotUtf8),
        Some((code, _)) if CloseCode::from(u16::from_be_bytes(*code)).is_allowed() => Ok(payload),
        _ => Err(Close::ProtocolError),
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Everything that is heard in these chunks, to the close, the end or the first error, as text.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn hear<'a>(max: usize, chunks: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut incoming, mut heard) = (Incoming::new(max), Vec::new());
    for chunk in chunks {
        incoming.push(chunk);
        loop {
            match incoming.next() {
                Ok(Some(received)) => {
                    heard.push(format!("{received:?}"));
                    if matches!(received, Received::Close(_)) {
                        return heard;
                    }
                }
                Ok(None) => break,
                Err(close) => {
                    heard.push(format!("{close:?}"));
                    return heard;
                }
            }
        }
        let held = incoming.bytes.len();
        assert!(held <= max + 14 + chunk.len(), "{held} bytes are held");
    }
    heard
}

#[cfg(test)]
mod tests;
