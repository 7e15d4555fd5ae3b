//! What the threads of a process have used.
//!
//! `/proc/PID/stat` has the CPU time of a whole process, but in ticks of 10 ms, and each of several servers that share a
//! light load uses a few of those in a run. The scheduler's own account of each thread is in nanoseconds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, in user and kernel mode.
    pub cpu: Duration,
    /// Times that a thread gave up its core because it had nothing more to do (voluntary context switches).
    pub waits: u64,
    /// Times that the kernel took a thread off its core (involuntary context switches).
    pub preempted: u64,
}

/// What each thread of a process has used since it began.
#[derive(Clone, Debug)]
pub struct Threads(BTreeMap<u32, Usage>);

impl Threads {
    /// All threads of a process now. What is on a core at this moment is counted up to the kernel's last look at it, at most a tick
    /// ago; everything else is exact.
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let mut threads = BTreeMap::new();
        let tasks = fs::read_dir(format!("/proc/{process}/task"))
            .with_context(|| format!("process {process} is gone"))?;
        for task in tasks {
            let task = task?;
            let id = task.file_name().to_string_lossy().parse()?;
            // Nothing of a thread that ends at this moment.
            if let Some(usage) = usage(&task.path())? {
                threads.insert(id, usage);
            }
        }
        ensure!(
            !threads.is_empty(),
            "process {process} is gone, or the kernel does not tell how long threads ran (CONFIG_SCHED_INFO)"
        );
        Ok(Self(threads))
    }

    /// What they used since `before`, together. Threads that have ended meanwhile count nothing.
    pub fn since(&self, before: &Self) -> Usage {
        self.0
            .iter()
            .map(|(id, now)| now.since(before.0.get(id).copied().unwrap_or_default()))
            .sum()
    }
}

impl Usage {
    fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            waits: self.waits.saturating_sub(before.waits),
            preempted: self.preempted.saturating_sub(before.preempted),
        }
    }
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, next| Self {
            cpu: sum.cpu + next.cpu,
            waits: sum.waits + next.waits,
            preempted: sum.preempted + next.preempted,
        })
    }
}

/// What a thread has used; `None` if it has ended.
fn usage(task: &Path) -> anyhow::Result<Option<Usage>> {
    let read = |name| fs::read_to_string(task.join(name)).ok();
    let (Some(schedstat), Some(status)) = (read("schedstat"), read("status")) else {
        return Ok(None);
    };
    let usage = parse(&schedstat, &status)
        .with_context(|| format!("cannot read schedstat and status in {}", task.display()))?;
    Ok(Some(usage))
}

/// `schedstat` begins with the time on a core in ns (Documentation/scheduler/sched-stats.rst of Linux); the switches are lines of
/// `status` (`proc_pid_status(5)`).
fn parse(schedstat: &str, status: &str) -> Option<Usage> {
    let switches = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some(Usage {
        cpu: Duration::from_nanos(schedstat.split_whitespace().next()?.parse().ok()?),
        waits: switches("voluntary_ctxt_switches:")?,
        preempted: switches("nonvoluntary_ctxt_switches:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{JoinHandle, sleep, spawn};
    use std::time::Instant;

    /// A thread that has waited so often, and stays until something is sent to it.
    fn waiter(waits: u32) -> (Sender<()>, JoinHandle<()>) {
        let (end, ended) = channel();
        let (ready, is_ready) = channel();
        let thread = spawn(move || {
            for _ in 0..waits {
                sleep(Duration::from_millis(1));
            }
            ready.send(()).unwrap();
            ended.recv().unwrap();
        });
        is_ready.recv().unwrap();
        (end, thread)
    }

    #[test]
    fn the_kernels_files_are_understood() {
        let status = "Name:\tvoluntary_ctxt_switches: 1\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t7\n";
        let expected = Usage {
            cpu: Duration::from_nanos(2_932_785_313),
            waits: 150,
            preempted: 7,
        };
        assert_eq!(parse("2932785313 5575658263 24158\n", status), Some(expected));
        assert_eq!(parse("", status), None);
        assert_eq!(parse("1 2 3\n", "Name:\tx\n"), None);
    }

    #[test]
    fn this_process_burns_time_in_steps_that_are_finer_than_ticks() {
        let id = std::process::id();
        let before = Threads::of(id).unwrap();
        let used = || Threads::of(id).unwrap().since(&before).cpu;
        let end = Instant::now() + Duration::from_secs(30);
        while used().subsec_nanos().is_multiple_of(1_000_000) {
            assert!(Instant::now() < end);
        }
    }

    #[test]
    fn a_wait_is_counted() {
        let id = std::process::id();
        let before = Threads::of(id).unwrap();
        let (end, thread) = waiter(20);
        let waits = Threads::of(id).unwrap().since(&before).waits;
        assert!(waits >= 20, "{waits}");
        end.send(()).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn new_threads_count_from_their_beginning_and_ended_ones_not_at_all() {
        let of = |threads: &[(u32, u64)]| {
            let usage = |number| Usage {
                cpu: Duration::from_nanos(number),
                waits: 10 * number,
                preempted: 100 * number,
            };
            Threads(threads.iter().map(|(id, number)| (*id, usage(*number))).collect())
        };
        let used = of(&[(1, 9), (3, 4)]).since(&of(&[(1, 7), (2, 5)]));
        let expected = Usage {
            cpu: Duration::from_nanos(6),
            waits: 60,
            preempted: 600,
        };
        assert_eq!(used, expected);
    }
}
