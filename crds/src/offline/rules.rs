//! CEL rules (`x-kubernetes-validations`).

use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::core::cel::{self, CompiledSchema};
use serde_json::Value;

use super::definition::DefinitionError;
use super::finding::{Findings, Stage};

/// The compiled rules of a definition.
pub(super) struct Rules(CompiledSchema);

impl Rules {
    pub(super) fn new(kind: &str, schema: &JSONSchemaProps) -> Result<Self, DefinitionError> {
        let schema = serde_json::to_value(schema).map_err(|source| DefinitionError::Unwritable {
            kind: kind.to_owned(),
            source,
        })?;
        let compiled = cel::compile_schema(&schema);
        match first_error(&compiled) {
            Some(message) => Err(DefinitionError::Rule {
                kind: kind.to_owned(),
                message,
            }),
            None => Ok(Self(compiled)),
        }
    }

    /// Evaluates the rules on `value`; those on changes only where there is an `old` value.
    pub(super) fn check(&self, value: &Value, old: Option<&Value>, found: &mut Findings) {
        let errors = cel::validate_compiled(&self.0, value, old).err();
        for error in errors.into_iter().flatten() {
            found.error(Stage::Rules, &error.field_path, error.message);
        }
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rules")
    }
}

fn first_error(schema: &CompiledSchema) -> Option<String> {
    let own = schema.compilation_errors().first().map(ToString::to_string);
    let below = schema
        .properties
        .values()
        .chain(schema.items.as_deref())
        .chain(schema.additional_properties.as_deref());
    own.or_else(|| below.into_iter().find_map(first_error))
}
