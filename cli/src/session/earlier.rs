//! The earlier part of a run that is resumed: which of its jobs are kept.

use std::sync::{Arc, Mutex, PoisonError};

use ratchet_runtime::journal::{ResumeCounts, ResumeDecision, SourceIdentity};
use ratchet_runtime::{History, Job, Journal, Outcome, Resume};

/// The outcomes of an earlier part of the run.
pub(super) struct EarlierOutcomes {
    /// Decides which jobs have to be run again.
    resume: Resume,
    /// The journal, which this part of the run continues.
    journal: Arc<Mutex<Journal>>,
    /// Whether the jobs were not read to their end, so that nobody knows which of the earlier ones are not there.
    is_broken_off: bool,
}

impl EarlierOutcomes {
    /// Makes the look-up in the history of a run. This part of the run continues `journal`.
    pub(super) fn new(
        history: History,
        source: Option<&SourceIdentity>,
        journal: &Arc<Mutex<Journal>>,
    ) -> Self {
        Self {
            resume: Resume::new(Arc::new(history), source),
            journal: Arc::clone(journal),
            is_broken_off: false,
        }
    }

    /// Looks each job up after the jobs that it needs, and keeps the order of the list.
    #[expect(clippy::expect_used, reason = "the order contains each index once")]
    pub(super) fn look_up_all(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let order = needs_first(&jobs);
        let mut jobs: Vec<Option<Job>> = jobs.into_iter().map(Some).collect();
        for index in order {
            let job = jobs[index].take().expect("each job is taken once");
            jobs[index] = Some(self.look_up(job));
        }
        jobs.into_iter().flatten().collect()
    }

    /// Whether an outcome of this job is recorded, whatever it is.
    #[cfg(feature = "queue")]
    pub(super) fn has_outcome(&self, job: &Job) -> bool {
        self.resume.history().find_job(job).is_some()
    }

    /// Turns a job that has succeeded before into one that has ended, unless a job that it needs is run again.
    pub(super) fn look_up(&mut self, job: Job) -> Job {
        let ResumeDecision::Keep(recorded) = self.resume.decide(&job) else {
            return job;
        };
        match self.resume.history().outcome(&recorded) {
            Ok(mut outcome) => {
                if outcome.id != job.id {
                    outcome.id = job.id.clone();
                    self.renumber(&job, &outcome);
                }
                Job {
                    needs: job.needs,
                    item: job.item,
                    kept_output: job.kept_output,
                    ..Job::ended(outcome)
                }
            }
            Err(error) => {
                tracing::warn!(%error, job = %job.id, "the result of a job cannot be read, so the job is run again");
                self.resume.run_again(&recorded);
                job
            }
        }
    }

    /// Records the new number of a kept result, because its item has another position in the list now.
    fn renumber(&self, job: &Job, outcome: &Outcome) {
        // No call leaves the journal half changed, so the lock is safe to use after a panic in another thread.
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = journal.append(job, outcome) {
            // A journal that failed once fails at every further call, so the run itself ends with this error.
            tracing::warn!(%error, job = %job.id, "the new number of a job cannot be recorded");
        }
    }

    /// Returns how the jobs differ from those of the earlier part.
    pub(super) fn differences(self) -> ResumeDifferences {
        ResumeDifferences {
            jobs: self.resume.differences(),
            gone: if self.is_broken_off {
                0
            } else {
                self.resume.not_in_source()
            },
            failed_and_gone: if self.is_broken_off {
                0
            } else {
                self.resume.failed_not_in_source()
            },
        }
    }

    /// Notes that the jobs were not read to their end.
    pub(super) fn break_off(&mut self) {
        self.is_broken_off = true;
    }
}

/// Returns the indexes of jobs, in an order in which each job comes after the jobs that it needs.
pub(super) fn needs_first(jobs: &[Job]) -> Vec<usize> {
    let in_file = || (0..jobs.len()).collect();
    if jobs.iter().all(|job| job.needs.is_empty()) {
        return in_file();
    }
    // The executor refuses jobs that cannot be ordered when the run begins.
    Job::order_by_needs(jobs).unwrap_or_else(|_| in_file())
}

/// How the jobs of a resumed run differ from those of its earlier part.
pub(super) struct ResumeDifferences {
    /// How many jobs are kept, and how many are run again, by the reason.
    pub(super) jobs: ResumeCounts,
    /// How many jobs of the earlier part are not among the jobs any more; 0 if the jobs were not read to their end.
    pub(super) gone: u64,
    /// How many of these have not succeeded.
    pub(super) failed_and_gone: u64,
}
