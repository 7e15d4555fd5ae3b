use std::io::{self, Read, Write};

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use super::*;

mod damaged;

const MAX: usize = 300;

/// A masked frame, right or wrong.
#[derive(Clone, Debug)]
struct Sent {
    first: u8,
    masked: bool,
    payload: Vec<u8>,
}

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let flag = if self.masked { 0x80 } else { 0 };
        let mut bytes = vec![self.first];
        match self.payload.len() {
            length @ 0..=125 => bytes.push(flag | u8::try_from(length).unwrap()),
            length => {
                bytes.push(flag | 0x7e);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        if !self.masked {
            bytes.extend(&self.payload);
            return bytes;
        }
        bytes.extend(mask);
        bytes.extend(
            self.payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        bytes
    }
}

/// Everything that is heard, to the end or the first error.
fn ours(chunks: &[&[u8]]) -> (Vec<Received>, Option<Close>) {
    let (mut incoming, mut heard) = (Incoming::new(MAX), Vec::new());
    for chunk in chunks {
        incoming.push(chunk);
        loop {
            let promised = incoming.has_message();
            let next = incoming.next();
            if promised {
                assert!(
                    matches!(next, Ok(Some(Received::Message(_))) | Err(_)),
                    "{next:?}"
                );
            }
            match next {
                Ok(Some(received)) => heard.push(received),
                Ok(None) => break,
                Err(close) => return (heard, Some(close)),
            }
            if matches!(heard.last(), Some(Received::Close(_))) {
                return (heard, None);
            }
        }
        let held = incoming.bytes.len();
        assert!(held <= MAX + 14 + chunk.len(), "{held} bytes are held");
    }
    (heard, None)
}

/// The same by tungstenite.
fn theirs(bytes: &[u8]) -> (Vec<Received>, Option<Close>) {
    struct Stream<'a>(&'a [u8]);

    impl Read for Stream<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                Err(io::ErrorKind::WouldBlock.into())
            } else {
                self.0.read(buffer)
            }
        }
    }

    impl Write for Stream<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX))
        .max_frame_size(Some(MAX));
    let mut socket = WebSocket::from_raw_socket(Stream(bytes), Role::Server, Some(config));
    let mut heard = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => heard.push(Received::Message(text.into())),
            Ok(Message::Binary(bytes)) => heard.push(Received::Message(bytes)),
            Ok(Message::Ping(bytes)) => heard.push(Received::Ping(bytes)),
            Ok(Message::Pong(_)) => heard.push(Received::Pong),
            Ok(Message::Close(frame)) => {
                // It answers a code that must not be sent itself; we refuse it.
                if frame
                    .as_ref()
                    .is_some_and(|frame| &*frame.reason == "Protocol violation")
                {
                    return (heard, Some(Close::ProtocolError));
                }
                let payload = frame.map(|frame| {
                    [&u16::from(frame.code).to_be_bytes()[..], frame.reason.as_bytes()].concat()
                });
                heard.push(Received::Close(payload.unwrap_or_default().into()));
                return (heard, None);
            }
            Ok(Message::Frame(_)) => unreachable!(),
            Err(Error::Io(_)) => return (heard, None),
            Err(Error::Capacity(_)) => return (heard, Some(Close::TooLarge)),
            Err(Error::Utf8(_)) => return (heard, Some(Close::NotUtf8)),
            Err(Error::Protocol(error)) => {
                assert_ne!(error, ProtocolError::ResetWithoutClosingHandshake);
                return (heard, Some(Close::ProtocolError));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[ -~é€😀]{0,60}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..140),
        1 => prop::collection::vec(Just(b'x'), 100..400),
        1 => (990u16..1020, "[a-z]{0,10}").prop_map(|(code, reason)| [&code.to_be_bytes()[..], reason.as_bytes()].concat()),
    ]
}

fn frame() -> impl Strategy<Value = Sent> {
    let first = prop_oneof![
        // Whole messages, fragments in all places, control frames.
        12 => prop::sample::select(vec![0x81u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a]),
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    (first, prop::bool::weighted(0.97), payload()).prop_map(|(first, masked, payload)| Sent {
        first,
        masked,
        payload,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 10_000, ..ProptestConfig::default() })]

    /// tungstenite hears the same, whatever the frames and wherever the bytes are cut.
    #[test]
    fn hears_what_tungstenite_hears(
        frames in prop::collection::vec(frame(), 1..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(Sent::bytes).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
        prop_assert_eq!(ours(&chunks), theirs(&bytes));
    }

    #[test]
    fn takes_any_bytes(bytes: Vec<u8>) {
        let mut incoming = Incoming::new(MAX);
        incoming.push(&bytes);
        while let Ok(Some(_)) = incoming.next() {}
    }
}

#[test]
fn an_idle_connection_holds_nothing() {
    let mut incoming = Incoming::new(100_000);
    let frame = Sent {
        first: 0x81,
        masked: true,
        payload: vec![b'x'; 60_000],
    }
    .bytes();
    let (head, tail) = frame.split_at(30_000);
    incoming.push(head);
    assert_eq!(incoming.next(), Ok(None));
    incoming.push(tail);
    assert!(matches!(incoming.next(), Ok(Some(Received::Message(_)))));
    assert_eq!((incoming.next(), incoming.bytes.capacity()), (Ok(None), 0));
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_header() {
    let mut incoming = Incoming::new(1000);
    incoming.push(&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0x03, 0xe9, 0, 0, 0, 0]);
    assert_eq!(incoming.next(), Err(Close::TooLarge));
    let mut incoming = Incoming::new(1000);
    incoming.push(
        &Sent {
            first: 0x01,
            masked: true,
            payload: vec![b'x'; 600],
        }
        .bytes(),
    );
    incoming.push(
        &Sent {
            first: 0x89,
            masked: true,
            payload: vec![b'x'; 100],
        }
        .bytes(),
    );
    assert!(matches!(incoming.next(), Ok(Some(Received::Ping(_)))));
    incoming.push(
        &Sent {
            first: 0x80,
            masked: true,
            payload: vec![b'x'; 401],
        }
        .bytes()[..8],
    );
    assert_eq!(incoming.next(), Err(Close::TooLarge));
}
