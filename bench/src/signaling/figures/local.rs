//! Messages between two sockets of one instance, per CPU second of the server, beside the bare relay.

use super::{Bench, CANDIDATE, OFFER};
use crate::report::{Samples, Table};
use crate::signaling::load::{Kind as Message, Saturated, Saturation};

/// What is said, and how many messages are under way in each room.
const CASES: [(&str, Message, usize); 4] = [
    ("200 B, 1 under way in each room", CANDIDATE, 1),
    ("200 B, 8 under way in each room", CANDIDATE, 8),
    ("512 B, 1 under way in each room", Message::Candidate(512), 1),
    ("4 KiB offers, 1 under way in each room", OFFER, 1),
];

pub(in crate::signaling) fn measure(bench: &Bench<'_>) -> anyhow::Result<Vec<Table>> {
    let mut table = Table::new(
        "Local relay, saturated",
        &[
            "berth msgs / CPU-s",
            "bare msgs / CPU-s",
            "ratio",
            "berth msgs/s",
            "bare msgs/s",
            "load, cores (berth)",
            "load, cores (bare)",
            "not arrived",
        ],
    );
    for (label, kind, window) in CASES {
        let load = Saturation {
            kind,
            window,
            warm_up: bench.plan.warm_up,
            duration: bench.plan.duration,
        };
        let (berth, bare) = bench.in_turns(label, |_, stage| {
            load.run(&mut stage.fleet, || stage.servers.meter())
        })?;
        let per_cpu = |runs: &[Saturated]| Samples::of(runs, Saturated::per_cpu_second);
        let missing = |run: &Saturated| (run.sent - run.arrived) as f64;
        let both: Vec<Saturated> = berth.iter().chain(&bare).copied().collect();
        table.row(
            label,
            vec![
                per_cpu(&berth),
                per_cpu(&bare),
                per_cpu(&berth).by(&per_cpu(&bare)),
                Samples::of(&berth, Saturated::rate),
                Samples::of(&bare, Saturated::rate),
                Samples::of(&berth, |run| run.cost.load_share()),
                Samples::of(&bare, |run| run.cost.load_share()),
                Samples::of(&both, missing),
            ],
        );
    }
    table.notes.push(
        "Ratio: Berth by the bare relay, round by round. Where the load needs nearly a whole core, the server was not saturated, and \
         CPU seconds are what counts."
            .to_owned(),
    );
    Ok(vec![table])
}
