//! The bench of the operator at a tiny size: that it works, and that what it counts is right. Nothing here depends on time.
//!
//! It needs Kubernetes, so it runs where that is built already (`cargo xtask test api`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a test"
)]

use std::path::Path;

use berth_bench::operator::{Plan, run, served_by};

#[test]
#[ignore = "needs Kubernetes: a part of the suite `api`"]
fn the_operator_asks_for_nothing_but_its_lease_and_watches_at_rest() {
    berth_dataplane::boot::install_crypto_provider();
    let program = served_by(Path::new(env!("CARGO_BIN_EXE_berth-bench")));
    let tables = run(&Plan::quick(), &program).unwrap();
    let [cold, rest, edits] = &tables[..] else {
        panic!("{} tables", tables.len())
    };
    for label in ["operator", "bare client"] {
        assert!(cold.cell(label, "wall s").unwrap().median() > 0.0, "{label}");
    }
    let cell = |name| rest.cell("requests", name).unwrap().median();
    assert!(cell("lease") >= 1.0);
    assert!(cell("other requests") < 0.5, "{}", cell("other requests"));
    let row = &edits.rows[0].label;
    assert!(edits.cell(row, "p50 ms").unwrap().median() > 0.0);
}
