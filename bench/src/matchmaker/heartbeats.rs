//! What heartbeats cost.

use std::time::Duration;

use anyhow::ensure;

use super::Plan;
use super::load::{Hosts, Paced};
use super::server::Server;
use crate::process::{Cores, Cost, Program};
use crate::report::{Samples, Table};

/// Store, and whether hosts tell of themselves.
const CASES: [(&str, bool, bool); 4] = [
    ("in memory", false, false),
    ("in memory, hosts tell of themselves", false, true),
    ("Redis", true, false),
    ("Redis, hosts tell of themselves", true, true),
];
/// Hosts that the figures are for.
const PER: f64 = 10_000.0;
/// How often a host sends one.
const EACH: Duration = Duration::from_secs(20);

/// A measurement.
struct Beats {
    heartbeats: f64,
    cost: Cost,
    /// Script calls of Redis for each.
    commands: f64,
    /// ms
    p50: f64,
    p99: f64,
}

impl Beats {
    /// CPU seconds for ten thousand.
    fn cpu(&self) -> f64 {
        self.cost.servers.cpu.as_secs_f64() / self.heartbeats * PER
    }

    fn redis_cpu(&self) -> f64 {
        self.cost.redis.as_secs_f64() / self.heartbeats * PER
    }

    fn per_second(&self) -> f64 {
        self.heartbeats / self.cost.time.as_secs_f64()
    }
}

pub(super) fn measure(plan: &Plan, program: &Program, cores: &Cores) -> anyhow::Result<Vec<Table>> {
    let mut nothing = Vec::new();
    let mut paced: [Vec<Beats>; CASES.len()] = Default::default();
    let mut flood: [Vec<Beats>; CASES.len()] = Default::default();
    for round in 0..plan.rounds {
        eprintln!("heartbeats: round {} of {}", round + 1, plan.rounds);
        for (case, (paced, flood)) in CASES.iter().zip(paced.iter_mut().zip(&mut flood)) {
            let round = one_round(plan, program, cores, case)?;
            nothing.push(round.nothing);
            paced.push(round.once);
            flood.push(round.most);
        }
    }
    Ok(vec![at_their_pace(plan, &nothing, &paced), at_once(plan, &flood)])
}

struct Round {
    /// Requests that do nothing, at the pace of heartbeats.
    nothing: Beats,
    /// Heartbeats at their pace.
    once: Beats,
    /// As many as there can be.
    most: Beats,
}

fn one_round(
    plan: &Plan,
    program: &Program,
    cores: &Cores,
    (_, redis, telling): &(&str, bool, bool),
) -> anyhow::Result<Round> {
    let hosts = Hosts::new(plan.hosts, *telling);
    let server = Server::start(program, cores, redis.then_some(&*hosts.rooms))?;
    let measured = |beat: &dyn Fn() -> anyhow::Result<(u64, f64, f64)>| -> anyhow::Result<Beats> {
        let (before, meter) = (server.commands()?, server.meter()?);
        let (heartbeats, p50, p99) = beat()?;
        let cost = meter.stop()?;
        let commands = server.commands()?.since(&before).of("evalsha");
        let heartbeats = heartbeats as f64;
        Ok(Beats {
            heartbeats,
            cost,
            commands: commands as f64 / heartbeats,
            p50,
            p99,
        })
    };
    let address = server.address();
    // All hosts register, which is measured by the second turn of what they say for ever.
    hosts.flood(address, plan.connections, Duration::ZERO)?;
    let at_pace = |paced: Paced| {
        let ms = |quantile| paced.latency.value_at_quantile(quantile) as f64 / 1e6;
        (paced.requests, ms(0.5), ms(0.99))
    };
    let nothing = measured(&|| Ok(at_pace(hosts.nothing(address, plan.interval)?)))?;
    let once = measured(&|| Ok(at_pace(hosts.once(address, plan.interval)?)))?;
    let most = measured(&|| Ok((hosts.flood(address, plan.connections, plan.duration)?, 0.0, 0.0)))?;
    let all = plan.hosts as u64;
    let found = server.hosts()?;
    ensure!(found == (all, all), "{found:?} of {all} hosts are alive and idle");
    Ok(Round { nothing, once, most })
}

fn at_their_pace(plan: &Plan, nothing: &[Beats], runs: &[Vec<Beats>]) -> Table {
    let mut table = Table::new(
        format!(
            "Heartbeats of {} hosts, each every {:.0} s",
            plan.hosts,
            plan.interval.as_secs_f64()
        ),
        &[
            "CPU s / 10,000",
            "% of a core, 10,000 hosts",
            "Redis CPU s / 10,000",
            "Redis, % of a core",
            "scripts / heartbeat",
            "p50 ms",
            "p99 ms",
        ],
    );
    let share = |cpu: f64| cpu / EACH.as_secs_f64() * 100.0;
    let labels = CASES.iter().map(|(label, ..)| *label);
    let rows = labels.zip(runs.iter().map(Vec::as_slice));
    for (label, runs) in [("`GET /healthz` instead", nothing)].into_iter().chain(rows) {
        let cells = [
            Samples::of(runs, Beats::cpu),
            Samples::of(runs, |run| share(run.cpu())),
            Samples::of(runs, Beats::redis_cpu),
            Samples::of(runs, |run| share(run.redis_cpu())),
            Samples::of(runs, |run| run.commands),
            Samples::of(runs, |run| run.p50),
            Samples::of(runs, |run| run.p99),
        ];
        table.row(label, cells.into());
    }
    table.notes.push(
        "Each heartbeat comes on a connection of its own, as from a host that says something three times a minute; its cost is a part of it. \
         On Redis each host sits in its room and occupancy is known, in memory it is not. The script calls are those of heartbeats, and one \
         each second that looks after what is due. The first row is what any request costs that comes so: the matchmaker says that it is alive. Latency: from the time at which a heartbeat was due to its answer."
            .to_owned(),
    );
    table
}

fn at_once(plan: &Plan, runs: &[Vec<Beats>]) -> Table {
    let mut table = Table::new(
        format!("As many heartbeats as pass, {} connections", plan.connections),
        &[
            "heartbeats/s",
            "heartbeats / CPU-s",
            "Redis CPU µs / heartbeat",
            "load, cores",
        ],
    );
    for ((label, ..), runs) in CASES.iter().zip(runs) {
        let cells = [
            Samples::of(runs, Beats::per_second),
            Samples::of(runs, |run| PER / run.cpu()),
            Samples::of(runs, |run| run.redis_cpu() / PER * 1e6),
            Samples::of(runs, |run| run.cost.load_share()),
        ];
        table.row(*label, cells.into());
    }
    table
}
