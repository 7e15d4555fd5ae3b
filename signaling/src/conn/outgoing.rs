//! Frames to a peer: into the socket at once, and only what it does not take is kept.
//!
//! A write costs far more than the bytes in it. So frames of a burst are held, and written together with its last one.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, Write};

use bytes::{Buf as _, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;

/// Longest header of a frame of a server.
const MAX_HEADER: usize = 10;
/// Up to so many bytes, copying header and payload into one place is cheaper than a write from two places.
const SMALL: usize = 4096;
/// Most bytes that are held.
const HELD: usize = 8 * 1024;

thread_local! {
    /// Where small frames are put together. No connection has a buffer of its own.
    static FRAME: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(SMALL + MAX_HEADER));
}

/// Bytes that wait until the peer reads.
#[derive(Debug)]
pub(super) struct Outgoing {
    waiting: BytesMut,
    /// The socket took nothing more; its owner is woken when it does. If not, what waits is only held.
    blocked: bool,
    /// Most bytes that may wait.
    bound: usize,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Written, or waiting behind others.
    Taken,
    /// More would wait than may.
    Full,
}

impl Outgoing {
    /// At most `bound` bytes may wait, and the header of one frame.
    pub(super) fn new(bound: usize) -> Self {
        Self {
            waiting: BytesMut::new(),
            blocked: false,
            bound: bound.saturating_add(MAX_HEADER),
        }
    }

    /// Whether bytes wait.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Throws away what waits.
    pub(super) fn clear(&mut self) {
        self.waiting = BytesMut::new();
    }

    /// Allows so many bytes more.
    pub(super) fn widen(&mut self, bytes: usize) {
        self.bound = self.bound.saturating_add(bytes);
    }

    /// Sends one frame, and what is held before it. An error means that the connection is gone.
    pub(super) fn send(
        &mut self,
        stream: &mut impl Write,
        opcode: OpCode,
        payload: &[u8],
    ) -> io::Result<Sent> {
        let mut header = [0; MAX_HEADER];
        let header = write_header(&mut header, opcode, payload.len());
        let size = header.len() + payload.len();
        if self.waiting.len() + size > self.bound && !self.blocked {
            self.flush(stream)?;
        }
        if self.waiting.len() + size > self.bound {
            return Ok(Sent::Full);
        }
        let taken = if self.waiting.is_empty() {
            write_frame(stream, header, payload)?
        } else {
            0
        };
        if taken < size {
            self.keep(header, payload, taken);
            if !self.blocked {
                self.flush(stream)?;
            }
        }
        Ok(Sent::Taken)
    }

    /// Holds one frame until the next one is sent, or until [`Outgoing::flush`].
    pub(super) fn hold(
        &mut self,
        stream: &mut impl Write,
        opcode: OpCode,
        payload: &[u8],
    ) -> io::Result<Sent> {
        let mut header = [0; MAX_HEADER];
        let header = write_header(&mut header, opcode, payload.len());
        if self.blocked || self.waiting.len() + header.len() + payload.len() > HELD.min(self.bound) {
            return self.send(stream, opcode, payload);
        }
        if self.waiting.is_empty() {
            // For a burst of usual messages.
            self.waiting.reserve(HELD / 4);
        }
        self.keep(header, payload, 0);
        Ok(Sent::Taken)
    }

    /// Keeps a frame without its first bytes.
    fn keep(&mut self, header: &[u8], payload: &[u8], taken: usize) {
        let of_header = taken.min(header.len());
        self.waiting.extend_from_slice(&header[of_header..]);
        self.waiting.extend_from_slice(&payload[taken - of_header..]);
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self, stream: &mut impl Write) -> io::Result<()> {
        self.blocked = false;
        while !self.waiting.is_empty() {
            let Some(count) = written(stream.write(&self.waiting))? else {
                self.blocked = true;
                return Ok(());
            };
            self.waiting.advance(count);
        }
        self.waiting = BytesMut::new();
        Ok(())
    }
}

/// Writes a frame as far as the socket takes it at once.
fn write_frame(stream: &mut impl Write, header: &[u8], payload: &[u8]) -> io::Result<usize> {
    let result = if payload.len() <= SMALL {
        FRAME.with_borrow_mut(|frame| {
            frame.clear();
            frame.extend_from_slice(header);
            frame.extend_from_slice(payload);
            stream.write(frame)
        })
    } else {
        stream.write_vectored(&[IoSlice::new(header), IoSlice::new(payload)])
    };
    Ok(written(result)?.unwrap_or(0))
}

/// How much was written; `None` when the socket takes nothing now.
fn written(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// The header of a whole frame, which a server does not mask.
fn write_header(buffer: &mut [u8; MAX_HEADER], opcode: OpCode, length: usize) -> &[u8] {
    let header = FrameHeader {
        is_final: true,
        opcode,
        ..FrameHeader::default()
    };
    let mut rest = &mut buffer[..];
    // The longest header fits.
    let _ = header.format(length as u64, &mut rest);
    let unused = rest.len();
    &buffer[..MAX_HEADER - unused]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

    /// Takes as many bytes at a time as it is told, and blocks on 0.
    struct Slow {
        taken: Vec<u8>,
        steps: Vec<usize>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let step = self.steps.pop().unwrap_or(0).min(bytes.len());
            if step == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.taken.extend_from_slice(&bytes[..step]);
            Ok(step)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            self.write(&bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut header = [0; MAX_HEADER];
        [
            write_header(&mut header, OpCode::Data(Data::Text), payload.len()),
            payload,
        ]
        .concat()
    }

    #[test]
    fn headers_have_the_shortest_form() {
        for (length, expected) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xff, 0xff]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            assert_eq!(
                write_header(&mut [0; MAX_HEADER], OpCode::Data(Data::Text), length),
                expected
            );
        }
    }

    #[test]
    fn held_frames_go_out_in_one_write_with_the_next_one() {
        let mut outgoing = Outgoing::new(1000);
        let mut stream = Slow {
            taken: Vec::new(),
            steps: vec![usize::MAX],
        };
        for payload in [b"a", b"b"] {
            let sent = outgoing
                .hold(&mut stream, OpCode::Data(Data::Text), payload)
                .unwrap();
            assert_eq!((sent, stream.taken.len()), (Sent::Taken, 0));
        }
        outgoing
            .send(&mut stream, OpCode::Data(Data::Text), b"c")
            .unwrap();
        assert_eq!(stream.taken, [framed(b"a"), framed(b"b"), framed(b"c")].concat());
    }

    #[test]
    fn a_full_buffer_takes_nothing_more_until_it_is_widened() {
        let mut outgoing = Outgoing::new(100);
        let mut stream = Slow {
            taken: Vec::new(),
            steps: Vec::new(),
        };
        let send = |outgoing: &mut Outgoing, stream: &mut Slow, size| {
            outgoing
                .send(stream, OpCode::Data(Data::Text), &vec![0; size])
                .unwrap()
        };
        assert_eq!(send(&mut outgoing, &mut stream, 100), Sent::Taken);
        assert_eq!(send(&mut outgoing, &mut stream, 20), Sent::Full);
        outgoing.widen(20);
        assert_eq!(send(&mut outgoing, &mut stream, 20), Sent::Taken);
        stream.steps = vec![1000];
        outgoing.flush(&mut stream).unwrap();
        assert!(!outgoing.is_waiting() && stream.taken.len() == 124);
    }

    proptest! {
        /// However little the socket takes at a time, and whether frames are held or not, everything goes out once and in order,
        /// no more waits than may, and a frame is refused only when the socket takes nothing more.
        #[test]
        fn everything_goes_out_in_order(
            payloads in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 1..20),
            steps in prop::collection::vec(0usize..200, 0..100),
        ) {
            let mut outgoing = Outgoing::new(1000);
            let mut stream = Slow { taken: Vec::new(), steps };
            let mut expected = Vec::new();
            for (payload, hold) in &payloads {
                let send = if *hold { Outgoing::hold } else { Outgoing::send };
                if send(&mut outgoing, &mut stream, OpCode::Data(Data::Text), payload).unwrap() == Sent::Taken {
                    expected.extend(framed(payload));
                } else {
                    prop_assert!(outgoing.blocked);
                }
                prop_assert!(outgoing.waiting.len() <= 1000 + MAX_HEADER);
                prop_assert!(*hold || outgoing.blocked || !outgoing.is_waiting());
                prop_assert_eq!([&stream.taken[..], &outgoing.waiting].concat(), expected.clone());
                if !*hold {
                    outgoing.flush(&mut stream).unwrap();
                }
            }
            stream.steps = vec![usize::MAX; 2];
            outgoing.flush(&mut stream).unwrap();
            prop_assert_eq!(stream.taken, expected);
        }
    }
}
