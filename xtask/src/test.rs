//! `cargo xtask test`: the suites, in the order in which a failure is cheapest to find.

use anyhow::{Result, bail};
use berth_e2e::{binaries, process};

use crate::packages::{self, cargo};
use crate::story::Target;
use crate::suites::{self, Suite};
use crate::{alerts, chart, dependencies, docs, generate, helm, image, schemathesis, scripts};

#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Leave out what needs a Kubernetes node
    #[arg(long)]
    fast: bool,
    #[command(flatten)]
    target: Target,
    /// Only these suites
    suites: Vec<String>,
}

/// Runs all suites that are asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut suites = suites(arguments.fast, &arguments.target);
    for wanted in &arguments.suites {
        if !suites.iter().any(|suite| suite.name == wanted) {
            let known: Vec<&str> = suites.iter().map(|suite| suite.name).collect();
            bail!("there is no suite {wanted}; there are {}", known.join(", "));
        }
    }
    if !arguments.suites.is_empty() {
        suites.retain(|suite| arguments.suites.iter().any(|wanted| wanted == suite.name));
    }
    arguments.target.check()?;
    packages::require_rust()?;
    packages::require(&packages::TESTS)?;
    suites::run_all(suites)
}

#[rustfmt::skip] // A list to read: one suite, one line.
fn suites(fast: bool, target: &Target) -> Vec<Suite> {
    let (target, ours) = (target.clone(), target.is_ours());
    let all = [
        (true, Suite::new("fmt", "all Rust code is formatted", || run_cargo("fmt --all -- --check"))),
        (true, Suite::new("scripts", "shellcheck has nothing to say", scripts::check)),
        (true, Suite::new("dependencies", "nothing that deny.toml bans is in the tree", dependencies::check_bans)),
        (true, Suite::new("marks", "every command block of the docs says who runs it", docs::check_marks)),
        (true, Suite::new("alerts", "every alert fires once and is silent once", alerts::check)),
        (true, Suite::new("clippy", "no warning in any target", || run_cargo("clippy --locked --workspace --all-targets -- --deny=warnings"))),
        (true, Suite::new("generated", "generated files are current", generate::check)),
        (!fast, Suite::new("kubernetes", "Kubernetes is built from source, or cached", build_kubernetes)),
        (true, Suite::new("unit", "tests of all crates, with real Redis and coturn", || run_cargo("test --locked --no-fail-fast --workspace --exclude=berth-e2e"))),
        (true, Suite::new("programs", "command blocks that start the programs, with a real Redis", docs::run_programs)),
        (true, Suite::new("schemathesis", "the matchmaker's API is as its OpenAPI document says", schemathesis::run)),
        (!fast, Suite::new("api", "the operator against the real API server", run_api)),
        (!fast, Suite::new("image", "the container image", || image::build("release", &chart::image()?, None).map(drop))),
        (!fast, Suite::new("docs", "command blocks that need no cluster", || docs::run_suite("local", &[]))),
        (!fast && ours, Suite::new("guide", "the README's five minutes on a cluster", Target::run_guide)),
        (!fast, Suite::new("story", "a newcomer's whole way, in a real cluster", move || target.run_story())),
        (!fast && ours, Suite::new("down", "the cluster ends and leaves nothing", Target::remove_ours)),
    ];
    all.into_iter().filter_map(|(wanted, suite)| wanted.then_some(suite)).collect()
}

fn build_kubernetes() -> Result<()> {
    for built in [
        binaries::api()?,
        binaries::node()?,
        binaries::addons()?,
        binaries::gitops()?,
    ] {
        println!("{}", built.display());
    }
    Ok(())
}

fn run_api() -> Result<()> {
    let mut test = cargo();
    test.args(["test", "--locked", "--package=berth-e2e", "--lib", "--test=api"]);
    process::run(test.env("BERTH_E2E_HELM", helm::find()?))?;
    run_cargo("test --locked --package=berth-bench --test=operator -- --ignored")
}

fn run_cargo(arguments: &str) -> Result<()> {
    process::run(cargo().args(arguments.split(' ')))
}
