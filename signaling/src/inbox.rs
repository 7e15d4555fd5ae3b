//! What other instances have to say to this one.

use std::sync::Arc;
use std::time::Duration;

use berth_dataplane::redis::{Subscription, SubscriptionEvent};
use berth_dataplane::telemetry::Throttle;
use bytes::Bytes;
use tracing::warn;

use crate::core::{Core, Source, unix_micros};
use crate::envelope::{self, Envelope};
use crate::metrics::DropReason;
use crate::room::Notice;
use crate::rooms::RoomCell;

/// Notices that may wait here; more are lost, and then everything is learned anew.
pub(crate) const CAPACITY: usize = 8192;
/// Notices in a row after which other tasks get their turn.
const BURST: usize = 64;

/// Reads the inbox for ever. What comes together is written to each socket once.
pub(crate) async fn run(core: Arc<Core>, mut inbox: Subscription) {
    let mut received = Vec::with_capacity(BURST);
    while let Some(first) = inbox.next().await {
        let mut taken = 0;
        let mut next = Some(first);
        while let Some(event) = next {
            received.extend(take(&core, event));
            taken += 1;
            next = if taken < BURST { inbox.try_next() } else { None };
        }
        for burst in received.chunk_by(|one, other| Arc::ptr_eq(&one.room, &other.room)) {
            burst[0].room.flush();
        }
        let now = unix_micros();
        for published_at in received.drain(..).filter_map(|notice| notice.said_at) {
            let lag = Duration::from_micros(now.saturating_sub(published_at));
            core.metrics.relay_lag_seconds.observe(lag.as_secs_f64());
        }
        if taken == BURST {
            tokio::task::yield_now().await;
        }
    }
}

/// What has come, and was dealt with.
struct Received {
    /// To be flushed.
    room: Arc<RoomCell>,
    /// When it was published, Unix time in µs, if it is a message.
    said_at: Option<u64>,
}

/// Deals with what has come.
fn take(core: &Core, event: SubscriptionEvent) -> Option<Received> {
    match event {
        SubscriptionEvent::Message(bytes) => return receive(core, bytes),
        // What was published meanwhile is lost.
        SubscriptionEvent::Subscribed | SubscriptionEvent::Lost(_) => {
            for cell in core.rooms.all() {
                cell.inner.lock().room.lost_track();
            }
            core.lease.refresh();
        }
        SubscriptionEvent::Disconnected => {}
    }
    None
}

fn receive(core: &Core, bytes: Bytes) -> Option<Received> {
    static MALFORMED: Throttle = Throttle::new(Duration::from_secs(30));
    let Envelope {
        room,
        published_at,
        publisher,
        notice,
    } = match envelope::decode(bytes) {
        Ok(envelope) => envelope,
        Err(error) => {
            core.metrics.dropped(DropReason::Malformed, 1);
            if let Some(suppressed) = MALFORMED.pass() {
                warn!(%error, suppressed, "another instance said something that this version does not understand");
            }
            return None;
        }
    };
    // If not, nobody of this instance is in the room any more.
    let cell = core.rooms.find(&room)?;
    let is_message = matches!(notice, Notice::Message(_));
    core.update(&cell, Source::Elsewhere, |inner| {
        inner.room.hear(notice, publisher)
    });
    Some(Received {
        room: cell,
        said_at: is_message.then_some(published_at),
    })
}
