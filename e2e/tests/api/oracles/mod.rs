//! The oracles of the operator: properties that hold whatever happens, each named after its number.

mod o27_permissions;
