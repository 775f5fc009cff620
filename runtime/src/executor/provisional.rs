//! Results that may still prove wrong: the answers of filters, whose lines carry no ids.
//!
//! ```text
//! Ended, provisional --> held --Confirmed--> outcome, in doubt until Cleared
//!                          \---Refuted----> failure: back to the queue, or the end of the job
//!                                OutOfStep: what is in doubt is suspect
//! ```
//!
//! A job whose result is held has no slot, and the scheduler no longer knows it. A delivered result cannot be taken
//! back. If it proves wrong, the run reports it as suspect, and the journal records that.

use ratchet_caching::Key;
use ratchet_ipc::JobKey;
use std::collections::HashMap;
use std::sync::Arc;

use super::cancelled::CancelReason;
use super::ended_attempt::EndedAttempt;
use super::entry::JobEntry;
use crate::ids::{Ticket, WorkerName};

/// Owns the jobs whose results are held, and knows which delivered results are in doubt.
#[derive(Default)]
pub(super) struct Provisional {
    /// The jobs whose results are held, by the tickets that they had.
    held: HashMap<Ticket, (JobEntry, EndedAttempt)>,
    /// The results of each worker that were delivered and may be wrong.
    in_doubt: HashMap<WorkerName, Vec<InDoubt>>,
}

/// A delivered result that may be wrong.
struct InDoubt {
    id: JobKey,
    /// The key under which the result was stored in the cache, if it was.
    cached: Option<Box<Key>>,
}

/// Delivered results that may be wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suspects {
    /// The jobs whose results may be those of other jobs.
    pub(super) ids: Vec<JobKey>,
    /// The keys under which the results were stored in the cache.
    pub(super) cached: Vec<Key>,
}

impl Provisional {
    /// Returns how many results are held.
    pub(super) fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Holds the result of a job that has left the queue.
    pub(super) fn hold(&mut self, entry: JobEntry, attempted: EndedAttempt) {
        self.held.insert(entry.ticket, (entry, attempted));
    }

    /// Removes and returns the job of a confirmed result; `None` if it was given up and has its outcome already. If the
    /// result is `in_doubt`, it may still prove wrong.
    pub(super) fn confirm(
        &mut self,
        ticket: Ticket,
        in_doubt: bool,
    ) -> Option<(JobEntry, EndedAttempt)> {
        let (entry, attempted) = self.held.remove(&ticket)?;
        if let Some(worker) = attempted.worker.as_ref().filter(|_| in_doubt) {
            let in_doubt = InDoubt {
                id: entry.job.id.clone(),
                cached: entry.cache_key.as_ref().map(|key| Box::new(key.key())),
            };
            let list = self.in_doubt.entry(worker.clone());
            list.or_default().push(in_doubt);
        }
        Some((entry, attempted))
    }

    /// Removes and returns a job whose result is the answer to something else; `None` if it was given up and has its
    /// outcome already.
    pub(super) fn refute(&mut self, ticket: Ticket) -> Option<(JobEntry, EndedAttempt)> {
        self.held.remove(&ticket)
    }

    /// Forgets the results of this worker that were in doubt, because they are right.
    pub(super) fn cleared(&mut self, worker: &WorkerName) {
        self.in_doubt.remove(worker);
    }

    /// Takes the results of this worker that were in doubt, because they may be the answers to other jobs.
    pub(super) fn take_suspects(&mut self, worker: &WorkerName) -> Option<Suspects> {
        let in_doubt = self.in_doubt.remove(worker)?;
        let cached = in_doubt
            .iter()
            .filter_map(|one| one.cached.as_deref().copied());
        Some(Suspects {
            cached: cached.collect(),
            ids: in_doubt.into_iter().map(|one| one.id).collect(),
        })
    }

    /// Iterates over the jobs whose results are held.
    pub(super) fn held_jobs(&self) -> impl Iterator<Item = &JobEntry> {
        self.held.values().map(|(entry, _)| entry)
    }

    /// Marks the jobs with held results for which the condition holds as cancelled, so that they are not tried again.
    /// Calls `found` with each.
    pub(super) fn cancel_held(
        &mut self,
        is_wanted: impl Fn(&JobEntry) -> bool,
        reason: &Arc<CancelReason>,
        mut found: impl FnMut(&JobEntry),
    ) {
        for (entry, _) in self.held.values_mut() {
            if is_wanted(entry) {
                entry.cancelled.get_or_insert_with(|| Arc::clone(reason));
                found(entry);
            }
        }
    }

    /// Removes and returns the jobs whose results are held, because the run does not wait for them any longer.
    pub(super) fn give_up_held(
        &mut self,
    ) -> impl Iterator<Item = (JobEntry, EndedAttempt)> + use<> {
        std::mem::take(&mut self.held).into_values()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use ratchet_ipc::Payload;

    use super::*;
    use crate::executor::entry::tests::entry;
    use crate::job::Job;

    fn held(provisional: &mut Provisional, id: &str) -> (Ticket, WorkerName) {
        let now = tokio::time::Instant::now().into_std();
        let entry = entry(Arc::new(Job::task(id, "t", Payload::null())), now);
        let (ticket, worker) = (entry.ticket, WorkerName::new("filter", 1));
        let attempted = EndedAttempt {
            result: Ok(Payload::null()),
            worker: Some(worker.clone()),
            ran: Duration::ZERO,
            usage: None,
            began: Some(now),
            slot: None,
            place: None,
            provisional: true,
        };
        provisional.hold(entry, attempted);
        (ticket, worker)
    }

    #[test]
    fn a_confirmed_result_is_in_doubt_until_its_worker_is_cleared() {
        let mut provisional = Provisional::default();
        for (in_doubt, clear, suspects) in [
            (true, false, Some(vec!["a"])),
            (true, true, None),
            (false, false, None),
        ] {
            let (ticket, worker) = held(&mut provisional, "a");
            assert_eq!(provisional.held_count(), 1);
            assert!(provisional.confirm(ticket, in_doubt).is_some());
            assert!(provisional.confirm(ticket, in_doubt).is_none());
            if clear {
                provisional.cleared(&worker);
            }
            let found = provisional.take_suspects(&worker);
            let ids = found.map(|found| found.ids);
            let expected =
                suspects.map(|ids| ids.into_iter().map(JobKey::from).collect::<Vec<_>>());
            assert_eq!(ids, expected, "{in_doubt} {clear}");
        }
    }

    #[test]
    fn a_refuted_result_is_held_no_longer() {
        let mut provisional = Provisional::default();
        let (ticket, _) = held(&mut provisional, "a");
        assert!(provisional.refute(ticket).is_some());
        assert!(provisional.refute(ticket).is_none());
        assert_eq!(provisional.held_count(), 0);
    }
}
