//! Sessions that begin and end.

use super::{Bench, Kind, progress};
use crate::report::{Samples, Table};
use crate::signaling::load::{Joined, Joins, micros};
use crate::signaling::servers::Servers;

/// Where sessions begin and end.
const CASES: [&str; 4] = [
    "berth-signaling, in memory",
    "bare relay",
    "berth-signaling, Redis, 1 instance",
    "berth-signaling, Redis, 2 instances",
];

pub(in crate::signaling) fn measure(bench: &Bench<'_>) -> anyhow::Result<Vec<Table>> {
    let mut runs: [Vec<Joined>; CASES.len()] = Default::default();
    for round in 0..bench.plan.rounds {
        progress("joins", round, bench.plan.rounds);
        for (index, runs) in runs.iter_mut().enumerate() {
            let (programs, cores) = (bench.programs, bench.cores);
            let servers = match index {
                0 => Servers::single(Kind::Berth, programs, cores)?,
                1 => Servers::single(Kind::Bare, programs, cores)?,
                2 => Servers::cluster(1, programs, cores)?,
                _ => Servers::cluster(2, programs, cores)?,
            };
            let load = Joins {
                concurrent: bench.plan.concurrent,
                warm_up: bench.plan.warm_up,
                duration: bench.plan.duration,
            };
            runs.push(load.run(&servers.apart(), || servers.meter())?);
        }
    }
    let mut table = Table::new(
        format!("Joins, {} sessions at once", bench.plan.concurrent),
        &[
            "joins/s",
            "joins / CPU-s",
            "by the bare relay",
            "p50 ms",
            "p99 ms",
            "load, cores",
            "sessions without their message",
        ],
    );
    let per_cpu =
        |runs: &[Joined]| Samples::of(runs, |run| run.joins as f64 / run.cost.servers.cpu.as_secs_f64());
    let bare = per_cpu(&runs[1]);
    for (label, runs) in CASES.iter().zip(&runs) {
        table.row(
            *label,
            vec![
                Samples::of(runs, |run| run.joins as f64 / run.cost.time.as_secs_f64()),
                per_cpu(runs),
                per_cpu(runs).by(&bare),
                Samples::of(runs, |run| micros(&run.latency, 0.5) / 1000.0),
                Samples::of(runs, |run| micros(&run.latency, 0.99) / 1000.0),
                Samples::of(runs, |run| run.cost.load_share()),
                Samples::of(runs, |run| (run.begun - run.ended) as f64),
            ],
        );
    }
    table.notes.push(
        "A session: a host connects, then a player, whose first message (an offer of 4 KiB) follows its handshake at once; both close when \
         the host has it. Two joins each, leaving included. Latency: from the connect of the player to its message at the host. CPU: of the \
         servers, without Redis."
            .to_owned(),
    );
    Ok(vec![table])
}
