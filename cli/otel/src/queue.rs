//! The queue between the run and the thread that sends its telemetry: bounded, and never waited for by the run.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::figures::Figures;
use crate::span::Span;

/// How many spans may wait to be sent: some tens of megabytes. Those for which there is no room are lost.
const MOST_WAITING: usize = 50_000;

/// How many spans are sent at once.
pub(crate) const BATCH: usize = 1_000;

/// The telemetry that waits to be sent.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Wakes the thread when there is a batch, and at the end.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    spans: Vec<Span>,
    figures: Figures,
    /// How many spans found no room.
    dropped: u64,
    /// How many spans were given out and are not known to have been taken.
    unconfirmed: u64,
    /// When the last span of the run was added; `None` while more come.
    closed: Option<Instant>,
}

/// The next thing that the thread has to do.
#[derive(Debug)]
pub(crate) struct Next {
    /// The spans to send. There are none if only the time was over.
    pub(crate) spans: Vec<Span>,
    /// When the run ended, if it has.
    pub(crate) closed: Option<Instant>,
}

impl Queue {
    /// Adds spans, as far as there is room.
    pub(crate) fn push(&self, spans: Vec<Span>) {
        let mut state = self.lock();
        let room = MOST_WAITING.saturating_sub(state.spans.len());
        state.dropped += spans.len().saturating_sub(room) as u64;
        state.spans.extend(spans.into_iter().take(room));
        if state.spans.len() >= BATCH {
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Adds the span of the run, which always has room. No more spans come after it.
    pub(crate) fn close(&self, last: Option<Span>, now: Instant) {
        let mut state = self.lock();
        state.spans.extend(last);
        state.closed.get_or_insert(now);
        drop(state);
        self.changed.notify_one();
    }

    /// Changes the figures.
    pub(crate) fn count(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.lock().figures);
    }

    /// Returns the figures.
    pub(crate) fn figures(&self) -> Figures {
        self.lock().figures.clone()
    }

    /// Notes that the collector has taken this many of the spans that were given out.
    pub(crate) fn confirm(&self, count: usize) {
        self.lock().unconfirmed -= count as u64;
    }

    /// Returns how many spans the collector has not taken: those that found no room, those that wait, and those that were given
    /// out in vain.
    pub(crate) fn lost(&self) -> u64 {
        let state = self.lock();
        state.dropped + state.unconfirmed + state.spans.len() as u64
    }

    /// Returns how many spans wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().spans.len()
    }

    /// Waits for a batch, but not longer than this, and not after the end of the run.
    pub(crate) fn next(&self, patience: Duration) -> Next {
        let state = self.lock();
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, patience, |state| {
                state.spans.len() < BATCH && state.closed.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        let count = state.spans.len().min(BATCH);
        state.unconfirmed += count as u64;
        Next {
            spans: state.spans.drain(..count).collect(),
            closed: state.closed,
        }
    }

    /// Waits for this time, or until the run has ended.
    pub(crate) fn pause(&self, patience: Duration) -> Option<Instant> {
        let state = self.lock();
        let waited = self
            .changed
            .wait_timeout_while(state, patience, |state| state.closed.is_none());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.closed
    }

    /// Locks the state. A panic elsewhere does not spoil it: each change under the lock leaves it whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use ratchet_runtime::RunTrace;
    use ratchet_runtime::process::working_now;

    use super::*;

    fn spans(count: usize) -> Vec<Span> {
        let span = Span {
            own: RunTrace::begin(None).run(),
            parent: None,
            is_parent_remote: false,
            name: String::new(),
            start: 0,
            end: 0,
            error: None,
            attributes: Vec::new(),
            events: Vec::new(),
            dropped_events: 0,
        };
        vec![span; count]
    }

    #[test]
    fn spans_without_room_are_lost_and_counted_but_not_the_span_of_the_run() {
        let queue = Queue::default();
        queue.push(spans(MOST_WAITING - 1));
        queue.push(spans(3));
        assert_eq!(queue.waiting(), MOST_WAITING);
        assert_eq!(queue.lost() - queue.waiting() as u64, 2);
        queue.close(spans(1).pop(), working_now());
        assert_eq!(queue.waiting(), MOST_WAITING + 1);
    }

    #[test]
    fn a_batch_is_given_out_at_once_and_the_rest_after_the_end() {
        let queue = Queue::default();
        queue.push(spans(BATCH + 1));
        let forever = Duration::from_hours(1);
        assert_eq!(queue.next(forever).spans.len(), BATCH);
        assert_eq!(queue.next(Duration::ZERO).spans.len(), 1);
        assert_eq!(queue.lost(), BATCH as u64 + 1);
        queue.confirm(BATCH);
        assert_eq!(queue.lost(), 1);
        queue.push(spans(2));
        queue.close(None, working_now());
        let next = queue.next(forever);
        assert_eq!((next.spans.len(), next.closed.is_some()), (2, true));
        assert!(queue.next(forever).spans.is_empty());
        assert!(queue.pause(forever).is_some());
    }
}
