//! Container images made without Docker and without a registry: what the node needs before its first pod
//! (pause, DNS, metrics), a Debian base to build on, and Redis and coturn on that base.
//!
//! An image is a Docker archive, whose layers are not compressed, which saves seconds; it carries the name by
//! which manifests call it. Needs root and Debian's `buildah`, `debootstrap`, `gcc` and `libc6-dev`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{binaries, cache, process};

/// The images of the node itself with the names in `cluster/addons.yaml` and `cluster/containerd.toml`,
/// and the program that each consists of.
const SYSTEM: [(&str, &str); 3] = [
    ("registry.k8s.io/pause:3.10", "pause"),
    ("registry.k8s.io/coredns/coredns:v1.12.4", "coredns"),
    (
        "registry.k8s.io/metrics-server/metrics-server:v0.9.0",
        "metrics-server",
    ),
];
/// What no container needs and a minimal Debian still brings.
const DISPENSABLE: [&str; 6] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/cache/apt",
    "var/lib/apt/lists",
];
/// Name of [`base`] in local storage and in its archive.
pub const BASE: &str = "localhost/berth-base:latest";

/// Folder of the images that the node imports at its start, one `*.tar` each.
pub(crate) fn system() -> Result<PathBuf> {
    let source = Path::new(binaries::CLUSTER).join("images/pause.c");
    let addons = binaries::addons()?;
    let names = SYSTEM.map(|(name, _)| name).join(" ");
    let inputs = [
        &fs::read(&source)?,
        names.as_bytes(),
        addons.as_os_str().as_encoded_bytes(),
    ];
    cache::entry("images/system", &inputs, |folder| {
        let builder = Builder::new()?;
        for (name, program) in SYSTEM {
            let context = tempfile::tempdir()?;
            let target = context.path().join(program);
            if program == "pause" {
                process::output(
                    Command::new("gcc")
                        .args(["-O2", "-static", "-s", "-o"])
                        .arg(&target)
                        .arg(&source),
                )
                .context("the pause image (Debian packages gcc and libc6-dev)")?;
            } else {
                fs::copy(addons.join(program), &target)?;
            }
            let recipe = format!("FROM scratch\nCOPY {program} /{program}\nENTRYPOINT [\"/{program}\"]\n");
            fs::write(context.path().join("Dockerfile"), recipe)?;
            builder.build(context.path(), name, &[])?;
            builder.export(name, &folder.join(program).with_extension("tar"))?;
        }
        Ok(())
    })
}

/// Archive of a minimal Debian with certificates, of the machine's own release, named [`BASE`]: what is
/// compiled on the machine runs on it.
pub fn base() -> Result<PathBuf> {
    debian("images/base", &["ca-certificates"], BASE)
}

/// Archive of the same with Debian's Redis, under the `name` that manifests use.
pub fn redis(name: &str) -> Result<PathBuf> {
    debian("images/redis", &["redis-server"], name)
}

/// Archive of the same with Debian's coturn, under the `name` that manifests use.
pub fn coturn(name: &str) -> Result<PathBuf> {
    debian("images/coturn", &["coturn"], name)
}

fn debian(kind: &str, packages: &[&str], name: &str) -> Result<PathBuf> {
    let release = release()?;
    let (wanted, unwanted) = (packages.join(","), DISPENSABLE.join(" "));
    let inputs = [&release, name, &wanted, &unwanted].map(str::as_bytes);
    let entry = cache::entry(kind, &inputs, |folder| {
        eprintln!("making the image {name} with debootstrap: half a minute the first time, then cached");
        // Not below the machine's folder of temporary files: that may refuse devices and programs.
        let tree = folder.join("tree");
        process::output(
            Command::new("debootstrap")
                .args(["--variant=minbase", &format!("--include={wanted}"), &release])
                .arg(&tree)
                .arg(mirror(&release)?),
        )
        .context("an image from Debian packages (needs root and Debian's debootstrap)")?;
        for path in DISPENSABLE {
            fs::remove_dir_all(tree.join(path)).with_context(|| format!("no {path} in the new tree"))?;
        }
        process::output(
            Command::new("tar")
                .arg("-C")
                .arg(&tree)
                .arg("-cf")
                .arg(folder.join("tree.tar"))
                .arg("."),
        )?;
        fs::remove_dir_all(&tree)?;
        fs::write(folder.join("Dockerfile"), "FROM scratch\nADD tree.tar /\n")?;
        let builder = Builder::new()?;
        builder.build(folder, name, &[])?;
        builder.export(name, &folder.join("image.tar"))?;
        fs::remove_file(folder.join("tree.tar"))?;
        Ok(())
    })?;
    Ok(entry.join("image.tar"))
}

/// Code name of the machine's Debian.
fn release() -> Result<String> {
    let system = fs::read_to_string("/etc/os-release")?;
    let value = |key: &str| {
        system
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map(|value| value.trim_matches('"'))
    };
    value("ID=")
        .filter(|id| *id == "debian")
        .and_then(|_| value("VERSION_CODENAME="))
        .map(str::to_owned)
        .context("images are built from Debian packages here: this machine is no Debian and has no Docker")
}

/// Where apt takes the packages of `release` from.
fn mirror(release: &str) -> Result<String> {
    let format = "$(RELEASE) $(COMPONENT) $(REPO_URI)";
    let sources = process::output(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    sources
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{release} main ")))
        .map(str::to_owned)
        .with_context(|| format!("apt knows no source of {release} main"))
}

/// buildah with a store of its own, which goes with this value.
#[derive(Debug)]
pub struct Builder {
    store: TempDir,
}

impl Builder {
    /// An empty store.
    pub fn new() -> Result<Self> {
        Ok(Self {
            store: tempfile::Builder::new().prefix("berth-images-").tempdir()?,
        })
    }

    /// Builds the `Dockerfile` of the folder `context`; bases come from the store and from nowhere else.
    pub fn build(&self, context: &Path, name: &str, arguments: &[(&str, &str)]) -> Result<()> {
        let mut command = self.buildah("bud");
        // No namespaces: that works in a container too. No layer cache: the store is short-lived.
        command.args([
            "--isolation",
            "chroot",
            "--pull-never",
            "--layers=false",
            "--tag",
            name,
        ]);
        for (key, value) in arguments {
            command.args(["--build-arg", &format!("{key}={value}")]);
        }
        process::output(command.arg("--file").arg(context.join("Dockerfile")).arg(context)).map(drop)
    }

    /// Takes the image `name` of an archive into the store.
    pub fn import(&self, archive: &Path, name: &str) -> Result<()> {
        process::output(
            self.buildah("pull")
                .arg(format!("docker-archive:{}:{name}", archive.display())),
        )
        .map(drop)
    }

    /// Writes an image of the store into an archive.
    pub fn export(&self, name: &str, archive: &Path) -> Result<()> {
        let target = format!("docker-archive:{}:{name}", archive.display());
        process::output(self.buildah("push").args([name, &target])).map(drop)
    }

    fn buildah(&self, verb: &str) -> Command {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.store.path().join("root"));
        command.arg("--runroot").arg(self.store.path().join("run"));
        command.args(["--storage-driver", "vfs", verb]);
        command
    }
}
