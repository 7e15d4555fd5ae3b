//! What must not be in the dependency tree. `deny.toml` is the list; this reads its bans and asks cargo for
//! the tree, which takes a second. The rest of `deny.toml` (licences, advisories, sources) is cargo-deny's.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Result, bail};
use berth_e2e::{cache, process, workspace};

use crate::packages::cargo;

const CARGO_DENY: &str = "cargo-deny@0.20.2";

/// Fails when a crate that `deny.toml` bans is in the tree of any target.
pub(crate) fn check_bans() -> Result<()> {
    let banned = bans(&fs::read_to_string(workspace::root().join("deny.toml"))?);
    if banned.is_empty() {
        bail!("deny.toml bans nothing: was its form changed?");
    }
    let mut tree = cargo();
    tree.args([
        "tree",
        "--locked",
        "--workspace",
        "--all-features",
        "--target=all",
        "--prefix=none",
        "--format={p}",
    ]);
    let tree = process::output(&mut tree)?;
    let used: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let found: Vec<&String> = banned
        .iter()
        .filter(|name| used.contains(name.as_str()))
        .collect();
    if let Some(name) = found.first() {
        bail!(
            "deny.toml bans {found:?}; `cargo tree --workspace --target all --invert {name}` shows who uses it"
        );
    }
    println!("{} crates, none of the {} banned ones", used.len(), banned.len());
    Ok(())
}

/// Licences, advisories, bans and sources by cargo-deny, which is built and cached where it is missing.
pub(crate) fn audit() -> Result<()> {
    let folder = cache::entry("cargo-deny", &[CARGO_DENY.as_bytes()], |folder| {
        println!("building {CARGO_DENY}: minutes the first time, then cached");
        let build = folder.join("build");
        process::run(
            cargo()
                .args(["install", "--locked", CARGO_DENY, "--root"])
                .arg(folder)
                .arg("--target-dir")
                .arg(&build),
        )?;
        Ok(fs::remove_dir_all(build)?)
    })?;
    process::run(
        Command::new(folder.join("bin/cargo-deny"))
            .arg("check")
            .current_dir(workspace::root()),
    )
}

/// The names in lines like `{ crate = "ring", reason = "..." },`.
fn bans(deny: &str) -> Vec<String> {
    let name = |line: &str| {
        line.trim()
            .strip_prefix("{ crate = \"")?
            .split('"')
            .next()
            .map(str::to_owned)
    };
    deny.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::bans;

    #[test]
    fn bans_are_read_as_deny_toml_writes_them() {
        let deny = "[bans]\ndeny = [\n  { crate = \"ring\", reason = \"x\" },\n  { crate = \"rsa\" },\n]\n";
        assert_eq!(bans(deny), ["ring", "rsa"]);
    }
}
