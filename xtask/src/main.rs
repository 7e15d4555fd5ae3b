//! `cargo xtask`: everything that people and CI do with this repository besides plain cargo.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod alerts;
mod chart;
mod ci;
mod cluster;
mod demo;
mod dependencies;
mod docs;
mod files;
mod generate;
mod helm;
mod image;
mod packages;
mod schemathesis;
mod scripts;
mod soak;
mod story;
mod suites;
mod test;

/// The one door of the repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pass all tests.
    Test(test::Arguments),
    /// Run what is too long for `test`: rooms that come and go for minutes, tests marked as ignored, and the audit of
    /// dependencies.
    Soak(soak::Arguments),
    /// Write the files that are generated from the types, or check them.
    Generate(generate::Arguments),
    /// Build the container image from `Dockerfile`.
    Image(image::Arguments),
    Cluster(cluster::Arguments),
    /// Bring Berth up in the cluster with the quickstart manifests.
    Demo(demo::Arguments),
    /// Run the command blocks of the documentation.
    Docs(docs::Arguments),
    /// What continuous integration runs: all of `test`, and with --audit the audit of dependencies.
    Ci(ci::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Test(arguments) => test::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Image(arguments) => image::run(&arguments),
        Command::Cluster(arguments) => cluster::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Docs(arguments) => docs::run(&arguments),
        Command::Ci(arguments) => ci::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
