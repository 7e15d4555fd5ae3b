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
    messages: VecDeque<(u8, Sent)>,
    bytes: usize,
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
    pub(super) fn push(&mut self, sent: Sent, bounds: Bounds) {
        self.bytes += sent.text.len();
        self.messages.push_back((0, sent));
        while self.messages.len() > bounds.messages || self.bytes > bounds.bytes {
            self.forget_oldest();
        }
    }

    /// Time passes. Whether anything is left.
    pub(super) fn age(&mut self) -> bool {
        for (age, _) in &mut self.messages {
            *age += 1;
        }
        while self.messages.front().is_some_and(|(age, _)| *age >= AGES) {
            self.forget_oldest();
        }
        !self.messages.is_empty()
    }

    /// Everything after `number`, oldest first.
    pub(super) fn after(&self, number: u64) -> impl Iterator<Item = &Sent> {
        self.messages
            .iter()
            .map(|(_, sent)| sent)
            .filter(move |sent| sent.number > number)
    }

    fn forget_oldest(&mut self) {
        if let Some((_, sent)) = self.messages.pop_front() {
            self.bytes -= sent.text.len();
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

    fn numbers(history: &History, after: u64) -> Vec<u64> {
        history.after(after).map(|sent| sent.number).collect()
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_large_ones() {
        let bounds = Bounds {
            messages: 3,
            bytes: 100,
        };
        let mut history = History::default();
        for number in 1..=4 {
            history.push(sent(number, 10), bounds);
        }
        assert_eq!(numbers(&history, 0), [2, 3, 4]);
        assert_eq!(numbers(&history, 3), [4]);
        history.push(sent(5, 90), bounds);
        assert_eq!(numbers(&history, 0), [4, 5]);
        history.push(sent(6, 101), bounds);
        assert!(numbers(&history, 0).is_empty());
        assert_eq!(history.bytes, 0);
    }

    #[test]
    fn what_is_old_goes() {
        let mut history = History::default();
        history.push(sent(1, 1), Bounds::default());
        for _ in 1..AGES {
            assert!(history.age());
        }
        history.push(sent(2, 1), Bounds::default());
        assert!(history.age());
        assert_eq!(numbers(&history, 0), [2]);
    }
}
