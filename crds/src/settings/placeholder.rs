//! Secrets that everybody knows: values of public documentation and examples, with which services are tried out and then
//! forgotten.

/// Every one of them. A secret of this list is refused in `environment: Production`.
const PLACEHOLDERS: [&str; 5] = [
    // Of the Node services: the default and the example of the host secret, and the example of the token secret.
    "to-change-in-prod",
    "HELLO-MFS",
    "your-secret-key",
    // Of Berth: what its documentation had, and the example for Docker Compose.
    "change-me",
    "compose-host-secret",
];

/// Whether a secret is one that everybody knows. Spaces around it and capitals make no other one of it.
pub fn is_placeholder(secret: &[u8]) -> bool {
    let secret = secret.trim_ascii();
    PLACEHOLDERS
        .iter()
        .any(|known| known.as_bytes().eq_ignore_ascii_case(secret))
}

/// What to tell of a Secret with a placeholder under `key`: where it is, and how to get a good one. Without the value.
pub fn placeholder_cure(secret: &str, key: &str) -> String {
    format!(
        "Secret {secret} has a placeholder that everybody knows under key {key}: put a random value there, such as \
         `openssl rand -base64 32` prints"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_known_however_they_are_written() {
        for known in PLACEHOLDERS {
            assert!(is_placeholder(known.as_bytes()), "{known}");
        }
        assert!(is_placeholder(b"  hello-mfs\n"));
        for good in [
            "",
            "HELLO-MFS2",
            "hello mfs",
            "XGFyrm0cJVpS2mNY1dYl4K0m2p0PqJw0Vv2Jm9y0m5o=",
        ] {
            assert!(!is_placeholder(good.as_bytes()), "{good}");
        }
    }

    #[test]
    fn the_cure_names_the_place_and_no_value() {
        let cure = placeholder_cure("hosts", "current");
        assert!(
            cure.contains("Secret hosts") && cure.contains("key current") && cure.contains("openssl rand")
        );
        assert!(PLACEHOLDERS.iter().all(|known| !cure.contains(known)));
    }
}
