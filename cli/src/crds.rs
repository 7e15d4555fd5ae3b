//! `berth crds` and `berth docs`: what is made from the types of the three kinds and of the protocol.

use std::io::{self, Write};
use std::process::ExitCode;

use berth_crds::{docs, generate};
use clap::{Args, Subcommand};

use crate::failure;

/// Prints the CustomResourceDefinitions, for `kubectl apply -f -`
#[derive(Debug, Args)]
pub struct CrdsOptions {}

/// Prints generated documentation
#[derive(Debug, Args)]
pub struct DocsOptions {
    #[command(subcommand)]
    document: Document,
}

#[derive(Debug, Subcommand)]
enum Document {
    /// The API reference: every field of the three kinds
    Api,
    /// The JSON Schema of the signaling protocol v2
    Protocol,
    /// The description of the matchmaker's public API, as JSON
    Openapi,
}

/// Runs `berth crds`.
pub fn crds(_: &CrdsOptions) -> ExitCode {
    match generate::manifest() {
        Ok(text) => print(&text),
        Err(error) => failure::report(&error),
    }
}

/// Runs `berth docs`.
pub fn docs(options: &DocsOptions) -> ExitCode {
    match options.document {
        Document::Api => print(&docs::api_reference()),
        Document::Protocol => print(&format!("{:#}\n", berth_signaling::protocol::v2::schema())),
        Document::Openapi => print(&berth_matchmaker::api::DOCUMENT),
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        // A reader that has seen enough, such as `head`, is no failure.
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
