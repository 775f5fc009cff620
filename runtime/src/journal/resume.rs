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
}

impl History {
    /// Whether a job with this id and content is done again. `same_source` says that the jobs come from where
    /// the history's came from: one without an outcome is then no new one, it did not end.
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
}

/// Decides job by job what of a run is still to be done, and keeps count of the differences.
#[derive(Debug)]
pub struct Resume {
    history: Arc<History>,
    same_source: bool,
    /// A bit for each job of the history that was seen again.
    seen: Vec<u64>,
    differences: Differences,
}

impl Resume {
    /// Goes on with a history, with the jobs of this source; of a stream there is none.
    pub fn new(history: Arc<History>, source: Option<&Source>) -> Self {
        let known = history.header().source.as_ref();
        let same_source = known
            .zip(source)
            .is_some_and(|(known, source)| known.digest == source.digest);
        let seen = vec![0; history.jobs().div_ceil(64)];
        Self {
            history,
            same_source,
            seen,
            differences: Differences::default(),
        }
    }

    /// The history.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Whether a job is done again.
    pub fn decide(&mut self, job: &Job) -> Verdict {
        let found = self.history.find(&job.id);
        if let Some(recorded) = found
            && let Some(bits) = self.seen.get_mut(recorded.number / 64)
        {
            *bits |= 1 << (recorded.number % 64);
        }
        let decision = judge(found, Content::of(job), self.same_source);
        let count = match decision {
            Verdict::Skip(_) => &mut self.differences.kept,
            Verdict::Run(Why::New) => &mut self.differences.new,
            Verdict::Run(Why::NotEnded) => &mut self.differences.not_ended,
            Verdict::Run(Why::Failed) => &mut self.differences.failed,
            Verdict::Run(Why::Changed) => &mut self.differences.changed,
        };
        *count += 1;
        decision
    }

    /// What has been decided so far.
    pub fn differences(&self) -> Differences {
        self.differences
    }

    /// How many jobs of the history have not been seen; after the last job these are the ones that are gone.
    pub fn gone(&self) -> u64 {
        let seen: u64 = self
            .seen
            .iter()
            .map(|bits| u64::from(bits.count_ones()))
            .sum();
        (self.history.jobs() as u64).saturating_sub(seen)
    }

    /// The ids of those, in no order; each is read from the file.
    pub fn gone_ids(&self) -> impl Iterator<Item = Result<JobKey, JournalError>> {
        let unseen = |number: &usize| {
            let bits = self.seen.get(number / 64).copied().unwrap_or_default();
            bits >> (number % 64) & 1 == 0
        };
        (0..self.history.jobs())
            .filter(unseen)
            .filter_map(|number| self.history.numbered(number))
            .map(|recorded| self.history.outcome(&recorded).map(|outcome| outcome.id))
    }
}
