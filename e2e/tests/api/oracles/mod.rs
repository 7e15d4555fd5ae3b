//! Oracles: properties that hold whatever is done, each named after its number.

mod oracle_23_status_honesty;
mod oracle_24_status_budget;
mod served;
