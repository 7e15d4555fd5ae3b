//! The lane: everything that is published, in one order.
//!
//! A notice enters the lane under the lock of its room, and one task publishes in batches, one batch at a time.
//! So messages of a sender keep their order even if early ones are flushed by another task than the sender's own.
//!
//! The lane is bounded softly: pushing never fails, but a socket whose message made it full does not read on until
//! there is space. It is never longer than the bound and one message per socket.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use berth_crds::settings::RoomId;
use berth_dataplane::keys::Keys;
use berth_dataplane::occupancy::Instance;
use berth_dataplane::redis::{Publication, RedisLink};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::core::{Core, Source, unix_micros};
use crate::envelope;
use crate::metrics::{DropReason, Path};
use crate::room::Notice;
use crate::rooms::RoomCell;

/// From so many notices or bytes on, the lane is full.
const FULL: Load = Load {
    notices: 8192,
    bytes: 16 * 1024 * 1024,
};
/// Most in one batch: one write of a few hundred KiB.
const BATCH: Load = Load {
    notices: 256,
    bytes: 512 * 1024,
};
/// Pause after Redis failed.
const PAUSE: Duration = Duration::from_millis(100);

/// What waits to be published.
#[derive(Default)]
pub(crate) struct Lane {
    queue: Mutex<Queue>,
    pushed: Notify,
    drained: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Outgoing>,
    load: Load,
    /// A batch is on its way.
    busy: bool,
    /// Messages came back since the lane was empty last: what follows them in it must not overtake them.
    overtakes: bool,
}

#[derive(Clone, Copy, Default)]
struct Load {
    notices: usize,
    bytes: usize,
}

/// A notice for another instance.
pub(crate) struct Outgoing {
    pub(crate) to: Instance,
    pub(crate) origin: Origin,
    pub(crate) notice: Notice,
}

/// The room of a notice.
pub(crate) enum Origin {
    /// A room of this instance, which hears what became of its messages.
    Room(Arc<RoomCell>),
    /// A room that this instance has nothing to do with (any more).
    Named(RoomId),
}

impl Outgoing {
    fn room(&self) -> &RoomId {
        match &self.origin {
            Origin::Room(cell) => &cell.id,
            Origin::Named(id) => id,
        }
    }

    fn bytes(&self) -> usize {
        match &self.notice {
            Notice::Message(sent) => sent.text.len(),
            Notice::Joined { .. } | Notice::Left { .. } => 64,
            Notice::Replay { messages, .. } => messages.iter().map(|sent| sent.text.len()).sum(),
        }
    }
}

impl Load {
    fn add(&mut self, outgoing: &Outgoing) {
        self.notices += 1;
        self.bytes += outgoing.bytes();
    }

    fn remove(&mut self, outgoing: &Outgoing) {
        self.notices -= 1;
        self.bytes -= outgoing.bytes();
    }

    fn reaches(&self, bound: Load) -> bool {
        self.notices >= bound.notices || self.bytes >= bound.bytes
    }
}

impl Lane {
    /// Adds a notice.
    pub(crate) fn push(&self, outgoing: Outgoing) {
        let mut queue = self.queue.lock();
        queue.load.add(&outgoing);
        queue.waiting.push_back(outgoing);
        drop(queue);
        self.pushed.notify_one();
    }

    /// Whether sockets have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.queue.lock().load.reaches(FULL)
    }

    /// How many notices wait.
    pub(crate) fn len(&self) -> usize {
        self.queue.lock().load.notices
    }

    /// How many bytes wait.
    pub(crate) fn bytes(&self) -> usize {
        self.queue.lock().load.bytes
    }

    /// Waits until the lane is not full.
    pub(crate) async fn space(&self) {
        self.until(|queue| !queue.load.reaches(FULL)).await;
    }

    /// Waits until everything is published.
    pub(crate) async fn idle(&self) {
        self.until(|queue| queue.waiting.is_empty() && !queue.busy).await;
    }

    async fn until(&self, condition: impl Fn(&Queue) -> bool) {
        loop {
            let drained = self.drained.notified();
            if condition(&self.queue.lock()) {
                return;
            }
            drained.await;
        }
    }

    fn batch(&self) -> Vec<Outgoing> {
        let mut queue = self.queue.lock();
        let mut load = Load::default();
        let mut batch = Vec::new();
        while !load.reaches(BATCH)
            && let Some(outgoing) = queue.waiting.pop_front()
        {
            load.add(&outgoing);
            queue.load.remove(&outgoing);
            batch.push(outgoing);
        }
        queue.busy = !batch.is_empty();
        queue.overtakes &= queue.busy;
        batch
    }

    fn done(&self) {
        self.queue.lock().busy = false;
        self.drained.notify_waiters();
    }

    /// Puts notices that are no messages back to the front, in their order: they are told until Redis took them. How
    /// many did not fit.
    fn put_back(&self, notices: Vec<Outgoing>) -> usize {
        let mut queue = self.queue.lock();
        let space = (2 * FULL.notices).saturating_sub(queue.waiting.len());
        let lost = notices.len().saturating_sub(space);
        for outgoing in notices.into_iter().skip(lost).rev() {
            queue.load.add(&outgoing);
            queue.waiting.push_front(outgoing);
        }
        lost
    }
}

/// Publishes for ever.
pub(crate) async fn run(core: Arc<Core>, link: RedisLink, keys: Keys) {
    loop {
        let batch = core.lane.batch();
        if batch.is_empty() {
            core.lane.done();
            core.lane.pushed.notified().await;
            continue;
        }
        let failed = publish(&core, &link, &keys, batch).await;
        core.lane.done();
        if failed {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Takes messages out whose route has stalled meanwhile: they wait there with those that came back.
fn without_stalled(core: &Core, batch: Vec<Outgoing>) -> Vec<Outgoing> {
    if !core.lane.queue.lock().overtakes {
        return batch;
    }
    let mut rest = Vec::with_capacity(batch.len());
    for outgoing in batch {
        match outgoing {
            Outgoing {
                to,
                origin: Origin::Room(cell),
                notice: Notice::Message(sent),
            } if cell.inner.lock().room.is_stalled(&to) => {
                core.update(&cell, Source::Here, |inner| {
                    inner.room.unreached(&to, vec![sent], false)
                });
            }
            outgoing => rest.push(outgoing),
        }
    }
    rest
}

/// Publishes one batch and tells the rooms what became of it; whether Redis did not take all of it.
async fn publish(core: &Core, link: &RedisLink, keys: &Keys, batch: Vec<Outgoing>) -> bool {
    let batch = without_stalled(core, batch);
    let (now, publisher) = (unix_micros(), core.own.short());
    let encoded: Vec<(String, Vec<u8>)> = batch
        .iter()
        .map(|outgoing| {
            (
                keys.inbox(outgoing.to.token()),
                envelope::encode(outgoing.room(), (now, publisher), &outgoing.notice),
            )
        })
        .collect();
    let messages: Vec<Publication<'_>> = encoded
        .iter()
        .map(|(channel, payload)| Publication { channel, payload })
        .collect();
    // What a node of a Redis Cluster did not take says nothing about the others.
    let mut receivers = link.publish_all(&messages).await.unwrap_or_default().into_iter();
    let mut failed = false;
    let mut unpublished = Vec::new();
    for outgoing in batch {
        let receivers = receivers.next().flatten();
        let taken = receivers.is_some();
        failed |= !taken;
        match (outgoing.origin, outgoing.notice) {
            (Origin::Room(cell), Notice::Message(sent)) if receivers > Some(0) => {
                core.metrics.relayed(Path::Remote);
                core.update(&cell, Source::Here, |inner| {
                    inner.room.published(&outgoing.to, &sent)
                });
            }
            (Origin::Room(cell), Notice::Message(sent)) => {
                core.lane.queue.lock().overtakes = true;
                core.update(&cell, Source::Here, |inner| {
                    inner.room.unreached(&outgoing.to, vec![sent], taken)
                });
            }
            (origin, notice) if !taken => unpublished.push(Outgoing {
                to: outgoing.to,
                origin,
                notice,
            }),
            // An instance that does not listen asserts its seats when it listens again, and so learns of everything.
            _ => {}
        }
    }
    let lost = core.lane.put_back(unpublished);
    if lost > 0 {
        core.metrics.dropped(DropReason::Unreachable, lost);
    }
    failed
}
