//! shellcheck over every shell script of the repository.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::Command;

use anyhow::{Result, bail};
use berth_e2e::{process, workspace};

use crate::files;

/// Checks all scripts; there being none is a mistake of ours, not a success.
pub(crate) fn check() -> Result<()> {
    let mut scripts = files::list(&[])?;
    scripts.retain(|file| is_script(file));
    if scripts.is_empty() {
        bail!("no shell script was found");
    }
    println!("shellcheck {}", scripts.join(" "));
    process::run(
        Command::new("shellcheck")
            .args(scripts)
            .current_dir(workspace::root()),
    )
}

/// Whether the first line of a file names a shell.
fn is_script(file: &str) -> bool {
    let mut line = String::new();
    let read = File::open(workspace::root().join(file))
        .map(|file| BufReader::new(file.take(80)).read_line(&mut line));
    matches!(read, Ok(Ok(_))) && line.starts_with("#!") && line.trim_end().ends_with("sh")
}
