//! The oracles of the operator: properties that hold whatever happens, each named after its number.

mod lives;
mod o27_permissions;
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
mod oracle_23_status_honesty;
mod oracle_24_status_budget;
mod script;
mod served;
mod state;
