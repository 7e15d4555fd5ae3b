//! Real peers: `berth host` and `berth play`, as processes outside the cluster.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::wait::eventually;

/// The program `berth` and where it finds the matchmaker.
pub(crate) struct Peers {
    program: PathBuf,
    matchmaker: String,
}

/// A running peer and what it printed: one JSON object a line. It is killed by its id when it is dropped.
pub(crate) struct Peer {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Peers {
    /// Uses the program that the runner built.
    pub(crate) fn from_runner(matchmaker: &str) -> Result<Self> {
        let program = std::env::var_os("BERTH_E2E_PROGRAM").map(PathBuf::from);
        Ok(Self {
            program: program.context("BERTH_E2E_PROGRAM is not set")?,
            matchmaker: matchmaker.to_owned(),
        })
    }

    /// Starts `berth host --json`; the secret goes by the environment, as people pass it.
    pub(crate) fn host(&self, secret: &str, args: &[&str]) -> Result<Peer> {
        let mut command = Command::new(&self.program);
        command
            .args(["host", "--json", "--matchmaker", &self.matchmaker])
            .args(args)
            .env("HOST_SECRET", secret);
        Peer::start(&mut command)
    }

    /// Starts `berth play --json --events`.
    pub(crate) fn player(&self, args: &[&str]) -> Result<Peer> {
        let mut command = Command::new(&self.program);
        command
            .args(["play", "--json", "--events", "--matchmaker", &self.matchmaker])
            .args(args);
        Peer::start(&mut command)
    }
}

impl Peer {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("no standard output")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(value) = serde_json::from_str(&line) {
                    sink.lock().unwrap_or_else(PoisonError::into_inner).push(value);
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// Everything printed so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Events of this name, in order.
    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        self.lines()
            .into_iter()
            .filter(|line| line["event"] == name)
            .collect()
    }

    /// Waits until there are `count` events of this name.
    pub(crate) fn expect_events(
        &mut self,
        name: &str,
        count: usize,
        deadline: Duration,
    ) -> Result<Vec<Value>> {
        let what = format!("{count} events {name:?} of a peer");
        eventually(&what, deadline, || {
            let events = self.events(name);
            if events.len() >= count {
                return Ok(Some(events));
            }
            let ended = self.child.try_wait()?;
            ensure!(
                ended.is_none(),
                "the peer ended with {ended:?}; it printed {:?}",
                self.lines()
            );
            anyhow::bail!("it printed {:?}", self.lines())
        })
    }

    /// Waits for the end: exit code and last line.
    pub(crate) fn finish(mut self, deadline: Duration) -> Result<(i32, Value)> {
        let status = eventually("the end of a player", deadline, || Ok(self.child.try_wait()?))?;
        // The reader sees the end of the output a moment after the process has ended.
        let last = eventually("a player's report", Duration::from_secs(10), || {
            Ok(self.lines().into_iter().rfind(|line| line["event"].is_null()))
        });
        Ok((status.code().unwrap_or(-1), last.unwrap_or(Value::Null)))
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn interrupt(&self) -> Result<()> {
        let status = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status()?;
        ensure!(status.success(), "kill -INT failed");
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
