//! One block of commands while it runs.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use berth_e2e::{process, workspace};

/// Printed lines that wait to be looked at, while somebody looks for a text.
const LINES: usize = 1024;
/// From the interrupt to the end.
const END_LIMIT: Duration = Duration::from_mins(2);

/// A shell and what it has started. Dropping kills them. They are in our process group: Ctrl-C reaches them too.
pub(super) struct Running {
    shell: Child,
    output: Receiver<String>,
    limit: Duration,
}

impl Running {
    /// Starts the commands; the first that fails ends them. What they print on either output is shown. `limit`: until they must
    /// have ended, or have printed what is waited for.
    pub(super) fn start(commands: &str, environment: &[(&str, OsString)], limit: Duration) -> Result<Self> {
        // A shell cannot trap what was ignored when it was started, as it is for jobs in the background.
        let mut bash = Command::new("env");
        bash.args([
            "--default-signal=INT",
            "bash",
            "-euo",
            "pipefail",
            "-c",
            &format!("exec 2>&1\n{commands}"),
        ])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(workspace::root());
        let mut shell = bash.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = shell.stdout.take().context("no output")?;
        let (sender, output) = mpsc::sync_channel(LINES);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                println!("{line}");
                // Nobody listens once the text has been seen; what follows is only shown.
                let _ = sender.try_send(line);
            }
        });
        Ok(Self { shell, output, limit })
    }

    /// Waits for its end, which has to be a success.
    pub(super) fn succeed(&mut self) -> Result<()> {
        let status = self.end(self.limit)?;
        if !status.success() {
            bail!("it failed: {status}");
        }
        Ok(())
    }

    /// Waits until it prints `text`.
    pub(super) fn wait_for(&mut self, text: &str) -> Result<()> {
        let end = Instant::now() + self.limit;
        loop {
            match self
                .output
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) if line.contains(text) => return Ok(()),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    bail!("`{text}` was not printed in {} s", self.limit.as_secs())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("it ended ({}) and never printed `{text}`", self.end(END_LIMIT)?)
                }
            }
        }
    }

    /// Ends it as Ctrl-C does, which has to be a success.
    pub(super) fn interrupt(mut self) -> Result<()> {
        if let Some(status) = self.shell.try_wait()? {
            bail!("it ended by itself: {status}");
        }
        self.signal("INT");
        let status = self.end(END_LIMIT)?;
        if !status.success() {
            bail!("interrupted, it failed: {status}");
        }
        Ok(())
    }

    fn end(&mut self, limit: Duration) -> Result<ExitStatus> {
        process::wait_for("the commands to end", limit, || Ok(self.shell.try_wait()?))
    }

    /// Sends a signal to the shell and everything below it, as a terminal does.
    fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        kill.args(["-s", signal])
            .args(with_descendants(self.shell.id()).iter().map(u32::to_string));
        // It fails when one of them has just ended; what counts is the end of the shell.
        process::succeeds(&mut kill);
    }
}

/// A process and those that it has started, directly or not.
fn with_descendants(id: u32) -> Vec<u32> {
    let mut found = vec![id];
    let mut next = 0;
    while let Some(id) = found.get(next) {
        for task in fs::read_dir(format!("/proc/{id}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
        next += 1;
    }
    found
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.shell.try_wait() {
            self.signal("KILL");
            let _ = self.shell.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Running;

    const LIMIT: Duration = Duration::from_mins(1);

    #[test]
    fn the_first_failure_ends_a_block() {
        assert!(
            Running::start("true\ntrue", &[], LIMIT)
                .unwrap()
                .succeed()
                .is_ok()
        );
        assert!(
            Running::start("false\ntrue", &[], LIMIT)
                .unwrap()
                .succeed()
                .is_err()
        );
    }

    #[test]
    fn a_server_is_waited_for_and_interrupted() {
        let server = "trap 'exit 0' INT; echo it is $WORD >&2; while true; do sleep 0.1; done";
        let mut running = Running::start(server, &[("WORD", "up".into())], LIMIT).unwrap();
        running.wait_for("is up").unwrap();
        running.interrupt().unwrap();
    }

    #[test]
    fn a_server_that_dies_is_a_failure() {
        assert!(
            Running::start("echo hello", &[], LIMIT)
                .unwrap()
                .wait_for("is up")
                .is_err()
        );
        assert!(
            Running::start("echo is up; exit 3", &[], LIMIT)
                .unwrap()
                .interrupt()
                .is_err()
        );
    }

    #[test]
    fn nothing_is_waited_for_without_an_end() {
        let mut running = Running::start("sleep 600", &[], Duration::from_millis(50)).unwrap();
        assert!(running.wait_for("is up").is_err());
        assert!(running.succeed().is_err());
    }
}
