//! A Redis Cluster: who owns which slot, and a line to each node that is used.

mod lines;
mod publish;
mod slots;
mod topology;

pub(super) use lines::Lines;
pub use lines::NodeHealth;
pub(super) use slots::{SlotTable, slot_of};
pub(super) use topology::Topology;
