//! Which node of a Redis Cluster owns which slot.

use std::collections::HashMap;

use ::redis::Value;
use ::redis::cluster_routing::Slot;
use berth_crds::settings::RedisAddress;

/// The owners of all slots, as a node told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::redis) struct SlotTable {
    /// In the order of their first slots.
    masters: Vec<RedisAddress>,
    /// Index into `masters`.
    owners: HashMap<Slot, u16>,
}

/// Why an answer is no table of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::redis) enum SlotsError {
    #[error("the answer to CLUSTER SLOTS is malformed")]
    Malformed,
    #[error("the node knows no owner of any slot")]
    Empty,
}

impl SlotTable {
    /// Reads the answer of the node at `asked` to `CLUSTER SLOTS`.
    pub(super) fn parse(answer: Value, asked: &RedisAddress) -> Result<Self, SlotsError> {
        let Value::Array(ranges) = answer else {
            return Err(SlotsError::Malformed);
        };
        let mut ranges = ranges
            .into_iter()
            .map(|range| parse_range(range, asked).ok_or(SlotsError::Malformed))
            .collect::<Result<Vec<_>, _>>()?;
        // A node tells them in any order; equal tables must be equal.
        ranges.sort_unstable_by_key(|range| range.first);
        let mut table = Self::default();
        for Range { first, last, owner } in ranges {
            let Some(owner) = owner else { continue };
            let index = table.index(owner).ok_or(SlotsError::Malformed)?;
            table
                .owners
                .extend((first..=last).filter_map(Slot::new).map(|slot| (slot, index)));
        }
        if table.owners.is_empty() {
            return Err(SlotsError::Empty);
        }
        Ok(table)
    }

    /// The owner of a slot.
    pub(in crate::redis) fn owner(&self, slot: Slot) -> Option<&RedisAddress> {
        self.masters.get(usize::from(*self.owners.get(&slot)?))
    }

    /// All owners of slots.
    pub(in crate::redis) fn masters(&self) -> &[RedisAddress] {
        &self.masters
    }

    /// The same table with another owner of one slot.
    pub(super) fn with_owner(&self, slot: Slot, owner: RedisAddress) -> Self {
        let mut table = self.clone();
        if let Some(index) = table.index(owner) {
            table.owners.insert(slot, index);
        }
        table
    }

    fn index(&mut self, master: RedisAddress) -> Option<u16> {
        let index = self.masters.iter().position(|known| *known == master);
        let index = index.unwrap_or_else(|| {
            self.masters.push(master);
            self.masters.len() - 1
        });
        u16::try_from(index).ok()
    }
}

/// The slot of a key or channel.
pub(in crate::redis) fn slot_of(key: impl AsRef<[u8]>) -> Slot {
    Slot::for_key(key)
}

/// The new owner that a `MOVED` names, and of which slot. `asked` is the node that said so.
pub(in crate::redis) fn moved(
    error: &::redis::RedisError,
    asked: &RedisAddress,
) -> Option<(Slot, RedisAddress)> {
    let moved = ::redis::ErrorKind::Server(::redis::ServerErrorKind::Moved);
    if error.kind() != moved {
        return None;
    }
    let (address, slot) = error.redirect_node()?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let owner = RedisAddress {
        // A node that does not know by which name it is known leaves it out: it is where the client is.
        host: if host.is_empty() { &asked.host } else { host }.to_owned(),
        port: port.parse().ok()?,
    };
    Some((Slot::new(slot)?, owner))
}

struct Range {
    first: u16,
    last: u16,
    /// `None`: it is known that there is one, but not by which name.
    owner: Option<RedisAddress>,
}

/// `[first slot, last slot, master, replica...]`; a node is `[host, port, id, ...]`.
fn parse_range(range: Value, asked: &RedisAddress) -> Option<Range> {
    let Value::Array(range) = range else { return None };
    let [first, last, Value::Array(master), ..] = range.as_slice() else {
        return None;
    };
    let [host, port, ..] = master.as_slice() else {
        return None;
    };
    let host = match host {
        Value::Nil => Some(""),
        Value::BulkString(bytes) => Some(std::str::from_utf8(bytes).ok()?),
        Value::SimpleString(text) => Some(text.as_str()),
        _ => return None,
    };
    let port = integer(port)?;
    let host = match host? {
        // The same as the one that was asked.
        "" => Some(asked.host.as_str()),
        // A node that should tell its name and has none.
        "?" => None,
        host => Some(host),
    };
    Some(Range {
        first: integer(first)?,
        last: integer(last)?,
        owner: host.filter(|_| port != 0).map(|host| RedisAddress {
            host: host.to_owned(),
            port,
        }),
    })
}

fn integer(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ::redis::{ErrorKind, RedisError, ServerErrorKind};

    use super::*;

    fn address(host: &str, port: u16) -> RedisAddress {
        RedisAddress {
            host: host.to_owned(),
            port,
        }
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let id = Value::BulkString(b"id".to_vec());
        let replica = Value::Array(vec![bulk("replica"), Value::Int(1), id.clone()]);
        let master = Value::Array(vec![host, Value::Int(port), id, Value::Array(Vec::new())]);
        Value::Array(vec![Value::Int(first), Value::Int(last), master, replica])
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn slot(number: u16) -> Slot {
        Slot::new(number).unwrap()
    }

    #[test]
    fn every_slot_has_the_owner_of_its_range() {
        let asked = address("asked", 7);
        let answer = vec![range(8192, 16383, Value::Nil, 1), range(0, 8191, bulk("a"), 2)];
        let table = SlotTable::parse(Value::Array(answer.clone()), &asked).unwrap();
        for (number, owner) in [
            (0, address("a", 2)),
            (8191, address("a", 2)),
            (8192, address("asked", 1)),
            (16383, address("asked", 1)),
        ] {
            assert_eq!(table.owner(slot(number)), Some(&owner));
        }
        assert_eq!(table.masters(), [address("a", 2), address("asked", 1)]);
        let other_order = answer.into_iter().rev().collect();
        assert_eq!(
            SlotTable::parse(Value::Array(other_order), &asked).unwrap(),
            table
        );
    }

    #[test]
    fn the_tag_of_a_key_makes_its_slot() {
        // As CLUSTER KEYSLOT says.
        assert_eq!(slot_of("123456789"), slot(12739));
        assert_eq!(slot_of("berth:{a}:x"), slot_of("{a}:y"));
    }

    #[test]
    fn a_table_without_owners_is_none() {
        let asked = address("asked", 7);
        let parse = |answer| SlotTable::parse(answer, &asked);
        assert_eq!(parse(Value::Array(Vec::new())), Err(SlotsError::Empty));
        let nameless = Value::Array(vec![range(0, 16383, bulk("?"), 1)]);
        assert_eq!(parse(nameless), Err(SlotsError::Empty));
        assert_eq!(parse(Value::Okay), Err(SlotsError::Malformed));
        let short = Value::Array(vec![Value::Array(vec![Value::Int(0)])]);
        assert_eq!(parse(short), Err(SlotsError::Malformed));
    }

    #[test]
    fn a_moved_slot_has_its_new_owner() {
        let asked = address("asked", 7);
        let answer = Value::Array(vec![range(0, 16383, bulk("a"), 2)]);
        let table = SlotTable::parse(answer, &asked).unwrap();
        let error =
            |kind, text: &str| RedisError::from((ErrorKind::Server(kind), "answered", text.to_owned()));
        for (text, owner) in [
            ("3999 10.0.0.1:6381", address("10.0.0.1", 6381)),
            ("3999 :6381", address("asked", 6381)),
            ("3999 [::1]:6381", address("::1", 6381)),
            ("3999 ::1:6381", address("::1", 6381)),
        ] {
            let (from, to) = moved(&error(ServerErrorKind::Moved, text), &asked).unwrap();
            assert_eq!((from, &to), (slot(3999), &owner));
            let table = table.with_owner(from, to);
            assert_eq!(table.owner(slot(3999)), Some(&owner));
            assert_eq!(table.owner(slot(4000)), Some(&address("a", 2)));
        }
        assert_eq!(moved(&error(ServerErrorKind::Ask, "3999 b:1"), &asked), None);
        assert_eq!(moved(&error(ServerErrorKind::Moved, "x b:1"), &asked), None);
    }
}
