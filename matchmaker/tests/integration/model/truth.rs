//! What must be true of the store after anything that happened.

use proptest::prelude::*;

use super::Tokens;
use super::actors::{Actors, Checked, DEADLINE, HOLD, Match};

impl Actors<'_> {
    /// The store must not promise more than there is; where it can know everything, it must promise no less.
    pub(super) async fn compare(&mut self) -> Checked {
        self.world.counts().await;
        if self.quiet_until.is_some_and(|until| self.now < until) {
            // What was granted before is not known, and nobody is handed out.
            return Ok(());
        }
        for record in self.world.hosts().await {
            let index = self
                .hosts
                .iter()
                .position(|host| record.host.as_str() == host.name)
                .unwrap();
            if self.steady {
                let promised = self.playing(index) + self.promised(index) + record.free;
                prop_assert!(
                    record.free == 0 || promised <= record.capacity,
                    "{:?}, {} promised",
                    record,
                    promised
                );
                let free = self.free(index);
                prop_assert!(
                    record.capacity > 1 || record.free == free || self.quiet_until.is_some(),
                    "{:?}, {} are free",
                    record,
                    free
                );
            }
        }
        Ok(())
    }

    /// Free slots of a host by heartbeat, players and promises.
    pub(super) fn free(&self, index: usize) -> u32 {
        let host = &self.hosts[index];
        let (Some(beat), Some(_), false) = (&host.beat, host.seat, self.is_out_of_service(index)) else {
            return 0;
        };
        let news = self.matches.iter().filter(|one| {
            one.host == index && one.player.as_ref().is_some_and(|player| player.turn > beat.turn)
        });
        let by_host = beat
            .offered
            .saturating_sub(self.waiting(index) + u32::try_from(news.count()).unwrap());
        host.capacity
            .saturating_sub(self.playing(index) + self.waiting(index))
            .min(by_host)
    }

    /// With several slots the store may wait for one player longer than needed, because it cannot tell players apart.
    pub(super) fn certainly_free(&self, index: usize) -> bool {
        let host = &self.hosts[index];
        let forgotten = host.last_grant.is_none_or(|at| at + DEADLINE <= self.now);
        self.quiet_until.is_none()
            && self.free(index) > 0
            && (host.capacity == 1 || forgotten && self.playing(index) == 0 && self.waiting(index) == 0)
    }

    pub(super) fn is_out_of_service(&self, index: usize) -> bool {
        self.hosts[index].drained || self.hosts[index].drains
    }

    pub(super) fn playing(&self, index: usize) -> u32 {
        let playing = self
            .matches
            .iter()
            .filter(|one| one.host == index && one.player.is_some());
        u32::try_from(playing.count()).unwrap()
    }

    pub(super) fn waiting(&self, index: usize) -> u32 {
        u32::try_from(
            self.matches
                .iter()
                .filter(|one| one.host == index && self.waits(one))
                .count(),
        )
        .unwrap()
    }

    /// Slots that must be kept for somebody.
    pub(super) fn promised(&self, index: usize) -> u32 {
        let of_this = self
            .matches
            .iter()
            .filter(|one| one.host == index && self.waits(one));
        let kept = of_this.filter(|one| {
            let clear = self.hosts[index].capacity == 1 && self.tokens == Tokens::None;
            let known = (clear || self.tokens == Tokens::All) && !one.forgotten;
            one.left.is_none_or(|left| known && left + HOLD > self.now)
        });
        u32::try_from(kept.count()).unwrap()
    }

    pub(super) fn waits(&self, one: &Match) -> bool {
        let deadline = one.granted + DEADLINE;
        let until = match one.left {
            None => deadline,
            Some(left) if one.known => left + HOLD,
            Some(left) => deadline.max(left + HOLD),
        };
        one.player.is_none() && self.now < until
    }
}
