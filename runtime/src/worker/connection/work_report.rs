//! What a worker has done since the supervisor was last told.

use std::time::Instant;

use crate::dispatch::Assignment;
use crate::worker::event::WorkUpdate;

/// How many attempts of a worker that is never idle may end before the supervisor is sent an update.
const MAX_UNREPORTED: u32 = 1024;

/// Counts what a worker does, and decides when the supervisor has to be told.
#[derive(Debug)]
pub(super) struct WorkReport {
    /// What the worker has done since the last update.
    update: WorkUpdate,
    /// Whether the worker had attempts according to the last update.
    told_busy: bool,
    /// How many jobs are left until the supervisor replaces the worker.
    jobs_left: Option<u64>,
    /// When the last attempt ended, or when an idle worker got an attempt. Busy time counts from then on.
    busy_since: Instant,
}

impl WorkReport {
    /// Makes the report of a worker that the supervisor replaces after this many jobs.
    pub(super) fn new(replace_after: Option<u64>, now: Instant) -> Self {
        Self {
            update: WorkUpdate::default(),
            told_busy: false,
            jobs_left: replace_after,
            busy_since: now,
        }
    }

    /// Notes that an idle worker gets an attempt.
    pub(super) fn note_busy(&mut self, now: Instant) {
        self.busy_since = now;
    }

    /// Counts an attempt that was sent ahead and begins now.
    pub(super) fn count_begin(&mut self, assignment: &Assignment) {
        self.update.calls_begun += u32::from(assignment.ahead && !assignment.is_of_run());
    }

    /// Counts an attempt that has ended. One that was sent ahead counts as begun, too, if it `has_begun` only by its end.
    pub(super) fn count_end(&mut self, assignment: &Assignment, has_begun: bool) {
        self.update.ended += 1;
        if !assignment.is_of_run() {
            self.update.calls_begun += u32::from(assignment.ahead && !has_begun);
            self.update.calls_ended += 1;
        }
    }

    /// Counts the time until the end of an attempt as busy.
    pub(super) fn count_busy(&mut self, now: Instant) {
        self.update.busy += now.saturating_duration_since(self.busy_since);
        self.busy_since = now;
    }

    /// Takes the update for the supervisor, if it needs one: when the worker becomes busy or idle, when it has done as
    /// many jobs as it may, after many jobs, and for each call, because the supervisor owns the seats of calls.
    /// `in_hand` is how many attempts the worker has now.
    pub(super) fn take_due(&mut self, in_hand: u32) -> Option<WorkUpdate> {
        let is_busy = in_hand > 0;
        let ended = self.update.ended;
        let has_done_its_share = (self.jobs_left).is_some_and(|left| u64::from(ended) >= left);
        let has_calls = self.update.calls_begun > 0 || self.update.calls_ended > 0;
        let is_due = is_busy != self.told_busy
            || has_calls
            || (has_done_its_share && ended > 0)
            || ended >= MAX_UNREPORTED
            // The worker became busy and idle again since the last update.
            || (!is_busy && ended > 0);
        if !is_due {
            return None;
        }
        self.jobs_left = (self.jobs_left).map(|left| left.saturating_sub(u64::from(ended)));
        self.told_busy = is_busy;
        Some(WorkUpdate {
            in_hand,
            ..std::mem::take(&mut self.update)
        })
    }
}
