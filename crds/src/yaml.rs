//! YAML that every reader takes alike.
//!
//! `serde_yaml` leaves words such as `on`, `y` and `010` without quotes: text for readers of YAML 1.2, but a boolean or a
//! number for kubectl, which reads YAML 1.1. Whoever writes manifests for people or for kubectl writes them here.

use serde::Serialize;

/// Why a value cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot be written as YAML")]
pub struct WriteError(#[from] serde_saphyr::ser::Error);

/// `value` as one document.
pub fn write(value: &impl Serialize) -> Result<String, WriteError> {
    Ok(serde_saphyr::to_string(value)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::write;

    fn reads_back(value: &Value) {
        let text = write(value).unwrap();
        assert_eq!(
            serde_saphyr::from_str::<Value>(&text).unwrap(),
            *value,
            "YAML 1.1: {text}"
        );
        assert_eq!(
            serde_yaml::from_str::<Value>(&text).unwrap(),
            *value,
            "YAML 1.2: {text}"
        );
    }

    #[test]
    fn words_that_readers_disagree_about_are_quoted() {
        for word in [
            "on", "Off", "yes", "NO", "y", "n", "010", "1_000", "0o7", "12:30:00", "~", "null", "<<", "=",
            ".5", "1e3",
        ] {
            reads_back(&json!({"label": word, word: [word]}));
        }
    }

    proptest! {
        #[test]
        fn every_text_reads_back(text in "[ -~\n\u{e4}\u{1f600}]{0,40}", number: i32) {
            reads_back(&json!({"text": text, "list": [text, number, null, true], "map": {"a": {"b": text}}}));
        }
    }
}
