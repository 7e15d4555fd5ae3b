//! Reload classes: what a change of a field costs.
//!
//! The class stands in the description of the field (structural schemas take no extensions of ours), so that
//! `kubectl explain` shows it, and is read from there: the text is the declaration.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};

/// What a change of a field costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReloadClass {
    /// In force at once, for the next message or request; no pod restarts.
    Hot,
    /// In force for the next connection; those that are open keep the old value.
    Connection,
    /// The pods are replaced, a few at a time.
    Rolling,
    /// The API server refuses a change.
    Immutable,
}

impl ReloadClass {
    /// The class that a description declares in its last sentence.
    pub fn declared(description: &str) -> Option<Self> {
        let (_, class) = description
            .trim_end()
            .trim_end_matches('.')
            .rsplit_once("Reload: ")?;
        match class {
            "hot" => Some(Self::Hot),
            "connection" => Some(Self::Connection),
            "rolling" => Some(Self::Rolling),
            "immutable" => Some(Self::Immutable),
            _ => None,
        }
    }

    /// The word in descriptions and docs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Connection => "connection",
            Self::Rolling => "rolling",
            Self::Immutable => "immutable",
        }
    }
}

/// A field of a spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Path, for example `spec.rooms.capacity`; the items of a list are `spec.providers[]`.
    pub path: String,
    /// The field's own class, or that of the nearest field around it which declares one.
    pub class: Option<ReloadClass>,
    /// Schema of the field.
    pub schema: JSONSchemaProps,
}

/// Every leaf of the spec of `crd`, in the order of its schema.
pub fn leaves(crd: &CustomResourceDefinition) -> Vec<Field> {
    let mut fields = Vec::new();
    for version in &crd.spec.versions {
        let root = version
            .schema
            .as_ref()
            .and_then(|schema| schema.open_api_v3_schema.as_ref());
        if let Some(spec) = root.and_then(|root| root.properties.as_ref()?.get("spec")) {
            walk("spec", spec, None, &mut fields);
        }
    }
    fields
}

fn walk(path: &str, schema: &JSONSchemaProps, around: Option<ReloadClass>, fields: &mut Vec<Field>) {
    let class = schema
        .description
        .as_deref()
        .and_then(ReloadClass::declared)
        .or(around);
    let items = match schema.items.as_ref() {
        Some(JSONSchemaPropsOrArray::Schema(item)) => Some(item),
        _ => None,
    };
    if let Some(properties) = &schema.properties {
        for (name, property) in properties {
            walk(&format!("{path}.{name}"), property, class, fields);
        }
    } else if let Some(item) = items.filter(|item| item.properties.is_some()) {
        walk(&format!("{path}[]"), item, class, fields);
    } else {
        fields.push(Field {
            path: path.to_owned(),
            class,
            schema: schema.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::definitions;

    #[test]
    fn every_field_of_every_spec_has_a_class() {
        for crd in definitions() {
            let fields = leaves(&crd);
            assert!(
                fields.len() > 5,
                "{} has almost no fields: the walk is broken",
                crd.spec.names.kind
            );
            let without: Vec<_> = fields
                .iter()
                .filter(|field| field.class.is_none())
                .map(|field| &field.path)
                .collect();
            assert!(
                without.is_empty(),
                "{}: no reload class: {without:?}",
                crd.spec.names.kind
            );
        }
    }

    #[test]
    fn a_class_is_read_from_the_last_sentence_only() {
        assert_eq!(
            ReloadClass::declared("Most members. Reload: connection."),
            Some(ReloadClass::Connection)
        );
        assert_eq!(ReloadClass::declared("Reload: hot. But then more."), None);
        assert_eq!(ReloadClass::declared("Reload: sometimes."), None);
    }

    #[test]
    fn known_fields_have_the_class_that_their_consumer_implements() {
        let crd = definitions().remove(0);
        let class = |path: &str| {
            leaves(&crd)
                .into_iter()
                .find(|field| field.path == path)
                .and_then(|field| field.class)
        };
        assert_eq!(class("spec.rooms.capacity"), Some(ReloadClass::Connection));
        assert_eq!(class("spec.rateLimits.messagesPerIp"), Some(ReloadClass::Hot));
        assert_eq!(class("spec.wsPort"), Some(ReloadClass::Rolling));
        assert_eq!(
            class("spec.redis.managed.storageSize"),
            Some(ReloadClass::Immutable)
        );
    }
}
