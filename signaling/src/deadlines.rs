//! What happens in a room when a time is over: a drained member has not come back, or a lost connection was not resumed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use berth_dataplane::occupancy::MemberId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::core::{Core, Source};
use crate::room::{Departure, Effects};
use crate::rooms::RoomCell;
use crate::seating::{Job, Leave};

/// From so many deadlines on, a lost connection does not keep its seat.
const MOST: usize = 16_384;

/// All deadlines.
pub(crate) struct Deadlines {
    /// How long a drained member may take to come back.
    grace: Duration,
    waiting: Mutex<BinaryHeap<Reverse<Entry>>>,
    pushed: Notify,
}

/// What is due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Due {
    /// The grace of a drained member is over.
    Grace(MemberId),
    /// The time to resume is over.
    Window {
        /// The member that is away.
        member: MemberId,
        /// Which of its absences.
        attachment: u32,
    },
}

struct Entry {
    end: Instant,
    what: What,
}

enum What {
    /// Something in a room, if it is still there.
    InRoom(Weak<RoomCell>, Due),
    /// A seat is given back.
    Leave(Leave),
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.end == other.end
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.end.cmp(&other.end)
    }
}

impl Deadlines {
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            grace,
            waiting: Mutex::default(),
            pushed: Notify::new(),
        }
    }

    /// How long a drained member may take to come back.
    pub(crate) fn grace(&self) -> Duration {
        self.grace
    }

    /// Whether a lost connection may keep its seat.
    pub(crate) fn has_space(&self) -> bool {
        self.waiting.lock().len() < MOST
    }

    /// How many are waiting.
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Something is due in a room after a time.
    pub(crate) fn push(&self, after: Duration, cell: &Arc<RoomCell>, due: Due) {
        self.push_entry(after, What::InRoom(Arc::downgrade(cell), due));
    }

    /// A seat is to be given back after a time.
    pub(crate) fn push_leave(&self, after: Duration, leave: Leave) {
        self.push_entry(after, What::Leave(leave));
    }

    fn push_entry(&self, after: Duration, what: What) {
        let end = Instant::now() + after;
        self.waiting.lock().push(Reverse(Entry { end, what }));
        self.pushed.notify_one();
    }

    fn next_end(&self) -> Option<Instant> {
        self.waiting.lock().peek().map(|Reverse(entry)| entry.end)
    }

    fn pop_over(&self) -> Option<Entry> {
        let mut waiting = self.waiting.lock();
        waiting
            .peek()
            .filter(|Reverse(entry)| entry.end <= Instant::now())?;
        waiting.pop().map(|Reverse(entry)| entry)
    }
}

/// Does what is due, for ever.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        let pushed = core.deadlines.pushed.notified();
        match core.deadlines.next_end() {
            Some(end) => tokio::select! {
                () = tokio::time::sleep_until(end) => {}
                // It may be due sooner.
                () = pushed => {}
            },
            None => pushed.await,
        }
        while let Some(entry) = core.deadlines.pop_over() {
            match entry.what {
                What::InRoom(cell, due) => {
                    if let Some(cell) = cell.upgrade() {
                        is_over(&core, &cell, due);
                    }
                }
                What::Leave(leave) => core.seating.push(Job::Leave(leave)),
            }
        }
    }
}

fn is_over(core: &Core, cell: &Arc<RoomCell>, due: Due) {
    let (member, attachment) = match due {
        Due::Grace(member) => {
            return core.update(cell, Source::Here, |inner| inner.room.grace_over(member));
        }
        Due::Window { member, attachment } => (member, attachment),
    };
    let mut left = None;
    core.update(cell, Source::Here, |inner| {
        let Some((effects, parting)) = inner.room.window_over(member, attachment) else {
            return Effects::new();
        };
        left = Some(parting);
        effects
    });
    if let Some(parting) = left {
        core.seating
            .push(Job::leave(cell, member, Departure::Left, parting));
    }
}
