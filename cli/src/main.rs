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

fn main() -> ExitCode {
    berth_dataplane::boot::install_crypto_provider();
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return berth::failure::report(&error),
    };
    let code = runtime.block_on(run(command));
    // A disk or a name server that hangs on a thread of its own must not hold the exit up.
    runtime.shutdown_background();
    code
}

async fn run(command: Command) -> ExitCode {
    match command {
        Command::Up(options) => berth::up::command(*options).await,
        Command::Host(options) => berth::host::command(*options).await,
        Command::Play(options) => berth::play::command(*options).await,
        Command::Validate(options) => berth::validate::command(&options),
        Command::Render(options) => berth::render::command(&options),
        Command::Crds(options) => berth::crds::crds(&options),
        Command::Docs(options) => berth::crds::docs(&options),
    }
}
