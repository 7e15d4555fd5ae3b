//! What the kernel says of a process.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// Memory of a process, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident set.
    pub rss: u64,
    /// Resident set with pages that others use too counted in part.
    pub pss: u64,
}

/// CPU time of a process so far, in user and kernel mode, of all its threads, also those that have ended. The
/// kernel counts exactly and tells in ticks of 10 ms.
pub fn cpu(process: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))
        .with_context(|| format!("process {process} is gone"))?;
    let ticks = ticks(&stat).context("cannot read /proc/PID/stat")?;
    Ok(Duration::from_secs(1) * ticks / u32::try_from(rustix::param::clock_ticks_per_second())?)
}

/// Sum of `utime` and `stime` (proc(5), fields 14 and 15). The name in field 2 may hold anything, also brackets.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
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
    fn the_name_of_a_process_confuses_nobody() {
        let stat = "7 (a) 9 9 (b) S 1 7 7 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 3 0 5 6";
        assert_eq!(ticks(stat), Some(175));
    }

    #[test]
    fn this_process_has_memory_and_burns_time() {
        let id = std::process::id();
        let memory = memory(id).unwrap();
        assert!(memory.rss >= memory.pss && memory.pss > 0, "{memory:?}");
        let end = std::time::Instant::now() + Duration::from_secs(30);
        while cpu(id).unwrap() == Duration::ZERO {
            assert!(std::time::Instant::now() < end);
        }
    }
}
