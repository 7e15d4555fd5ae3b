//! What the machine must have: Debian packages, installed by name where that is allowed, and the parts of the
//! Rust toolchain.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use berth_e2e::process;

/// A Debian package and the program or file by which its presence is seen, on any distribution.
type Package = (&'static str, &'static str);

/// For everything that needs no cluster.
pub(crate) const TESTS: [Package; 11] = [
    ("git", "git"),
    ("redis-server", "redis-server"),
    ("coturn", "turnserver"),
    ("openssl", "openssl"),
    ("util-linux", "setpriv"),
    ("procps", "kill"),
    ("shellcheck", "shellcheck"),
    ("libc6-dev", "/usr/include/unistd.h"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("prometheus", "promtool"),
];

/// For a node without Docker and the images in it.
pub(crate) const NODE: [Package; 15] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("iproute2", "ip"),
    ("socat", "socat"),
    ("openssl", "openssl"),
    ("util-linux", "unshare"),
    ("procps", "kill"),
    ("libcap2-bin", "capsh"),
    ("gcc", "gcc"),
    ("libc6-dev", "/usr/include/unistd.h"),
    ("buildah", "buildah"),
    ("debootstrap", "debootstrap"),
];

/// Makes sure that all `packages` are there: installs the missing ones as root on Debian, else fails and
/// says which they are.
pub(crate) fn require(packages: &[Package]) -> Result<()> {
    let mut missing: Vec<&str> = packages
        .iter()
        .filter(|(_, file)| !present(file))
        .map(|(name, _)| *name)
        .collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)?;
    // A package that does not bring what it is there for would fail much later, and less clearly.
    match packages.iter().find(|(_, file)| !present(file)) {
        None => Ok(()),
        Some((name, file)) => bail!("{name} is installed and there is no {file} (is /usr/sbin in PATH?)"),
    }
}

/// Installs packages as root on Debian, else fails and says which they are.
pub(crate) fn install(missing: &[&str]) -> Result<()> {
    let install = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    let root = process::output(Command::new("id").arg("-u"))?.trim() == "0";
    if !root || !Path::new("/etc/debian_version").exists() {
        bail!(
            "this machine lacks the Debian packages {}; as root: {install}",
            missing.join(", ")
        );
    }
    println!("installing {}", missing.join(", "));
    process::run(apt_get().arg("update"))?;
    process::run(
        apt_get()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(missing),
    )
}

/// Makes sure that `cargo fmt` and `cargo clippy` are there.
pub(crate) fn require_rust() -> Result<()> {
    for (component, command) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if process::succeeds(cargo().args([command, "--version"])) {
            continue;
        }
        process::run(Command::new("rustup").args(["component", "add", component])).with_context(|| {
            format!("cargo {command} is missing and rustup cannot add the component {component}")
        })?;
    }
    Ok(())
}

/// The cargo that runs us, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(berth_e2e::workspace::root());
    command
}

/// Whether a file exists: an absolute path, or a program in PATH.
pub(crate) fn present(file: &str) -> bool {
    if file.starts_with('/') {
        return Path::new(file).exists();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(file).is_file())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(test)]
mod tests {
    use super::present;

    #[test]
    fn programs_are_found_by_name_and_files_by_path() {
        assert!(present("sh") && present("/proc/self/stat"));
        assert!(!present("no-such-program") && !present("/no/such/file"));
    }
}
