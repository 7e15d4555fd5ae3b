//! Messages of a peer, in the order of checks that clients know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_dataplane::occupancy::Who;
use smallvec::SmallVec;

use super::Session;
use crate::close::Close;
use crate::core::Core;
use crate::events;
use crate::metrics::DropReason;
use crate::protocol::v1::{self, Verdict};
use crate::protocol::v2::{self, ErrorCode, Refused, Request, say};
use crate::room::{Effects, Room};
use crate::rooms::RoomCell;
use crate::seating::Job;

impl Session {
    /// One message of a peer that speaks v1, which is told of nothing but a wrong schema.
    pub(super) fn receive(&mut self, core: &Core, cell: &Arc<RoomCell>, message: &[u8]) {
        let now = Instant::now();
        let settings = core.settings.load();
        let limits = &settings.cluster.rate_limits;
        if !self.messages.take(limits.messages_per_client, now) {
            let wait = self.messages.wait(limits.messages_per_client, now);
            return self.over_limit(core, DropReason::ClientRate, wait);
        }
        let text = match v1::judge(message) {
            Verdict::Relay(text) => text,
            Verdict::NotJson => return core.metrics.dropped(DropReason::NotJson, 1),
            Verdict::SchemaError => {
                core.metrics.schema_rejections.inc();
                self.place.conn.deliver(&v1::SCHEMA_ERROR);
                return core.metrics.dropped(DropReason::Schema, 1);
            }
        };
        if !self.client.message(limits, now) {
            let wait = self.client.message_wait(limits, now);
            return self.over_limit(core, DropReason::IpRate, wait);
        }
        let member = self.place.member;
        if !self.is_known
            && let Some(role) = v1::role_of(&text)
        {
            self.is_known = true;
            cell.inner.lock().room.introduce(member, Who::is(role));
            let cell = Arc::clone(cell);
            core.seating.push(Job::Note { cell, member });
        }
        if !self.relay(core, cell, now, |room| room.message(member, text)) {
            let wait = cell.inner.lock().messages.wait(limits.messages_per_room, now);
            self.over_limit(core, DropReason::RoomRate, wait);
        }
    }

    /// One message of a peer that speaks v2, which is told of everything that is refused.
    pub(super) fn receive_v2(&mut self, core: &Core, cell: &Arc<RoomCell>, message: &[u8]) {
        let now = Instant::now();
        let settings = core.settings.load();
        let limits = &settings.cluster.rate_limits;
        if !self.messages.take(limits.messages_per_client, now) {
            let wait = self.messages.wait(limits.messages_per_client, now);
            return self.too_much(core, DropReason::ClientRate, v2::seq_of(message), wait);
        }
        let relayed = match v2::read(message) {
            Ok(Request::Relay(relayed)) => relayed,
            Ok(Request::Ping) => {
                self.place.conn.deliver(&say::PONG);
                return;
            }
            Ok(Request::Bye) => return self.place.conn.close(Close::Bye),
            Err(refused) => return self.refuse(core, &refused),
        };
        let seq = Some(relayed.seq);
        if !self.client.message(limits, now) {
            let wait = self.client.message_wait(limits, now);
            return self.too_much(core, DropReason::IpRate, seq, wait);
        }
        let member = self.place.member;
        if !self.relay(core, cell, now, |room| room.relay(member, relayed)) {
            let wait = cell.inner.lock().messages.wait(limits.messages_per_room, now);
            self.too_much(core, DropReason::RoomRate, seq, wait);
        }
    }

    fn refuse(&self, core: &Core, refused: &Refused) {
        let reason = if refused.code == ErrorCode::NotJson {
            DropReason::NotJson
        } else {
            core.metrics.schema_rejections.inc();
            DropReason::Schema
        };
        core.metrics.dropped(reason, 1);
        self.place.conn.deliver(&say::refused(refused, None));
    }

    /// A message is dropped; the next one may come after `wait`.
    fn over_limit(&self, core: &Core, reason: DropReason, wait: Duration) {
        core.metrics.dropped(reason, 1);
        events::over_limit(reason, &self.place.cell.id, self.place.member, wait);
    }

    fn too_much(&self, core: &Core, reason: DropReason, seq: Option<u64>, wait: Duration) {
        self.over_limit(core, reason, wait);
        let message = match reason {
            DropReason::IpRate => "too many messages from this address: this one is lost",
            DropReason::RoomRate => "too many messages in this room: this one is lost",
            _ => "too many messages on this connection: this one is lost",
        };
        let refused = Refused {
            code: ErrorCode::RateLimited,
            seq,
            message,
        };
        self.place
            .conn
            .deliver(&say::refused(&refused, Some(whole_millis(wait))));
    }

    /// Has a room relay a message; `false` when there were too many in it.
    fn relay(
        &self,
        core: &Core,
        cell: &Arc<RoomCell>,
        now: Instant,
        say: impl FnOnce(&mut Room) -> Effects,
    ) -> bool {
        let limit = core.settings.load().cluster.rate_limits.messages_per_room;
        let mut passed = true;
        core.update(cell, self.source, |inner| {
            if !inner.messages.take(limit, now) {
                passed = false;
                return SmallVec::new();
            }
            core.metrics.messages_forwarded.inc();
            let early = inner.room.early();
            let effects = say(&mut inner.room);
            if inner.room.early() > early {
                core.metrics.early_buffered.inc();
            }
            effects
        });
        core.metrics.fanout_seconds.observe(now.elapsed().as_secs_f64());
        passed
    }
}

/// In milliseconds, rounded up: who waits so long does not come too early.
fn whole_millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000))
        .unwrap_or(u64::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_called_back_too_early() {
        for (wait, expected) in [
            (0, 1),
            (1, 1),
            (1_000_000, 1),
            (1_000_001, 2),
            (4_999_999_999, 5000),
        ] {
            assert_eq!(whole_millis(Duration::from_nanos(wait)), expected, "{wait} ns");
        }
    }
}
