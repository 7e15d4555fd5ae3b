//! Where raw resources come from.

pub(super) mod env;
pub(super) mod file;
pub(super) mod kube;
