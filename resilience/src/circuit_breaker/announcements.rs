use std::collections::VecDeque;

use super::Transition;

/// The transitions that are still to be told.
///
/// They are put here and taken out under the lock of the machine but told outside it, so that a listener may use the
/// breaker, and by one thread at a time, so that they are told in order.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    waiting: VecDeque<Transition>,
    being_told: bool,
}

impl Announcements {
    pub(super) fn push(&mut self, transition: Transition) {
        self.waiting.push_back(transition);
    }

    /// Whether it falls to the caller to tell them: there are some, and nobody else is at it.
    pub(super) fn begin(&mut self) -> bool {
        let begins = !self.being_told && !self.waiting.is_empty();
        self.being_told |= begins;
        begins
    }

    /// The next one to tell; none ends it.
    pub(super) fn next(&mut self) -> Option<Transition> {
        let next = self.waiting.pop_front();
        self.being_told = next.is_some();
        next
    }

    /// Ends it early. What is left falls to the next caller.
    pub(super) fn abandon(&mut self) {
        self.being_told = false;
    }
}
