//! Command blocks of the documentation are run, so that they stay true.
//!
//! Every block in the language `sh` or `console` carries a mark behind the language:
//!
//! ```text
//! sh test=local                  run by the suite `local`: a shell runs it, and it has to succeed
//! sh test=local until="ready"    it does not end: it has to print the text, is interrupted, has to succeed then
//! sh test=local background       it does not end: it is interrupted, and has to succeed then, when the last
//!                                block of the file is done; with until="ready" that is waited for first
//! sh test=none needs a laptop    not run, for the reason that follows
//! ```
//!
//! Blocks of the suite `programs` find Berth's programs in PATH, as after an installation.
//!
//! In a `console` block the lines that start with `$ ` are the commands. Blocks of one file run in order, in
//! the folder of the workspace.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_e2e::{process, workspace};

use block::{Block, Mark};
use running::Running;

use crate::files;
use crate::packages::cargo;

mod block;
mod running;

/// The suite whose blocks find the programs in PATH.
const PROGRAMS: &str = "programs";

/// Longest time of a block: it may have to compile everything first, or it finds everything built.
const LIMIT: Duration = Duration::from_mins(30);
const LIMIT_PROGRAMS: Duration = Duration::from_mins(2);

/// The suites that blocks may name: who runs them.
const SUITES: [(&str, &str); 3] = [
    ("local", "cargo xtask test"),
    (PROGRAMS, "cargo xtask test, with the programs in PATH"),
    (
        "story",
        "cargo xtask test, in a fresh cluster with the image in it",
    ),
];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run the blocks of this suite (local, programs, story); without it only their marks are checked
    suite: Option<String>,
}

/// Runs a suite, or checks the marks.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.suite {
        Some(suite) if suite == PROGRAMS => run_programs(),
        Some(suite) => run_suite(suite, &[]),
        None => check_marks(),
    }
}

/// Fails when a block has no mark, or one that nobody runs.
pub(crate) fn check_marks() -> Result<()> {
    let blocks = all_blocks()?;
    let marked: usize = blocks.iter().map(|(_, blocks)| blocks.len()).sum();
    println!("{marked} command blocks in {} files are marked", blocks.len());
    Ok(())
}

/// Runs the blocks of the suite `programs`, with the programs as the other tests build them.
pub(crate) fn run_programs() -> Result<()> {
    process::run(cargo().args([
        "build",
        "--locked",
        "--bins",
        "--package=berth",
        "--package=berth-signaling",
        "--package=berth-matchmaker",
    ]))?;
    let mut path = vec![workspace::target().join("debug")];
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    run_suite(PROGRAMS, &[("PATH", env::join_paths(path)?)])
}

/// Runs the blocks of a suite, file by file, with these variables in the environment.
pub(crate) fn run_suite(suite: &str, environment: &[(&str, OsString)]) -> Result<()> {
    known(suite)?;
    let limit = if suite == PROGRAMS { LIMIT_PROGRAMS } else { LIMIT };
    let mut count = 0;
    for (file, blocks) in all_blocks()? {
        // Dropped, and so ended, with the file, whatever happens.
        let mut kept = Vec::new();
        for block in blocks {
            let Mark::Suite {
                name,
                until,
                background,
            } = &block.mark
            else {
                continue;
            };
            if name != suite {
                continue;
            }
            count += 1;
            let place = format!("{file}:{}", block.line);
            println!("-- {place}\n{}", block.commands);
            let mut running =
                Running::start(&block.commands, environment, limit).with_context(|| place.clone())?;
            if let Some(text) = until {
                running.wait_for(text).with_context(|| place.clone())?;
            }
            if *background {
                kept.push((place, running));
            } else if until.is_some() {
                running.interrupt().context(place)?;
            } else {
                running.succeed().context(place)?;
            }
        }
        for (place, running) in kept.into_iter().rev() {
            running.interrupt().context(place)?;
        }
    }
    if count == 0 {
        bail!("no block is marked test={suite}");
    }
    println!("{count} blocks ran");
    Ok(())
}

/// The blocks of each Markdown file that has some.
fn all_blocks() -> Result<Vec<(String, Vec<Block>)>> {
    let mut all = Vec::new();
    for file in files::list(&["*.md"])? {
        let text = fs::read_to_string(workspace::root().join(&file)).with_context(|| file.clone())?;
        let blocks = block::blocks(&text).with_context(|| file.clone())?;
        for block in &blocks {
            if let Mark::Suite { name, .. } = &block.mark {
                known(name).with_context(|| format!("{file}:{}", block.line))?;
            }
        }
        if !blocks.is_empty() {
            all.push((file, blocks));
        }
    }
    Ok(all)
}

fn known(suite: &str) -> Result<()> {
    if SUITES.iter().any(|(name, _)| *name == suite) {
        return Ok(());
    }
    let list: Vec<String> = SUITES
        .iter()
        .map(|(name, by)| format!("{name} (run by {by})"))
        .collect();
    bail!(
        "no suite `{suite}` runs command blocks; there are {}",
        list.join(", ")
    )
}
