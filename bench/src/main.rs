//! `berth-bench`: see [`berth_bench`].

use berth_bench::Args;
use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    Args::parse().run()
}
