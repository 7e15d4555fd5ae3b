//! Everything about the matchmaker.
//!
//! | module | what |
//! |---|---|
//! | `server` | the matchmaker under test, and rooms in which its hosts sit |
//! | `load` | hosts that send heartbeats |
//! | `heartbeats` | what heartbeats cost |
//! | `finds` | what finds cost, by the size of the pool |

mod finds;
mod heartbeats;
mod load;
mod server;

use std::path::Path;
use std::time::Duration;

use crate::process::{Cores, Program};
use crate::report::Table;

/// A group of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Figure {
    /// What finds cost, by the size of the pool.
    Finds,
    /// What heartbeats cost.
    Heartbeats,
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which figures; empty: all of them.
    pub figures: Vec<Figure>,
    /// Times that everything is measured.
    pub rounds: usize,
    /// Hosts of the pool whose heartbeats are measured.
    pub hosts: usize,
    /// Hosts of the pools in which finds are measured.
    pub pools: Vec<usize>,
    /// Time between two heartbeats of a host.
    pub interval: Duration,
    /// Each measurement of the highest rate.
    pub duration: Duration,
    /// Connections of that measurement.
    pub connections: usize,
}

impl Plan {
    /// What `docs/benchmarks.md` speaks of.
    pub fn full() -> Self {
        Self {
            figures: Vec::new(),
            rounds: 3,
            hosts: 10_000,
            pools: vec![100, 1000, 10_000, 100_000],
            interval: Duration::from_secs(20),
            duration: Duration::from_secs(4),
            connections: 16,
        }
    }

    /// The same, small: it shows that everything works.
    pub fn quick() -> Self {
        Self {
            rounds: 1,
            hosts: 1000,
            pools: vec![100, 1000],
            interval: Duration::from_secs(2),
            duration: Duration::from_millis(700),
            ..Self::full()
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        format!(
            "finds in pools of up to {} hosts; {} hosts with a heartbeat each {:.1} s; {} rounds, median [least–most]",
            self.pools.iter().max().copied().unwrap_or_default(),
            self.hosts,
            self.interval.as_secs_f64(),
            self.rounds,
        )
    }
}

/// The matchmaker that is built into `berth-bench`, at this path.
pub fn served_by(bench: &Path) -> Program {
    Program::new(bench).argument("serve-matchmaker")
}

/// Measures what the plan wants. `program` is the matchmaker. An error is a server that did wrong or a machine that cannot do it,
/// never one that is slow.
pub fn run(plan: &Plan, program: &Program, cores: &Cores) -> anyhow::Result<Vec<Table>> {
    let wanted = |figure| plan.figures.is_empty() || plan.figures.contains(&figure);
    let mut tables = Vec::new();
    if wanted(Figure::Finds) {
        tables.extend(finds::measure(plan, program, cores)?);
    }
    if wanted(Figure::Heartbeats) {
        tables.extend(heartbeats::measure(plan, program, cores)?);
    }
    Ok(tables)
}
