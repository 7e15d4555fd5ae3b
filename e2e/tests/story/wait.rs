//! Waiting for a state, with a deadline that only a broken system reaches.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `probe` until it gives a value. An error of the probe is not final: pods come and go. When the deadline
/// passes, the last thing seen is part of the error.
pub(crate) fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    let mut last;
    loop {
        match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => last = "not yet".to_owned(),
            Err(error) => last = format!("{error:#}"),
        }
        if started.elapsed() > deadline {
            bail!("{what}: not within {deadline:?}; last seen: {last}");
        }
        sleep(Duration::from_millis(250));
    }
}

/// Like [`eventually`], for a condition; says what it saw when the condition never held.
pub(crate) fn until(what: &str, deadline: Duration, mut probe: impl FnMut() -> Result<Seen>) -> Result<()> {
    eventually(what, deadline, || match probe()? {
        Seen::Yes => Ok(Some(())),
        Seen::Instead(seen) => bail!("{seen}"),
    })
}

/// What a look at the system gave.
pub(crate) enum Seen {
    /// What was waited for.
    Yes,
    /// Something else.
    Instead(String),
}

impl Seen {
    /// `Yes` when both are equal, else what was there.
    pub(crate) fn equal<T: Copy + PartialEq + std::fmt::Debug>(seen: T, expected: T) -> Self {
        if seen == expected {
            Self::Yes
        } else {
            Self::Instead(format!("{seen:?} instead of {expected:?}"))
        }
    }
}
