//! What hosts say beside their heartbeats, what is done to them, and finds that come again or all at once.

use berth_matchmaker::host::HostStatus;
use berth_matchmaker::store::{Found, Request};
use proptest::prelude::*;

use super::actors::{Actors, Checked};
use crate::support::world::{anywhere, in_region, pinned};

impl Actors<'_> {
    /// Somebody takes a host out of service, or puts it back.
    pub(super) async fn drain(&mut self, index: usize, drain: bool) {
        let name = self.hosts[index].name.clone();
        if self.world.drain(&name, drain).await {
            self.hosts[index].drained = drain;
        }
    }

    /// A host takes its leave of the matchmaker.
    pub(super) async fn says_goodbye(&mut self, index: usize) {
        let name = self.hosts[index].name.clone();
        if self.hosts[index].beat.is_some() && self.world.host_leaves(&name).await {
            self.everybody_goes(index).await;
        }
    }

    /// A host says what it does.
    pub(super) async fn says(&mut self, index: usize, status: HostStatus) {
        let name = self.hosts[index].name.clone();
        if self.hosts[index].beat.is_none() || !self.world.says_status(&name, status).await {
            return;
        }
        let host = &mut self.hosts[index];
        host.drains = status == HostStatus::Draining;
        let Some(beat) = &mut host.beat else { return };
        match status {
            HostStatus::Busy | HostStatus::Allocated => beat.offered = 0,
            HostStatus::Idle if beat.offered == 0 => beat.offered = host.capacity,
            HostStatus::Idle | HostStatus::Draining => {}
        }
    }

    /// A find that was granted comes again, with its `Idempotency-Key`: it is the same match, or over, and never another one.
    pub(super) async fn find_again(&mut self, choice: usize) -> Checked {
        if self.matches.is_empty() || self.quiet_until.is_some() {
            return Ok(());
        }
        let one = &self.matches[choice % self.matches.len()];
        let host = &self.hosts[one.host];
        let name = host.name.clone();
        // Which of several players came for which match is not known for certain, nor whether a restless host is one.
        let must_be = self.steady && host.capacity == 1 && (one.player.is_some() || self.waits(one));
        match self.world.find(one.request.clone()).await {
            Found::Granted(grant) => prop_assert_eq!(grant.host.as_str(), name),
            Found::Over(_) => prop_assert!(!must_be, "it is not over"),
            other => prop_assert!(false, "{:?}", other),
        }
        Ok(())
    }

    /// Several players ask at the same moment through different matchmakers, while a host says that it is free.
    pub(super) async fn rush(&mut self, finds: u64, index: usize) -> Checked {
        let requests: Vec<Request> = (0..finds)
            .map(|number| {
                let mut request = match number {
                    0 => pinned(&self.hosts[index].name),
                    1 => in_region(self.hosts[index].region),
                    _ => anywhere(),
                };
                self.mark(&mut request, number);
                request
            })
            .collect();
        let heartbeat = self.heartbeat(index, false);
        self.beats(index, heartbeat.available);
        let found = self.world.rush(requests.clone(), heartbeat).await;
        for (request, found) in requests.into_iter().zip(found) {
            if let Found::Granted(grant) = &found {
                self.is_granted(request, grant).await?;
            }
        }
        Ok(())
    }
}
