//! Which life of the store this process knows, and what it granted lately: to be written back to a store that lost it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use berth_dataplane::secrets::{RotatingSecret, Secret};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::host::MatchId;

/// Most grants that are kept; the earliest are forgotten first, which are the next ones to be over anyway.
const MOST: usize = 100_000;
/// How long nobody is handed out after the way to the store was interrupted: by then the other replicas, too, have written
/// back what they granted.
const HOLD: Duration = Duration::from_millis(2500);

/// What this process knows of the store.
#[derive(Default)]
pub(super) struct Epoch(Mutex<State>);

#[derive(Default)]
struct State {
    /// Empty until the store has told.
    known: String,
    /// The same of the pool's secret, and of the one before it.
    secret: String,
    before: String,
    /// Granted by this process and perhaps not used yet, in the order of grants.
    granted: VecDeque<Granted>,
    /// All of them must be written back.
    owes: bool,
    /// How often the way to the store was interrupted so far: a server that came back, or took over, may have lost the latest
    /// grants without having lost its epoch.
    interruptions: u64,
    /// When that was noticed last.
    interrupted_at: Option<Instant>,
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

    /// The pool's secret as this process knows it, or nothing.
    pub(super) fn secret(&self) -> String {
        self.0.lock().secret.clone()
    }

    /// The pool's secrets: random, and known to who may read the store.
    pub(super) fn secrets(&self) -> RotatingSecret {
        let state = self.0.lock();
        let known = |text: &String| Secret::new(text.clone()).ok();
        RotatingSecret {
            current: known(&state.secret),
            previous: known(&state.before),
        }
    }

    /// Notes what the store says of the pool's secrets.
    pub(super) fn learn(&self, secret: &str, before: &str) {
        let mut state = self.0.lock();
        if !state.secret.is_empty() && state.secret != secret {
            state.before = std::mem::take(&mut state.secret);
        } else if !before.is_empty() {
            before.clone_into(&mut state.before);
        }
        secret.clone_into(&mut state.secret);
    }

    /// An epoch, or a secret, that begins.
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

    /// Notes how often the way to the store was interrupted so far. Whether somebody may be handed out at `now`.
    pub(super) fn may_grant(&self, interruptions: u64, now: Instant) -> bool {
        let mut state = self.0.lock();
        if state.interruptions != interruptions {
            state.interruptions = interruptions;
            state.interrupted_at = Some(now);
            state.owes = true;
        }
        state
            .interrupted_at
            .is_none_or(|at| now.saturating_duration_since(at) >= HOLD)
    }

    /// Notes what the store says of its epoch at `now_ms` by its own clock. Gives the grants that must be written back: all that
    /// wait, if it is another one, or if the way to the store was interrupted since. Until [`Epoch::paid`] they are owed.
    pub(super) fn owed(&self, epoch: &str, now_ms: u64) -> Vec<Granted> {
        let mut state = self.0.lock();
        state.granted.retain(|granted| granted.deadline_ms > now_ms);
        state.owes |= !state.known.is_empty() && state.known != epoch;
        epoch.clone_into(&mut state.known);
        if state.owes {
            state.granted.iter().cloned().collect()
        } else {
            Vec::new()
        }
    }

    /// What was owed is written back.
    pub(super) fn paid(&self) {
        self.0.lock().owes = false;
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
    fn what_waits_is_owed_after_a_loss_until_it_is_written_back() {
        let epoch = Epoch::default();
        assert_eq!(
            epoch.owed("one", 0),
            [],
            "a store that is met first has lost nothing of ours"
        );
        for (number, deadline_ms) in [(1, 10), (2, 20), (3, 30)] {
            epoch.granted(granted(number, deadline_ms));
        }
        epoch.released(granted(2, 0).id);
        assert_eq!(epoch.owed("one", 5), []);
        assert_eq!(epoch.owed("two", 10), [granted(3, 30)]);
        assert_eq!(epoch.owed("two", 10), [granted(3, 30)], "that failed");
        epoch.paid();
        assert_eq!((epoch.owed("two", 10), epoch.known()), (vec![], "two".to_owned()));
    }

    #[test]
    fn nobody_is_handed_out_right_after_an_interruption() {
        let (epoch, begin) = (Epoch::default(), Instant::now());
        assert!(epoch.may_grant(0, begin));
        epoch.granted(granted(1, 10));
        assert!(!epoch.may_grant(1, begin));
        assert_eq!(epoch.owed("one", 0), [granted(1, 10)]);
        epoch.paid();
        assert!(!epoch.may_grant(1, begin + HOLD / 2) && epoch.may_grant(1, begin + HOLD));
        assert_eq!(epoch.owed("one", 0), []);
    }

    #[test]
    fn memory_is_bounded() {
        let epoch = Epoch::default();
        for number in 0..=MOST as u128 {
            epoch.granted(granted(number, 10));
        }
        epoch.owed("one", 0);
        assert_eq!(epoch.owed("two", 0).len(), MOST);
    }
}
