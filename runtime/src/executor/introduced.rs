//! What a kind of worker says of its tasks, in time or not.

use super::orchestrator::{Arrival, Entry, Orchestrator, State, expect_known};
use crate::dispatch::Introduction;
use crate::ids::Ticket;
use crate::scheduling::{Kind, ParallelizationHint};

impl Orchestrator {
    /// A kind has introduced itself, or has shown that it does not.
    pub(super) fn kind_introduced(
        &mut self,
        kind: Kind,
        version: Option<String>,
        tasks: Option<Vec<Introduction>>,
    ) {
        if let Some(version) = version {
            self.kinds.set_version(kind, version);
        }
        let unbound = self.unbound(kind);
        if self.kinds.introduced(kind, tasks) {
            let bound = |ticket: &&Ticket| self.entry(**ticket).is_some_and(|e| !self.is_free(e));
            let too_late = unbound.iter().filter(bound).count();
            if too_late > 0 {
                tracing::warn!(
                    worker = self.kinds.name(kind),
                    jobs = too_late,
                    "a worker declared hints only after jobs had been given out, which run without \
                     them; `handshake: required` or a longer `handshake_wait` has jobs wait for its hello"
                );
            }
            self.queue_again(kind);
        }
        self.resolve_again();
    }

    /// Jobs of a kind that are with its workers and that no hint binds, if its workers may still declare one.
    fn unbound(&self, kind: Kind) -> Vec<Ticket> {
        if !self.kinds.is_guessed(kind) {
            return Vec::new();
        }
        let given = self.entries.iter().flatten();
        let given = given.filter(|entry| entry.kind == kind && !is_at_start(entry));
        let unbound = given.filter(|entry| self.is_free(entry));
        unbound.map(|entry| entry.ticket).collect()
    }

    fn is_free(&self, entry: &Entry) -> bool {
        let hint = self.kinds.hint(&entry.job);
        hint.is_ok_and(|hint| *hint == ParallelizationHint::FullyParallel)
    }

    /// Takes the jobs of a kind that were never given to a worker out of the queue, and looks at them anew in the
    /// order in which they came: their hints, their tasks and the cache may mean something else by now.
    fn queue_again(&mut self, kind: Kind) {
        let waiting = self.entries.iter().flatten();
        let waiting = waiting.filter(|entry| entry.kind == kind && is_at_start(entry));
        let mut waiting: Vec<(u64, Ticket)> =
            waiting.map(|entry| (entry.place, entry.ticket)).collect();
        waiting.sort_unstable();
        // All are out before the first is back, or it would be bound by what those behind it declared.
        let taken: Vec<Entry> = waiting
            .into_iter()
            .filter_map(|(_, ticket)| self.take_back(ticket))
            .collect();
        for entry in taken {
            let arrival = Arrival {
                job: entry.job,
                place: entry.place,
                since: entry.since.checked_sub(entry.queued).unwrap_or(entry.since),
            };
            // Its right to store a result goes to whoever asked for the same.
            drop(entry.share);
            self.proceed(arrival);
        }
    }

    fn take_back(&mut self, ticket: Ticket) -> Option<Entry> {
        expect_known(self.scheduler.cancel(ticket));
        let entry = self.forget(ticket)?;
        self.counts[usize::from(entry.kind.0)].waiting -= 1;
        Some(entry)
    }
}

/// Whether a job waits and no attempt at it has been made.
fn is_at_start(entry: &Entry) -> bool {
    entry.state == State::Waiting && entry.attempts == 0
}
