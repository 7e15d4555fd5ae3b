//! The bench of the matchmaker at a tiny size: that it works, and that what it counts is right. Nothing here depends on time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a test"
)]

use std::path::Path;
use std::time::Duration;

use berth_bench::matchmaker::{Plan, run, served_by};
use berth_bench::process::Cores;

/// A run fails when a heartbeat is refused, or a host is not idle in the end; here is that something ran.
#[test]
fn every_heartbeat_is_accepted_and_is_one_script_call() {
    let plan = Plan {
        figures: Vec::new(),
        rounds: 1,
        hosts: 40,
        pools: vec![5, 40],
        interval: Duration::from_millis(400),
        duration: Duration::from_millis(200),
        connections: 3,
    };
    let program = served_by(Path::new(env!("CARGO_BIN_EXE_berth-bench")));
    let tables = run(&plan, &program, &Cores::shared()).unwrap();
    let [finds, paced, flood] = &tables[..] else {
        panic!("{} tables", tables.len())
    };
    assert_eq!(finds.rows.len(), 4);
    for row in &finds.rows {
        let cell = |name| finds.cell(&row.label, name).unwrap().median();
        assert!(
            cell("p50 µs") > 0.0 && cell("finds/s, each given up again") > 0.0,
            "{}",
            row.label
        );
        let scripts = cell("scripts / find");
        let expected = if row.label.starts_with("Redis") {
            1.0..2.0
        } else {
            0.0..0.1
        };
        assert!(expected.contains(&scripts), "{}: {scripts}", row.label);
    }
    for row in &paced.rows {
        let cell = |name| paced.cell(&row.label, name).unwrap().median();
        assert!(cell("CPU s / 10,000") > 0.0, "{}", row.label);
        let scripts = cell("scripts / heartbeat");
        // The look at what is due comes once a second, however long a run takes.
        let expected = if row.label.starts_with("Redis") {
            1.0..3.0
        } else {
            0.0..0.1
        };
        assert!(expected.contains(&scripts), "{}: {scripts}", row.label);
    }
    for row in &flood.rows {
        assert!(flood.cell(&row.label, "heartbeats/s").unwrap().median() > 0.0);
    }
}
