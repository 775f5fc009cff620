//! How a snapshot is made from the state of a run.

use std::sync::Arc;

use ratchet_ipc::JobKey;

use super::causes::CauseFinder;
use super::input::{SnapshotInput, WaitingEntry};
use super::tokens::add_tokens_of_others;
use super::{RunningJob, Snapshot, WaitCause, WaitingJob};
use crate::context::Step;
use crate::executor::arrival::{Arrival, UnresolvedJob};
use crate::executor::entry::{EntryState, JobEntry};
use crate::ids::WorkerName;
use crate::scheduling::Blocker;

impl SnapshotInput<'_> {
    /// Makes a snapshot of the queue and of the jobs that are not queued: those that wait for others, for a worker's
    /// hello or a place, and for the cache. It reads every unfinished job, so it is
    /// made when somebody asks, and not in every turn.
    pub(in crate::executor) fn snapshot<'b>(
        &self,
        needing: impl Iterator<Item = (&'b Arrival, Vec<JobKey>)>,
        unresolved: impl Iterator<Item = &'b UnresolvedJob>,
        asking: impl Iterator<Item = &'b Arrival>,
    ) -> Snapshot {
        let causes = CauseFinder::new(self);
        let queued = self.seated.queue().entries();
        let queued = queued.filter(|entry| entry.state() != EntryState::Running);
        let queued = queued.map(|entry| WaitingEntry::queued(entry, causes.cause(entry)));
        // A pause comes first, as it does for the jobs of the queue.
        let unless_paused = |cause| {
            if self.control.is_paused() {
                WaitCause::Paused
            } else {
                cause
            }
        };
        let needing = needing
            .map(|(arrival, needs)| WaitingEntry::unqueued(arrival, WaitCause::Needs(needs)));
        let unresolved = unresolved.map(|UnresolvedJob { arrival, waits_for }| {
            let cause = match waits_for {
                Blocker::Connect => WaitCause::Connect,
                _ => WaitCause::Worker(format!("that knows `{}`", arrival.job.task_name())),
            };
            WaitingEntry::unqueued(arrival, unless_paused(cause))
        });
        let asking =
            asking.map(|arrival| WaitingEntry::unqueued(arrival, unless_paused(WaitCause::Cache)));
        let mut waiting: Vec<WaitingEntry> = queued
            .chain(needing)
            .chain(unresolved)
            .chain(asking)
            .collect();
        add_tokens_of_others(&mut waiting, causes.rates());
        waiting.sort_unstable_by_key(|entry| (entry.since, entry.position));
        let limits = self.seated.queue().scheduler().limits(self.now);
        Snapshot {
            limits: limits
                .map(|(name, state)| (name.to_owned(), state))
                .collect(),
            running: self.running(),
            waiting: waiting
                .into_iter()
                .map(|entry| WaitingJob {
                    age: self.now.saturating_duration_since(entry.since),
                    job: entry.job,
                    cause: entry.cause,
                })
                .collect(),
        }
    }

    /// Returns the running jobs, the one that has run longest first.
    fn running(&self) -> Vec<RunningJob> {
        let entries = self.seated.queue().entries();
        let mut running: Vec<&JobEntry> = entries
            .filter(|entry| entry.state() == EntryState::Running)
            .collect();
        running.sort_unstable_by_key(|entry| (entry.since, entry.position));
        let running = running.into_iter().map(|entry| RunningJob {
            job: Arc::clone(&entry.job),
            attempt: entry.attempts,
            place: self.seated.place_of(entry.ticket),
            slot: self.seated.slot(entry.ticket),
            worker: self.worker(entry),
            progress: progress(entry),
            age: self.now.saturating_duration_since(entry.since),
            resources: self
                .seated
                .shares(entry)
                .map_or_else(Vec::new, |shares| shares.to_vec()),
        });
        running.collect()
    }

    /// Returns the worker that performs the attempt of a running job.
    fn worker(&self, entry: &JobEntry) -> Option<WorkerName> {
        let seats = self.seated.performers().seats(entry.pool())?;
        Some(seats.name(entry.seat?).clone())
    }
}

/// Returns the progress that the attempt of a running job has reported.
fn progress(entry: &JobEntry) -> Option<Step> {
    let messages = entry.messages.as_ref()?;
    let is_of_attempt = messages.attempt == entry.attempts;
    messages.progress.clone().filter(|_| is_of_attempt)
}
