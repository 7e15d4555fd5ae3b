//! The secret by which a peer that speaks v2 proves that a seat is its own.
//!
//! The member's id is a digest of the secret and the role, which therefore cannot change. So any instance can check it
//! without having been told anything, nothing of it is stored, and an id, which everybody in the room knows, does not give
//! the secret away.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::MemberId;
use uuid::Builder;

/// Bytes of a secret.
const BYTES: usize = 32;

/// The secret. It has no `Debug`, so that it reaches no log.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ResumeToken([u8; BYTES]);

impl ResumeToken {
    /// From random bytes.
    pub(crate) fn new(random: [u8; BYTES]) -> Self {
        Self(random)
    }

    /// From what a peer sent.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// As the peer keeps it.
    pub(crate) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The member that has this secret and this role.
    pub(crate) fn member(&self, role: Role) -> MemberId {
        let mut secret = [0; BYTES + 1];
        secret[..BYTES].copy_from_slice(&self.0);
        secret[BYTES] = match role {
            Role::Host => 0,
            Role::Player => 1,
        };
        let digest = digest(&SHA256, &secret);
        let mut id = [0; 16];
        id.copy_from_slice(&digest.as_ref()[..16]);
        // Version 8 of RFC 9562: a digest.
        MemberId(Builder::from_custom_bytes(id).into_uuid())
    }
}

/// Whether a member has such a secret: others have a random id (version 4).
pub(crate) fn may_come_back(member: MemberId) -> bool {
    member.0.get_version_num() == 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_it_is_written_and_names_one_member() {
        let token = ResumeToken::new([7; BYTES]);
        let read = ResumeToken::parse(&token.text()).unwrap();
        assert!(read == token);
        let member = token.member(Role::Host);
        assert_eq!(read.member(Role::Host), member);
        assert_ne!(read.member(Role::Player), member);
        assert_ne!(ResumeToken::new([8; BYTES]).member(Role::Host), member);
        assert_eq!(member.0.get_version_num(), 8);
    }

    #[test]
    fn anything_else_is_no_secret() {
        let long = ResumeToken::new([7; BYTES]).text() + "AA";
        for text in ["", "abc", "****", &long] {
            assert!(ResumeToken::parse(text).is_none(), "{text}");
        }
    }
}
