//! Messages between instances, over Redis.

use super::rate::{LATENCY, latency};
use super::{Bench, CANDIDATE, Stage, in_order, progress};
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
    let mut tables = Vec::new();
    for rate in &bench.plan.remote_rates {
        tables.push(paced(bench, *rate)?);
    }
    tables.push(saturated(bench)?);
    Ok(tables)
}

/// What is measured in each round; the index is that of the number of instances.
#[derive(Clone, Copy)]
enum Case {
    /// Members of a room on different instances.
    Remote(usize),
    /// As many bare relays.
    Control(usize),
    /// Two instances, both members of a room on the same one.
    Local,
}

/// A run of each round, for each number of instances.
struct Fixed {
    remote: Vec<Vec<Counted<Paced>>>,
    control: Vec<Vec<Paced>>,
    local: Vec<Counted<Paced>>,
}

/// The same rate over ever more instances.
fn fixed(bench: &Bench<'_>, rate: f64) -> anyhow::Result<Fixed> {
    let plan = bench.plan;
    let load = FixedRate {
        kind: CANDIDATE,
        rate,
        warm_up: plan.warm_up,
        duration: plan.duration,
    };
    let run = |fleet: &mut Fleet, servers: &Servers| load.run(fleet, || servers.meter());
    let mut fixed = Fixed {
        remote: plan.instances.iter().map(|_| Vec::new()).collect(),
        control: plan.instances.iter().map(|_| Vec::new()).collect(),
        local: Vec::new(),
    };
    // Each beside its control, with which it is compared round by round.
    let pairs = (0..plan.instances.len()).flat_map(|index| [Case::Remote(index), Case::Control(index)]);
    let cases: Vec<Case> = pairs.chain([Case::Local]).collect();
    for round in 0..plan.rounds {
        progress(&format!("remote relay, {rate:.0} msgs/s"), round, plan.rounds);
        for case in in_order(round, &cases) {
            match case {
                Case::Remote(index) => {
                    let stage = bench.cluster(plan.instances[index])?;
                    fixed.remote[index].push(counted(stage, run)?);
                }
                Case::Control(index) => {
                    let servers = Servers::bare(plan.instances[index], bench.programs, bench.cores)?;
                    let mut fleet = bench.open(&servers.together())?;
                    fixed.control[index].push(run(&mut fleet, &servers)?);
                }
                Case::Local => {
                    let servers = Servers::cluster(2, bench.programs, bench.cores)?;
                    let fleet = bench.open(&servers.together())?;
                    servers.settle()?;
                    fixed.local.push(counted(Stage { servers, fleet }, run)?);
                }
            }
        }
    }
    Ok(fixed)
}

fn paced(bench: &Bench<'_>, rate: f64) -> anyhow::Result<Table> {
    let Fixed {
        remote,
        control,
        local,
    } = fixed(bench, rate)?;
    let mut columns = vec!["CPU µs / msg", "rise", "rise by the control's"];
    columns.extend(["waits / msg", "preempted / msg"]);
    columns.extend(["Redis CPU µs / msg", "PUBLISH / msg", "other commands", "msgs"]);
    columns.extend(LATENCY);
    columns.push("not arrived");
    let title = format!("Remote relay over Redis, {rate:.0} msgs/s over all instances");
    let mut table = Table::new(title, &columns);

    let of_remote = |runs: &Vec<Counted<Paced>>| Samples::of(runs, |counted| counted.run.server_micros());
    let of_control = |runs: &Vec<Paced>| Samples::of(runs, Paced::server_micros);
    let rise = rises(&remote.iter().map(of_remote).collect::<Vec<_>>());
    let control_rise = rises(&control.iter().map(of_control).collect::<Vec<_>>());
    for (index, instances) in bench.plan.instances.iter().enumerate() {
        let rise = [rise[index].clone(), rise[index].by(&control_rise[index])];
        table.row(format!("{instances} instances"), commanded(&remote[index], rise));
    }
    table.row(
        "2 instances, each room on one",
        commanded(&local, Default::default()),
    );
    for (index, instances) in bench.plan.instances.iter().enumerate() {
        let rise = [control_rise[index].clone(), Samples::default()];
        let mut cells = cost(&control[index], rise);
        // No Redis.
        cells.extend(std::iter::repeat_n(Samples::default(), 3));
        cells.extend(told(&control[index]));
        table.row(format!("control: {instances} bare relays"), cells);
    }
    table.notes.push(
        "CPU: of all instances together, without Redis. Rise: by the row of the fewest instances. Control: as many bare relays \
         under the same load, without Redis and without a word between them. Their rise is what it costs that more processes share \
         a core; what is left of Berth's is its own. Waits: times that a thread of the servers had nothing more to do; preempted: \
         times that it had to leave its core though it had (voluntary and involuntary context switches). PUBLISH and other \
         commands: by Redis' own statistics, from the first message to the last one, warm-up included; the other commands, those \
         inside scripts included, are renewals of leases."
            .to_owned(),
    );
    Ok(table)
}

/// Each by the first of them.
fn rises(all: &[Samples]) -> Vec<Samples> {
    let first = all.first().cloned().unwrap_or_default();
    all.iter().map(|samples| samples.by(&first)).collect()
}

/// Cost, commands, messages and latency.
fn commanded(runs: &[Counted<Paced>], rise: [Samples; 2]) -> Vec<Samples> {
    let paced: Vec<Paced> = runs.iter().map(|counted| counted.run.clone()).collect();
    let mut cells = cost(&paced, rise);
    cells.extend([
        Samples::of(&paced, Paced::redis_micros),
        Samples::of(runs, |counted| publish_per(counted, counted.run.sent)),
        Samples::of(runs, |counted| counted.commands.beside("publish") as f64),
    ]);
    cells.extend(told(&paced));
    cells
}

/// What a message cost the servers.
fn cost(runs: &[Paced], rise: [Samples; 2]) -> Vec<Samples> {
    let mut cells = vec![Samples::of(runs, Paced::server_micros)];
    cells.extend(rise);
    cells.push(Samples::of(runs, Paced::waits));
    cells.push(Samples::of(runs, Paced::preempted));
    cells
}

/// Messages, latency, and what is missing.
fn told(runs: &[Paced]) -> Vec<Samples> {
    let mut cells = vec![Samples::of(runs, |run| run.sent as f64)];
    cells.extend(latency(runs));
    cells.push(Samples::of(runs, |run| (run.sent - run.arrived) as f64));
    cells
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
    let cases: Vec<(usize, usize)> = alike.chain(burst).collect();
    let mut all: Vec<Vec<Counted<Saturated>>> = cases.iter().map(|_| Vec::new()).collect();
    let places: Vec<usize> = (0..cases.len()).collect();
    for round in 0..plan.rounds {
        progress("remote relay, saturated", round, plan.rounds);
        for place in in_order(round, &places) {
            let (instances, window) = cases[place];
            let load = Saturation {
                kind: CANDIDATE,
                window,
                warm_up: plan.warm_up,
                duration: plan.duration,
            };
            let stage = bench.cluster(instances)?;
            all[place].push(counted(stage, |fleet, servers| {
                load.run(fleet, || servers.meter())
            })?);
        }
    }
    for ((instances, window), runs) in cases.into_iter().zip(&all) {
        let redis = |run: &Saturated| run.cost.redis.as_secs_f64();
        table.row(
            format!("{instances} instances, {window} under way in each room"),
            vec![
                Samples::of(runs, |counted| counted.run.per_cpu_second()),
                Samples::of(runs, |counted| counted.run.rate()),
                Samples::of(runs, |counted| {
                    redis(&counted.run) * 1e6 / counted.run.messages as f64
                }),
                Samples::of(runs, |counted| publish_per(counted, counted.run.sent)),
                Samples::of(runs, |counted| {
                    counted.run.cost.load_share() + redis(&counted.run) / counted.run.cost.time.as_secs_f64()
                }),
                Samples::of(runs, |counted| (counted.run.sent - counted.run.arrived) as f64),
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
