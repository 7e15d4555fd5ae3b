//! Messages that wait: bounded, and in the order of each sender.

use std::collections::VecDeque;

use berth_dataplane::occupancy::MemberId;

use super::To;
use crate::protocol::Text;

/// Most messages in one backlog: an offer and all its candidates are fewer.
const MOST_MESSAGES: usize = 64;
/// Most bytes in one backlog.
const MOST_BYTES: usize = 256 * 1024;

/// A message of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Who sent it.
    pub from: MemberId,
    /// How many messages its sender has sent, this one included. Receivers take only rising numbers of a sender, so
    /// that nothing is delivered twice or out of order, whatever happens on the way.
    pub number: u64,
    /// When its sender's seat came to the instance that relays it, or 0 if it speaks v1. A sender that comes back to an
    /// instance begins anew there, and what is left of its earlier stay must not be taken for the continuation.
    pub since: u64,
    /// Whom it is for.
    pub to: To,
    /// The message, as it is relayed.
    pub text: Text,
    /// It says something that v1 does not know.
    pub extended: bool,
}

impl Sent {
    /// A message that everybody gets and understands.
    pub fn new(from: MemberId, number: u64, text: Text) -> Self {
        Self {
            from,
            number,
            since: 0,
            to: To::All,
            text,
            extended: false,
        }
    }
}

/// Messages that wait. What does not fit is refused: the oldest are what a conversation begins with.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    messages: VecDeque<Sent>,
    bytes: usize,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Adds a message at the end; `false` when it does not fit.
    #[must_use]
    pub(super) fn push(&mut self, sent: Sent) -> bool {
        self.put(self.messages.len(), sent)
    }

    /// Adds a message where it belongs among those of its sender; `false` when it does not fit.
    #[must_use]
    pub(super) fn insert(&mut self, sent: Sent) -> bool {
        let later = |other: &Sent| other.from == sent.from && other.number > sent.number;
        let index = self
            .messages
            .iter()
            .position(later)
            .unwrap_or(self.messages.len());
        self.put(index, sent)
    }

    fn put(&mut self, index: usize, sent: Sent) -> bool {
        let size = sent.text.len();
        if self.messages.len() >= MOST_MESSAGES || self.bytes + size > MOST_BYTES {
            return false;
        }
        self.bytes += size;
        self.messages.insert(index, sent);
        true
    }

    /// Takes everything.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Sent> + use<> {
        std::mem::take(self).messages.into_iter()
    }

    /// Takes what `from` sent.
    pub(super) fn take_from(&mut self, from: MemberId) -> Vec<Sent> {
        let (taken, rest): (Vec<Sent>, Vec<Sent>) = self.take().partition(|sent| sent.from == from);
        self.bytes = rest.iter().map(|sent| sent.text.len()).sum();
        self.messages = rest.into();
        taken
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.messages.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn sent(from: u128, number: u64, size: usize) -> Sent {
        Sent::new(
            MemberId(Uuid::from_u128(from)),
            number,
            Text::from("x".repeat(size)),
        )
    }

    fn order(backlog: &Backlog) -> Vec<(u128, u64)> {
        backlog
            .iter()
            .map(|sent| (sent.from.0.as_u128(), sent.number))
            .collect()
    }

    #[test]
    fn keeps_the_oldest_and_refuses_what_does_not_fit() {
        let mut backlog = Backlog::default();
        let kept = (1..=100)
            .filter(|number| backlog.push(sent(1, *number, 1)))
            .count();
        assert_eq!((kept, backlog.len()), (MOST_MESSAGES, MOST_MESSAGES));
        assert_eq!(order(&backlog)[0], (1, 1));

        let mut backlog = Backlog::default();
        let kept: Vec<bool> = [200 * 1024, 100 * 1024, 56 * 1024, 1]
            .map(|size| backlog.push(sent(1, 1, size)))
            .into();
        assert_eq!(kept, [true, false, true, false]);
        assert_eq!(backlog.take().count(), 2);
        assert!(backlog.push(sent(1, 1, MOST_BYTES)));
    }

    #[test]
    fn a_message_that_comes_back_takes_its_place() {
        let mut backlog = Backlog::default();
        for (from, number) in [(1, 4), (2, 1), (1, 5)] {
            assert!(backlog.push(sent(from, number, 1)));
        }
        for (from, number) in [(1, 2), (1, 3), (2, 2)] {
            assert!(backlog.insert(sent(from, number, 1)));
        }
        assert_eq!(order(&backlog), [(1, 2), (1, 3), (1, 4), (2, 1), (1, 5), (2, 2)]);
        assert_eq!(backlog.take_from(MemberId(Uuid::from_u128(1))).len(), 4);
        assert_eq!((order(&backlog), backlog.bytes), (vec![(2, 1), (2, 2)], 2));
    }
}
