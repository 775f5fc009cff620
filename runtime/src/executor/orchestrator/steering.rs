//! How the orchestrator obeys orders of a [`RunHandle`](crate::executor::RunHandle) and answers its questions.

use std::sync::Arc;

use ratchet_ipc::JobKey;

use super::Orchestrator;
use crate::Error;
use crate::event::RunEvent;
use crate::executor::arrival::Refused;
use crate::executor::cancelled::CancelReason;
use crate::executor::delivery::EndedJob;
use crate::executor::run_orders::RunOrder;
use crate::executor::snapshot::Snapshot;
use crate::executor::source::Batch;
use crate::executor::steering::{Cancellation, JobState};
use crate::executor::stop::Stopped;
use crate::job::Job;
use crate::scheduling::ParallelizationStats;
use crate::table::{Names, Table};

impl Orchestrator {
    /// Obeys an order that came from a handle of the run.
    pub(in crate::executor) fn apply_order(&mut self, order: RunOrder) {
        match order {
            RunOrder::Stop(phase) => self.stop(phase, Stopped::Asked),
            RunOrder::Hold(reason) => {
                self.execution
                    .dispatcher_mut()
                    .capacity()
                    .set_held(reason.is_some());
                self.control.hold(reason);
                self.publish_admission();
            }
            RunOrder::Warn(warning) => self.emit(|| RunEvent::ResourceWarning {
                resource: warning.resource.to_string(),
                percent: warning.percent,
            }),
            RunOrder::HoldPlace(place, reason) => {
                let capacity = self.execution.dispatcher_mut().capacity();
                if let Err(failure) = capacity.hold_place(place.as_str(), reason) {
                    tracing::warn!(reason = failure.message, "starts cannot be held back");
                }
            }
            RunOrder::Pause(is_paused) => {
                self.execution
                    .dispatcher_mut()
                    .capacity()
                    .set_paused(is_paused);
                self.control.pause(is_paused);
                self.publish_admission();
            }
            RunOrder::Parallelization(answer) => {
                let scheduler = self.execution.queue().scheduler();
                // An error means that the caller no longer waits for the answer.
                let _ = answer.send(ParallelizationStats::of(scheduler, self.now));
            }
            RunOrder::Snapshot(answer) => {
                // An error means that the caller no longer waits for the answer.
                let _ = answer.send(self.snapshot());
            }
            RunOrder::Find(ids, answer) => {
                let _ = answer.send(self.find(&ids));
            }
            RunOrder::CancelJobs(ids, answer) => {
                let _ = answer.send(self.cancel_jobs(&ids));
            }
            RunOrder::Output(id, answer) => {
                let _ = answer.send(self.execution.output(&id));
            }
            RunOrder::Add(jobs, answer) => {
                let _ = answer.send(self.add(jobs));
            }
            RunOrder::SetSlots(slots, answer) => {
                // An error means that the caller no longer waits for the answer.
                let _ = answer.send(self.set_slots(slots));
            }
            RunOrder::SetLimit(name, limit, answer) => {
                let result = self
                    .execution
                    .dispatcher_mut()
                    .capacity()
                    .set_limit(&name, limit, self.now);
                if result.is_ok() {
                    let limit = limit.to_string();
                    self.emit(|| RunEvent::LimitChanged { name, limit });
                }
                // An error means that the caller no longer waits for the answer.
                let _ = answer.send(result);
            }
        }
    }

    /// Returns the state of each job; `None` for a job that is not known.
    fn find(&self, ids: &[JobKey]) -> Vec<Option<JobState>> {
        let wanted: Names<&JobKey> = ids.iter().collect();
        let Snapshot {
            running, waiting, ..
        } = self.snapshot();
        let mut states = Table::default();
        for id in self.arrivals.pending().filter(|id| wanted.contains(id)) {
            states.insert(id.clone(), JobState::Pending);
        }
        for job in running {
            if wanted.contains(&job.job.id) {
                states.insert(job.job.id.clone(), JobState::Running(job));
            }
        }
        for job in waiting {
            if wanted.contains(&job.job.id) {
                states.insert(job.job.id.clone(), JobState::Waiting(job));
            }
        }
        ids.iter().map(|id| states.get(id).cloned()).collect()
    }

    /// Cancels these jobs in whatever state they are. Jobs that need them are skipped.
    fn cancel_jobs(&mut self, ids: &[JobKey]) -> Vec<Cancellation> {
        let wanted: Names<&JobKey> = ids.iter().collect();
        let (ended, asked) =
            self.cancel_wanted(|job| wanted.contains(&job.id), &CancelReason::Request);
        let pending = self.arrivals.pending().filter(|id| wanted.contains(id));
        let pending: Vec<JobKey> = pending.cloned().collect();
        let mut done = Table::default();
        done.extend(asked.into_iter().map(|id| (id, Cancellation::Asked)));
        done.extend(ended.into_iter().map(|id| (id, Cancellation::Ended)));
        for id in &pending {
            done.insert(id.clone(), Cancellation::Ended);
        }
        self.arrivals.cancel_pending(pending);
        let became = |id| done.get(id).copied().unwrap_or(Cancellation::Unknown);
        ids.iter().map(became).collect()
    }

    /// Ends the jobs for which the condition holds and that have not started, and asks the running ones to stop.
    /// Returns the ids of both.
    fn cancel_wanted(
        &mut self,
        is_wanted: impl Fn(&Job) -> bool,
        reason: &CancelReason,
    ) -> (Vec<JobKey>, Vec<JobKey>) {
        let stop = self.control.ask_to_stop();
        let shared = Arc::new(reason.clone());
        let (waiting, asked) = self
            .execution
            .cancel_wanted(&is_wanted, &shared, stop, self.now);
        let at = self.moment();
        let taken = self.arrivals.take(|arrival| is_wanted(&arrival.job), at);
        let mut ended = Vec::with_capacity(waiting.len() + taken.len());
        for entry in waiting {
            ended.push(entry.job.id.clone());
            let failure = Box::new(reason.while_waiting(entry.attempts));
            self.conclude(EndedJob::waited(entry, failure));
        }
        for arrival in taken {
            ended.push(arrival.job.id.clone());
            let refused = Refused::new(arrival, reason.while_waiting(0));
            self.conclude(EndedJob::refused(refused));
        }
        (ended, asked)
    }

    /// Ends the jobs of the groups that have failed. It comes before the starts of a turn, so that none of them starts.
    pub(in crate::executor) fn end_failed_groups(&mut self) {
        while let Some((group, reason)) = self.groups.pop() {
            let is_of_group = |job: &Job| job.terms.fail_fast.as_ref() == Some(&group);
            self.cancel_wanted(is_of_group, &reason);
        }
    }

    /// Changes the number of slots of the local place, unless a job that the run knows needs more.
    fn set_slots(&mut self, slots: u32) -> Result<(), Error> {
        let unqueued = self.arrivals.unqueued().chain(self.arrivals.pending_jobs());
        self.execution
            .set_slots(slots, unqueued, self.arrivals.kinds(), self.now)
    }

    /// Adds jobs to the run.
    fn add(&mut self, jobs: Batch) -> Result<(), Error> {
        if !self.control.is_running() {
            return Err(Error::ShuttingDown);
        }
        let outside = self.arrivals.unqueued().map(|job| &job.id);
        let unfinished: Names<JobKey> = self.execution.ids().chain(outside).cloned().collect();
        self.arrivals.add(jobs, &unfinished)
    }

    /// Returns which jobs run now, and what each waiting job waits for.
    fn snapshot(&self) -> Snapshot {
        let kinds = self.arrivals.kinds();
        let view = self
            .execution
            .dispatcher()
            .view(kinds, &self.control, self.now);
        view.snapshot(
            self.arrivals.needing(),
            self.arrivals.unresolved(),
            self.arrivals.asking(),
        )
    }
}
