//! Files that are generated from the types: written, or compared with what is there.

use anyhow::Result;
use berth_e2e::process;

use crate::packages::cargo;

/// Crates that make files: the example `generate` of each knows its files, writes them, and with `--check`
/// fails when one differs.
const GENERATORS: [&str; 1] = ["berth-crds"];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail when a file is not what would be written
    #[arg(long)]
    check: bool,
}

/// Writes or checks them all.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for package in GENERATORS {
        let mut generate = cargo();
        generate.args([
            "run",
            "--quiet",
            "--locked",
            "--example=generate",
            "--package",
            package,
        ]);
        if arguments.check {
            generate.args(["--", "--check"]);
        }
        process::run(&mut generate)?;
    }
    Ok(())
}

/// Fails when a file is not what would be written.
pub(crate) fn check() -> Result<()> {
    run(&Arguments { check: true })
}
