//! Telling on standard error why a command failed.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// Exit code of a command that failed for a reason without a code of its own.
pub const GENERAL: u8 = 1;

/// Prints an error with its causes.
pub fn report(error: &(dyn Error + 'static)) -> ExitCode {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        line.push_str(": ");
        line.push_str(&source.to_string());
        cause = source.source();
    }
    let _ = writeln!(std::io::stderr().lock(), "error: {line}");
    ExitCode::from(GENERAL)
}
