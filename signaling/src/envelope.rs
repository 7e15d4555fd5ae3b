//! What travels between instances: a small binary header and the message, which is forwarded without being read.
//!
//! ```text
//! version u8 | kind u8 | published at, Unix µs u64 | room: length u16, text | body
//!
//! message (1): member 16 bytes | number u64 | text to the end
//! joined  (2): seat | how many u16 | seats
//! left    (3): member 16 bytes | departure u8 (0 left, 1 drained)
//! seat       : member 16 bytes | join number u64 | instance: length u16, text
//! ```
//!
//! Integers are big-endian. A version that is not known is refused, so that two versions of the server can share
//! a Redis during a roll-out: what one of them does not understand is counted and dropped.

use berth_crds::settings::RoomId;
use berth_dataplane::occupancy::{Instance, MemberId, Seat};
use bytes::{Buf, BufMut, Bytes};
use uuid::Uuid;

use crate::protocol::Text;
use crate::room::{Departure, Notice, Sent};

const VERSION: u8 = 1;
const MESSAGE: u8 = 1;
const JOINED: u8 = 2;
const LEFT: u8 = 3;

/// One notice, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The room.
    pub room: RoomId,
    /// When it was published, Unix time in µs.
    pub published_at: u64,
    /// What it says.
    pub notice: Notice,
}

/// Why bytes are no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Made by a version of the server that this one does not understand.
    #[error("envelope of version {0}")]
    Version(u8),
    /// Too short, too long, or not what it says.
    #[error("malformed envelope")]
    Malformed,
}

/// Writes an envelope.
pub fn encode(room: &RoomId, published_at: u64, notice: &Notice) -> Vec<u8> {
    let mut out = Vec::with_capacity(size_hint(room, notice));
    out.put_u8(VERSION);
    out.put_u8(match notice {
        Notice::Message(_) => MESSAGE,
        Notice::Joined { .. } => JOINED,
        Notice::Left { .. } => LEFT,
    });
    out.put_u64(published_at);
    put_text(&mut out, room.as_str());
    match notice {
        Notice::Message(Sent { from, number, text }) => {
            out.put_slice(from.0.as_bytes());
            out.put_u64(*number);
            out.put_slice(text.as_bytes());
        }
        Notice::Joined { seat, members } => {
            put_seat(&mut out, seat);
            // A room has at most 64 members.
            let members = members.get(..usize::from(u16::MAX)).unwrap_or(members);
            out.put_u16(u16::try_from(members.len()).unwrap_or(u16::MAX));
            for seat in members {
                put_seat(&mut out, seat);
            }
        }
        Notice::Left { member, departure } => {
            out.put_slice(member.0.as_bytes());
            out.put_u8(u8::from(*departure == Departure::Drained));
        }
    }
    out
}

/// Reads an envelope. A message keeps its place in `bytes`.
pub fn decode(mut bytes: Bytes) -> Result<Envelope, EnvelopeError> {
    let version = bytes.try_get_u8().map_err(|_| EnvelopeError::Malformed)?;
    if version != VERSION {
        return Err(EnvelopeError::Version(version));
    }
    read(&mut bytes)
        .filter(|_| bytes.is_empty())
        .ok_or(EnvelopeError::Malformed)
}

fn read(bytes: &mut Bytes) -> Option<Envelope> {
    let kind = bytes.try_get_u8().ok()?;
    let published_at = bytes.try_get_u64().ok()?;
    let room = RoomId::parse(&text(bytes)?, usize::MAX).ok()?;
    let notice = match kind {
        MESSAGE => {
            let (from, number) = (member(bytes)?, bytes.try_get_u64().ok()?);
            let text = Text::try_from(bytes.split_to(bytes.len())).ok()?;
            Notice::Message(Sent { from, number, text })
        }
        JOINED => {
            let seat = read_seat(bytes)?;
            let count = bytes.try_get_u16().ok()?;
            let members = (0..count).map(|_| read_seat(bytes)).collect::<Option<_>>()?;
            Notice::Joined { seat, members }
        }
        LEFT => {
            let member = member(bytes)?;
            let departure = match bytes.try_get_u8().ok()? {
                0 => Departure::Left,
                1 => Departure::Drained,
                _ => return None,
            };
            Notice::Left { member, departure }
        }
        _ => return None,
    };
    Some(Envelope {
        room,
        published_at,
        notice,
    })
}

fn size_hint(room: &RoomId, notice: &Notice) -> usize {
    let body = match notice {
        Notice::Message(sent) => sent.text.len(),
        Notice::Joined { members, .. } => members.len() * 64,
        Notice::Left { .. } => 0,
    };
    64 + room.as_str().len() + body
}

/// A text of at most 65,535 bytes; ids are far shorter.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let bytes = text
        .as_bytes()
        .get(..usize::from(u16::MAX))
        .unwrap_or(text.as_bytes());
    out.put_u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
    out.put_slice(bytes);
}

fn put_seat(out: &mut Vec<u8>, seat: &Seat) {
    out.put_slice(seat.member.0.as_bytes());
    out.put_u64(seat.join);
    put_text(out, seat.instance.token());
}

fn text(bytes: &mut Bytes) -> Option<String> {
    let length = usize::from(bytes.try_get_u16().ok()?);
    let text = (length <= bytes.len()).then(|| bytes.split_to(length))?;
    String::from_utf8(text.into()).ok()
}

fn member(bytes: &mut Bytes) -> Option<MemberId> {
    let mut id = [0; 16];
    bytes.try_copy_to_slice(&mut id).ok()?;
    Some(MemberId(Uuid::from_bytes(id)))
}

fn read_seat(bytes: &mut Bytes) -> Option<Seat> {
    let (member, join) = (member(bytes)?, bytes.try_get_u64().ok()?);
    Some(Seat {
        member,
        join,
        instance: Instance::from_token(&text(bytes)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seat() -> impl Strategy<Value = Seat> {
        (any::<u128>(), any::<u64>(), "[a-z0-9.-]{1,60}@[0-9]{1,20}").prop_map(|(member, join, instance)| {
            Seat {
                member: MemberId(Uuid::from_u128(member)),
                join,
                instance: Instance::from_token(&instance),
            }
        })
    }

    fn notice() -> impl Strategy<Value = Notice> {
        let message = (seat(), any::<u64>(), ".*").prop_map(|(seat, number, text)| {
            Notice::Message(Sent {
                from: seat.member,
                number,
                text: Text::from(text),
            })
        });
        let joined = (seat(), prop::collection::vec(seat(), 0..64))
            .prop_map(|(seat, members)| Notice::Joined { seat, members });
        let left = (seat(), any::<bool>()).prop_map(|(seat, drained)| Notice::Left {
            member: seat.member,
            departure: if drained {
                Departure::Drained
            } else {
                Departure::Left
            },
        });
        prop_oneof![message, joined, left]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(room in "[A-Za-z0-9_:.-]{1,256}", published_at: u64, notice in notice()) {
            let room = RoomId::parse(&room, 256).unwrap();
            let bytes = Bytes::from(encode(&room, published_at, &notice));
            prop_assert_eq!(decode(bytes.clone()), Ok(Envelope { room, published_at, notice: notice.clone() }));
            // One byte less is another message, or nothing.
            let shorter = decode(bytes.slice(..bytes.len() - 1));
            prop_assert!(shorter.is_err() || matches!(notice, Notice::Message(_)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, kind in 0u8..5) {
            let _ = decode(Bytes::from(bytes.clone()));
            let _ = decode(Bytes::from([vec![VERSION, kind], bytes].concat()));
        }
    }

    proptest! {
        /// Damaged bytes are refused, or are what some other notice is written as: no two texts mean the same.
        #[test]
        fn damaged_bytes_are_refused_or_mean_something_else(
            published_at: u64,
            notice in notice(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let room = RoomId::parse("r1", 8).unwrap();
            let mut bytes = encode(&room, published_at, &notice);
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            if let Ok(Envelope { room, published_at, notice }) = decode(Bytes::from(bytes.clone())) {
                prop_assert_eq!(encode(&room, published_at, &notice), bytes);
            }
        }
    }

    #[test]
    fn other_versions_are_refused() {
        assert_eq!(
            decode(Bytes::from_static(&[2, 1])),
            Err(EnvelopeError::Version(2))
        );
        assert_eq!(decode(Bytes::new()), Err(EnvelopeError::Malformed));
    }
}
