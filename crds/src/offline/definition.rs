//! A `CustomResourceDefinition` made ready for checking.

use std::collections::HashMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps,
};
use regex::bytes::{Regex, RegexBuilder};

use super::rules::Rules;
use super::structural::children;

/// Why a definition cannot be judged offline.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// It has no schema.
    #[error("{kind} has no schema")]
    NoSchema {
        /// The kind.
        kind: String,
    },
    /// Its schema cannot be written as JSON.
    #[error("the schema of {kind} cannot be written as JSON")]
    Unwritable {
        /// The kind.
        kind: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A CEL rule does not compile.
    #[error("a rule of {kind} does not compile: {message}")]
    Rule {
        /// The kind.
        kind: String,
        /// What the compiler says.
        message: String,
    },
    /// A pattern does not compile.
    #[error("a pattern of {kind} does not compile")]
    Pattern {
        /// The kind.
        kind: String,
        /// Why.
        #[source]
        source: regex::Error,
    },
}

/// A definition made ready for checking.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) schema: JSONSchemaProps,
    pub(super) rules: Rules,
    patterns: HashMap<String, Regex>,
}

impl Definition {
    pub(super) fn new(crd: CustomResourceDefinition) -> Result<Self, DefinitionError> {
        let kind = crd.spec.names.kind;
        let schema = crd
            .spec
            .versions
            .into_iter()
            .find_map(|version| version.schema?.open_api_v3_schema);
        let Some(schema) = schema else {
            return Err(DefinitionError::NoSchema { kind });
        };
        let mut patterns = HashMap::new();
        compile_patterns(&schema, &mut patterns).map_err(|source| DefinitionError::Pattern {
            kind: kind.clone(),
            source,
        })?;
        Ok(Self {
            rules: Rules::new(&kind, &schema)?,
            patterns,
            schema,
        })
    }

    /// Whether `text` has the form that `pattern` asks for.
    pub(super) fn matches(&self, pattern: &str, text: &str) -> bool {
        self.patterns
            .get(pattern)
            .is_some_and(|regex| regex.is_match(text.as_bytes()))
    }
}

fn compile_patterns(
    schema: &JSONSchemaProps,
    patterns: &mut HashMap<String, Regex>,
) -> Result<(), regex::Error> {
    if let Some(pattern) = &schema.pattern {
        // Go's classes, such as `\s`, are those of ASCII.
        let regex = RegexBuilder::new(pattern).unicode(false).build()?;
        patterns.insert(pattern.clone(), regex);
    }
    children(schema).try_for_each(|child| compile_patterns(child, patterns))
}
