//! Hosts and players who act at random, and what they know to be true.

use std::time::Duration;

use berth_crds::settings::RoomId;
use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::MemberId;
use berth_matchmaker::host::{Heartbeat, HostStatus, MatchId};
use berth_matchmaker::slots::{Holder, Reservation};
use berth_matchmaker::store::{Dice, Found, Request};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use uuid::Uuid;

use super::{Op, Tokens};
use crate::support::world::{World, anywhere, constant, in_region, pinned, room};

const CAPACITIES: [u32; 4] = [1, 1, 2, 4];
const REGIONS: [&str; 4] = ["eu", "us", "eu", "us"];
const TTL: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(20);
const HOLD: Duration = Duration::from_secs(5);

/// All hosts and players of a history.
pub(super) struct Actors<'a> {
    world: &'a mut World,
    steady: bool,
    tokens: Tokens,
    hosts: Vec<Host>,
    matches: Vec<Match>,
    /// Redis came back empty, and nobody is handed out before this time.
    quiet_until: Option<Duration>,
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

#[derive(Debug)]
struct Match {
    id: MatchId,
    host: usize,
    granted: Duration,
    player: Option<Player>,
    /// When its player left.
    left: Option<Duration>,
    /// Its player has shown that it is one, on some visit.
    known: bool,
    /// Redis lost it: who has left is not known any more.
    forgotten: bool,
}

/// A player in a room.
#[derive(Debug)]
struct Player {
    member: MemberId,
    /// It has shown that it is one.
    known: bool,
    /// When it joined.
    turn: u64,
}

type Checked = Result<(), TestCaseError>;

impl<'a> Actors<'a> {
    pub(super) async fn new(world: &'a mut World, steady: bool, tokens: Tokens) -> Self {
        world.rules.deadline = DEADLINE;
        world.rules.heartbeat_ttl = TTL;
        world.rules.hold = HOLD;
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
            tokens,
            hosts: hosts.collect(),
            matches: Vec::new(),
            quiet_until: None,
            now: Duration::ZERO,
            turn: 0,
        };
        for host in 0..CAPACITIES.len() {
            actors.host_returns(host, false).await;
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
                request.id = MatchId(Uuid::from_u128(turn.into()));
                request.dice = Dice {
                    stray: turn,
                    region: turn,
                    sample: turn,
                    host: turn,
                };
                self.find(request).await?;
            }
            Op::PlayerJoins { choice, token } => self.player_joins(choice, token).await,
            Op::PlayersOffer => self.players_offer().await,
            Op::HostAnswers(host) => self.host_answers(host).await,
            Op::PlayerLeaves(choice) => self.player_leaves(choice).await,
            Op::Release(choice) => self.release(choice).await?,
            Op::HostLeaves(host) => self.host_leaves(host).await,
            Op::HostReturns { host, token } => self.host_returns(host, token).await,
            Op::Advance { seconds } => self.advance(Duration::from_secs(seconds)).await,
            Op::Tick => self.compare().await?,
            Op::Restart(which) => self.world.restart(which).await,
            Op::Loss => self.lose().await,
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
                self.host_returns(host, true).await;
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
                player: None,
                left: None,
                known: false,
                forgotten: false,
            });
            let promised = self.playing(host) + self.promised(host);
            prop_assert!(
                promised <= self.hosts[host].capacity,
                "{} promised on {:?}: {:?}",
                promised,
                self.world.host(grant.host.as_str()).await,
                self.matches
                    .iter()
                    .filter(|one| one.host == host)
                    .collect::<Vec<_>>()
            );
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

    /// The player of a match comes, or comes back.
    async fn player_joins(&mut self, choice: usize, token: bool) {
        let waiting: Vec<usize> = (0..self.matches.len())
            .filter(|index| self.waits(&self.matches[*index]))
            .collect();
        let Some(index) = waiting.get(choice % waiting.len().max(1)) else {
            return;
        };
        let one = &mut self.matches[*index];
        let room = &self.hosts[one.host].room;
        let token = token && self.tokens == Tokens::Some || self.tokens == Tokens::All;
        let member = if token {
            self.world.proves(room, Role::Player, &one.id.to_string()).await
        } else {
            self.world.join(room).await
        };
        one.left = None;
        one.player = Some(Player {
            member,
            known: token,
            turn: self.turn,
        });
    }

    /// Everybody who plays has said so by now.
    async fn players_offer(&mut self) {
        for one in &mut self.matches {
            if let Some(player) = one.player.as_mut().filter(|player| !player.known) {
                player.known = true;
                let room = &self.hosts[one.host].room;
                self.world.says(room, player.member, Role::Player).await;
            }
        }
    }

    async fn host_answers(&mut self, index: usize) {
        if let Some(seat) = self.hosts[index].seat {
            self.world.says(&self.hosts[index].room, seat, Role::Host).await;
        }
    }

    async fn player_leaves(&mut self, choice: usize) {
        let playing: Vec<usize> = (0..self.matches.len())
            .filter(|index| self.matches[*index].player.is_some())
            .collect();
        let Some(index) = playing.get(choice % playing.len().max(1)) else {
            return;
        };
        let one = &mut self.matches[*index];
        if let Some(player) = one.player.take() {
            one.left = Some(self.now);
            one.known |= player.known;
            self.world.leave(&self.hosts[one.host].room, player.member).await;
        }
    }

    /// Gives up a match whose player has not come; one that is over cannot be given up any more.
    async fn release(&mut self, choice: usize) -> Checked {
        let waiting: Vec<usize> = (0..self.matches.len())
            .filter(|index| self.matches[*index].player.is_none())
            .collect();
        let Some(index) = waiting.get(choice % waiting.len().max(1)) else {
            return Ok(());
        };
        let released = self.world.release(self.matches[*index].id).await;
        if self.matches[*index].left.is_some() && !released {
            // Whose player left is not known for certain: it is held, as if nobody had given it up.
            return Ok(());
        }
        if self.waits(&self.matches[*index])
            && !released
            && self.hosts[self.matches[*index].host].capacity > 1
        {
            // Nor is it who came instead.
            return Ok(());
        }
        let given_up = self.matches.remove(*index);
        // Which of several players on one host came first is not known to the store.
        if self.steady
            && self.hosts[given_up.host].capacity == 1
            && self.waits(&given_up)
            && self.quiet_until.is_none()
        {
            prop_assert!(released);
        }
        Ok(())
    }

    /// Whether the store expects somebody in the room of a host, after a look at it.
    async fn expects(&mut self, index: usize) -> bool {
        self.world.counts().await;
        let hosts = self.world.hosts().await;
        let record = hosts
            .iter()
            .find(|record| record.host.as_str() == self.hosts[index].name);
        let open =
            |one: &Reservation| matches!(one.holder, Holder::Nobody | Holder::Unclear) || one.left_ms > 0;
        record.is_some_and(|record| record.reservations.iter().any(open))
    }

    async fn host_leaves(&mut self, index: usize) {
        if self.steady && self.expects(index).await {
            return;
        }
        if let Some(seat) = self.hosts[index].seat.take() {
            self.world.leave(&self.hosts[index].room, seat).await;
        }
    }

    async fn host_returns(&mut self, index: usize, token: bool) {
        if self.hosts[index].seat.is_some() || self.steady && !token && self.expects(index).await {
            return;
        }
        let Host { room, name, .. } = &self.hosts[index];
        let seat = if token {
            self.world.proves(room, Role::Host, name).await
        } else {
            self.world.join(room).await
        };
        self.hosts[index].seat = Some(seat);
        if self.steady {
            // Who is not seen before a player leaves could be that player.
            self.world.counts().await;
        }
    }

    /// Redis comes back empty: it does not know the hosts until they say that they are there, nor who has left.
    async fn lose(&mut self) {
        if self.world.redis.is_none() {
            return;
        }
        self.world.lose_everything().await;
        self.quiet_until = Some(self.now + DEADLINE.max(HOLD));
        for host in &mut self.hosts {
            host.beat = None;
        }
        for one in &mut self.matches {
            one.forgotten = true;
        }
    }

    /// Time passes. A host that was silent for too long has died, and its players go.
    async fn advance(&mut self, by: Duration) {
        self.players_offer().await;
        self.world.advance(by).await;
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
                    self.world.leave(&room, player.member).await;
                }
            }
        }
    }

    /// The store must not promise more than there is; where it can know everything, it must promise no less.
    async fn compare(&mut self) -> Checked {
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
    fn free(&self, index: usize) -> u32 {
        let host = &self.hosts[index];
        let (Some(beat), Some(_)) = (&host.beat, host.seat) else {
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
    fn certainly_free(&self, index: usize) -> bool {
        let host = &self.hosts[index];
        let forgotten = host.last_grant.is_none_or(|at| at + DEADLINE <= self.now);
        self.quiet_until.is_none()
            && self.free(index) > 0
            && (host.capacity == 1 || forgotten && self.playing(index) == 0 && self.waiting(index) == 0)
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

    /// Slots that must be kept for somebody.
    fn promised(&self, index: usize) -> u32 {
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

    fn waits(&self, one: &Match) -> bool {
        let deadline = one.granted + DEADLINE;
        let until = match one.left {
            None => deadline,
            Some(left) if one.known => left + HOLD,
            Some(left) => deadline.max(left + HOLD),
        };
        one.player.is_none() && self.now < until
    }
}
