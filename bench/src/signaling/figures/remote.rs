//! Messages between instances, over Redis.

use super::rate::{LATENCY, latency};
use super::{Bench, CANDIDATE, Stage, progress};
use crate::process::Commands;
use crate::report::{Samples, Table};
use crate::signaling::load::{FixedRate, Fleet, Paced, Saturated, Saturation};
use crate::signaling::servers::Servers;

/// What was said to Redis while messages were sent.
struct Counted<T> {
    run: T,
    commands: Commands,
}

pub(in crate::signaling) fn measure(bench: &Bench<'_>) -> anyhow::Result<Vec<Table>> {
    Ok(vec![paced(bench)?, saturated(bench)?])
}

/// The same rate over ever more instances.
fn paced(bench: &Bench<'_>) -> anyhow::Result<Table> {
    let plan = bench.plan;
    let load = FixedRate {
        kind: CANDIDATE,
        rate: plan.remote_rate,
        warm_up: plan.warm_up,
        duration: plan.duration,
    };
    let mut runs: Vec<Vec<Counted<Paced>>> = plan.instances.iter().map(|_| Vec::new()).collect();
    let mut local = Vec::new();
    for round in 0..plan.rounds {
        progress("remote relay at a fixed rate", round, plan.rounds);
        for (instances, runs) in plan.instances.iter().zip(&mut runs) {
            let stage = bench.cluster(*instances)?;
            runs.push(counted(stage, |fleet, servers| {
                load.run(fleet, || servers.meter())
            })?);
        }
        let servers = Servers::cluster(2, bench.programs, bench.cores)?;
        let fleet = bench.open(&servers.together())?;
        servers.settle()?;
        let stage = Stage { servers, fleet };
        local.push(counted(stage, |fleet, servers| {
            load.run(fleet, || servers.meter())
        })?);
    }
    let mut table = Table::new(
        format!(
            "Remote relay over Redis, {:.0} msgs/s over all instances",
            plan.remote_rate
        ),
        &[
            &[
                "CPU µs / msg",
                "by that of the first row",
                "Redis CPU µs / msg",
                "PUBLISH / msg",
                "other commands",
                "msgs",
            ],
            &LATENCY[..],
            &["not arrived"],
        ]
        .concat(),
    );
    let cpu = |runs: &[Counted<Paced>]| Samples::of(runs, |counted| counted.run.server_micros());
    let first = runs.first().map(|runs| cpu(runs)).unwrap_or_default();
    let rows = plan.instances.iter().map(|count| format!("{count} instances"));
    for (label, runs) in rows
        .zip(&runs)
        .chain([("2 instances, each room on one".to_owned(), &local)])
    {
        let mut cells = vec![
            cpu(runs),
            cpu(runs).by(&first),
            Samples::of(runs, |counted| counted.run.redis_micros()),
            Samples::of(runs, |counted| publish_per(counted, counted.run.sent)),
            Samples::of(runs, |counted| counted.commands.beside("publish") as f64),
            Samples::of(runs, |counted| counted.run.sent as f64),
        ];
        let paced: Vec<Paced> = runs.iter().map(|counted| counted.run.clone()).collect();
        cells.extend(latency(&paced));
        cells.push(Samples::of(&paced, |run| (run.sent - run.arrived) as f64));
        table.row(label, cells);
    }
    table.notes.push(
        "CPU: of all instances together, without Redis. PUBLISH and other commands: by Redis' own statistics, from the first message \
         to the last one, warm-up included; the other commands are renewals of leases."
            .to_owned(),
    );
    Ok(table)
}

/// As much as the instances can do on their core.
fn saturated(bench: &Bench<'_>) -> anyhow::Result<Table> {
    let plan = bench.plan;
    let mut table = Table::new(
        "Remote relay over Redis, saturated",
        &[
            "msgs / CPU-s of all instances",
            "msgs/s",
            "Redis CPU µs / msg",
            "PUBLISH / msg",
            "load and Redis, cores",
            "not arrived",
        ],
    );
    let alike = plan.instances.iter().map(|instances| (*instances, 1));
    let burst = plan.instances.first().map(|instances| (*instances, 8));
    for (instances, window) in alike.chain(burst) {
        let label = format!("{instances} instances, {window} under way in each room");
        let load = Saturation {
            kind: CANDIDATE,
            window,
            warm_up: plan.warm_up,
            duration: plan.duration,
        };
        let mut runs = Vec::new();
        for round in 0..plan.rounds {
            progress(&label, round, plan.rounds);
            let stage = bench.cluster(instances)?;
            runs.push(counted(stage, |fleet, servers| {
                load.run(fleet, || servers.meter())
            })?);
        }
        let redis = |run: &Saturated| run.cost.redis.as_secs_f64();
        table.row(
            label,
            vec![
                Samples::of(&runs, |counted| counted.run.per_cpu_second()),
                Samples::of(&runs, |counted| counted.run.rate()),
                Samples::of(&runs, |counted| {
                    redis(&counted.run) * 1e6 / counted.run.messages as f64
                }),
                Samples::of(&runs, |counted| publish_per(counted, counted.run.sent)),
                Samples::of(&runs, |counted| {
                    counted.run.cost.load_share() + redis(&counted.run) / counted.run.cost.time.as_secs_f64()
                }),
                Samples::of(&runs, |counted| (counted.run.sent - counted.run.arrived) as f64),
            ],
        );
    }
    Ok(table)
}

/// Counts the commands of a run.
fn counted<T>(
    mut stage: Stage,
    run: impl FnOnce(&mut Fleet, &Servers) -> anyhow::Result<T>,
) -> anyhow::Result<Counted<T>> {
    let before = stage.servers.redis()?.commands()?;
    let run = run(&mut stage.fleet, &stage.servers)?;
    let commands = stage.servers.redis()?.commands()?.since(&before);
    Ok(Counted { run, commands })
}

fn publish_per<T>(counted: &Counted<T>, messages: u64) -> f64 {
    counted.commands.of("publish") as f64 / messages as f64
}
