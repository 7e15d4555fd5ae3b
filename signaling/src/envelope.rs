//! What travels between instances: a small binary header and the message, which is forwarded without being read.
//!
//! ```text
//! version u8 | kind u8 | published at, Unix µs u64 | publisher u64 | room: length u16, text | body
//!
//! message (1): member 16 bytes | number u64 | since u64 | addressee | extended u8 | text to the end
//! joined  (2): seat | how many u16 | seats | resumes u8 | if so: how many u16 | (member 16 bytes | number u64)...
//! left    (3): member 16 bytes | instance: length u16, text | departure u8 (0 left, 1 drained, 2 away) |
//!              if away: taken u64
//! replay  (4): member 16 bytes | asked u64 | sender 16 bytes | instance: length u16, text | taken u64 |
//!              how many u16 | (number u64 | since u64 | addressee | extended u8 | text: length u32, text)...
//! addressee  : u8 (0 all, 1 member, 2 host, 3 player) | if member: 16 bytes
//! seat       : member 16 bytes | join number u64 | taken u64 | role u8 (0 none, 1 host, 2 player) | away u8 |
//!              instance: length u16, text
//! ```
//!
//! Integers are big-endian. A version that is not known is refused, so that two versions of the server can share
//! a Redis during a roll-out: what one of them does not understand is counted and dropped.

use berth_crds::settings::RoomId;
use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::{Instance, MemberId, Seat};
use bytes::{Buf, BufMut, Bytes};
use uuid::Uuid;

use crate::protocol::Text;
use crate::room::{Departure, Heard, Notice, Sent, To};

const VERSION: u8 = 1;
const MESSAGE: u8 = 1;
const JOINED: u8 = 2;
const LEFT: u8 = 3;
const REPLAY: u8 = 4;

/// One notice, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The room.
    pub room: RoomId,
    /// When it was published, Unix time in µs.
    pub published_at: u64,
    /// [`Instance::short`] of the instance that published it.
    pub publisher: u64,
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
pub fn encode(room: &RoomId, (published_at, publisher): (u64, u64), notice: &Notice) -> Vec<u8> {
    let mut out = Vec::with_capacity(size_hint(room, notice));
    out.put_u8(VERSION);
    out.put_u8(match notice {
        Notice::Message(_) => MESSAGE,
        Notice::Joined { .. } => JOINED,
        Notice::Left { .. } => LEFT,
        Notice::Replay { .. } => REPLAY,
    });
    out.put_u64(published_at);
    out.put_u64(publisher);
    put_text(&mut out, room.as_str());
    match notice {
        Notice::Message(sent) => {
            out.put_slice(sent.from.0.as_bytes());
            put_head(&mut out, sent);
            out.put_slice(sent.text.as_bytes());
        }
        Notice::Joined {
            seat,
            members,
            resume,
        } => {
            put_seat(&mut out, seat);
            for seat in put_count(&mut out, members) {
                put_seat(&mut out, seat);
            }
            out.put_u8(u8::from(resume.is_some()));
            if let Some(heard) = resume {
                for (member, number) in put_count(&mut out, heard) {
                    out.put_slice(member.0.as_bytes());
                    out.put_u64(*number);
                }
            }
        }
        Notice::Left {
            member,
            instance,
            departure,
        } => {
            out.put_slice(member.0.as_bytes());
            put_text(&mut out, instance.token());
            match departure {
                Departure::Left => out.put_u8(0),
                Departure::Drained => out.put_u8(1),
                Departure::Away(taken) => {
                    out.put_u8(2);
                    out.put_u64(*taken);
                }
            }
        }
        Notice::Replay {
            to,
            asked,
            from,
            instance,
            taken,
            messages,
        } => {
            out.put_slice(to.0.as_bytes());
            out.put_u64(*asked);
            out.put_slice(from.0.as_bytes());
            put_text(&mut out, instance.token());
            out.put_u64(*taken);
            for sent in put_count(&mut out, messages) {
                put_head(&mut out, sent);
                // A message has at most 4 MiB.
                out.put_u32(u32::try_from(sent.text.len()).unwrap_or(u32::MAX));
                out.put_slice(sent.text.as_bytes());
            }
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
    let publisher = bytes.try_get_u64().ok()?;
    let room = RoomId::parse(&text(bytes)?, usize::MAX).ok()?;
    let notice = match kind {
        MESSAGE => {
            let from = member(bytes)?;
            Notice::Message(read_sent(bytes, from, |bytes| Some(bytes.len()))?)
        }
        JOINED => {
            let seat = read_seat(bytes)?;
            let count = bytes.try_get_u16().ok()?;
            let members = (0..count).map(|_| read_seat(bytes)).collect::<Option<_>>()?;
            let resume = if flag(bytes)? {
                Some(read_heard(bytes)?)
            } else {
                None
            };
            Notice::Joined {
                seat,
                members,
                resume,
            }
        }
        LEFT => {
            let member = member(bytes)?;
            let instance = Instance::from_token(&text(bytes)?);
            let departure = match bytes.try_get_u8().ok()? {
                0 => Departure::Left,
                1 => Departure::Drained,
                2 => Departure::Away(bytes.try_get_u64().ok()?),
                _ => return None,
            };
            Notice::Left {
                member,
                instance,
                departure,
            }
        }
        REPLAY => {
            let (to, asked) = (member(bytes)?, bytes.try_get_u64().ok()?);
            let from = member(bytes)?;
            let instance = Instance::from_token(&text(bytes)?);
            let taken = bytes.try_get_u64().ok()?;
            let count = bytes.try_get_u16().ok()?;
            let length = |bytes: &mut Bytes| usize::try_from(bytes.try_get_u32().ok()?).ok();
            let messages = (0..count)
                .map(|_| read_sent(bytes, from, length))
                .collect::<Option<_>>()?;
            Notice::Replay {
                to,
                asked,
                from,
                instance,
                taken,
                messages,
            }
        }
        _ => return None,
    };
    Some(Envelope {
        room,
        published_at,
        publisher,
        notice,
    })
}

fn size_hint(room: &RoomId, notice: &Notice) -> usize {
    let body = match notice {
        Notice::Message(sent) => sent.text.len(),
        Notice::Joined { members, .. } => members.len() * 96,
        Notice::Left { .. } => 64,
        Notice::Replay { messages, .. } => messages.iter().map(|sent| sent.text.len() + 32).sum(),
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

/// Writes how many there are and returns so many: a room has at most 64 members, and so has everything that is counted here.
fn put_count<'a, T>(out: &mut Vec<u8>, items: &'a [T]) -> &'a [T] {
    let items = items.get(..usize::from(u16::MAX)).unwrap_or(items);
    out.put_u16(u16::try_from(items.len()).unwrap_or(u16::MAX));
    items
}

/// What stands before the text of a message.
fn put_head(out: &mut Vec<u8>, sent: &Sent) {
    out.put_u64(sent.number);
    out.put_u64(sent.since);
    match sent.to {
        To::All => out.put_u8(0),
        To::Member(member) => {
            out.put_u8(1);
            out.put_slice(member.0.as_bytes());
        }
        To::Role(Role::Host) => out.put_u8(2),
        To::Role(Role::Player) => out.put_u8(3),
    }
    out.put_u8(u8::from(sent.extended));
}

fn put_seat(out: &mut Vec<u8>, seat: &Seat) {
    out.put_slice(seat.member.0.as_bytes());
    out.put_u64(seat.join);
    out.put_u64(seat.taken);
    out.put_u8(match seat.role {
        None => 0,
        Some(Role::Host) => 1,
        Some(Role::Player) => 2,
    });
    out.put_u8(u8::from(seat.away));
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
    let taken = bytes.try_get_u64().ok()?;
    let role = match bytes.try_get_u8().ok()? {
        0 => None,
        1 => Some(Role::Host),
        2 => Some(Role::Player),
        _ => return None,
    };
    let away = flag(bytes)?;
    // Who else it is, only the store is told.
    Some(Seat {
        role,
        away,
        taken,
        ..Seat::new(member, Instance::from_token(&text(bytes)?), join)
    })
}

/// A message, whose text is as long as `length` says.
fn read_sent(
    bytes: &mut Bytes,
    from: MemberId,
    length: impl Fn(&mut Bytes) -> Option<usize>,
) -> Option<Sent> {
    let (number, since) = (bytes.try_get_u64().ok()?, bytes.try_get_u64().ok()?);
    let to = match bytes.try_get_u8().ok()? {
        0 => To::All,
        1 => To::Member(member(bytes)?),
        2 => To::Role(Role::Host),
        3 => To::Role(Role::Player),
        _ => return None,
    };
    let extended = flag(bytes)?;
    let length = length(bytes)?;
    let text = (length <= bytes.len()).then(|| bytes.split_to(length))?;
    Some(Sent {
        from,
        number,
        since,
        to,
        text: Text::try_from(text).ok()?,
        extended,
    })
}

fn read_heard(bytes: &mut Bytes) -> Option<Heard> {
    let count = bytes.try_get_u16().ok()?;
    (0..count)
        .map(|_| Some((member(bytes)?, bytes.try_get_u64().ok()?)))
        .collect()
}

fn flag(bytes: &mut Bytes) -> Option<bool> {
    match bytes.try_get_u8().ok()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn role() -> impl Strategy<Value = Option<Role>> {
        prop::option::of(prop_oneof![Just(Role::Host), Just(Role::Player)])
    }

    fn instance() -> impl Strategy<Value = Instance> {
        "[a-z0-9.-]{1,60}@[0-9]{1,20}".prop_map(|token| Instance::from_token(&token))
    }

    fn member() -> impl Strategy<Value = MemberId> {
        any::<u128>().prop_map(|id| MemberId(Uuid::from_u128(id)))
    }

    fn seat() -> impl Strategy<Value = Seat> {
        (
            (member(), any::<u64>(), instance()),
            (role(), any::<bool>(), any::<u64>()),
        )
            .prop_map(|((member, join, instance), (role, away, taken))| Seat {
                role,
                away,
                taken,
                ..Seat::new(member, instance, join)
            })
    }

    fn sent(from: MemberId) -> impl Strategy<Value = Sent> {
        let to = prop_oneof![
            Just(To::All),
            member().prop_map(To::Member),
            Just(To::Role(Role::Host)),
            Just(To::Role(Role::Player)),
        ];
        (any::<(u64, u64)>(), to, ".*", any::<bool>()).prop_map(
            move |((number, since), to, text, extended)| Sent {
                since,
                from,
                number,
                to,
                text: Text::from(text),
                extended,
            },
        )
    }

    fn notice() -> impl Strategy<Value = Notice> {
        let message = member().prop_flat_map(sent).prop_map(Notice::Message);
        let heard = prop::collection::vec((member(), any::<u64>()), 0..64).prop_map(Heard::from_vec);
        let joined = (
            seat(),
            prop::collection::vec(seat(), 0..64),
            prop::option::of(heard),
        )
            .prop_map(|(seat, members, resume)| Notice::Joined {
                seat,
                members,
                resume,
            });
        let departure = prop_oneof![
            Just(Departure::Left),
            Just(Departure::Drained),
            any::<u64>().prop_map(Departure::Away)
        ];
        let left = (member(), instance(), departure).prop_map(|(member, instance, departure)| Notice::Left {
            member,
            instance,
            departure,
        });
        let replay = (member(), member(), instance(), any::<u64>(), any::<u64>())
            .prop_flat_map(|(to, from, instance, taken, asked)| {
                let messages = prop::collection::vec(sent(from), 0..8);
                (
                    Just(to),
                    Just(from),
                    Just(instance),
                    Just((taken, asked)),
                    messages,
                )
            })
            .prop_map(|(to, from, instance, (taken, asked), messages)| Notice::Replay {
                to,
                asked,
                from,
                instance,
                taken,
                messages,
            });
        prop_oneof![message, joined, left, replay]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(room in "[A-Za-z0-9_:.-]{1,256}", published_at: u64, publisher: u64, notice in notice()) {
            let room = RoomId::parse(&room, 256).unwrap();
            let bytes = Bytes::from(encode(&room, (published_at, publisher), &notice));
            let envelope = Envelope { room, published_at, publisher, notice: notice.clone() };
            prop_assert_eq!(decode(bytes.clone()), Ok(envelope));
            // One byte less is another message, or nothing.
            let shorter = decode(bytes.slice(..bytes.len() - 1));
            prop_assert!(shorter.is_err() || matches!(notice, Notice::Message(_)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, kind in 0u8..6) {
            let _ = decode(Bytes::from(bytes.clone()));
            let _ = decode(Bytes::from([vec![VERSION, kind], bytes].concat()));
        }
    }

    proptest! {
        /// Damaged bytes are refused, or are what some other notice is written as: no two texts mean the same.
        #[test]
        fn damaged_bytes_are_refused_or_mean_something_else(
            published_at: u64,
            publisher: u64,
            notice in notice(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let room = RoomId::parse("r1", 8).unwrap();
            let mut bytes = encode(&room, (published_at, publisher), &notice);
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            if let Ok(Envelope { room, published_at, publisher, notice }) = decode(Bytes::from(bytes.clone())) {
                prop_assert_eq!(encode(&room, (published_at, publisher), &notice), bytes);
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
