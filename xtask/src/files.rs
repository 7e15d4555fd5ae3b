//! The files of the repository.

use std::process::Command;

use anyhow::Result;
use berth_e2e::{process, workspace};

/// Paths of the files that match git's `patterns` (of all without one), seen from the workspace: what is
/// committed and what is new, but nothing that is ignored.
pub(crate) fn list(patterns: &[&str]) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    // A checkout that belongs to another user than root is still ours.
    git.args([
        "-c",
        "safe.directory=*",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let files = process::output(git.arg("--").args(patterns).current_dir(workspace::root()))?;
    // What is deleted and not yet committed is still listed.
    let present = files
        .lines()
        .filter(|file| workspace::root().join(file).is_file());
    Ok(present.map(str::to_owned).collect())
}
