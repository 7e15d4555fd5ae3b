//! The signaling server, beside a bare relay.
//!
//! | module | one idea |
//! |---|---|
//! | [`relay`] | the baseline: a bare relay |
//! | `servers` | the servers under test, as child processes |
//! | `load` | client sockets that check every byte, and the ways to use them |
//! | `figures` | what is measured and compared, a file for each |
//! | [`Plan`] | how much of it |

mod figures;
mod load;
mod plan;
pub mod relay;
mod servers;

use crate::process::Cores;
use crate::report::Table;

pub use plan::{Figure, Plan};
pub use servers::Programs;

/// Measures what the plan wants. An error is a server that did wrong or a machine that cannot do it, never one that is slow.
pub fn run(plan: &Plan, programs: &Programs, cores: &Cores) -> anyhow::Result<Vec<Table>> {
    let bench = figures::Bench {
        plan,
        programs,
        cores,
    };
    let all: [(Figure, figures::Measure); 6] = [
        (Figure::Local, figures::local::measure),
        (Figure::Rate, figures::rate::measure),
        (Figure::Remote, figures::remote::measure),
        (Figure::Idle, figures::idle::measure),
        (Figure::Joins, figures::joins::measure),
        (Figure::Seats, figures::seats::measure),
    ];
    let mut tables = Vec::new();
    for (figure, measure) in all {
        if plan.wants(figure) {
            tables.extend(measure(&bench)?);
        }
    }
    Ok(tables)
}
