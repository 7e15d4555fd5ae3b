//! The program `berth`.

use std::process::ExitCode;

use berth::crds::{CrdsOptions, DocsOptions};
use berth::host::options::HostOptions;
use berth::play::options::PlayOptions;
use berth::render::RenderOptions;
use berth::up::UpOptions;
use berth::validate::ValidateOptions;
use clap::{Parser, Subcommand};

/// Berth on one machine: all services in one process, simulated host, probe, offline validation.
#[derive(Debug, Parser)]
#[command(name = "berth", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(Box<UpOptions>),
    Host(Box<HostOptions>),
    Play(Box<PlayOptions>),
    Validate(ValidateOptions),
    Render(RenderOptions),
    Crds(CrdsOptions),
    Docs(DocsOptions),
}

#[tokio::main]
async fn main() -> ExitCode {
    // An error means that a provider is installed already, which is all that is wanted.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Cli::parse().command {
        Command::Up(options) => berth::up::command(*options).await,
        Command::Host(options) => berth::host::command(*options).await,
        Command::Play(options) => berth::play::command(*options).await,
        Command::Validate(options) => berth::validate::command(&options),
        Command::Render(options) => berth::render::command(&options),
        Command::Crds(options) => berth::crds::crds(&options),
        Command::Docs(options) => berth::crds::docs(&options),
    }
}
