//! A room as the matchmaker sees it.

use std::sync::Arc;

use crate::match_token::Role;

/// Most departures that a watched room remembers. The matchmaker looks at a room after each change, so this is what
/// may come and go between two looks.
pub const MOST_DEPARTED: usize = 8;

/// What is known of a member besides its seat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// What it is in its room: by its token, by its `hello`, or by what it sent first: hosts in the field answer and players
    /// offer, and neither ever does the other.
    pub role: Option<Role>,
    /// The id in its match token: that of a host, or a player's match. Nobody else can have it.
    pub id: Option<Arc<str>>,
}

impl Who {
    /// A member with this role and no id.
    pub fn is(role: Role) -> Self {
        Self {
            role: Some(role),
            id: None,
        }
    }

    /// A member whose token names this role and id.
    pub fn proven(role: Role, id: &str) -> Self {
        Self {
            role: Some(role),
            id: Some(id.into()),
        }
    }
}

/// The members of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomState {
    /// Last join number given out in this room; 0 when the room does not exist.
    pub last: u64,
    /// The members, by ascending join number.
    pub members: Vec<RoomMember>,
    /// Who left last, the earliest departure first; hosts are not among them. Only a watched room remembers them.
    pub departed: Vec<Departed>,
}

/// A member of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomMember {
    /// Join number.
    pub join: u64,
    /// What is known of it.
    pub who: Who,
}

/// Somebody who has left a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// Join number.
    pub join: u64,
    /// What was known of it.
    pub who: Who,
    /// When it left, Unix µs.
    pub at_us: u64,
}
