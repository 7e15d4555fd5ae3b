//! Seats: how soon one is free again, and how soon who takes one is heard. One room after the other, each of them new, with nothing
//! else going on.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;

use super::fleet::{Addresses, DEADLINE, Fleet};
use super::rate::histogram;
use super::script::{Kind, script};
use super::socket::{Heard, Seat};

/// Between a refusal and the next attempt.
const PAUSE: Duration = Duration::from_millis(5);

/// What came of seats that were given back.
#[derive(Clone, Debug)]
pub(crate) struct Freed {
    /// From the close of a member to the answer by which another one knows that it has the seat, ns.
    pub(crate) latency: Histogram<u64>,
    /// Attempts to get it, the successful ones included.
    pub(crate) attempts: u64,
}

/// In each of so many rooms two members sit and one closes. A third one tries to get its seat again and again, on a new connection
/// each time.
pub(crate) fn freed_seats(addresses: &impl Addresses, repetitions: usize) -> anyhow::Result<Freed> {
    let mut freed = Freed {
        latency: histogram()?,
        attempts: 0,
    };
    let mut fleet = Fleet::new()?;
    for number in 0..repetitions {
        let mut room = Room::new(&mut fleet, addresses, number);
        room.sit(0)?.context("a new room has no seat for its host")?;
        let (player, _) = room.sit(1)?.context("a new room has no seat for its player")?;
        let closed = Instant::now();
        room.close(player)?;
        let seated = loop {
            freed.attempts += 1;
            if let Some((_, seated)) = room.sit(1)? {
                break seated;
            }
            if closed.elapsed() > DEADLINE {
                bail!("a seat is not free {DEADLINE:?} after its member has closed");
            }
            sleep(PAUSE);
        };
        record(&mut freed.latency, closed, seated)?;
        room.leave()?;
    }
    Ok(freed)
}

/// In each of so many rooms the host has its seat, and the player says something as soon as its handshake is answered: from then to
/// its arrival at the host, ns.
pub(crate) fn first_messages(
    addresses: &impl Addresses,
    repetitions: usize,
    kind: Kind,
) -> anyhow::Result<Histogram<u64>> {
    let mut latency = histogram()?;
    let mut fleet = Fleet::new()?;
    for number in 0..repetitions {
        let mut room = Room::new(&mut fleet, addresses, number);
        let (speaker, listener) = script(kind, &room.name);
        let (host, _) = room.sit(0)?.context("a new room has no seat for its host")?;
        room.fleet.socket(host)?.listener = Some(listener);
        let (player, opened) = room.enter(1)?;
        room.fleet.socket(player)?.speaker = Some(speaker);
        room.fleet.say(player, 1)?;
        let heard = room.wait(host, |heard| heard.messages > 0)?;
        record(&mut latency, opened, heard.at)?;
        room.leave()?;
    }
    Ok(latency)
}

/// A room that is used once.
struct Room<'a, A> {
    fleet: &'a mut Fleet,
    addresses: &'a A,
    number: usize,
    name: String,
    open: Vec<usize>,
    /// They have closed, and the server has not yet.
    leaving: Vec<usize>,
}

impl<'a, A: Addresses> Room<'a, A> {
    fn new(fleet: &'a mut Fleet, addresses: &'a A, number: usize) -> Self {
        Self {
            fleet,
            addresses,
            number,
            name: format!("s{number}"),
            open: Vec::new(),
            leaving: Vec::new(),
        }
    }

    /// A new socket, and when its handshake was answered.
    fn enter(&mut self, side: usize) -> anyhow::Result<(usize, Instant)> {
        let socket = self.connect(side)?;
        let heard = self.wait(socket, |heard| heard.opened)?;
        Ok((socket, heard.at))
    }

    /// A new socket, and when it heard that it has a seat; `None` if the room is full.
    fn sit(&mut self, side: usize) -> anyhow::Result<Option<(usize, Instant)>> {
        let socket = self.connect(side)?;
        // Before anything is read: a refusal comes with the answer to the handshake.
        self.fleet.socket(socket)?.ask();
        let heard = self.wait(socket, |heard| heard.seat.is_some())?;
        Ok((heard.seat == Some(Seat::Taken)).then_some((socket, heard.at)))
    }

    fn connect(&mut self, side: usize) -> anyhow::Result<usize> {
        let server = self.addresses.address(self.number, side);
        let socket = self.fleet.connect(server, &self.name)?;
        self.open.push(socket);
        Ok(socket)
    }

    fn close(&mut self, socket: usize) -> anyhow::Result<()> {
        self.fleet.socket(socket)?.close()?;
        self.open.retain(|other| *other != socket);
        self.leaving.push(socket);
        Ok(())
    }

    /// Everybody closes, and so does the server.
    fn leave(mut self) -> anyhow::Result<()> {
        for socket in self.open.clone() {
            self.close(socket)?;
        }
        let end = Instant::now() + DEADLINE;
        while !self.leaving.is_empty() {
            self.turn(|_, _| ())?;
            if Instant::now() > end {
                bail!("the server has not closed a connection in {DEADLINE:?}");
            }
        }
        Ok(())
    }

    /// What the socket hears, as soon as it is what is wanted.
    fn wait(&mut self, socket: usize, wanted: impl Fn(&Heard) -> bool) -> anyhow::Result<Heard> {
        let end = Instant::now() + DEADLINE;
        let mut found = None;
        loop {
            self.turn(|index, heard| {
                if index == socket && wanted(&heard) {
                    found = Some(heard);
                }
            })?;
            if let Some(heard) = found {
                return Ok(heard);
            }
            if Instant::now() > end {
                bail!(
                    "nothing came of a connection to room {} in {DEADLINE:?}",
                    self.name
                );
            }
        }
    }

    fn turn(&mut self, mut heard: impl FnMut(usize, Heard)) -> anyhow::Result<()> {
        let mut gone = Vec::new();
        self.fleet.turn(Duration::from_millis(100), |index, _, what| {
            if what.ended || what.seat == Some(Seat::Refused) {
                gone.push(index);
            }
            heard(index, what);
            Ok(())
        })?;
        for socket in gone {
            self.fleet.remove(socket);
            self.open.retain(|other| *other != socket);
            self.leaving.retain(|other| *other != socket);
        }
        Ok(())
    }
}

fn record(latency: &mut Histogram<u64>, from: Instant, to: Instant) -> anyhow::Result<()> {
    let taken = to.saturating_duration_since(from);
    latency.record(u64::try_from(taken.as_nanos())?)?;
    Ok(())
}
