//! What the store found changed, as lines of the log.

use std::time::Duration;

use berth_dataplane::telemetry::{Throttle, field};
use tracing::{info, warn};

use crate::slots::Change;
use crate::store::{Event, EventKind, MOST_CLASSES};

/// At most one line of each kind in this time: a busy pool has hundreds of matches a second, and metrics count them all.
pub(crate) const LOG_INTERVAL: Duration = Duration::from_millis(20);

/// Writes one event, unless there are too many of its kind; the next line tells how many were left out.
pub(crate) fn log(event: &Event) {
    static LOST: Throttle = Throttle::new(LOG_INTERVAL);
    static JOINED: Throttle = Throttle::new(LOG_INTERVAL);
    static LEFT: Throttle = Throttle::new(LOG_INTERVAL);
    static EXPIRED: Throttle = Throttle::new(LOG_INTERVAL);
    static ENDED: Throttle = Throttle::new(LOG_INTERVAL);
    static GONE: Throttle = Throttle::new(LOG_INTERVAL);
    let (throttle, what) = match event.kind {
        EventKind::HostLost => (&LOST, "host lost: no heartbeat"),
        EventKind::HostLeft => (&GONE, "host left"),
        EventKind::Reservation(Change::Joined) => (&JOINED, "player joined"),
        EventKind::Reservation(Change::Left) => (&LEFT, "player left"),
        EventKind::Reservation(Change::Expired) => (&EXPIRED, "reservation expired: the player did not come"),
        EventKind::EndedByLoss => (&ENDED, "match ended: its host is lost"),
        EventKind::Released => (&ENDED, "match given up"),
        EventKind::EndedByLeave => (&ENDED, "match ended: its host left"),
        EventKind::EndedByRoomChange => (&ENDED, "match ended: its host went to another room"),
        EventKind::LabelsIgnored => return labels_ignored(event),
    };
    let Some(suppressed) = throttle.pass() else { return };
    info!(
        { field::MATCH } = event.id.map(tracing::field::display),
        { field::HOST } = %event.host,
        { field::ROOM } = event.room,
        suppressed,
        "{what}"
    );
}

/// Each heartbeat of such a host tells it again, for as long as it is so.
fn labels_ignored(event: &Event) {
    static IGNORED: Throttle = Throttle::new(Duration::from_secs(10));
    let Some(suppressed) = IGNORED.pass() else { return };
    warn!(
        { field::HOST } = %event.host,
        most = MOST_CLASSES,
        suppressed,
        "labels of a host are ignored: the hosts of the pool have too many combinations of region and labels"
    );
}
