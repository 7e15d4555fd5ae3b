//! Named suites, run one after the other with a closing line each and a table at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// One thing that passes or fails as a whole.
pub(crate) struct Suite {
    /// What a person types to run it alone.
    pub(crate) name: &'static str,
    /// What it proves, in a few words.
    pub(crate) about: &'static str,
    /// Runs it; its output goes to ours.
    pub(crate) run: Box<dyn FnOnce() -> Result<()>>,
}

impl Suite {
    pub(crate) fn new(
        name: &'static str,
        about: &'static str,
        run: impl FnOnce() -> Result<()> + 'static,
    ) -> Self {
        Self {
            name,
            about,
            run: Box::new(run),
        }
    }
}

struct Outcome {
    name: &'static str,
    passed: bool,
    time: Duration,
}

/// Runs all suites, also after a failure. What cannot run has failed.
pub(crate) fn run_all(suites: Vec<Suite>) -> Result<()> {
    let outcomes: Vec<Outcome> = suites.into_iter().map(run_one).collect();
    let (table, failed) = summary(&outcomes);
    println!("{table}");
    if failed > 0 || outcomes.is_empty() {
        bail!("{failed} of {} suites failed", outcomes.len());
    }
    Ok(())
}

fn run_one(suite: Suite) -> Outcome {
    println!("\n== {}: {}", suite.name, suite.about);
    let begin = Instant::now();
    let result = (suite.run)();
    let time = begin.elapsed();
    match &result {
        Ok(()) => println!("suite {}: ok in {:.1} s", suite.name, time.as_secs_f64()),
        Err(error) => println!(
            "{error:#}\nsuite {}: FAILED in {:.1} s",
            suite.name,
            time.as_secs_f64()
        ),
    }
    Outcome {
        name: suite.name,
        passed: result.is_ok(),
        time,
    }
}

fn summary(outcomes: &[Outcome]) -> (String, usize) {
    let width = outcomes
        .iter()
        .map(|outcome| outcome.name.len())
        .max()
        .unwrap_or(0);
    let mut lines = vec![String::new()];
    for Outcome { name, passed, time } in outcomes {
        let word = if *passed { "ok" } else { "FAILED" };
        lines.push(format!("{name:width$}  {word:6}  {:7.1} s", time.as_secs_f64()));
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    lines.push(format!("{} passed, {failed} failed", outcomes.len() - failed));
    (lines.join("\n"), failed)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::{Suite, run_all};

    #[test]
    fn a_failure_does_not_hide_what_comes_after_it() {
        let (sender, ran) = std::sync::mpsc::channel();
        let suites = vec![
            Suite::new("red", "fails", || Err(anyhow!("no"))),
            Suite::new("green", "passes", move || Ok(sender.send(())?)),
        ];
        assert_eq!(run_all(suites).unwrap_err().to_string(), "1 of 2 suites failed");
        assert!(ran.recv().is_ok());
    }

    #[test]
    fn no_suite_is_no_success() {
        assert!(run_all(Vec::new()).is_err());
    }
}
