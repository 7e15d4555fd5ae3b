//! What a room keeps while answers of the store are outstanding.

use berth_dataplane::occupancy::MemberId;

use super::Backlog;

/// Most changes that are remembered for open views. A room with more of them in one round trip starts over.
const MOST_CHANGES: usize = 1024;

/// The moment at which the store was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View(u64);

/// Exists while a view is open, or must be opened again.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    /// Local members that are about to sit down.
    pub(super) entering: u32,
    /// The store may have lost its seats since they asked for theirs.
    pub(super) doubtful: bool,
    /// Open views.
    views: u32,
    /// Members whose joining or leaving was heard of, oldest first.
    changes: Vec<MemberId>,
    /// How many changes were forgotten.
    forgotten: u64,
    /// What the store is asked for no other purpose than to know.
    question: Question,
    /// Messages that were relayed while somebody was sitting down: who joined after him owes them to him.
    pub(super) recent: Backlog,
    /// Messages of other instances that came while somebody was sitting down and nobody else was here: they can only be for
    /// him, whose seat the store shows before it has answered him.
    pub(super) unheard: Backlog,
    /// Messages of remote members that are not known (yet).
    pub(super) held: Backlog,
}

/// The question who sits here. One is asked at a time; what happens meanwhile may be worth another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Question {
    /// There is none.
    #[default]
    None,
    /// To be asked at the next [`super::Room::retry`].
    Due,
    /// Asked.
    Asked,
    /// Asked, and the answer may be too old already.
    AskedTooEarly,
}

impl Unsettled {
    /// Opens the view of a question, unless one is under way.
    pub(super) fn ask(&mut self) -> Option<View> {
        match self.question {
            Question::None | Question::Due => {
                self.question = Question::Asked;
                Some(self.open())
            }
            Question::Asked | Question::AskedTooEarly => {
                self.question = Question::AskedTooEarly;
                None
            }
        }
    }

    /// The question was answered, or not; whether it must be asked again at once.
    pub(super) fn answered(&mut self, with_seats: bool) -> bool {
        let again = with_seats && self.question == Question::AskedTooEarly;
        self.question = if with_seats { Question::None } else { Question::Due };
        again
    }

    /// The store is to be asked at the next [`super::Room::retry`].
    pub(super) fn ask_later(&mut self) {
        self.question = match self.question {
            Question::None | Question::Due => Question::Due,
            Question::Asked | Question::AskedTooEarly => Question::AskedTooEarly,
        };
    }

    /// Whether a question waits for the next [`super::Room::retry`].
    pub(super) fn is_due(&self) -> bool {
        self.question == Question::Due
    }

    /// Opens a view.
    pub(super) fn open(&mut self) -> View {
        self.views += 1;
        View(self.forgotten + self.changes.len() as u64)
    }

    /// Closes a view; these members changed since it was opened.
    pub(super) fn close(&mut self, view: View) -> Vec<MemberId> {
        self.views = self.views.saturating_sub(1);
        let seen = usize::try_from(view.0.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        self.changes.get(seen..).unwrap_or_default().to_vec()
    }

    pub(super) fn note(&mut self, member: MemberId) {
        if self.views == 0 {
            return;
        }
        if self.changes.len() >= MOST_CHANGES {
            self.forgotten += self.changes.len() as u64;
            self.changes.clear();
            self.ask_later();
        }
        self.changes.push(member);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.views == 0 && self.question == Question::None
    }
}
