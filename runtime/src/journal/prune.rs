//! Decides which runs are kept, and removes the others.
//!
//! A run is removed when nothing was written to it for too long. If there are still too many runs, or they take too
//! much space, the oldest finished runs are removed: first those in which all jobs succeeded, then those in which some
//! failed. An interrupted run is removed only because of its age, and a run in progress is never removed.

use std::cmp::Reverse;
use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use super::error::JournalError;
use super::run_id::RunId;
use super::run_store::{RunState, RunStore};

/// How old a folder without a journal has to be before it is removed. A younger one may belong to a run that begins
/// now.
const MIN_ORPHAN_AGE: Duration = Duration::from_hours(1);

/// The limits on the runs that are kept. A limit that is `None` does not apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// A run is removed when nothing was written to it for this long.
    pub age: Option<Duration>,
    /// The highest number of runs.
    pub runs: Option<u64>,
    /// The highest number of bytes that all journals may take together.
    pub size: Option<u64>,
}

impl Default for Retention {
    /// Keeps 200 runs of at most 512 MiB for 30 days.
    fn default() -> Self {
        Self {
            age: Some(Duration::from_hours(30 * 24)),
            runs: Some(200),
            size: Some(512 * 1024 * 1024),
        }
    }
}

/// A run that was removed by [`RunStore::prune`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrunedRun {
    /// The id of the run.
    pub id: RunId,
    /// Whether the run could still have been resumed: it was interrupted, or some of its jobs did not succeed.
    pub was_resumable: bool,
}

/// The facts about a run that decide whether to remove it.
#[derive(Debug, Clone, Copy)]
struct PruneCandidate {
    id: RunId,
    /// The size of the journal in bytes.
    size: u64,
    /// When the journal was last written to.
    written: SystemTime,
    rank: PruneRank,
}

/// How valuable a run is. Runs with the lowest rank are removed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PruneRank {
    /// Every job of the run succeeded, so no work is left.
    Succeeded,
    /// The run has ended, and some of its jobs did not succeed.
    Failed,
    /// The run was interrupted, or this version cannot read its journal.
    Unfinished,
    /// A process has the run's journal open, so the run is never removed.
    Running,
}

impl RunStore {
    /// Removes the runs that exceed the limits, but never `current`, and returns those that it removed.
    ///
    /// If a run cannot be removed, it stays, and the others are still removed.
    pub fn prune(
        &self,
        retention: &Retention,
        now: SystemTime,
        current: RunId,
    ) -> Result<Vec<PrunedRun>, JournalError> {
        let mut stored = Vec::new();
        for id in self.ids()? {
            match fs::metadata(self.journal(id)) {
                Ok(journal) => stored.push(PruneCandidate {
                    id,
                    size: journal.len(),
                    written: journal.modified().unwrap_or(now),
                    rank: PruneRank::Unfinished,
                }),
                Err(error) if error.kind() == ErrorKind::NotFound => self.remove_unbegun(id, now),
                // Its age and size are unknown, so it is left alone.
                Err(_) => {}
            }
        }
        if !retention.is_exceeded(&stored, now) {
            // Usually no journal has to be opened, which keeps the start of a run fast.
            return Ok(Vec::new());
        }
        for run in &mut stored {
            run.read_rank(self);
        }
        let going = retention.choose(&stored, now, current);
        let removed = going.into_iter().filter(|run| match self.remove(run.id) {
            Ok(()) => true,
            // Another process resumed or removed the run after it was inspected.
            Err(JournalError::InUse { .. } | JournalError::NoSuchRun { .. }) => false,
            Err(error) => {
                tracing::warn!(%error, run = %run.id, "could not remove a run that is no longer kept");
                false
            }
        });
        Ok(removed.collect())
    }

    /// Removes the folder of a run that died before its journal was created.
    fn remove_unbegun(&self, id: RunId, now: SystemTime) {
        let folder = self.folder_of(id);
        let made = fs::metadata(&folder).and_then(|folder| folder.modified());
        if made.is_ok_and(|made| is_older(made, MIN_ORPHAN_AGE, now)) {
            // `remove_dir` refuses a folder that is not empty: ratchet did not write what is in it. The error is
            // ignored, because the folder does no harm.
            let _ = fs::remove_dir(&folder);
        }
    }
}

impl PruneCandidate {
    fn read_rank(&mut self, store: &RunStore) {
        self.rank = match store.run(self.id).state {
            RunState::Running { .. } => PruneRank::Running,
            RunState::Interrupted { .. } | RunState::Unreadable(_) => PruneRank::Unfinished,
            RunState::Ended { summary, .. } if summary.all_successful() => PruneRank::Succeeded,
            RunState::Ended { .. } => PruneRank::Failed,
        };
    }
}

impl Retention {
    fn is_too_old(&self, run: &PruneCandidate, now: SystemTime) -> bool {
        self.age.is_some_and(|age| is_older(run.written, age, now))
    }

    fn is_too_much(&self, runs: u64, size: u64) -> bool {
        self.runs.is_some_and(|most| runs > most) || self.size.is_some_and(|most| size > most)
    }

    /// Whether any limit is exceeded, so that runs may have to be removed.
    fn is_exceeded(&self, stored: &[PruneCandidate], now: SystemTime) -> bool {
        let size = stored.iter().map(|run| run.size).sum();
        self.is_too_much(stored.len() as u64, size)
            || stored.iter().any(|run| self.is_too_old(run, now))
    }

    /// Chooses the runs to remove: those that are too old, then finished ones until the limits on number and size are
    /// met. `current` and running runs always stay.
    fn choose(&self, stored: &[PruneCandidate], now: SystemTime, current: RunId) -> Vec<PrunedRun> {
        let mut going = Vec::new();
        let mut kept = Vec::new();
        let (mut runs, mut size) = (0, 0);
        for run in stored {
            let may_go = run.id != current && run.rank != PruneRank::Running;
            if may_go && self.is_too_old(run, now) {
                going.push(run.pruned());
                continue;
            }
            runs += 1;
            size += run.size;
            if may_go && run.rank != PruneRank::Unfinished {
                kept.push(run);
            }
        }
        // The next run to remove is the last one, so that it can be popped.
        kept.sort_by_key(|run| Reverse((run.rank, run.id)));
        while self.is_too_much(runs, size)
            && let Some(run) = kept.pop()
        {
            runs -= 1;
            size -= run.size;
            going.push(run.pruned());
        }
        going
    }
}

impl PruneCandidate {
    fn pruned(&self) -> PrunedRun {
        PrunedRun {
            id: self.id,
            was_resumable: self.rank != PruneRank::Succeeded,
        }
    }
}

/// Whether a time is longer ago than `age`. A time in the future, because the clock was set back since, is not.
fn is_older(then: SystemTime, age: Duration, now: SystemTime) -> bool {
    now.duration_since(then).is_ok_and(|since| since > age)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + 20_000 * DAY
    }

    /// Makes a run from each entry: how many days ago it was written, how large it is, and its rank. Later entries have
    /// greater ids.
    fn candidates(runs: impl IntoIterator<Item = (u32, u64, PruneRank)>) -> Vec<PruneCandidate> {
        (1..)
            .zip(runs)
            .map(|(number, (days, size, rank))| PruneCandidate {
                id: RunId::at(SystemTime::UNIX_EPOCH + (20_090 + number) * DAY),
                size,
                written: now() - days * DAY,
                rank,
            })
            .collect()
    }

    fn ids(chosen: &[PrunedRun]) -> Vec<RunId> {
        chosen.iter().map(|run| run.id).collect()
    }

    fn nobody() -> RunId {
        RunId::at(SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn an_old_run_is_pruned_unless_it_goes_on_or_is_the_current_one() {
        let retention = Retention {
            runs: None,
            size: None,
            ..Retention::default()
        };
        let runs = candidates([
            (31, 1, PruneRank::Succeeded),
            (31, 1, PruneRank::Unfinished),
            (31, 1, PruneRank::Running),
            (31, 1, PruneRank::Succeeded),
            (29, 1, PruneRank::Succeeded),
        ]);
        assert!(retention.is_exceeded(&runs, now()));
        let chosen = retention.choose(&runs, now(), runs[3].id);
        assert_eq!(ids(&chosen), [runs[0].id, runs[1].id]);
        let resumable: Vec<bool> = chosen.iter().map(|run| run.was_resumable).collect();
        assert_eq!(resumable, [false, true]);
        assert!(!retention.is_exceeded(&runs[4..], now()));
        // If the clock was set back, no run counts as old.
        assert!(!retention.is_exceeded(&runs, now() - 40 * DAY));
    }

    #[test]
    fn of_too_many_runs_the_oldest_successful_ones_are_pruned_first_and_interrupted_ones_never() {
        let runs = candidates([
            (5, 10, PruneRank::Unfinished),
            (4, 10, PruneRank::Failed),
            (3, 10, PruneRank::Succeeded),
            (2, 10, PruneRank::Succeeded),
            (1, 10, PruneRank::Failed),
        ]);
        let at_most = |runs, size| Retention {
            age: None,
            runs,
            size,
        };
        let chosen = |retention: Retention| ids(&retention.choose(&runs, now(), nobody()));
        assert_eq!(chosen(at_most(Some(4), None)), [runs[2].id]);
        assert_eq!(
            chosen(at_most(Some(2), None)),
            [runs[2].id, runs[3].id, runs[1].id]
        );
        assert_eq!(chosen(at_most(Some(0), None)).len(), 4);
        assert_eq!(chosen(at_most(None, Some(35))), [runs[2].id, runs[3].id]);
        assert_eq!(chosen(at_most(None, Some(50))), []);
        assert_eq!(chosen(at_most(None, None)), []);
    }

    proptest! {
        #[test]
        fn the_runs_that_are_kept_are_within_the_limits_or_must_not_be_pruned(
            drawn in prop::collection::vec((0_u32..40, 0_u64..50, 0_usize..4), 0..40),
            age in prop::option::of(0_u32..40),
            most in prop::option::of(0_u64..40),
            size in prop::option::of(0_u64..1000),
        ) {
            let ranks =
                [PruneRank::Succeeded, PruneRank::Failed, PruneRank::Unfinished, PruneRank::Running];
            let runs =
                candidates(drawn.into_iter().map(|(days, size, rank)| (days, size, ranks[rank])));
            let retention = Retention { age: age.map(|days| days * DAY), runs: most, size };
            let current = runs.last().map_or(nobody(), |run| run.id);
            let going = ids(&retention.choose(&runs, now(), current));
            prop_assert!(!going.contains(&current));
            let stays: Vec<&PruneCandidate> =
                runs.iter().filter(|run| !going.contains(&run.id)).collect();
            let total = stays.iter().map(|run| run.size).sum();
            let may_go = |run: &&&PruneCandidate| run.id != current && run.rank < PruneRank::Unfinished;
            if retention.is_too_much(stays.len() as u64, total) {
                prop_assert_eq!(stays.iter().filter(may_go).count(), 0);
            }
            for run in &runs {
                if run.rank == PruneRank::Running {
                    prop_assert!(!going.contains(&run.id));
                }
            }
            if !retention.is_exceeded(&runs, now()) {
                prop_assert!(going.is_empty());
            }
        }
    }
}
