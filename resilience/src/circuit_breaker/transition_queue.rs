use std::collections::VecDeque;

use super::Transition;

/// The transitions that were not reported to the listener yet.
///
/// The state machine's lock guards the queue, but the listener is called outside of that lock, so that it may use the
/// breaker. Only one thread at a time takes transitions from the queue, so that they are reported in order.
#[derive(Debug, Default)]
pub(super) struct TransitionQueue {
    waiting: VecDeque<Transition>,
    /// Whether a thread is calling the listener. It also reports all transitions that are added in the meantime.
    is_draining: bool,
}

impl TransitionQueue {
    /// Adds a change of state that has to be reported to the listener.
    pub(super) fn push(&mut self, transition: Transition) {
        self.waiting.push_back(transition);
    }

    /// Makes the caller the only thread that calls the listener, if there is anything to report and no other thread
    /// does so.
    pub(super) fn start_draining(&mut self) -> bool {
        let starts = !self.is_draining && !self.waiting.is_empty();
        self.is_draining |= starts;
        starts
    }

    /// Takes the next transition. If the queue is empty, this ends the caller's turn in the same step, under the same
    /// lock, so that no transition can be added in between and stay unreported.
    pub(super) fn next(&mut self) -> Option<Transition> {
        let next = self.waiting.pop_front();
        self.is_draining = next.is_some();
        next
    }

    /// Ends the caller's turn early. The next caller of the breaker reports the rest.
    pub(super) fn stop_draining(&mut self) {
        self.is_draining = false;
    }
}
