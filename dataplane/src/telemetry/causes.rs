//! Errors in one line.

use std::error::Error;

/// An error and its causes, as `what failed: why: why`. Our errors do not repeat their cause in their own text.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let own = cause.to_string();
        // Some libraries do repeat it.
        if !text.ends_with(&own) {
            text = format!("{text}: {own}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the file")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("disk: full")]
    struct Middle(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("full")]
    struct Inner;

    #[test]
    fn every_cause_once() {
        assert_eq!(
            with_causes(&Outer(Middle(Inner))),
            "cannot read the file: disk: full"
        );
    }
}
