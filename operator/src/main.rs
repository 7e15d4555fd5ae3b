//! The program `berth-operator`.

use berth_operator::args::Args;
use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The only failure is a provider that is already installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Args::parse().run().await
}
