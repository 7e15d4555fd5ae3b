//! A token as a peer sends it.

use jsonwebtoken::{Algorithm, decode_header};

use super::AuthError;

/// Longest token that is looked at, bytes.
const LONGEST: usize = 16 * 1024;

/// A token of a peer. It has no `Debug`, so that it reaches no log.
pub(crate) struct Token(String);

/// What the header of a token says about its signature (RFC 7515, section 4.1). Nothing of it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenHeader {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
}

impl Token {
    /// Takes the text of a token.
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, to be checked. Never for a log.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// The header. Tokens without a signature, and those that ask for extensions (`crit`), of which none is known
    /// here, are not valid (RFC 7515, section 4.1.11).
    pub(super) fn header(&self) -> Result<TokenHeader, AuthError> {
        if self.0.len() > LONGEST {
            return Err(AuthError::Invalid);
        }
        let header = decode_header(&self.0).map_err(|_| AuthError::Invalid)?;
        if header.crit.is_some() {
            return Err(AuthError::Invalid);
        }
        Ok(TokenHeader {
            algorithm: header.alg,
            key_id: header.kid,
        })
    }
}
