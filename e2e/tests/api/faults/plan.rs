//! Which requests meet which fault.

use std::sync::Arc;

use parking_lot::Mutex;

use super::asked::Asked;
use super::seed::Random;
use super::stream::{Edit, Line};

/// What a 429 asks for, in seconds.
pub(crate) const RETRY_AFTER: u32 = 3;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server refuses with this code and does nothing. 429 says when to come back: [`RETRY_AFTER`].
    Refuse(u16),
    /// The connection breaks before the server has heard of it.
    CutBefore,
    /// The connection breaks after the server has done it.
    CutAfter,
    /// It is never heard of again, and the server has not heard of it.
    Hang,
    /// The operator dies before it is sent.
    CrashBefore,
    /// The operator dies after the server has done it and before it hears so.
    CrashAfter,
}

type Decide = dyn Fn(&Asked) -> Option<Fault> + Send + Sync;
type Editor = dyn Fn(&Line) -> Edit + Send + Sync;

/// What a network does to what it carries.
#[derive(Clone)]
pub(crate) struct Plan {
    decide: Arc<Decide>,
    pub(super) editor: Option<Arc<Editor>>,
}

impl Plan {
    /// Everything is carried as it is.
    pub(crate) fn none() -> Self {
        Self::new(|_| None)
    }

    /// The fault that `decide` says for each request.
    pub(crate) fn new(decide: impl Fn(&Asked) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self {
            decide: Arc::new(decide),
            editor: None,
        }
    }

    /// `fault` at the write with this number.
    pub(crate) fn at_write(number: usize, fault: Fault) -> Self {
        Self::new(move |asked| (asked.write == Some(number)).then_some(fault))
    }

    /// One of `faults` at one write in three, `times` times in all; which ones comes out of `seed`.
    pub(crate) fn some_writes(seed: u64, times: usize, faults: &'static [Fault]) -> Self {
        let state = Mutex::new((Random(seed), times));
        Self::new(move |asked| {
            asked.write?;
            let mut state = state.lock();
            let (random, left) = &mut *state;
            if *left == 0 || random.below(3) != 0 {
                return None;
            }
            *left -= 1;
            Some(*random.one_of(faults))
        })
    }

    /// Does to each line of each watch what `editor` says.
    pub(crate) fn editing(mut self, editor: impl Fn(&Line) -> Edit + Send + Sync + 'static) -> Self {
        self.editor = Some(Arc::new(editor));
        self
    }

    pub(super) fn fault(&self, asked: &Asked) -> Option<Fault> {
        (self.decide)(asked)
    }
}
