//! `Paused`: whether a resource is left as it is, and what is therefore not as its spec says.

use super::conditions::{Conditions, Truth};
use super::reason::{ConditionType, Reason};
use crate::render::ChildId;

/// Most objects that a message names.
const NAMED: usize = 5;

/// Adds `Paused`. `held` are the children that would be written or deleted otherwise. Gives what the resource waits for.
pub(super) fn tell(
    paused: bool,
    held: &[ChildId],
    conditions: &mut Conditions<'_>,
) -> Option<(Reason, String)> {
    const KIND: ConditionType = ConditionType::Paused;
    if !paused {
        conditions.set(KIND, Truth::False, Reason::NotPaused, "spec.paused is false");
        return None;
    }
    let message = if held.is_empty() {
        "spec.paused is true: nothing is written".to_owned()
    } else {
        format!("spec.paused is true: not written {}", list(held))
    };
    conditions.set(KIND, Truth::True, Reason::Paused, message.clone());
    (!held.is_empty()).then_some((Reason::Paused, message))
}

fn list(held: &[ChildId]) -> String {
    let named: Vec<_> = held.iter().take(NAMED).map(ToString::to_string).collect();
    let more = held.len() - named.len();
    let named = named.join(", ");
    if more == 0 {
        named
    } else {
        format!("{named} and {more} more")
    }
}
