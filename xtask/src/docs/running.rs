//! One block of commands while it runs.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use berth_e2e::{process, workspace};

/// A command may have to compile everything first.
const LIMIT: Duration = Duration::from_mins(30);
/// From the interrupt to the end.
const END_LIMIT: Duration = Duration::from_mins(2);

/// A shell and what it has started, in a process group of their own. Dropping kills the group.
pub(super) struct Running {
    shell: Child,
    output: Receiver<String>,
}

impl Running {
    /// Starts the commands; the first that fails ends them. What they print on either output is shown.
    pub(super) fn start(commands: &str, environment: &[(&str, OsString)]) -> Result<Self> {
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", &format!("exec 2>&1\n{commands}")])
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(workspace::root());
        let mut shell = bash
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let stdout = shell.stdout.take().context("no output")?;
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                println!("{line}");
                // Nobody listens once the text has been seen; what follows is only shown.
                let _ = sender.send(line);
            }
        });
        Ok(Self { shell, output })
    }

    /// Waits for its end, which has to be a success.
    pub(super) fn succeed(&mut self) -> Result<()> {
        let status = self.end(LIMIT)?;
        if !status.success() {
            bail!("it failed: {status}");
        }
        Ok(())
    }

    /// Waits until it prints `text`.
    pub(super) fn wait_for(&mut self, text: &str) -> Result<()> {
        let end = Instant::now() + LIMIT;
        loop {
            match self
                .output
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) if line.contains(text) => return Ok(()),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => bail!("`{text}` was not printed in {} s", LIMIT.as_secs()),
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
        self.signal("INT")?;
        let status = self.end(END_LIMIT)?;
        if !status.success() {
            bail!("interrupted, it failed: {status}");
        }
        Ok(())
    }

    fn end(&mut self, limit: Duration) -> Result<ExitStatus> {
        process::wait_for("the commands to end", limit, || Ok(self.shell.try_wait()?))
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let group = format!("-{}", self.shell.id());
        process::output(Command::new("kill").args(["-s", signal, "--", &group])).map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.shell.try_wait() {
            // It may end at this moment, and then there is nothing to kill.
            let _ = self.signal("KILL");
            let _ = self.shell.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Running;

    #[test]
    fn the_first_failure_ends_a_block() {
        assert!(Running::start("true\ntrue", &[]).unwrap().succeed().is_ok());
        assert!(Running::start("false\ntrue", &[]).unwrap().succeed().is_err());
    }

    #[test]
    fn a_server_is_waited_for_and_interrupted() {
        let server = "trap 'exit 0' INT; echo it is $WORD >&2; while true; do sleep 0.1; done";
        let mut running = Running::start(server, &[("WORD", "up".into())]).unwrap();
        running.wait_for("is up").unwrap();
        running.interrupt().unwrap();
    }

    #[test]
    fn a_server_that_dies_is_a_failure() {
        assert!(
            Running::start("echo hello", &[])
                .unwrap()
                .wait_for("is up")
                .is_err()
        );
        assert!(
            Running::start("echo is up; exit 3", &[])
                .unwrap()
                .interrupt()
                .is_err()
        );
    }
}
