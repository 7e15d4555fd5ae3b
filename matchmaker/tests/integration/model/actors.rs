//! Hosts and players who act at random, and what they know to be true.

use std::time::Duration;

use berth_crds::settings::RoomId;
use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::MemberId;
use berth_matchmaker::host::{Heartbeat, HostStatus, MatchId};
use berth_matchmaker::slots::{Asked, Holder, Reservation};
use berth_matchmaker::store::{Dice, Found, Grant, Request};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use uuid::Uuid;

use super::{Op, Tokens};
use crate::support::world::{World, anywhere, constant, in_region, pinned, room};

const CAPACITIES: [u32; 4] = [1, 1, 2, 4];
const REGIONS: [&str; 4] = ["eu", "us", "eu", "us"];
const TTL: Duration = Duration::from_secs(30);
pub(super) const DEADLINE: Duration = Duration::from_secs(20);
pub(super) const HOLD: Duration = Duration::from_secs(5);

/// All hosts and players of a history.
pub(super) struct Actors<'a> {
    pub(super) world: &'a mut World,
    pub(super) steady: bool,
    pub(super) tokens: Tokens,
    pub(super) hosts: Vec<Host>,
    pub(super) matches: Vec<Match>,
    /// Redis came back empty, and nobody is handed out before this time.
    pub(super) quiet_until: Option<Duration>,
    /// Since the beginning.
    pub(super) now: Duration,
    /// What happened later has a higher one.
    pub(super) turn: u64,
}

pub(super) struct Host {
    pub(super) name: String,
    pub(super) room: RoomId,
    pub(super) capacity: u32,
    pub(super) region: &'static str,
    pub(super) seat: Option<MemberId>,
    /// The last heartbeat; `None` while the host is silent.
    pub(super) beat: Option<Beat>,
    pub(super) last_grant: Option<Duration>,
    /// Somebody took it out of service.
    pub(super) drained: bool,
    /// It said so of itself, after its last heartbeat.
    pub(super) drains: bool,
}

pub(super) struct Beat {
    pub(super) offered: u32,
    pub(super) at: Duration,
    pub(super) turn: u64,
}

#[derive(Debug)]
pub(super) struct Match {
    pub(super) id: MatchId,
    /// What it was asked for by.
    pub(super) request: Request,
    pub(super) host: usize,
    pub(super) granted: Duration,
    pub(super) player: Option<Player>,
    /// When its player left.
    pub(super) left: Option<Duration>,
    /// Its player has shown that it is one, on some visit.
    pub(super) known: bool,
    /// Redis lost it: who has left is not known any more.
    pub(super) forgotten: bool,
}

/// A player in a room.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) member: MemberId,
    /// It has shown that it is one.
    pub(super) known: bool,
    /// When it joined.
    pub(super) turn: u64,
}

pub(super) type Checked = Result<(), TestCaseError>;

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
                drained: false,
                drains: false,
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
                self.mark(&mut request, 0);
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
            Op::Drain { host, drain } => self.drain(host, drain).await,
            Op::Goodbye(host) => self.says_goodbye(host).await,
            Op::Says { host, status } => self.says(host, status).await,
            Op::Again(choice) => self.find_again(choice).await?,
            Op::Rush { finds, host } => self.rush(finds, host).await?,
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
                self.drain(host, false).await;
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
        let heartbeat = self.heartbeat(index, truthful);
        self.beats(index, heartbeat.available);
        self.world.beat(heartbeat).await;
    }

    /// What a host says in its heartbeat; a truthful one takes those off who play.
    pub(super) fn heartbeat(&self, index: usize, truthful: bool) -> Heartbeat {
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
        Heartbeat {
            capacity: host.capacity,
            available,
            status,
            ..constant(&host.name, host.region)
        }
    }

    /// Notes a heartbeat.
    pub(super) fn beats(&mut self, index: usize, offered: u32) {
        self.hosts[index].drains = false;
        self.hosts[index].beat = Some(Beat {
            offered,
            at: self.now,
            turn: self.turn,
        });
    }

    /// Gives a request an id and dice of its own, by which a history in memory always takes the same course.
    pub(super) fn mark(&self, request: &mut Request, number: u64) {
        let mark = u32::try_from(self.turn * 8 + number).unwrap();
        request.id = MatchId(Uuid::from_u128(mark.into()));
        request.asked = Some(Asked(mark.into()));
        request.dice = Dice {
            stray: mark,
            region: mark,
            sample: mark,
            host: mark,
        };
    }

    async fn find(&mut self, request: Request) -> Checked {
        let found = self.world.find(request.clone()).await;
        if let Found::Granted(grant) = &found {
            self.is_granted(request, grant).await?;
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

    /// Notes a grant, which must be one that can be.
    pub(super) async fn is_granted(&mut self, request: Request, grant: &Grant) -> Checked {
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
        prop_assert!(!self.is_out_of_service(host), "granted on a host that drains");
        self.hosts[host].last_grant = Some(self.now);
        let pin = request.host.clone();
        self.matches.push(Match {
            id: request.id,
            request,
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
        if let Some(pin) = &pin {
            prop_assert_eq!(pin, &grant.host);
        }
        Ok(())
    }

    async fn host_answers(&mut self, index: usize) {
        if let Some(seat) = self.hosts[index].seat {
            self.world.says(&self.hosts[index].room, seat, Role::Host).await;
        }
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
            host.drained = false;
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
            self.everybody_goes(index).await;
        }
    }

    /// A host is gone, and so are its players.
    pub(super) async fn everybody_goes(&mut self, index: usize) {
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
