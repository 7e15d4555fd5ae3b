//! Everything about the operator, against etcd and API server alone: no pods run.
//!
//! | module | what |
//! |---|---|
//! | `house` | a server with resources in it, and the operator under test |
//! | `bare` | a client that applies the same objects and knows nothing else |
//! | `edits` | from the edit of a resource to the first write that follows |

mod bare;
mod edits;
mod house;

use std::path::Path;
use std::time::{Duration, Instant};

use berth_crds::settings::PoolSettings;
use berth_operator::render::{Offered, host_pool};
use berth_operator::resolve;

use self::house::House;
use crate::process::Program;
use crate::report::{Row, Samples, Table};

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Times that everything is measured.
    pub rounds: usize,
    /// HostPools.
    pub pools: usize,
    /// SignalingClusters, over which the pools are spread.
    pub clusters: usize,
    /// Edits of a resource.
    pub edits: usize,
    /// How long the operator is watched at rest.
    pub rest: Duration,
}

impl Plan {
    /// What `docs/benchmarks.md` speaks of.
    pub fn full() -> Self {
        Self {
            rounds: 2,
            pools: 1000,
            clusters: 50,
            edits: 200,
            rest: Duration::from_mins(1),
        }
    }

    /// The same, small: it shows that everything works.
    pub fn quick() -> Self {
        Self {
            rounds: 1,
            pools: 4,
            clusters: 2,
            edits: 4,
            rest: Duration::from_secs(4),
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        format!(
            "{} HostPools and {} SignalingClusters on etcd and kube-apiserver alone; {} edits; {:.0} s at rest; {} rounds, median \
             [least–most]",
            self.pools,
            self.clusters,
            self.edits,
            self.rest.as_secs_f64(),
            self.rounds,
        )
    }
}

/// The operator that is built into `berth-bench`, at this path.
pub fn served_by(bench: &Path) -> Program {
    Program::new(bench).argument("serve-operator")
}

/// Measures everything.
pub fn run(plan: &Plan, program: &Program) -> anyhow::Result<Vec<Table>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut cold = Cold::default();
    let mut rest = Rest::default();
    let mut edited = Edited::default();
    for _ in 0..plan.rounds {
        let house = runtime.block_on(House::new(plan))?;
        let mut operator = house.operator(program)?;
        let seen = operator.settle(&house)?;
        cold.operator.0.push(seen.wall.as_secs_f64());
        cold.cpu.0.push(seen.cpu.as_secs_f64());
        cold.requests
            .0
            .push(seen.requests as f64 / house.resources() as f64);
        let objects = runtime.block_on(house.objects())?;
        cold.rss.0.push(operator.rss()? as f64 / f64::from(1 << 20));
        cold.bytes.0.push(operator.rss()? as f64 / objects.watched as f64);
        let (asked, cpu) = operator.rest(plan.rest)?;
        rest.lease.0.push(asked.lease as f64);
        rest.watch.0.push(asked.watch as f64);
        rest.other.0.push(asked.other as f64);
        rest.cpu
            .0
            .push(cpu.as_secs_f64() / plan.rest.as_secs_f64() * 100.0);
        let mut waits = runtime.block_on(edits::measure(&house, plan.edits))?;
        waits.sort();
        edited.p50.0.push(millis(waits[waits.len() / 2]));
        edited.p99.0.push(millis(waits[waits.len() * 99 / 100]));
        drop((operator, house));
        cold.bare
            .0
            .push(runtime.block_on(bare::measure(plan, &objects))?.as_secs_f64());
    }
    let ratio = cold.operator.0.iter().zip(&cold.bare.0);
    let ratio = Samples(ratio.map(|(operator, bare)| operator / bare).collect());
    let render = (0..plan.rounds)
        .map(|_| render())
        .collect::<anyhow::Result<_>>()?;
    let row = |label: &str, cells: Vec<Samples>| Row {
        label: label.to_owned(),
        cells,
    };
    Ok(vec![
        Table {
            title: "Operator, from cold to stable".into(),
            columns: vec!["wall s", "of the bare client", "CPU s", "requests / resource", "RSS MiB", "RSS bytes / object"],
            rows: vec![
                row(
                    "operator",
                    vec![cold.operator, ratio, cold.cpu, cold.requests, cold.rss, cold.bytes],
                ),
                row(
                    "bare client",
                    vec![cold.bare, Samples(vec![1.0]), Samples::default(), Samples::default(), Samples::default(), Samples::default()],
                ),
            ],
            notes: vec![
                "From the start of the process until the last write. The bare client has the same objects ready and applies them, and a \
                 status for each resource, with as many requests at a time."
                    .into(),
            ],
        },
        Table {
            title: format!("Operator, {:.0} s at rest", plan.rest.as_secs_f64()),
            columns: vec!["lease", "watch", "other requests", "% of a core"],
            rows: vec![row("requests", vec![rest.lease, rest.watch, rest.other, rest.cpu])],
            notes: Vec::new(),
        },
        Table {
            title: "Operator, from an edit to the first write".into(),
            columns: vec!["p50 ms", "p99 ms", "render of a HostPool µs"],
            rows: vec![row("spec.replicas of a HostPool", vec![edited.p50, edited.p99, Samples(render)])],
            notes: vec!["From sending the edit until a watch of Deployments tells the change.".into()],
        },
    ])
}

#[derive(Default)]
struct Cold {
    operator: Samples,
    bare: Samples,
    cpu: Samples,
    requests: Samples,
    rss: Samples,
    bytes: Samples,
}

#[derive(Default)]
struct Rest {
    lease: Samples,
    watch: Samples,
    other: Samples,
    cpu: Samples,
}

#[derive(Default)]
struct Edited {
    p50: Samples,
    p99: Samples,
}

/// How long a HostPool takes to become all its objects as they are sent, in µs.
fn render() -> anyhow::Result<f64> {
    const TIMES: u32 = 2000;
    let (cluster, pool) = (house::cluster(0), house::pool(0, 1));
    let settings = PoolSettings::try_from(&pool)?;
    let links = resolve::pool_links(&settings, &cluster, None);
    let defaults = house::defaults();
    let began = Instant::now();
    for _ in 0..TIMES {
        let desired = host_pool(&pool, Some(&links), &defaults, Offered::default());
        for child in &desired.children {
            std::hint::black_box(child.seal()?);
        }
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
