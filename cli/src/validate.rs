//! `berth validate`: the verdict of the API server on manifests, without one.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use berth_crds::offline::{DefinitionError, Level, Report, Source, Validator};
use clap::Args;
use thiserror::Error;

use crate::failure;

/// Extensions of the files that are taken from a folder.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Checks manifests as the API server would, without one
///
/// Fields, types, bounds and rules of SignalingCluster, HostPool and TurnConfig, and whether the services could use
/// them. Other kinds are passed over. Each line says FILE: Kind/name: field: what is wrong; the exit code is 1 when
/// something must be changed.
#[derive(Debug, Args)]
pub struct ValidateOptions {
    /// Files; of a folder, its *.yaml, *.yml and *.json files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// State before the change: what may not be changed is compared with the resources of the same names there
    #[arg(long, value_name = "FILE")]
    old: Vec<PathBuf>,
}

/// Why nothing was checked.
#[derive(Debug, Error)]
pub enum ValidateError {
    /// A file cannot be read.
    #[error("{path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder holds no manifest.
    #[error("{path}: no *.yaml, *.yml or *.json file in this folder")]
    Empty {
        /// The folder.
        path: String,
    },
    /// The definitions of this program cannot be judged offline.
    #[error("the definitions of this program are broken")]
    Definition(#[from] DefinitionError),
}

/// Runs the command.
pub fn command(options: &ValidateOptions) -> ExitCode {
    match check(options) {
        Err(error) => failure::report(&error),
        Ok(report) => match print(&report) {
            Err(error) => failure::report(&error),
            Ok(()) if report.count(Level::Error) > 0 => ExitCode::from(failure::GENERAL),
            Ok(()) => ExitCode::SUCCESS,
        },
    }
}

fn check(options: &ValidateOptions) -> Result<Report, ValidateError> {
    let (files, old) = (sources(&options.files)?, sources(&options.old)?);
    Ok(Validator::new()?.check(&files, &old))
}

fn print(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for finding in &report.findings {
        writeln!(out, "{finding}")?;
    }
    // Not part of the result: a script that counts lines does not see it.
    writeln!(
        io::stderr().lock(),
        "resources of Berth: {}, errors: {}, warnings: {}",
        report.resources,
        report.count(Level::Error),
        report.count(Level::Warning)
    )
}

/// Reads files, folders and standard input.
pub(crate) fn sources(paths: &[PathBuf]) -> Result<Vec<Source>, ValidateError> {
    let mut sources = Vec::new();
    for path in paths {
        let failed = |source| ValidateError::Read {
            path: path.display().to_string(),
            source,
        };
        if path.as_os_str() == "-" {
            let mut text = String::new();
            io::stdin().lock().read_to_string(&mut text).map_err(failed)?;
            sources.push(Source {
                name: "standard input".into(),
                text,
            });
        } else if path.is_dir() {
            let files = manifests(path).map_err(failed)?;
            if files.is_empty() {
                let path = path.display().to_string();
                return Err(ValidateError::Empty { path });
            }
            for file in &files {
                sources.push(read(file)?);
            }
        } else {
            sources.push(read(path)?);
        }
    }
    Ok(sources)
}

fn read(path: &Path) -> Result<Source, ValidateError> {
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => Ok(Source { name, text }),
        Err(source) => Err(ValidateError::Read { path: name, source }),
    }
}

fn manifests(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
