//! Fixed rate: an open loop. Messages have their times, evenly spread, whatever the server does; latency counts from the
//! time at which a message should have been sent. A server, or a load, that falls behind is not spared the queue.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::bail;
use hdrhistogram::Histogram;

use super::fleet::{DEADLINE, Fleet};
use super::script::Kind;
use crate::process::{Cost, Meter};

/// The load does not sleep through the last bit before a message is due: a sleep ends late.
const SPIN: Duration = Duration::from_micros(30);
/// Messages that are sent before what came is read.
const BURST: usize = 32;
/// A server that is so far behind does not keep up.
const PATIENCE: Duration = Duration::from_secs(5);

/// An open loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedRate {
    /// What is said.
    pub(crate) kind: Kind,
    /// Messages per second, over all rooms and both directions.
    pub(crate) rate: f64,
    /// Before the measurement.
    pub(crate) warm_up: Duration,
    /// The measurement.
    pub(crate) duration: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Paced {
    /// Messages of the measurement.
    pub(crate) messages: u64,
    /// What they cost.
    pub(crate) cost: Cost,
    /// From the time at which a message was due to its arrival, ns.
    pub(crate) latency: Histogram<u64>,
    /// How late the load sent them, ns. It is a part of the latency.
    pub(crate) lateness: Histogram<u64>,
    /// Messages that were sent in all.
    pub(crate) sent: u64,
    /// Messages that arrived in all, each of them the expected one.
    pub(crate) arrived: u64,
}

impl Paced {
    /// CPU time of the servers per message, µs.
    pub(crate) fn server_micros(&self) -> f64 {
        self.cost.servers.cpu.as_secs_f64() * 1e6 / self.messages as f64
    }

    /// Times per message that a thread of the servers had nothing more to do.
    pub(crate) fn waits(&self) -> f64 {
        self.cost.servers.waits as f64 / self.messages as f64
    }

    /// Times per message that a thread of the servers had to leave its core though it had more to do.
    pub(crate) fn preempted(&self) -> f64 {
        self.cost.servers.preempted as f64 / self.messages as f64
    }

    /// CPU time of Redis per message, µs.
    pub(crate) fn redis_micros(&self) -> f64 {
        self.cost.redis.as_secs_f64() * 1e6 / self.messages as f64
    }

    /// A quantile of the latency, µs.
    pub(crate) fn micros(&self, quantile: f64) -> f64 {
        micros(&self.latency, quantile)
    }

    /// A quantile of the load's own lateness, µs.
    pub(crate) fn late_micros(&self, quantile: f64) -> f64 {
        micros(&self.lateness, quantile)
    }
}

/// A quantile of a histogram of ns, in µs.
pub(crate) fn micros(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

/// A histogram of ns with a precision of 1 %.
pub(crate) fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new(2)?)
}

/// The state of a run.
struct Run {
    interval: Duration,
    /// When the next message is due, and whose it is.
    due: Instant,
    number: usize,
    /// Between two speakers in a row, so that neighbours do not speak together. It has no divisor in common with the number of
    /// sockets.
    stride: usize,
    sockets: usize,
    /// For each socket, when the messages to it were due.
    under_way: Vec<VecDeque<Instant>>,
    /// Messages that were due before do not count.
    counts_from: Option<Instant>,
    sent: u64,
    arrived: u64,
    latency: Histogram<u64>,
    lateness: Histogram<u64>,
}

impl FixedRate {
    /// Runs it in all rooms of the fleet. `meter` begins to measure when it is called.
    pub(crate) fn run<'a>(
        &self,
        fleet: &mut Fleet,
        meter: impl FnOnce() -> anyhow::Result<Meter<'a>>,
    ) -> anyhow::Result<Paced> {
        fleet.talk(0..fleet.len() / 2, self.kind)?;
        let mut run = Run::new(self.rate, fleet.len())?;
        run.pass(fleet, self.warm_up)?;
        let (meter, before) = (meter()?, run.arrived);
        // What became due while the meter was read is late for that alone.
        run.counts_from = Some(run.due.max(Instant::now()));
        run.pass(fleet, self.duration)?;
        let (cost, messages) = (meter.stop()?, run.arrived - before);
        run.land(fleet)?;
        Ok(Paced {
            messages,
            cost,
            latency: run.latency,
            lateness: run.lateness,
            sent: run.sent,
            arrived: run.arrived,
        })
    }
}

impl Run {
    fn new(rate: f64, sockets: usize) -> anyhow::Result<Self> {
        Ok(Self {
            interval: Duration::from_secs_f64(1.0 / rate),
            due: Instant::now(),
            number: 0,
            stride: stride(sockets),
            sockets,
            under_way: vec![VecDeque::new(); sockets],
            counts_from: None,
            sent: 0,
            arrived: 0,
            latency: histogram()?,
            lateness: histogram()?,
        })
    }

    /// Sends what becomes due in so long, and reads until that time is over: after it a meter is read, and what arrives meanwhile is
    /// heard late.
    fn pass(&mut self, fleet: &mut Fleet, duration: Duration) -> anyhow::Result<()> {
        let end = self.due + duration;
        while self.due < end || Instant::now() < end {
            for _ in 0..BURST {
                if self.due >= end || self.due > Instant::now() {
                    break;
                }
                self.send(fleet)?;
            }
            let wait = self.due.min(end).saturating_duration_since(Instant::now());
            self.read(fleet, wait.saturating_sub(SPIN))?;
            if self.due + PATIENCE < Instant::now() {
                bail!(
                    "{:.0} messages per second are more than can be sent",
                    1.0 / self.interval.as_secs_f64()
                );
            }
        }
        Ok(())
    }

    fn send(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        let index = self.number * self.stride % self.sockets;
        fleet.say(index, 1)?;
        // The messages to a socket come from its peer alone, in order.
        self.under_way[index ^ 1].push_back(self.due);
        if self.counts(self.due) {
            self.lateness.record(nanos(self.due.elapsed()))?;
        }
        self.sent += 1;
        self.number += 1;
        self.due += self.interval;
        Ok(())
    }

    fn read(&mut self, fleet: &mut Fleet, timeout: Duration) -> anyhow::Result<()> {
        fleet.turn(timeout, |index, _, heard| {
            for _ in 0..heard.messages {
                let Some(due) = self.under_way[index].pop_front() else {
                    bail!("a message that nobody sent");
                };
                self.arrived += 1;
                if self.counts(due) {
                    self.latency
                        .record(nanos(heard.at.saturating_duration_since(due)))?;
                }
            }
            Ok(())
        })
    }

    /// Whether a message that was due then is one of the measurement.
    fn counts(&self, due: Instant) -> bool {
        self.counts_from.is_some_and(|from| due >= from)
    }

    /// Lets everything arrive.
    fn land(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        let end = Instant::now() + DEADLINE;
        while self.arrived < self.sent {
            self.read(fleet, Duration::from_millis(100))?;
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

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A number near the golden section of `sockets` that has no divisor in common with it.
fn stride(sockets: usize) -> usize {
    let start = (sockets * 618 / 1000).max(1);
    (start..=2 * start)
        .find(|stride| gcd(*stride, sockets) == 1)
        .unwrap_or(1)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_speaks_equally_often() {
        for sockets in [2, 4, 6, 400, 18_000] {
            let stride = stride(sockets);
            let mut turns = vec![0; sockets];
            for number in 0..3 * sockets {
                turns[number * stride % sockets] += 1;
            }
            assert!(turns.iter().all(|turns| *turns == 3), "{sockets}");
        }
    }
}
