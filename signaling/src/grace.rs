//! The time that a drained member has to come back before the others hear that it is gone.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use berth_dataplane::occupancy::MemberId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::core::{Core, Source};
use crate::rooms::RoomCell;

/// Drained members, in the order in which their time ends: it is the same for all.
pub(crate) struct Graces {
    grace: Duration,
    waiting: Mutex<VecDeque<(Instant, Weak<RoomCell>, MemberId)>>,
    pushed: Notify,
}

impl Graces {
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            grace,
            waiting: Mutex::default(),
            pushed: Notify::new(),
        }
    }

    /// The grace of a member begins.
    pub(crate) fn push(&self, cell: &Arc<RoomCell>, member: MemberId) {
        self.waiting
            .lock()
            .push_back((Instant::now() + self.grace, Arc::downgrade(cell), member));
        self.pushed.notify_one();
    }

    fn next_end(&self) -> Option<Instant> {
        self.waiting.lock().front().map(|(end, ..)| *end)
    }
}

/// Ends graces for ever.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        match core.graces.next_end() {
            Some(end) => tokio::time::sleep_until(end).await,
            None => core.graces.pushed.notified().await,
        }
        while core.graces.next_end().is_some_and(|end| end <= Instant::now()) {
            let Some((_, cell, member)) = core.graces.waiting.lock().pop_front() else {
                break;
            };
            if let Some(cell) = cell.upgrade() {
                core.update(&cell, Source::Here, |inner| inner.room.grace_over(member));
            }
        }
    }
}
