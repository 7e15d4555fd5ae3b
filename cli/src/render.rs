//! `berth render`: every object that the operator would apply, without a cluster.

use std::io::{self, Write};
use std::process::ExitCode;

use berth_crds::offline::{DefinitionError, Level, Source, Validator};
use berth_crds::yaml;
use berth_dataplane::boot::VERSION;
use berth_operator::args::{COTURN_IMAGE, REDIS_IMAGE};
use berth_operator::render::{Defaults, Manifest, ManifestError, PullPolicy, render_manifests};
use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::failure;
use crate::validate::{ValidateError, sources};

/// Where the image of this version is published.
const REPOSITORY: &str = "ghcr.io/berth-dev/berth";

/// Prints every object that the operator would apply for manifests, as YAML
///
/// Manifests are checked first, as by `berth validate`. Values that the operator makes at random are printed as <generated>, and
/// Secrets that manifests name are taken to exist.
#[derive(Debug, Args)]
pub struct RenderOptions {
    /// Files; of a folder, its *.yaml, *.yml and *.json files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<std::path::PathBuf>,
    /// Image of the signaling and matchmaker pods, where a resource names none [default: the published image of this
    /// version]
    #[arg(long)]
    image: Option<String>,
    /// Image of the managed Redis, where a resource names none
    #[arg(long, default_value = REDIS_IMAGE)]
    redis_image: String,
    /// Image of the managed TURN servers, where a resource names none
    #[arg(long, default_value = COTURN_IMAGE)]
    coturn_image: String,
}

/// Why nothing was printed.
#[derive(Debug, Error)]
pub enum RenderError {
    /// The manifests cannot be read.
    #[error(transparent)]
    Read(#[from] ValidateError),
    /// The definitions of this program cannot be judged offline.
    #[error("the definitions of this program are broken")]
    Definition(#[from] DefinitionError),
    /// The manifests are wrong; the findings were printed.
    #[error("the manifests are wrong")]
    Invalid,
    /// The manifests cannot be rendered.
    #[error(transparent)]
    Render(#[from] ManifestError),
    /// A document is no resource of its kind, though the check let it through.
    #[error("{file}")]
    Document {
        /// The file.
        file: String,
        /// What is wrong.
        #[source]
        source: serde_yaml::Error,
    },
    /// An object cannot be written.
    #[error("cannot write the objects")]
    Write(#[from] yaml::WriteError),
    /// Standard output is gone.
    #[error("cannot print")]
    Print(#[from] io::Error),
}

/// Runs the command.
pub fn command(options: &RenderOptions) -> ExitCode {
    match render(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

fn render(options: &RenderOptions) -> Result<(), RenderError> {
    let files = sources(&options.files)?;
    let report = Validator::new()?.check(&files, &[]);
    for finding in report
        .findings
        .iter()
        .filter(|finding| finding.level == Level::Error)
    {
        writeln!(io::stderr().lock(), "{finding}")?;
    }
    if report.count(Level::Error) > 0 {
        return Err(RenderError::Invalid);
    }
    let mut resources = Vec::new();
    for file in &files {
        resources.extend(documents(file)?);
    }
    let defaults = Defaults {
        image: options
            .image
            .clone()
            .unwrap_or_else(|| format!("{REPOSITORY}:{VERSION}")),
        redis_image: options.redis_image.clone(),
        coturn_image: options.coturn_image.clone(),
        image_pull_policy: PullPolicy::default(),
        image_pull_secrets: Vec::new(),
    };
    let mut out = io::stdout().lock();
    for object in render_manifests(&resources, &defaults)? {
        writeln!(out, "---\n{}", yaml::write(&object)?.trim_end())?;
    }
    Ok(())
}

/// The resources of Berth in a file; other kinds are not ours to render.
fn documents(file: &Source) -> Result<Vec<Manifest>, RenderError> {
    let failed = |source| RenderError::Document {
        file: file.name.clone(),
        source,
    };
    let mut resources = Vec::new();
    for document in serde_yaml::Deserializer::from_str(&file.text) {
        let document = Value::deserialize(document).map_err(failed)?;
        let items = match document["items"].as_array() {
            Some(items) if document["kind"] == "List" => items.clone(),
            _ => vec![document],
        };
        for item in items {
            resources.extend(manifest(item).map_err(failed)?);
        }
    }
    Ok(resources)
}

fn manifest(item: Value) -> Result<Option<Manifest>, serde_yaml::Error> {
    fn typed<K: DeserializeOwned>(item: Value) -> Result<Box<K>, serde_yaml::Error> {
        serde_json::from_value(item)
            .map(Box::new)
            .map_err(serde::de::Error::custom)
    }
    Ok(match item["kind"].as_str() {
        Some("SignalingCluster") => Some(Manifest::SignalingCluster(typed(item)?)),
        Some("HostPool") => Some(Manifest::HostPool(typed(item)?)),
        Some("TurnConfig") => Some(Manifest::TurnConfig(typed(item)?)),
        _ => None,
    })
}
