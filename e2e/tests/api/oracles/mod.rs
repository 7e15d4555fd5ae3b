//! The oracles of the operator: properties that hold whatever happens, each named after its number. `docs/testing.md` has the table.
//!
//! Those that are not in this folder: 11 (`operator/apply.rs`, `operator/conflict.rs`), 15 (`validate.rs`), 17 (`operator/references.rs`),
//! 19 (`operator/src/render/tests/reload.rs`), 20 (`operator/deletion.rs`), 21 (`operator/released.rs`), 26 (`gitops/applies.rs`),
//! 29 (`operator/apply.rs`, `gitops/labels.rs`), 30 (`chart.rs`, `matrix.rs`); and
//! parts of 3 (`operator/rest.rs`), 12 (`operator/replicas.rs`), 18 (`operator/references.rs`) and 22 (`operator/leader.rs`).

mod lives;
mod o27_permissions;
mod oracle_01_path_independence;
mod oracle_02_rollback;
mod oracle_03_quiescence;
mod oracle_04_crash_at_every_write;
mod oracle_05_stale_reads;
mod oracle_06_missed_events;
mod oracle_07_duplicate_and_late_events;
mod oracle_08_faults;
mod oracle_09_poison_object;
mod oracle_10_write_summary;
mod oracle_12_replicas_hand_over;
mod oracle_13_drift;
mod oracle_14_dangerous_values;
mod oracle_16_dependency_order;
mod oracle_18_secret_bytes;
mod oracle_22_one_writer;
mod oracle_23_status_honesty;
mod oracle_24_status_budget;
mod oracle_25_kubectl;
mod script;
mod served;
mod specs;
mod state;
