//! Saturation: a closed loop. In each room so many messages are always under way, and each one that arrives is answered with the
//! next one. So the server has as much to do as it can do, and never more waiting than the window.

use std::time::{Duration, Instant};

use anyhow::bail;

use super::fleet::{DEADLINE, Fleet};
use super::script::Kind;
use crate::process::{Cost, Meter};

/// A closed loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saturation {
    /// What is said.
    pub(crate) kind: Kind,
    /// Messages under way in each room.
    pub(crate) window: usize,
    /// Before the measurement.
    pub(crate) warm_up: Duration,
    /// The measurement.
    pub(crate) duration: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saturated {
    /// Messages that arrived during the measurement.
    pub(crate) messages: u64,
    /// What they cost.
    pub(crate) cost: Cost,
    /// Messages that were sent in all.
    pub(crate) sent: u64,
    /// Messages that arrived in all, each of them the expected one.
    pub(crate) arrived: u64,
}

impl Saturated {
    /// Messages per second.
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.cost.time.as_secs_f64()
    }

    /// Messages per CPU second of the servers.
    pub(crate) fn per_cpu_second(&self) -> f64 {
        self.messages as f64 / self.cost.servers.cpu.as_secs_f64()
    }
}

impl Saturation {
    /// Runs it in all rooms of the fleet. `meter` begins to measure when it is called.
    pub(crate) fn run<'a>(
        &self,
        fleet: &mut Fleet,
        meter: impl FnOnce() -> anyhow::Result<Meter<'a>>,
    ) -> anyhow::Result<Saturated> {
        let rooms = fleet.len() / 2;
        fleet.talk(0..rooms, self.kind)?;
        for room in 0..rooms {
            fleet.say(2 * room, self.window)?;
        }
        let mut tally = Tally {
            sent: (rooms * self.window) as u64,
            arrived: 0,
        };
        tally.pass(fleet, self.warm_up)?;
        let (meter, before) = (meter()?, tally.arrived);
        tally.pass(fleet, self.duration)?;
        let (cost, messages) = (meter.stop()?, tally.arrived - before);
        tally.land(fleet)?;
        Ok(Saturated {
            messages,
            cost,
            sent: tally.sent,
            arrived: tally.arrived,
        })
    }
}

struct Tally {
    sent: u64,
    arrived: u64,
}

impl Tally {
    /// Answers each message for so long.
    fn pass(&mut self, fleet: &mut Fleet, duration: Duration) -> anyhow::Result<()> {
        let mut scratch = Vec::new();
        let end = Instant::now() + duration;
        while Instant::now() < end {
            fleet.turn(Duration::from_millis(10), |_, socket, heard| {
                if heard.messages > 0 {
                    self.arrived += heard.messages as u64;
                    self.sent += heard.messages as u64;
                    socket.say(heard.messages, &mut scratch)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Lets everything arrive.
    fn land(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        let end = Instant::now() + DEADLINE;
        while self.arrived < self.sent {
            fleet.turn(Duration::from_millis(100), |_, _, heard| {
                self.arrived += heard.messages as u64;
                Ok(())
            })?;
            if Instant::now() > end {
                bail!(
                    "{} of {} messages never arrived",
                    self.sent - self.arrived,
                    self.sent
                );
            }
        }
        Ok(())
    }
}
