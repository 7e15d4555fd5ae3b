//! The oracles of the operator: properties that hold whatever happens, each named after its number.

mod o27_permissions;
mod oracle_23_status_honesty;
mod oracle_24_status_budget;
mod served;
