//! How soon a seat is free again, and how soon who takes one is heard.

use hdrhistogram::Histogram;

use super::{Bench, Kind, OFFER};
use crate::report::{Samples, Table};
use crate::signaling::load::{Freed, first_messages, freed_seats, micros};
use crate::signaling::servers::Servers;

/// Longest time until a seat is free, ms.
const FREE_GOAL: f64 = 100.0;
/// Longest time until the first message arrives, ms.
const HEARD_GOAL: f64 = 150.0;

pub(in crate::signaling) fn measure(bench: &Bench<'_>) -> anyhow::Result<Vec<Table>> {
    let (programs, cores, repetitions) = (bench.programs, bench.cores, bench.plan.seats);
    let mut table = Table::new(
        format!("Seats, {repetitions} rooms one after the other"),
        &[
            "p50 ms",
            "p99 ms",
            "max ms",
            "goal ms",
            "attempts / seat",
            "rooms",
        ],
    );

    eprintln!("seats that become free, in memory");
    let servers = Servers::single(Kind::Berth, programs, cores)?;
    let freed = freed_seats(&servers.together(), repetitions)?;
    table.row("free again, in memory", free(&freed));

    eprintln!("seats that become free, Redis");
    let servers = Servers::cluster(1, programs, cores)?;
    servers.settle()?;
    let freed = freed_seats(&servers.together(), repetitions)?;
    table.row("free again, Redis, 1 instance", free(&freed));

    eprintln!("first messages");
    let servers = Servers::cluster(2, programs, cores)?;
    servers.settle()?;
    let latency = first_messages(&servers.apart(), repetitions, OFFER)?;
    let label = "first message heard, Redis, 2 instances";
    table.row(label, told(&latency, HEARD_GOAL, Samples::default()));

    table.notes.push(
        "Free again: two members sit in a room, one closes, and a third one tries to get in until it has a seat, with a new \
         connection 5 ms after each refusal. From the close to the answer by which the third one knows that it sits, so the attempt \
         that succeeds is a part of it. First message: from the time at which the player's handshake is answered, when it sends an \
         offer of 4 KiB, to the arrival at the host, which sits at the other instance. Not by rounds: each figure is of all rooms."
            .to_owned(),
    );
    Ok(vec![table])
}

fn free(freed: &Freed) -> Vec<Samples> {
    let attempts = freed.attempts as f64 / freed.latency.len() as f64;
    told(&freed.latency, FREE_GOAL, Samples(vec![attempts]))
}

fn told(latency: &Histogram<u64>, goal: f64, attempts: Samples) -> Vec<Samples> {
    let mut cells = [0.5, 0.99, 1.0]
        .map(|quantile| Samples(vec![micros(latency, quantile) / 1000.0]))
        .to_vec();
    cells.push(Samples(vec![goal]));
    cells.push(attempts);
    cells.push(Samples(vec![latency.len() as f64]));
    cells
}
