//! The first process of the node's namespaces, from outside: whoever ends it ends the node.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process;

/// A process by its id and, because ids are used again, the time of its start.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Init {
    id: u32,
    /// Clock ticks since the machine started.
    start: u64,
}

impl Init {
    /// What the node has written into its state folder; none before it has.
    pub(super) fn read(state: &Path) -> Option<Self> {
        let text = fs::read_to_string(state.join("init")).ok()?;
        let (id, start) = text.strip_suffix('\n')?.split_once(' ')?;
        Some(Self {
            id: id.parse().ok()?,
            start: start.parse().ok()?,
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn is_alive(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.id))
            .is_ok_and(|stat| start_of(&stat) == Some(self.start))
    }

    /// Kills it, and with it every process of its namespace.
    pub(super) fn kill(&self) -> Result<()> {
        if self.is_alive() {
            process::output(Command::new("kill").args(["-KILL", &self.id.to_string()]))?;
        }
        Ok(())
    }
}

/// The start time in a line of `/proc/ID/stat`: the 20th field after the name, which may hold anything.
fn start_of(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Init, start_of};

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(start_of(&format!("7 (a) b) {rest}")), Some(4711));
    }

    #[test]
    fn an_id_that_is_used_again_is_another_process() {
        let id = std::process::id();
        let start = start_of(&std::fs::read_to_string("/proc/self/stat").unwrap()).unwrap();
        assert!(Init { id, start }.is_alive());
        assert!(!Init { id, start: start - 1 }.is_alive());
    }
}
