//! The cgroup below which all pods of a node are.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::network::Network;
use crate::process;

const ROOT: &str = "/sys/fs/cgroup";

/// Makes the node's cgroup in every hierarchy: one in version 2, one per controller in version 1.
pub(super) fn create(network: Network) -> Result<()> {
    for path in paths(network)? {
        fs::create_dir_all(&path).with_context(|| format!("cannot make the cgroup {}", path.display()))?;
    }
    Ok(())
}

/// Removes it with everything below; its processes have been killed, but may take a moment to be gone.
pub(super) fn remove(network: Network, limit: Duration) -> Result<()> {
    for path in paths(network)? {
        process::wait_for(
            &format!("the cgroup {} to be empty", path.display()),
            limit,
            || match remove_tree(&path) {
                Ok(()) => Ok(Some(())),
                Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(None),
                Err(error) => Err(error).with_context(|| path.display().to_string()),
            },
        )?;
    }
    Ok(())
}

fn paths(network: Network) -> Result<Vec<PathBuf>> {
    let name = network.name();
    if Path::new(ROOT).join("cgroup.controllers").exists() {
        return Ok(vec![Path::new(ROOT).join(name)]);
    }
    let mut paths = Vec::new();
    for hierarchy in fs::read_dir(ROOT).with_context(|| format!("no cgroups in {ROOT}"))? {
        let hierarchy = hierarchy?.path();
        if hierarchy.join("cgroup.procs").exists() {
            paths.push(hierarchy.join(&name));
        }
    }
    Ok(paths)
}

/// A cgroup's files go with its folder, and cannot be removed by themselves.
fn remove_tree(cgroup: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(cgroup) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}
