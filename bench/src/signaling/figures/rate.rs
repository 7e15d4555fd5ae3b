//! Latency at fixed rates, beside the bare relay.

use super::{Bench, CANDIDATE, Kind};
use crate::report::{Samples, Table};
use crate::signaling::load::{FixedRate, Paced, Saturated, Saturation};

/// Rates are multiples of this.
const STEP: f64 = 1000.0;

/// What the latency of a run is told by.
pub(super) const LATENCY: [&str; 4] = ["p50 µs", "p99 µs", "p99.9 µs", "max µs"];

pub(in crate::signaling) fn measure(bench: &Bench<'_>) -> anyhow::Result<Vec<Table>> {
    let half = half_load(bench)?;
    let mut table = Table::new(
        "Local relay at a fixed rate",
        &[
            &LATENCY[..],
            &["CPU µs / msg", "sent late, p99 µs", "not arrived"],
        ]
        .concat(),
    );
    for rate in [bench.plan.rate, half] {
        let load = FixedRate {
            kind: CANDIDATE,
            rate,
            warm_up: bench.plan.warm_up,
            duration: bench.plan.duration,
        };
        let what = format!("{rate:.0} msgs/s");
        let (berth, bare) = bench.in_turns(&what, |_, stage| {
            load.run(&mut stage.fleet, || stage.servers.meter())
        })?;
        for (kind, runs) in [(Kind::Berth, berth), (Kind::Bare, bare)] {
            let mut cells = latency(&runs);
            cells.push(Samples::of(&runs, Paced::server_micros));
            cells.push(Samples::of(&runs, |run| run.late_micros(0.99)));
            cells.push(Samples::of(&runs, |run| (run.sent - run.arrived) as f64));
            table.row(format!("{what}, {}", kind.name()), cells);
        }
    }
    table.notes.push(format!(
        "200-byte candidates. From the time at which a message was due to its arrival, so that a queue counts, wherever it is; \
         lateness of the load itself is a part of it. {half:.0}/s is half of what saturates berth-signaling with one message under \
         way in each room."
    ));
    Ok(vec![table])
}

/// Quantiles of the latency, in the order of [`LATENCY`].
pub(super) fn latency(runs: &[Paced]) -> Vec<Samples> {
    [0.5, 0.99, 0.999, 1.0]
        .map(|quantile| Samples::of(runs, |run| run.micros(quantile)))
        .to_vec()
}

/// Half of what Berth can do.
fn half_load(bench: &Bench<'_>) -> anyhow::Result<f64> {
    eprintln!("what saturates berth-signaling");
    let mut stage = bench.single(Kind::Berth)?;
    let load = Saturation {
        kind: CANDIDATE,
        window: 1,
        warm_up: bench.plan.warm_up,
        duration: bench.plan.duration,
    };
    let saturated: Saturated = load.run(&mut stage.fleet, || stage.servers.meter())?;
    Ok((saturated.rate() / 2.0 / STEP).round().max(1.0) * STEP)
}
