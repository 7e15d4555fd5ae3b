//! The container image: binaries are built here, where cargo's cache is, and `Dockerfile` takes them as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use berth_e2e::{cluster, images, process, workspace};

use crate::chart;
use crate::packages::{self, cargo};

/// The programs in the image.
const PROGRAMS: [&str; 4] = ["berth", "berth-operator", "berth-signaling", "berth-matchmaker"];
/// Where `Dockerfile` looks for them, seen from the workspace.
const PREBUILT: &str = "target/image";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Cargo profile: dist is what is published; release is built faster.
    #[arg(long, default_value = "dist")]
    profile: String,
    /// Name of the image [default: the chart's]
    #[arg(long)]
    name: Option<String>,
    /// Base image instead of the default of `Dockerfile` (with Docker) or of a minimal Debian made here (without)
    #[arg(long)]
    base: Option<String>,
}

/// Builds it and tells sizes.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let name = arguments.name.clone().map_or_else(chart::image, Ok)?;
    build(&arguments.profile, &name, arguments.base.as_deref()).map(drop)
}

/// Builds the image with binaries of a cargo profile; gives its archive.
pub(crate) fn build(profile: &str, name: &str, base: Option<&str>) -> Result<PathBuf> {
    let mut compile = cargo();
    compile.args(["build", "--locked", "--profile", profile, "--bins"]);
    compile.args(PROGRAMS.map(|program| format!("--package={program}")));
    process::run(&mut compile)?;

    let context = workspace::root();
    let built = workspace::target().join(if profile == "dev" { "debug" } else { profile });
    fs::create_dir_all(context.join(PREBUILT))?;
    for program in PROGRAMS {
        let target = context.join(PREBUILT).join(program);
        fs::copy(built.join(program), &target)
            .with_context(|| format!("no {program} in {}", built.display()))?;
        println!("{program:20} {:8.1} MB", megabytes(&target)?);
    }

    let archive = archive();
    if archive.exists() {
        fs::remove_file(&archive)?;
    }
    if cluster::docker_answers() {
        with_docker(context, name, base, &archive)?;
    } else {
        packages::require(&packages::NODE)?;
        with_buildah(context, name, base, &archive)?;
    }
    println!(
        "{:20} {:8.1} MB ({name}, not compressed)\n{}",
        "image",
        megabytes(&archive)?,
        archive.display()
    );
    Ok(archive)
}

/// Where the image last built is.
pub(crate) fn archive() -> PathBuf {
    workspace::target().join("berth-image.tar")
}

fn with_docker(context: &Path, name: &str, base: Option<&str>, archive: &Path) -> Result<()> {
    let mut build = Command::new("docker");
    build.args(["build", "--tag", name, "--build-arg", "BINARIES=prebuilt"]);
    if let Some(base) = base {
        build.arg("--build-arg").arg(format!("BASE={base}"));
    }
    process::run(build.arg(context))?;
    process::run(
        Command::new("docker")
            .args(["save", "--output"])
            .arg(archive)
            .arg(name),
    )
}

fn with_buildah(context: &Path, name: &str, base: Option<&str>, archive: &Path) -> Result<()> {
    let builder = images::Builder::new()?;
    if base.is_none() {
        builder.import(&images::base()?, images::BASE)?;
    }
    builder.build(
        context,
        name,
        &[("BINARIES", "prebuilt"), ("BASE", base.unwrap_or(images::BASE))],
    )?;
    builder.export(name, archive)
}

// Sizes of files are far below what a float holds exactly.
#[allow(clippy::cast_precision_loss)]
fn megabytes(file: &Path) -> Result<f64> {
    Ok(fs::metadata(file)?.len() as f64 / 1e6)
}
