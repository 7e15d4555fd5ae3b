//! What continuous integration runs.

use anyhow::Result;

use crate::{dependencies, test};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Audit the dependencies as well (builds cargo-deny the first time).
    #[arg(long)]
    audit: bool,
}

/// Runs them.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    test::run(&test::Arguments::default())?;
    if arguments.audit {
        dependencies::audit()?;
    }
    Ok(())
}
