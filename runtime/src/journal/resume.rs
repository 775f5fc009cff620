//! What of a run is still to be done.

use std::sync::Arc;

use ratchet_ipc::JobKey;

use super::content::Content;
use super::error::JournalError;
use super::history::{History, Recorded};
use super::record::Source;
use crate::job::Job;
use crate::outcome::Status;

/// Whether a job is done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has succeeded, and is the same: [`History::outcome`] has its result.
    Skip(Recorded),
    /// It is to be done.
    Run(Why),
}

/// Why a job is done although there is a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The history does not know it.
    New,
    /// It was interrupted, cancelled or skipped before it came to anything.
    NotEnded,
    /// It did not succeed.
    Failed,
    /// It does something else now.
    Changed,
    /// A job that it needs is done again, or was done again after it: its result was made from an older one.
    NeedRedone,
}

impl History {
    /// Whether a job with this id and content is done again, as far as the job alone tells; what it needs is
    /// not looked at. `same_source` says that the jobs come from where the history's came from: one without an
    /// outcome is then no new one, it did not end.
    pub fn decide(&self, id: &JobKey, content: Content, same_source: bool) -> Verdict {
        judge(self.find(id), content, same_source)
    }
}

fn judge(found: Option<Recorded>, content: Content, same_source: bool) -> Verdict {
    match found {
        None if same_source => Verdict::Run(Why::NotEnded),
        None => Verdict::Run(Why::New),
        Some(recorded) if recorded.content != content => Verdict::Run(Why::Changed),
        Some(recorded) => match recorded.status {
            Status::Succeeded => Verdict::Skip(recorded),
            Status::Failed | Status::TimedOut | Status::Crashed => Verdict::Run(Why::Failed),
            Status::Cancelled | Status::Skipped => Verdict::Run(Why::NotEnded),
        },
    }
}

/// How the jobs of now differ from those of the history, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Differences {
    /// They have succeeded and are the same.
    pub kept: u64,
    /// The history does not know them.
    pub new: u64,
    /// They did not end.
    pub not_ended: u64,
    /// They did not succeed.
    pub failed: u64,
    /// They do something else now.
    pub changed: u64,
    /// They have succeeded, but a job that they need is done again.
    pub dependents: u64,
}

/// A bit for each job of a history.
#[derive(Debug)]
struct Marks(Vec<u64>);

impl Marks {
    fn none_of(jobs: usize) -> Self {
        Self(vec![0; jobs.div_ceil(64)])
    }

    fn mark(&mut self, number: usize) {
        if let Some(bits) = self.0.get_mut(number / 64) {
            *bits |= 1 << (number % 64);
        }
    }

    fn has(&self, number: usize) -> bool {
        let bits = self.0.get(number / 64).copied().unwrap_or_default();
        bits >> (number % 64) & 1 == 1
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|bits| u64::from(bits.count_ones())).sum()
    }
}

/// Decides job by job what of a run is still to be done, and keeps count of the differences.
///
/// A job that has succeeded is kept only if all that it needs is kept, so jobs have to be decided after those that
/// they need.
#[derive(Debug)]
pub struct Resume {
    history: Arc<History>,
    same_source: bool,
    /// The jobs of the history that were seen again.
    seen: Marks,
    /// Those of them that are done again.
    redone: Marks,
    differences: Differences,
}

impl Resume {
    /// Goes on with a history, with the jobs of this source; of a stream there is none.
    pub fn new(history: Arc<History>, source: Option<&Source>) -> Self {
        let known = history.header().source.as_ref();
        let same_source = known
            .zip(source)
            .is_some_and(|(known, source)| known.digest == source.digest);
        let jobs = history.jobs();
        Self {
            history,
            same_source,
            seen: Marks::none_of(jobs),
            redone: Marks::none_of(jobs),
            differences: Differences::default(),
        }
    }

    /// The history.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Whether a job is done again; what it needs has to be decided before it.
    pub fn decide(&mut self, job: &Job) -> Verdict {
        let found = self.history.find_job(job);
        let mut decision = judge(found, Content::of(job), self.same_source);
        if let Verdict::Skip(recorded) = decision
            && job.needs.iter().any(|need| self.outdates(need, &recorded))
        {
            decision = Verdict::Run(Why::NeedRedone);
        }
        if let Some(recorded) = found {
            self.seen.mark(recorded.number);
            if matches!(decision, Verdict::Run(_)) {
                self.redone.mark(recorded.number);
            }
        }
        let count = match decision {
            Verdict::Skip(_) => &mut self.differences.kept,
            Verdict::Run(Why::New) => &mut self.differences.new,
            Verdict::Run(Why::NotEnded) => &mut self.differences.not_ended,
            Verdict::Run(Why::Failed) => &mut self.differences.failed,
            Verdict::Run(Why::Changed) => &mut self.differences.changed,
            Verdict::Run(Why::NeedRedone) => &mut self.differences.dependents,
        };
        *count += 1;
        decision
    }

    /// Takes back that a job is kept, because its outcome cannot be read: it is done again, and so is what needs it.
    pub fn redo(&mut self, kept: &Recorded) {
        if !self.redone.has(kept.number) {
            self.redone.mark(kept.number);
            self.differences.kept = self.differences.kept.saturating_sub(1);
            self.differences.not_ended += 1;
        }
    }

    /// Whether a result was made before the last one of a job that it needs, or will have been.
    ///
    /// The run before this one may have done the need again and died before its dependents. An outcome is recorded
    /// before any job that needs it begins, so a dependent's record stands behind those of its needs unless one of
    /// them was done again later.
    fn outdates(&self, need: &JobKey, recorded: &Recorded) -> bool {
        self.history
            .find(need)
            .is_none_or(|need| self.redone.has(need.number) || need.offset > recorded.offset)
    }

    /// What has been decided so far.
    pub fn differences(&self) -> Differences {
        self.differences
    }

    /// How many jobs of the history have not been seen; after the last job these are the ones that are gone.
    pub fn gone(&self) -> u64 {
        (self.history.jobs() as u64).saturating_sub(self.seen.count())
    }

    /// The ids of those, in no order; each is read from the file.
    pub fn gone_ids(&self) -> impl Iterator<Item = Result<JobKey, JournalError>> {
        (0..self.history.jobs())
            .filter(|number| !self.seen.has(*number))
            .filter_map(|number| self.history.numbered(number))
            .map(|recorded| self.history.outcome(&recorded).map(|outcome| outcome.id))
    }
}
