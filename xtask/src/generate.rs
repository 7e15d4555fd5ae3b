//! Files that are generated from the types: written, or compared with what is there.

use std::fs;
use std::process::Command;

use Content::{Definition, Output};
use anyhow::{Context, Result, bail};
use berth_e2e::{process, workspace};
use serde_yaml::Value;

use crate::packages::cargo;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail when a file is not what would be written
    #[arg(long)]
    check: bool,
}

/// What a generated file holds.
enum Content {
    /// The output of the program `berth` with these arguments.
    Output(&'static [&'static str]),
    /// The document of `berth crds` whose `metadata.name` is this.
    Definition(&'static str),
}

/// Every generated file. Helm reads no file outside a chart, hence the copies.
#[rustfmt::skip] // One line each.
const FILES: [(&str, Content); 9] = [
    ("crds/signalingclusters.yaml", Definition("signalingclusters.berth.dev")),
    ("crds/hostpools.yaml", Definition("hostpools.berth.dev")),
    ("crds/turnconfigs.yaml", Definition("turnconfigs.berth.dev")),
    ("charts/berth/files/crds/signalingclusters.yaml", Definition("signalingclusters.berth.dev")),
    ("charts/berth/files/crds/hostpools.yaml", Definition("hostpools.berth.dev")),
    ("charts/berth/files/crds/turnconfigs.yaml", Definition("turnconfigs.berth.dev")),
    ("docs/api.md", Output(&["docs", "api"])),
    ("docs/openapi.json", Output(&["docs", "openapi"])),
    ("docs/protocol.v2.schema.json", Output(&["docs", "protocol"])),
];

/// Examples of which it is recorded what this version makes of them. The folder of a version stays as it was when that was released: a test
/// compares later versions with it.
const RECORDED: [&str; 5] = ["gateway", "minimal", "production", "quickstart", "turn"];

/// Writes or checks them all.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    process::run(cargo().args(["build", "--quiet", "--locked", "--package=berth"]))?;
    let definitions = berth(&["crds"])?;
    let mut files = Vec::new();
    for (path, content) in FILES {
        let text = match content {
            Output(command) => berth(command)?,
            Definition(name) => document(&definitions, name)?,
        };
        files.push((path.to_owned(), text));
    }
    for example in RECORDED {
        let version = env!("CARGO_PKG_VERSION");
        files.push((
            format!("operator/released/{version}/{example}.yaml"),
            recorded(example)?,
        ));
    }
    let count = files.len();
    let mut different = Vec::new();
    for (path, text) in files {
        let file = workspace::root().join(&path);
        if fs::read_to_string(&file).is_ok_and(|present| present == text) {
            continue;
        }
        if !arguments.check {
            fs::create_dir_all(file.parent().context("a file has a folder")?)?;
            fs::write(&file, text).with_context(|| path.clone())?;
        }
        different.push(path);
    }
    match (different.is_empty(), arguments.check) {
        (true, _) => println!("{count} generated files are current"),
        (false, false) => println!("wrote {}", different.join(", ")),
        (false, true) => bail!(
            "not what the types say: {}; run `cargo xtask generate`",
            different.join(", ")
        ),
    }
    Ok(())
}

/// Fails when a file is not what would be written.
pub(crate) fn check() -> Result<()> {
    run(&Arguments { check: true })
}

fn berth(arguments: &[&str]) -> Result<String> {
    process::output(Command::new(workspace::target().join("debug/berth")).args(arguments))
}

/// The resources of an example, and the objects that they become.
fn recorded(example: &str) -> Result<String> {
    let folder = workspace::root().join("examples").join(example);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    let mut text = String::new();
    for file in files {
        text.push_str("---\n");
        text.push_str(&fs::read_to_string(&file).with_context(|| file.display().to_string())?);
    }
    let images = [
        "--image=berth:released",
        "--redis-image=redis:released",
        "--coturn-image=coturn:released",
    ];
    let folder = folder.to_str().context("the path is no text")?;
    text.push_str(&berth(&[&["render", folder], &images[..]].concat())?);
    Ok(text)
}

/// The document of this name, as it was printed.
fn document(documents: &str, name: &str) -> Result<String> {
    for document in documents
        .split("---\n")
        .filter(|document| !document.trim().is_empty())
    {
        let value: Value = serde_yaml::from_str(document).context("`berth crds` prints no YAML")?;
        if value["metadata"]["name"].as_str() == Some(name) {
            return Ok(document.to_owned());
        }
    }
    bail!("`berth crds` prints no {name}")
}

#[cfg(test)]
mod tests {
    use super::document;

    #[test]
    fn documents_are_told_by_name() {
        let documents = "metadata: {name: a}\n---\n# Made.\nmetadata: {name: b}\n";
        assert_eq!(
            document(documents, "b").unwrap(),
            "# Made.\nmetadata: {name: b}\n"
        );
        assert!(document(documents, "c").is_err());
    }
}
