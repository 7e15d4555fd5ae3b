//! What a member has said lately, for others whose connection was lost meanwhile.

use std::collections::VecDeque;

use super::Sent;

/// Bounds of a history, and of what else waits in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most messages of one sender.
    pub messages: usize,
    /// Most bytes of them.
    pub bytes: usize,
}

/// How many calls of [`super::Room::age`] a message is kept for; the caller divides the time to resume by one less.
pub const AGES: u8 = 4;

/// The last messages of a member: bounded, the oldest go first.
#[derive(Debug, Default)]
pub(super) struct History {
    messages: VecDeque<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    age: u8,
    /// Highest join number of those who were known to be there when it was said.
    known: u64,
    sent: Sent,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            messages: 64,
            bytes: 256 * 1024,
        }
    }
}

impl History {
    /// Adds a message. `known`: highest join number of those who are known to be there.
    pub(super) fn push(&mut self, sent: Sent, known: u64, bounds: Bounds) {
        self.bytes += sent.text.len();
        self.messages.push_back(Entry { age: 0, known, sent });
        while self.messages.len() > bounds.messages || self.bytes > bounds.bytes {
            self.forget_oldest();
        }
    }

    /// Time passes. Whether anything is left.
    pub(super) fn age(&mut self) -> bool {
        for entry in &mut self.messages {
            entry.age += 1;
        }
        while self.messages.front().is_some_and(|entry| entry.age >= AGES) {
            self.forget_oldest();
        }
        !self.messages.is_empty()
    }

    /// What somebody who joined with the number `join` may have missed after `heard`, oldest first. Who has heard nothing has missed
    /// what was said since he was known to be there.
    pub(super) fn missed(&self, heard: u64, join: u64) -> impl Iterator<Item = &Sent> {
        let entries = self.messages.iter().filter(move |entry| {
            let is_later = entry.sent.number > heard;
            is_later && (heard > 0 || entry.known >= join)
        });
        entries.map(|entry| &entry.sent)
    }

    /// Whether a message is kept.
    pub(super) fn keeps(&self, number: u64) -> bool {
        self.messages.iter().any(|entry| entry.sent.number == number)
    }

    fn forget_oldest(&mut self) {
        if let Some(entry) = self.messages.pop_front() {
            self.bytes -= entry.sent.text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_dataplane::occupancy::MemberId;
    use uuid::Uuid;

    use super::*;
    use crate::protocol::Text;

    fn sent(number: u64, size: usize) -> Sent {
        Sent::new(MemberId(Uuid::from_u128(1)), number, Text::from("x".repeat(size)))
    }

    fn numbers(history: &History, heard: u64) -> Vec<u64> {
        history.missed(heard, 0).map(|sent| sent.number).collect()
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_large_ones() {
        let bounds = Bounds {
            messages: 3,
            bytes: 100,
        };
        let mut history = History::default();
        for number in 1..=4 {
            history.push(sent(number, 10), 1, bounds);
        }
        assert_eq!(numbers(&history, 0), [2, 3, 4]);
        assert_eq!(numbers(&history, 3), [4]);
        history.push(sent(5, 90), 1, bounds);
        assert_eq!(numbers(&history, 0), [4, 5]);
        history.push(sent(6, 101), 1, bounds);
        assert!(numbers(&history, 0).is_empty());
        assert_eq!(history.bytes, 0);
    }

    #[test]
    fn what_is_old_goes() {
        let mut history = History::default();
        history.push(sent(1, 1), 1, Bounds::default());
        for _ in 1..AGES {
            assert!(history.age());
        }
        history.push(sent(2, 1), 1, Bounds::default());
        assert!(history.age());
        assert_eq!(numbers(&history, 0), [2]);
    }

    #[test]
    fn who_came_later_has_not_missed_what_was_said_before() {
        let mut history = History::default();
        for (number, known) in [(1, 7), (2, 7), (3, 8)] {
            history.push(sent(number, 1), known, Bounds::default());
        }
        let missed = |heard, join| {
            let missed = history.missed(heard, join);
            missed.map(|sent| sent.number).collect::<Vec<_>>()
        };
        assert_eq!(missed(0, 7), [1, 2, 3]);
        assert_eq!(missed(0, 8), [3]);
        // Whoever has heard of it was there, whatever its number is by now.
        assert_eq!(missed(1, 8), [2, 3]);
    }
}
