//! Hosts and players who act at random, and what they know to be true.

use std::time::Duration;

use berth_crds::settings::RoomId;
use berth_dataplane::occupancy::MemberId;
use berth_matchmaker::host::{Heartbeat, HostStatus, MatchId};
use berth_matchmaker::slots::Holder;
use berth_matchmaker::store::{Dice, Found, Request};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::Op;
use crate::support::world::{World, anywhere, constant, in_region, pinned, room};

const CAPACITIES: [u32; 4] = [1, 1, 2, 4];
const REGIONS: [&str; 4] = ["eu", "us", "eu", "us"];
const TTL: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(20);

/// All hosts and players of a history.
pub(super) struct Actors<'a> {
    world: &'a mut World,
    steady: bool,
    hosts: Vec<Host>,
    matches: Vec<Match>,
    /// Since the beginning.
    now: Duration,
    /// What happened later has a higher one.
    turn: u64,
}

struct Host {
    name: String,
    room: RoomId,
    capacity: u32,
    region: &'static str,
    seat: Option<MemberId>,
    /// The last heartbeat; `None` while the host is silent.
    beat: Option<Beat>,
    last_grant: Option<Duration>,
}

struct Beat {
    offered: u32,
    at: Duration,
    turn: u64,
}

struct Match {
    id: MatchId,
    host: usize,
    granted: Duration,
    turn: u64,
    player: Option<MemberId>,
}

type Checked = Result<(), TestCaseError>;

impl<'a> Actors<'a> {
    pub(super) async fn new(world: &'a mut World, steady: bool) -> Self {
        world.rules.deadline = DEADLINE;
        world.rules.heartbeat_ttl = TTL;
        let hosts = (0..CAPACITIES.len()).map(|index| {
            let name = format!("h{index}");
            let room = room(&format!("room-{name}"));
            Host {
                name,
                room,
                capacity: CAPACITIES[index],
                region: REGIONS[index],
                seat: None,
                beat: None,
                last_grant: None,
            }
        });
        let mut actors = Self {
            world,
            steady,
            hosts: hosts.collect(),
            matches: Vec::new(),
            now: Duration::ZERO,
            turn: 0,
        };
        for host in 0..CAPACITIES.len() {
            actors.host_returns(host).await;
            actors.beat(host, false).await;
        }
        actors
    }

    pub(super) async fn act(&mut self, op: Op) -> Checked {
        self.turn += 1;
        match op {
            Op::Beat { host, truthful } => self.beat(host, truthful).await,
            Op::Find { region, pinned: host } => {
                let mut request = match host {
                    Some(host) => pinned(&self.hosts[host].name),
                    None if region => in_region("eu"),
                    None => anywhere(),
                };
                // In memory a history then always takes the same course.
                let turn = u32::try_from(self.turn).unwrap();
                request.dice = Dice {
                    stray: turn,
                    region: turn,
                    host: turn,
                };
                self.find(request).await?;
            }
            Op::PlayerJoins(choice) => self.player_joins(choice).await,
            Op::PlayerLeaves(choice) => self.player_leaves(choice).await,
            Op::Release(choice) => self.release(choice).await?,
            Op::HostLeaves(host) => self.host_leaves(host).await,
            Op::HostReturns(host) => self.host_returns(host).await,
            Op::Advance { seconds } => self.advance(Duration::from_secs(seconds)).await,
            Op::Tick => self.compare().await?,
        }
        Ok(())
    }

    /// Everybody goes, and hosts wait in their rooms: then every slot must be free again.
    pub(super) async fn end(mut self) -> Checked {
        while self.matches.iter().any(|one| one.player.is_some()) {
            self.player_leaves(0).await;
        }
        for _ in 0..2 {
            for host in 0..self.hosts.len() {
                self.host_returns(host).await;
                self.beat(host, false).await;
            }
            self.advance(DEADLINE).await;
        }
        let counts = self.world.counts().await;
        prop_assert_eq!(
            counts.free,
            u64::from(CAPACITIES.iter().sum::<u32>()),
            "leaked: {:?}",
            self.world.hosts().await
        );
        Ok(())
    }

    async fn beat(&mut self, index: usize, truthful: bool) {
        let host = &self.hosts[index];
        let available = host.capacity
            - if truthful {
                self.playing(index).min(host.capacity)
            } else {
                0
            };
        let status = if available == 0 {
            HostStatus::Busy
        } else {
            HostStatus::Idle
        };
        let heartbeat = Heartbeat {
            capacity: host.capacity,
            available,
            status,
            ..constant(&host.name, host.region)
        };
        self.world.beat(heartbeat).await;
        self.hosts[index].beat = Some(Beat {
            offered: available,
            at: self.now,
            turn: self.turn,
        });
    }

    async fn find(&mut self, request: Request) -> Checked {
        let found = self.world.find(request.clone()).await;
        if let Found::Granted(grant) = &found {
            let host = self
                .hosts
                .iter()
                .position(|host| grant.host.as_str() == host.name)
                .unwrap();
            prop_assert!(self.hosts[host].beat.is_some(), "granted on a silent host");
            prop_assert!(
                !self.steady || self.hosts[host].seat.is_some(),
                "granted on a host that is away"
            );
            self.hosts[host].last_grant = Some(self.now);
            self.matches.push(Match {
                id: request.id,
                host,
                granted: self.now,
                turn: self.turn,
                player: None,
            });
            let promised = self.playing(host) + self.waiting(host);
            let allowed = self.hosts[host].capacity + u32::from(!self.steady);
            prop_assert!(promised <= allowed, "{} promised on {:?}", promised, grant);
            if let Some(pin) = &request.host {
                prop_assert_eq!(pin, &grant.host);
            }
        } else if self.steady {
            let wanted = |index: &usize| {
                request
                    .host
                    .as_ref()
                    .is_none_or(|pin| pin.as_str() == self.hosts[*index].name)
            };
            let missed = (0..self.hosts.len())
                .filter(wanted)
                .find(|index| self.certainly_free(*index));
            prop_assert!(missed.is_none(), "{:?} although host {:?} is free", found, missed);
        }
        Ok(())
    }

    async fn player_joins(&mut self, choice: usize) {
        let waiting: Vec<usize> = (0..self.matches.len())
            .filter(|index| self.waits(&self.matches[*index]))
            .collect();
        let Some(index) = waiting.get(choice % waiting.len().max(1)) else {
            return;
        };
        let room = self.hosts[self.matches[*index].host].room.clone();
        let player = self.world.join(&room).await;
        self.matches[*index].player = Some(player);
    }

    async fn player_leaves(&mut self, choice: usize) {
        let playing: Vec<usize> = (0..self.matches.len())
            .filter(|index| self.matches[*index].player.is_some())
            .collect();
        let Some(index) = playing.get(choice % playing.len().max(1)) else {
            return;
        };
        let left = self.matches.remove(*index);
        self.world
            .leave(&self.hosts[left.host].room, left.player.unwrap())
            .await;
    }

    /// Gives up a match whose player has not come; one that is over cannot be given up any more.
    async fn release(&mut self, choice: usize) -> Checked {
        let waiting: Vec<usize> = (0..self.matches.len())
            .filter(|index| self.matches[*index].player.is_none())
            .collect();
        let Some(index) = waiting.get(choice % waiting.len().max(1)) else {
            return Ok(());
        };
        let given_up = self.matches.remove(*index);
        let released = self.world.release(given_up.id).await;
        // Which of several players on one host came first is not known to the store.
        if self.steady && self.hosts[given_up.host].capacity == 1 && self.now < given_up.granted + DEADLINE {
            prop_assert!(released);
        }
        Ok(())
    }

    async fn host_leaves(&mut self, index: usize) {
        if self.steady {
            // Players have been there for a second: the store has seen them, and expects nobody.
            self.world.counts().await;
            let hosts = self.world.hosts().await;
            let record = hosts
                .iter()
                .find(|record| record.host.as_str() == self.hosts[index].name);
            if record.is_some_and(|record| record.reservations.iter().any(|one| one.holder == Holder::Nobody))
            {
                return;
            }
        }
        if let Some(seat) = self.hosts[index].seat.take() {
            self.world.leave(&self.hosts[index].room, seat).await;
        }
    }

    async fn host_returns(&mut self, index: usize) {
        if self.hosts[index].seat.is_none() {
            let seat = self.world.join(&self.hosts[index].room).await;
            self.hosts[index].seat = Some(seat);
        }
    }

    /// Time passes. A host that was silent for too long has died, and its players go.
    async fn advance(&mut self, by: Duration) {
        self.world.clock.advance(by);
        self.now += by;
        for index in 0..self.hosts.len() {
            if self.hosts[index]
                .beat
                .as_ref()
                .is_none_or(|beat| beat.at + TTL > self.now)
            {
                continue;
            }
            self.hosts[index].beat = None;
            let room = self.hosts[index].room.clone();
            if let Some(seat) = self.hosts[index].seat.take() {
                self.world.leave(&room, seat).await;
            }
            for one in self.matches.extract_if(.., |one| one.host == index) {
                if let Some(player) = one.player {
                    self.world.leave(&room, player).await;
                }
            }
        }
    }

    /// The store must not promise more than there is; where it can know everything, it must promise no less.
    async fn compare(&mut self) -> Checked {
        self.world.counts().await;
        for record in self.world.hosts().await {
            let index = self
                .hosts
                .iter()
                .position(|host| record.host.as_str() == host.name)
                .unwrap();
            if self.steady {
                let promised = self.playing(index) + self.waiting(index) + record.free;
                prop_assert!(
                    record.free == 0 || promised <= record.capacity,
                    "{:?}, {} promised",
                    record,
                    promised
                );
                let free = self.free(index);
                prop_assert!(
                    record.capacity > 1 || record.free == free,
                    "{:?}, {} are free",
                    record,
                    free
                );
            }
        }
        Ok(())
    }

    /// Free slots of a host by heartbeat, players and promises.
    fn free(&self, index: usize) -> u32 {
        let host = &self.hosts[index];
        let (Some(beat), Some(_)) = (&host.beat, host.seat) else {
            return 0;
        };
        let news = self
            .matches
            .iter()
            .filter(|one| one.host == index && one.player.is_some() && one.turn > beat.turn);
        let by_host = beat
            .offered
            .saturating_sub(self.waiting(index) + u32::try_from(news.count()).unwrap());
        host.capacity
            .saturating_sub(self.playing(index) + self.waiting(index))
            .min(by_host)
    }

    /// With several slots the store may wait for one player longer than needed, because it cannot tell players apart.
    fn certainly_free(&self, index: usize) -> bool {
        let host = &self.hosts[index];
        let forgotten = host.last_grant.is_none_or(|at| at + DEADLINE <= self.now);
        self.free(index) > 0 && (host.capacity == 1 || forgotten && self.playing(index) == 0)
    }

    fn playing(&self, index: usize) -> u32 {
        let playing = self
            .matches
            .iter()
            .filter(|one| one.host == index && one.player.is_some());
        u32::try_from(playing.count()).unwrap()
    }

    fn waiting(&self, index: usize) -> u32 {
        u32::try_from(
            self.matches
                .iter()
                .filter(|one| one.host == index && self.waits(one))
                .count(),
        )
        .unwrap()
    }

    fn waits(&self, one: &Match) -> bool {
        one.player.is_none() && self.now < one.granted + DEADLINE
    }
}
