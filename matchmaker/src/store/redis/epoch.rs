//! Which life of the store this process knows, and what it granted lately: to be written back to a store that lost it.

use std::collections::VecDeque;

use parking_lot::Mutex;
use uuid::Uuid;

use crate::host::MatchId;

/// Most grants that are kept; the earliest are forgotten first, which are the next ones to be over anyway.
const MOST: usize = 100_000;

/// What this process knows of the store.
#[derive(Default)]
pub(super) struct Epoch(Mutex<State>);

#[derive(Default)]
struct State {
    /// Empty until the store has told.
    known: String,
    /// Granted by this process and perhaps not used yet, in the order of grants.
    granted: VecDeque<Granted>,
    /// Link outages so far: a store that came back may have lost the latest grants without having lost its epoch.
    outages: u64,
}

/// A grant as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) id: MatchId,
    pub(super) host: String,
    pub(super) room: String,
    /// The reservation as the store has it.
    pub(super) text: String,
    /// When it is over if nobody comes, Unix ms.
    pub(super) deadline_ms: u64,
}

impl Epoch {
    /// The epoch that this process knows, or nothing.
    pub(super) fn known(&self) -> String {
        self.0.lock().known.clone()
    }

    /// An epoch that begins.
    pub(super) fn fresh() -> String {
        Uuid::new_v4().to_string()
    }

    /// Keeps a grant until its deadline.
    pub(super) fn granted(&self, granted: Granted) {
        let mut state = self.0.lock();
        if state.granted.len() >= MOST {
            state.granted.pop_front();
        }
        state.granted.push_back(granted);
    }

    /// A grant was given up.
    pub(super) fn released(&self, id: MatchId) {
        self.0.lock().granted.retain(|granted| granted.id != id);
    }

    /// What the store says of its epoch at `now_ms` by its own clock. Gives the grants that must be written back: all that wait,
    /// if it is another one, or if the way to the store was interrupted since.
    pub(super) fn see(&self, epoch: &str, outages: u64, now_ms: u64) -> Vec<Granted> {
        let mut state = self.0.lock();
        state.granted.retain(|granted| granted.deadline_ms > now_ms);
        let is_other = !state.known.is_empty() && state.known != epoch;
        let was_away = std::mem::replace(&mut state.outages, outages) != outages;
        epoch.clone_into(&mut state.known);
        if is_other || was_away {
            state.granted.iter().cloned().collect()
        } else {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(number: u128, deadline_ms: u64) -> Granted {
        Granted {
            id: MatchId(Uuid::from_u128(number)),
            host: "a".to_owned(),
            room: "r".to_owned(),
            text: "1|2|3||0|0|".to_owned(),
            deadline_ms,
        }
    }

    #[test]
    fn what_waits_is_written_back_once_after_a_loss() {
        let epoch = Epoch::default();
        assert_eq!(
            epoch.see("one", 0, 0),
            [],
            "a store that is met first has lost nothing of ours"
        );
        for (number, deadline_ms) in [(1, 10), (2, 20), (3, 30)] {
            epoch.granted(granted(number, deadline_ms));
        }
        epoch.released(granted(2, 0).id);
        assert_eq!(epoch.see("one", 0, 5), []);
        assert_eq!(epoch.see("two", 0, 10), [granted(3, 30)]);
        assert_eq!(
            (epoch.see("two", 0, 10), epoch.known()),
            (vec![], "two".to_owned())
        );
        assert_eq!(epoch.see("two", 1, 10), [granted(3, 30)], "the link was away");
        assert_eq!(epoch.see("two", 1, 30), []);
    }

    #[test]
    fn memory_is_bounded() {
        let epoch = Epoch::default();
        for number in 0..=MOST as u128 {
            epoch.granted(granted(number, 10));
        }
        epoch.see("one", 0, 0);
        assert_eq!(epoch.see("two", 0, 0).len(), MOST);
    }
}
