//! What is too long for `test`.

use anyhow::Result;
use berth_e2e::process;

use crate::dependencies;
use crate::packages::{self, cargo};
use crate::suites::{Suite, run_all};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long rooms come and go, in seconds
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// Runs the suites.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let seconds = arguments.seconds;
    packages::require(&packages::TESTS)?;
    run_all(vec![
        Suite::new(
            "signaling",
            "rooms come and go while instances die and Redis forgets",
            move || {
                let mut test = cargo();
                test.args([
                    "test",
                    "--locked",
                    "--release",
                    "--package=berth-signaling",
                    "--test=it",
                ]);
                test.args(["soak::for_a_while", "--", "--ignored", "--exact", "--nocapture"]);
                process::run(test.env("BERTH_SOAK_SECONDS", seconds.to_string()))
            },
        ),
        Suite::new("long", "tests that are marked as ignored", || {
            process::run(cargo().args([
                "test",
                "--locked",
                "--release",
                "--workspace",
                "--exclude=berth-e2e",
                "--",
                "--ignored",
                "--skip=soak::",
            ]))
        }),
        Suite::new(
            "audit",
            "licences, advisories and sources of all dependencies",
            dependencies::audit,
        ),
    ])
}
