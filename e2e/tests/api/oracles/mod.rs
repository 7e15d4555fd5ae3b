//! The oracles of the operator: properties that hold whatever happens, each named after its number.

mod lives;
mod o27_permissions;
mod oracle_03_quiescence;
mod oracle_04_crash_at_every_write;
mod oracle_08_faults;
mod oracle_09_poison_object;
mod oracle_10_write_summary;
mod oracle_13_drift;
mod oracle_23_status_honesty;
mod oracle_24_status_budget;
mod script;
mod served;
mod state;
