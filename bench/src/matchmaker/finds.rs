//! What a find costs, by the size of the pool.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;

use super::Plan;
use super::load::{Hosts, Kept};
use super::server::Server;
use crate::process::{Cores, Program};
use crate::report::{Samples, Table};

const STORES: [(&str, bool); 2] = [("in memory", false), ("Redis", true)];

/// A measurement.
struct Finds {
    /// µs, of finds alone on one connection.
    p50: f64,
    p99: f64,
    /// Finds, each followed by giving the match up, over all connections.
    per_second: f64,
    per_cpu_second: f64,
    /// Script calls of Redis for each find.
    commands: f64,
}

pub(super) fn measure(plan: &Plan, program: &Program, cores: &Cores) -> anyhow::Result<Vec<Table>> {
    let cases: Vec<(&str, bool, usize)> = STORES
        .iter()
        .flat_map(|(label, redis)| plan.pools.iter().map(move |hosts| (*label, *redis, *hosts)))
        .collect();
    let mut runs: Vec<Vec<Finds>> = cases.iter().map(|_| Vec::new()).collect();
    for round in 0..plan.rounds {
        eprintln!("finds: round {} of {}", round + 1, plan.rounds);
        for ((_, redis, hosts), runs) in cases.iter().zip(&mut runs) {
            runs.push(one_pool(plan, program, cores, *hosts, *redis)?);
        }
    }
    Ok(vec![table(plan, &cases, &runs)])
}

fn one_pool(
    plan: &Plan,
    program: &Program,
    cores: &Cores,
    hosts: usize,
    redis: bool,
) -> anyhow::Result<Finds> {
    let hosts = Hosts::new(hosts, false);
    let server = Server::start(program, cores, redis.then_some(&*hosts.rooms))?;
    let address = server.address();
    hosts.flood(address, plan.connections, Duration::ZERO)?;
    // What registration left to be looked after is not a part of finds.
    give_and_take(address, plan.duration / 4)?;
    let before = server.commands()?;
    let latency = give_and_take(address, plan.duration)?;
    let scripts = server.commands()?.since(&before).of("evalsha") as f64;
    let finds = latency.len() as f64;
    let meter = server.meter()?;
    let loaders: Vec<_> = (0..plan.connections)
        .map(|_| {
            let duration = plan.duration;
            thread::spawn(move || give_and_take(address, duration))
        })
        .collect();
    let mut together = 0;
    for loader in loaders {
        let latency = loader
            .join()
            .map_err(|_| anyhow::anyhow!("a load thread ended"))?;
        together += latency?.len();
    }
    let cost = meter.stop()?;
    let (total, _) = server.hosts()?;
    ensure!(total == hosts.rooms.len() as u64, "{total} hosts are alive");
    let micros = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Finds {
        p50: micros(0.5),
        p99: micros(0.99),
        per_second: together as f64 / cost.time.as_secs_f64(),
        per_cpu_second: together as f64 / (cost.servers.cpu + cost.redis).as_secs_f64(),
        // Each match is given up by a call of its own, and one each second looks after what is due.
        commands: (scripts - finds).max(0.0) / finds,
    })
}

/// Finds a host and gives the match up, again and again on one connection. Gives how long the finds took, ns.
fn give_and_take(address: SocketAddr, duration: Duration) -> anyhow::Result<Histogram<u64>> {
    let mut connection = Kept::open(address)?;
    let mut latency = Histogram::new(3)?;
    let begun = Instant::now();
    while begun.elapsed() < duration || latency.is_empty() {
        let sent = Instant::now();
        let (status, body) = connection.ask("POST", "/api/match/find", "{}")?;
        latency.record(u64::try_from(sent.elapsed().as_nanos())?)?;
        ensure!(
            status == 200,
            "a find was answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
        let found: serde_json::Value = serde_json::from_slice(&body)?;
        let id = found["matchId"].as_str().context("a match without an id")?;
        let (status, _) = connection.ask("DELETE", &format!("/api/match/{id}"), "")?;
        ensure!(status == 204, "a match was given up: {status}");
    }
    Ok(latency)
}

fn table(plan: &Plan, cases: &[(&str, bool, usize)], runs: &[Vec<Finds>]) -> Table {
    let mut table = Table::new(
        format!("Finds, {} connections for the rate", plan.connections),
        &[
            "p50 µs",
            "p50 by the smallest pool's",
            "p99 µs",
            "finds/s, each given up again",
            "of both / CPU-s",
            "scripts / find",
        ],
    );
    for (index, ((label, redis, hosts), samples)) in cases.iter().zip(runs).enumerate() {
        let first = cases
            .iter()
            .position(|(_, other, _)| other == redis)
            .unwrap_or(index);
        let smallest = runs.get(first).map(Vec::as_slice).unwrap_or_default();
        let ratios = samples
            .iter()
            .zip(smallest)
            .map(|(run, first)| run.p50 / first.p50);
        let cells = [
            Samples::of(samples, |run| run.p50),
            Samples(ratios.collect()),
            Samples::of(samples, |run| run.p99),
            Samples::of(samples, |run| run.per_second),
            Samples::of(samples, |run| run.per_cpu_second),
            Samples::of(samples, |run| run.commands),
        ];
        table.row(format!("{label}, {hosts} hosts"), cells.into());
    }
    table.notes.push(
        "Latency: of a find alone, on one connection with nothing else going on, over HTTP. Rate: each find is followed by giving its match up, \
         which costs about as much. On Redis each host sits in its room. CPU is that of the matchmaker and of Redis."
            .to_owned(),
    );
    table
}
