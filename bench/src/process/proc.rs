//! What the kernel says of a process.

use std::fs;

use anyhow::Context as _;

/// Memory of a process, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident set.
    pub rss: u64,
    /// Resident set with pages that others use too counted in part.
    pub pss: u64,
}

/// Memory of a process now.
pub fn memory(process: u32) -> anyhow::Result<Memory> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))
        .with_context(|| format!("process {process} is gone"))?;
    let field = |name| kilobytes(&rollup, name).context("cannot read /proc/PID/smaps_rollup");
    Ok(Memory {
        rss: field("Rss:")? * 1024,
        pss: field("Pss:")? * 1024,
    })
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Files, and so sockets, that a process may have open.
pub fn file_limit() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.rss >= memory.pss && memory.pss > 0, "{memory:?}");
    }
}
