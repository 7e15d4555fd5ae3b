//! `berth-matchmaker`: see [`berth_matchmaker`].

use berth_matchmaker::Args;
use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    berth_dataplane::boot::install_crypto_provider();
    Ok(Args::parse().run()?)
}
