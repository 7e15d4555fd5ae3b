//! Child processes: run one to its end, wait for something with a deadline, show the end of a log.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Pause between two looks at something that is waited for.
const POLL: Duration = Duration::from_millis(100);
/// Lines of a program's complaint that an error repeats.
const SHOWN_LINES: usize = 20;

/// Runs `command` to its end; its output goes where ours goes.
///
/// The error names the command line and how it ended.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| not_started(command))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs `command` to its end and gives what it wrote to standard output. Its standard input is closed
/// unless it was set.
///
/// The error names the command line and repeats the last lines of its standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().with_context(|| not_started(command))?;
    if !status.success() {
        let complaint = last_lines(&String::from_utf8_lossy(&stderr), SHOWN_LINES);
        bail!("`{}` failed: {status}\n{complaint}", line(command));
    }
    String::from_utf8(stdout).with_context(|| format!("`{}` wrote something that is no UTF-8", line(command)))
}

/// Whether `command` succeeds; its output is dropped.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Looks again and again until `look` gives a value; `what` completes "waited N s for ...".
///
/// An error of `look` ends the wait at once: it is for what cannot get better by waiting.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}

/// The last lines of a log file, for an error message.
pub fn log_tail(log: &Path) -> String {
    match std::fs::read(log) {
        Ok(bytes) => format!(
            "the end of {}:\n{}",
            log.display(),
            last_lines(&String::from_utf8_lossy(&bytes), SHOWN_LINES)
        ),
        Err(error) => format!("{}: {error}", log.display()),
    }
}

/// The command as one would type it.
pub fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

fn not_started(command: &Command) -> String {
    format!("cannot start `{}`", line(command))
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
