//! Decides which jobs of a run still have to be done when it is resumed.

use std::sync::Arc;

use ratchet_ipc::JobKey;

use super::content::Content;
use super::history::{History, RecordedOutcome};
use super::record::SourceIdentity;
use crate::job::Job;
use crate::outcome::Status;

/// Whether a job of a resumed run is done again, or its recorded result is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumeDecision {
    /// The job has succeeded and does the same as before. [`History::outcome`] reads its result.
    Keep(RecordedOutcome),
    /// The job is done again, or for the first time.
    Run(RunReason),
}

/// Why a job is done in a resumed run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunReason {
    /// The history has no outcome of the job.
    New,
    /// The job was interrupted or cancelled.
    NotEnded,
    /// The job was skipped, because a job that it needs had not succeeded.
    Skipped,
    /// The job failed, crashed or timed out.
    Failed,
    /// The job does something else than before.
    Changed,
    /// A job that it needs is done again, or was done again after it, so its result was made from an outdated one.
    NeedRedone,
}

impl History {
    /// Decides whether a job with this id and content has to be done, without regard to the jobs that it needs.
    /// `same_source` is set if the jobs come from the same source as those of the history, so that a job without an
    /// outcome is not new but did not end.
    pub fn decide(&self, id: &JobKey, content: Content, same_source: bool) -> ResumeDecision {
        decide(self.find(id), content, same_source)
    }
}

/// Decides from the recorded outcome of a job alone. The content is compared before the status.
fn decide(found: Option<RecordedOutcome>, content: Content, same_source: bool) -> ResumeDecision {
    match found {
        None if same_source => ResumeDecision::Run(RunReason::NotEnded),
        None => ResumeDecision::Run(RunReason::New),
        Some(recorded) if recorded.content != content => ResumeDecision::Run(RunReason::Changed),
        Some(recorded) => match recorded.status {
            Status::Succeeded => ResumeDecision::Keep(recorded),
            Status::Failed | Status::TimedOut | Status::Crashed => {
                ResumeDecision::Run(RunReason::Failed)
            }
            Status::Cancelled => ResumeDecision::Run(RunReason::NotEnded),
            Status::Skipped => ResumeDecision::Run(RunReason::Skipped),
        },
    }
}

/// How many jobs are kept, and how many are done again for each reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResumeCounts {
    /// Jobs that are kept, because they have succeeded and have not changed.
    pub kept: u64,
    /// Jobs that are not in the history.
    pub new: u64,
    /// Jobs that had not ended.
    pub not_ended: u64,
    /// Jobs that had been skipped.
    pub skipped: u64,
    /// Jobs that had failed.
    pub failed: u64,
    /// Jobs that do something else than before.
    pub changed: u64,
    /// Jobs that had succeeded and need a job that is done again.
    pub dependents: u64,
}

/// A set of jobs of a history: one bit for each job, by its position in the index.
#[derive(Debug)]
struct JobSet(Vec<u64>);

impl JobSet {
    fn empty(jobs: usize) -> Self {
        Self(vec![0; jobs.div_ceil(64)])
    }

    fn insert(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    fn contains(&self, number: usize) -> bool {
        self.0[number / 64] >> (number % 64) & 1 == 1
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|bits| u64::from(bits.count_ones())).sum()
    }
}

/// Decides for one job after another whether it has to be done, and counts the decisions.
///
/// A job that has succeeded is kept only if all jobs that it needs are kept. So ask about a job only after you have
/// asked about those that it needs.
#[derive(Debug)]
pub struct Resume {
    history: Arc<History>,
    /// Whether the jobs come from the same file as before, unchanged.
    same_source: bool,
    /// The jobs of the history that were asked about.
    seen: JobSet,
    /// The jobs of the history that are done again.
    redone: JobSet,
    differences: ResumeCounts,
}

impl Resume {
    /// Continues a history with jobs from this source. A stream has no source.
    pub fn new(history: Arc<History>, source: Option<&SourceIdentity>) -> Self {
        let known = history.header().source.as_ref();
        let same_source = known
            .zip(source)
            .is_some_and(|(known, source)| known.digest == source.digest);
        let jobs = history.jobs();
        Self {
            history,
            same_source,
            seen: JobSet::empty(jobs),
            redone: JobSet::empty(jobs),
            differences: ResumeCounts::default(),
        }
    }

    /// Returns the history that is continued.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Decides whether a job has to be done. Ask about the jobs that it needs first.
    pub fn decide(&mut self, job: &Job) -> ResumeDecision {
        let found = self.history.find_job(job);
        let mut decision = decide(found, Content::of(job), self.same_source);
        if let ResumeDecision::Keep(recorded) = decision
            && job.needs.iter().any(|need| self.is_newer(need, &recorded))
        {
            decision = ResumeDecision::Run(RunReason::NeedRedone);
        }
        if let Some(recorded) = found {
            self.seen.insert(recorded.number);
            if matches!(decision, ResumeDecision::Run(_)) {
                self.redone.insert(recorded.number);
            }
        }
        let count = match decision {
            ResumeDecision::Keep(_) => &mut self.differences.kept,
            ResumeDecision::Run(RunReason::New) => &mut self.differences.new,
            ResumeDecision::Run(RunReason::NotEnded) => &mut self.differences.not_ended,
            ResumeDecision::Run(RunReason::Skipped) => &mut self.differences.skipped,
            ResumeDecision::Run(RunReason::Failed) => &mut self.differences.failed,
            ResumeDecision::Run(RunReason::Changed) => &mut self.differences.changed,
            ResumeDecision::Run(RunReason::NeedRedone) => &mut self.differences.dependents,
        };
        *count += 1;
        decision
    }

    /// Revokes the decision to keep a job, because its outcome cannot be read. The job is done again, and so are the
    /// jobs that need it.
    pub fn run_again(&mut self, kept: &RecordedOutcome) {
        if !self.redone.contains(kept.number) {
            self.redone.insert(kept.number);
            self.differences.kept = self.differences.kept.saturating_sub(1);
            self.differences.not_ended += 1;
        }
    }

    /// Whether the result of a needed job is newer than the result `recorded`, or will be, because the needed job is
    /// done again.
    ///
    /// An earlier resumption may have done the needed job again and died before its dependents. An outcome is recorded
    /// before any job that needs it begins. So the record of a dependent comes after those of its needs, unless a need
    /// was done again later.
    fn is_newer(&self, need: &JobKey, recorded: &RecordedOutcome) -> bool {
        self.history
            .find(need)
            .is_none_or(|need| self.redone.contains(need.number) || need.offset > recorded.offset)
    }

    /// Returns the counts of the decisions so far.
    pub fn differences(&self) -> ResumeCounts {
        self.differences
    }

    /// Returns the number of jobs of the history that were not asked about. After the last job these are the jobs that
    /// are gone from the source.
    pub fn not_in_source(&self) -> u64 {
        // Only jobs of the history are recorded as seen.
        self.history.jobs() as u64 - self.seen.count()
    }

    /// Returns the number of jobs of the history that were not asked about and have not succeeded.
    pub fn failed_not_in_source(&self) -> u64 {
        self.history
            .statuses()
            .enumerate()
            .filter(|(number, status)| *status != Status::Succeeded && !self.seen.contains(*number))
            .count() as u64
    }
}
