use std::collections::VecDeque;

use super::Transition;

/// The transitions of which the listener has not been told yet.
///
/// The state machine's lock guards the queue, but the listener is called outside that lock, so that it may use the
/// breaker. One thread at a time takes from the queue, so that the listener is told in order.
#[derive(Debug, Default)]
pub(super) struct TransitionQueue {
    waiting: VecDeque<Transition>,
    /// A thread is telling the listener, and will tell it of all that is added meanwhile.
    is_draining: bool,
}

impl TransitionQueue {
    /// Adds a change of state that the listener has to hear of.
    pub(super) fn push(&mut self, transition: Transition) {
        self.waiting.push_back(transition);
    }

    /// Makes the caller the one thread that tells the listener, if there is something to tell and no thread does.
    pub(super) fn start_draining(&mut self) -> bool {
        let starts = !self.is_draining && !self.waiting.is_empty();
        self.is_draining |= starts;
        starts
    }

    /// Takes the next transition. An empty queue ends the caller's turn in the same step, under the same lock, so no
    /// transition can be added in between and stay untold.
    pub(super) fn next(&mut self) -> Option<Transition> {
        let next = self.waiting.pop_front();
        self.is_draining = next.is_some();
        next
    }

    /// Ends the caller's turn early. The next caller of the breaker tells what is left.
    pub(super) fn stop_draining(&mut self) {
        self.is_draining = false;
    }
}
