//! Image names in the chart's default values: what is built and loaded here carries the names that the
//! manifests will ask for.

use std::fs;

use anyhow::{Context, Result};
use berth_e2e::workspace;
use serde_yaml::Value;

/// Image of Berth itself.
pub(crate) fn image() -> Result<String> {
    name_of("image")
}

/// Image of the Redis that the operator runs.
pub(crate) fn redis_image() -> Result<String> {
    name_of("redisImage")
}

/// Image of the coturn that the operator runs.
pub(crate) fn coturn_image() -> Result<String> {
    name_of("coturnImage")
}

fn name_of(key: &str) -> Result<String> {
    let (chart, values) = (read("Chart.yaml")?, read("values.yaml")?);
    let version = chart["appVersion"]
        .as_str()
        .context("charts/berth/Chart.yaml has no appVersion")?;
    image_name(&values[key], version)
        .with_context(|| format!("charts/berth/values.yaml has no image name at `{key}`"))
}

fn read(file: &str) -> Result<Value> {
    let path = workspace::root().join("charts/berth").join(file);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    serde_yaml::from_str(&text).with_context(|| path.display().to_string())
}

/// `NAME`, or `{repository, tag}` where an empty tag stands for the chart's appVersion.
fn image_name(value: &Value, default_tag: &str) -> Option<String> {
    if let Some(name) = value.as_str() {
        return Some(name.to_owned());
    }
    let repository = value["repository"].as_str()?;
    let tag = value["tag"]
        .as_str()
        .filter(|tag| !tag.is_empty())
        .unwrap_or(default_tag);
    Some(format!("{repository}:{tag}"))
}

#[cfg(test)]
mod tests {
    use super::image_name;

    #[test]
    fn a_name_is_written_in_one_piece_or_in_two() {
        let name = |yaml: &str| image_name(&serde_yaml::from_str(yaml).unwrap(), "1.2.3");
        assert_eq!(
            name("docker.io/library/redis:7"),
            Some("docker.io/library/redis:7".into())
        );
        assert_eq!(name("{repository: r/berth, tag: x}"), Some("r/berth:x".into()));
        assert_eq!(
            name("{repository: r/berth, tag: ''}"),
            Some("r/berth:1.2.3".into())
        );
        assert_eq!(name("{}"), None);
    }
}
