//! Keeps secrets out of what we write.
//!
//! The log writer passes every line through [`redact`], so that a secret inside a URL, a header or a message of a
//! library does not reach a log even where nobody thought of it.

use std::borrow::Cow;
use std::ops::Range;

/// What stands where a secret was.
const MASK: &str = "***";

/// Names whose values are secrets: query parameters, fields of JSON logs, `key=value` in messages.
/// Compared without case, `-` and `_`.
const SECRET_NAMES: [&str; 14] = [
    "token",
    "accesstoken",
    "idtoken",
    "refreshtoken",
    "resumetoken",
    "matchtoken",
    "secret",
    "hostsecret",
    "secretkey",
    "jwtsecret",
    "password",
    "apikey",
    "credential",
    "authorization",
];

/// Replaces by `***`: values of secret names (`token=...`, `"password":"..."`), `Bearer` credentials, JSON web
/// tokens and user information in URLs. Borrows when there was nothing to replace.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut output = String::new();
    let mut copied = 0;
    let mut position = 0;
    while let Some(found) = next_secret(text, position) {
        output.push_str(text.get(copied..found.start).unwrap_or_default());
        output.push_str(MASK);
        copied = found.end;
        position = found.end;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    output.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(output)
}

/// A URL without user information, query and fragment.
pub fn redact_url(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    redact(url.get(..end).unwrap_or_default()).into_owned()
}

/// The first secret that starts at or after `from`. Every returned range is not empty and not yet masked.
fn next_secret(text: &str, from: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    (from..bytes.len()).find_map(|index| {
        let range = match bytes[index] {
            b'=' => assignment(bytes, index),
            b':' => user_information(bytes, index).or_else(|| json_field(bytes, index)),
            b' ' => bearer(bytes, index),
            b'e' => web_token(bytes, index),
            _ => None,
        }?;
        let masked = bytes
            .get(range.clone())
            .is_none_or(|value| value == MASK.as_bytes() || value.is_empty());
        // `from` lies behind the last mask: what starts before it has been dealt with.
        (!masked && range.start >= from).then_some(range)
    })
}

/// `name=value`, at the `=`.
fn assignment(bytes: &[u8], equals: usize) -> Option<Range<usize>> {
    is_secret_name(name_before(bytes, equals)).then(|| {
        let start = equals
            + 1
            + bytes[equals + 1..]
                .iter()
                .take_while(|byte| is_quote(**byte))
                .count();
        start..value_end(bytes, start, |byte| !is_delimiter(byte))
    })
}

/// `"name":"value"` and `\"name\":\"value\"`, at the `:`.
fn json_field(bytes: &[u8], colon: usize) -> Option<Range<usize>> {
    let name_end = colon
        - bytes[..colon]
            .iter()
            .rev()
            .take_while(|byte| is_quote(**byte))
            .count();
    if name_end == colon || !is_secret_name(name_before(bytes, name_end)) {
        return None;
    }
    let start = colon
        + 1
        + bytes[colon + 1..]
            .iter()
            .take_while(|byte| **byte == b' ' || is_quote(**byte))
            .count();
    Some(start..value_end(bytes, start, |byte| !is_quote(byte)))
}

/// `//user:password@` behind the `:` of a URL.
fn user_information(bytes: &[u8], colon: usize) -> Option<Range<usize>> {
    let start = colon + 3;
    if bytes.get(colon + 1..start)? != b"//" {
        return None;
    }
    let end = value_end(bytes, start, |byte| {
        !is_delimiter(byte) && byte != b'/' && byte != b'?'
    });
    let at = bytes[start..end].iter().rposition(|byte| *byte == b'@')?;
    Some(start..start + at)
}

/// `Bearer value`, at the blank.
fn bearer(bytes: &[u8], blank: usize) -> Option<Range<usize>> {
    let word = bytes.get(blank.checked_sub(6)?..blank)?;
    word.eq_ignore_ascii_case(b"bearer").then(|| {
        let start = blank + 1;
        start..value_end(bytes, start, |byte| !is_delimiter(byte))
    })
}

/// A JSON web token: three base64url parts, the first of them an object (`eyJ`).
fn web_token(bytes: &[u8], index: usize) -> Option<Range<usize>> {
    let inside = index
        .checked_sub(1)
        .is_some_and(|before| is_token_byte(bytes[before]));
    if inside || !bytes[index..].starts_with(b"eyJ") {
        return None;
    }
    let end = value_end(bytes, index, is_token_byte);
    let parts = bytes[index..end].split(|byte| *byte == b'.').count();
    (parts >= 3).then_some(index..end)
}

fn value_end(bytes: &[u8], start: usize, inside: impl Fn(u8) -> bool) -> usize {
    start + bytes[start..].iter().take_while(|byte| inside(**byte)).count()
}

/// The name that ends right before `end`.
fn name_before(bytes: &[u8], end: usize) -> &[u8] {
    let length = bytes[..end]
        .iter()
        .rev()
        .take_while(|byte| is_name_byte(**byte))
        .count();
    &bytes[end - length..end]
}

fn is_secret_name(name: &[u8]) -> bool {
    let letters = || {
        name.iter()
            .filter(|byte| !matches!(byte, b'-' | b'_'))
            .map(u8::to_ascii_lowercase)
    };
    SECRET_NAMES.iter().any(|secret| letters().eq(secret.bytes()))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn is_token_byte(byte: u8) -> bool {
    is_name_byte(byte) || byte == b'.'
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'\\')
}

/// What ends a value in running text, a query or a header.
fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || is_quote(byte)
        || matches!(
            byte,
            b'&' | b'#' | b',' | b';' | b')' | b']' | b'}' | b'<' | b'>' | b'`'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn masks_what_is_secret() {
        for (text, expected) in [
            ("GET /?roomId=a&token=abc.def&x=1", "GET /?roomId=a&token=***&x=1"),
            ("?access_token=abc", "?access_token=***"),
            ("authorization: Bearer abc+/=", "authorization: Bearer ***"),
            ("bearer abc, bearer def", "bearer ***, bearer ***"),
            ("redis://:p%40ss@cache:6379/0", "redis://***@cache:6379/0"),
            ("rediss://user:pa:ss@cache", "rediss://***@cache"),
            (
                r#"{"password":"hun\"ter","a":1}"#,
                r#"{"password":"***\"ter","a":1}"#,
            ),
            (
                r#"{"m":"{\"secret\":\"s3\"}"}"#,
                r#"{"m":"{\"secret\":\"***\"}"}"#,
            ),
            ("HOST_SECRET=abc PORT=1", "HOST_SECRET=*** PORT=1"),
            ("got eyJhbGciOi.eyJzdWIi.c2ln-_ here", "got *** here"),
            ("token=", "token="),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn leaves_the_rest_alone() {
        for text in [
            "",
            "plain text = fine",
            "https://example.test/a?b=c",
            "wss://host/path@x",
            r#"{"tokens":3,"bearer":true,"url":"a:b"}"#,
            "user@example.test",
            "eyJust.a word",
        ] {
            assert!(
                matches!(redact(text), Cow::Borrowed(same) if same == text),
                "{text}"
            );
        }
    }

    #[test]
    fn url_loses_query_and_user() {
        assert_eq!(redact_url("wss://u:p@host/a?token=x#y"), "wss://***@host/a");
        assert_eq!(redact_url("wss://host/a"), "wss://host/a");
    }

    proptest! {
        #[test]
        fn total_and_idempotent(text in "\\PC*") {
            let once = redact(&text).into_owned();
            prop_assert_eq!(redact(&once).into_owned(), once);
        }

        #[test]
        fn no_value_survives(value in "[A-Za-z0-9._~+/%-]{8,40}", before in "[ -~]{0,20}", name in "([tT]oken|TOKEN|api[_-]?[kK]ey|password)") {
            let line = format!("{before}&{name}={value} rest");
            prop_assert!(!redact(&line).contains(&value));
            let line = format!("{before} Bearer {value}");
            prop_assert!(!redact(&line).contains(&value));
        }
    }
}
