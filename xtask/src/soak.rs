//! What is too long for `test`.

use anyhow::Result;
use berth_e2e::process;

use crate::dependencies;
use crate::packages::{self, cargo};
use crate::suites::{Suite, run_all};

/// Runs the suites.
pub(crate) fn run() -> Result<()> {
    packages::require(&packages::TESTS)?;
    run_all(vec![
        Suite::new("long", "tests that are marked as ignored", || {
            process::run(cargo().args([
                "test",
                "--locked",
                "--release",
                "--workspace",
                "--exclude=berth-e2e",
                "--",
                "--ignored",
            ]))
        }),
        Suite::new(
            "audit",
            "licences, advisories and sources of all dependencies",
            dependencies::audit,
        ),
    ])
}
