//! Frames as a client needs them (RFC 6455, section 5.2), with as little work as possible: the server is measured.

/// Of every frame that is sent. A client should choose it anew for each frame; here it is known beforehand, so that frames
/// are masked once and not once per message. The server unmasks either way.
const MASK: [u8; 4] = [0x5a, 0x17, 0xc3, 0x8e];

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    /// Code and reason, as they are in the frame.
    Close(&'a [u8]),
}

/// The server sent something that it must not send, or that no relay sends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame that begins with {0:#04x} {1:#04x}")]
pub(crate) struct BadFrame(u8, u8);

/// A whole text frame, and where its payload begins.
pub(crate) fn text(payload: &[u8]) -> (Vec<u8>, usize) {
    frame(TEXT, payload)
}

/// The answer to a ping.
pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PONG, payload).0
}

/// A normal close.
pub(crate) fn close() -> Vec<u8> {
    frame(CLOSE, &1000_u16.to_be_bytes()).0
}

/// One byte of a payload as it goes over the wire, `index` bytes behind the payload's begin.
pub(crate) fn masked(byte: u8, index: usize) -> u8 {
    byte ^ MASK[index % MASK.len()]
}

fn frame(opcode: u8, payload: &[u8]) -> (Vec<u8>, usize) {
    let mut out = Vec::with_capacity(payload.len() + 14);
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0xfe);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(0xff);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    let start = out.len();
    out.extend(
        payload
            .iter()
            .enumerate()
            .map(|(index, byte)| masked(*byte, index)),
    );
    (out, start)
}

/// The first frame, if all of it is there, and how many bytes it takes.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, BadFrame> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let (length, start) = match (*second, rest) {
        (length @ ..=125, _) => (usize::from(length), 2_usize),
        (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
        (127, [_, _, _, _, _, _, _, _, ..]) => {
            let length = rest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            let length = usize::try_from(length).map_err(|_| BadFrame(*first, *second))?;
            (length, 10)
        }
        (126 | 127, _) => return Ok(None),
        // Masked.
        _ => return Err(BadFrame(*first, *second)),
    };
    let Some(payload) = bytes.get(start..start.saturating_add(length)) else {
        return Ok(None);
    };
    let frame = match first ^ 0x80 {
        TEXT => Frame::Text(payload),
        PING => Frame::Ping(payload),
        PONG => Frame::Pong,
        CLOSE => Frame::Close(payload),
        // Fragments, extensions, binary messages.
        _ => return Err(BadFrame(*first, *second)),
    };
    Ok(Some((frame, start + length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};
    use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

    const LENGTHS: [usize; 6] = [0, 1, 125, 126, 65_535, 65_536];

    #[test]
    fn tungstenite_reads_what_is_written() {
        for length in LENGTHS {
            let payload = "x".repeat(length);
            let (bytes, start) = text(payload.as_bytes());
            assert_eq!(bytes.len(), start + length);
            let mut socket = WebSocket::from_raw_socket(Cursor::new(bytes), Role::Server, None);
            assert_eq!(socket.read().unwrap(), Message::Text(Utf8Bytes::from(payload)));
        }
    }

    #[test]
    fn what_tungstenite_writes_is_read_as_soon_as_it_is_whole() {
        for length in LENGTHS {
            let payload = "x".repeat(length);
            let mut socket = WebSocket::from_raw_socket(Cursor::new(Vec::new()), Role::Server, None);
            socket.send(Message::text(payload.clone())).unwrap();
            let bytes = socket.into_inner().into_inner();
            assert_eq!(
                parse(&bytes),
                Ok(Some((Frame::Text(payload.as_bytes()), bytes.len())))
            );
            assert_eq!(parse(&bytes[..bytes.len() - 1]), Ok(None));
            assert_eq!(parse(&bytes[..1]), Ok(None));
        }
    }

    #[test]
    fn control_frames_are_told_apart_and_nonsense_is_an_error() {
        assert_eq!(parse(&[0x89, 1, 7]), Ok(Some((Frame::Ping(&[7]), 3))));
        assert_eq!(parse(&[0x8a, 0]), Ok(Some((Frame::Pong, 2))));
        assert_eq!(parse(&[0x88, 2, 3, 232]), Ok(Some((Frame::Close(&[3, 232]), 4))));
        for bad in [[0x81, 0x80], [0x01, 0], [0x82, 0], [0xc1, 0]] {
            assert_eq!(parse(&bad), Err(BadFrame(bad[0], bad[1])));
        }
    }
}
