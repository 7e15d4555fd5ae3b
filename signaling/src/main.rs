//! `berth-signaling`: see [`berth_signaling`].

use berth_signaling::Args;
use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    berth_dataplane::boot::install_crypto_provider();
    Ok(Args::parse().run()?)
}
