//! Joins: sessions that begin and end. A host connects, then a player, who sends its first message as soon as its handshake is
//! answered; when the host has it, both close.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use hdrhistogram::Histogram;

use super::fleet::{Addresses, DEADLINE, Fleet};
use super::rate::histogram;
use super::script::{Kind, script};
use crate::process::{Cost, Meter};

/// Size of the first message.
const OFFER_BYTES: usize = 4096;

/// Sessions that begin and end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joins {
    /// Sessions at once.
    pub(crate) concurrent: usize,
    /// Before the measurement.
    pub(crate) warm_up: Duration,
    /// The measurement.
    pub(crate) duration: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    /// Sockets that joined during the measurement, two in each session that ended in it.
    pub(crate) joins: u64,
    /// What they cost, closing included.
    pub(crate) cost: Cost,
    /// From the connect of a player to its first message at the host, ns.
    pub(crate) latency: Histogram<u64>,
    /// Sessions that began in all.
    pub(crate) begun: u64,
    /// Sessions whose first message arrived, and which ended.
    pub(crate) ended: u64,
}

/// The rooms that are used, one after the other, and for what.
struct Run<'a, A> {
    fleet: Fleet,
    addresses: &'a A,
    sessions: Vec<Option<Session>>,
    /// The session of each socket.
    owners: Vec<usize>,
    begun: u64,
    ended: u64,
    latency: Histogram<u64>,
}

/// One session.
struct Session {
    room: usize,
    host: usize,
    player: Option<usize>,
    /// The player began to connect.
    began: Instant,
    /// Sockets that have ended.
    ended: usize,
}

/// What happened to a socket.
struct News {
    socket: usize,
    opened: bool,
    messages: usize,
    ended: bool,
    at: Instant,
}

impl Joins {
    /// Runs it. `meter` begins to measure when it is called.
    pub(crate) fn run<'a, A: Addresses>(
        &self,
        addresses: &A,
        meter: impl FnOnce() -> anyhow::Result<Meter<'a>>,
    ) -> anyhow::Result<Joined> {
        let mut run = Run {
            fleet: Fleet::new()?,
            addresses,
            sessions: (0..self.concurrent).map(|_| None).collect(),
            owners: Vec::new(),
            begun: 0,
            ended: 0,
            latency: histogram()?,
        };
        run.pass(self.warm_up)?;
        run.latency.reset();
        let (meter, before) = (meter()?, run.ended);
        run.pass(self.duration)?;
        let (cost, joins) = (meter.stop()?, 2 * (run.ended - before));
        let latency = run.latency.clone();
        run.land()?;
        Ok(Joined {
            joins,
            cost,
            latency,
            begun: run.begun,
            ended: run.ended,
        })
    }
}

impl<A: Addresses> Run<'_, A> {
    /// Keeps all sessions going for so long.
    fn pass(&mut self, duration: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            for place in 0..self.sessions.len() {
                if self.sessions[place].is_none() {
                    self.begin(place)?;
                }
            }
            self.turn()?;
        }
        Ok(())
    }

    /// Lets all sessions end.
    fn land(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + DEADLINE;
        while self.ended < self.begun {
            self.turn()?;
            if Instant::now() > end {
                bail!(
                    "{} of {} sessions never ended",
                    self.begun - self.ended,
                    self.begun
                );
            }
        }
        Ok(())
    }

    fn begin(&mut self, place: usize) -> anyhow::Result<()> {
        let room = usize::try_from(self.begun)?;
        let host = self.connect(self.addresses.address(room, 0), room, place)?;
        self.sessions[place] = Some(Session {
            room,
            host,
            player: None,
            began: Instant::now(),
            ended: 0,
        });
        self.begun += 1;
        Ok(())
    }

    fn connect(&mut self, server: SocketAddr, room: usize, place: usize) -> anyhow::Result<usize> {
        let index = self.fleet.connect(server, &format!("j{room}"))?;
        if index == self.owners.len() {
            self.owners.push(place);
        }
        self.owners[index] = place;
        Ok(index)
    }

    fn turn(&mut self) -> anyhow::Result<()> {
        let mut news = Vec::new();
        self.fleet.turn(Duration::from_millis(10), |socket, _, heard| {
            news.push(News {
                socket,
                opened: heard.opened,
                messages: heard.messages,
                ended: heard.ended,
                at: heard.at,
            });
            Ok(())
        })?;
        news.into_iter().try_for_each(|news| self.follow(&news))
    }

    /// Takes the next step of a session.
    fn follow(&mut self, news: &News) -> anyhow::Result<()> {
        let place = self.owners[news.socket];
        let Some(mut session) = self.sessions[place].take() else {
            return Ok(());
        };
        if news.opened && news.socket == session.host {
            self.host_opened(place, &mut session)?;
        } else if news.opened {
            self.fleet.say(news.socket, 1)?;
        }
        if news.messages > 0 {
            ensure!(news.socket == session.host, "a message to its own sender");
            let taken = news.at.saturating_duration_since(session.began);
            self.latency.record(u64::try_from(taken.as_nanos())?)?;
            for socket in [Some(session.host), session.player].into_iter().flatten() {
                self.fleet.socket(socket)?.close()?;
            }
        }
        if news.ended {
            self.fleet.remove(news.socket);
            session.ended += 1;
        }
        if session.ended == 2 {
            self.ended += 1;
        } else {
            self.sessions[place] = Some(session);
        }
        Ok(())
    }

    /// The player follows.
    fn host_opened(&mut self, place: usize, session: &mut Session) -> anyhow::Result<()> {
        let (speaker, listener) = script(Kind::Offer(OFFER_BYTES), &format!("j{}", session.room));
        self.fleet.socket(session.host)?.listener = Some(listener);
        session.began = Instant::now();
        let player = self.connect(self.addresses.address(session.room, 1), session.room, place)?;
        self.fleet.socket(player)?.speaker = Some(speaker);
        session.player = Some(player);
        Ok(())
    }
}
