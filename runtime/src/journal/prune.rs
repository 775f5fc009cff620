//! Which runs are kept, and for how long.
//!
//! A run goes when nothing was written to it for too long. Where there are still too many runs, or they take too much
//! room, the oldest of those that finished go: first those in which everything succeeded, then those in which
//! something failed. A run that was interrupted goes by its age alone, and one that goes on never.

use std::cmp::Reverse;
use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use super::error::JournalError;
use super::run_id::RunId;
use super::run_store::{RunState, RunStore};

/// A folder without a journal may belong to a run that begins at this moment; after this long it does not.
const BEGINNING: Duration = Duration::from_hours(1);

/// How much is kept of the runs that do not go on; nothing is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// A run goes when nothing was written to it for so long.
    pub age: Option<Duration>,
    /// How many runs there may be.
    pub runs: Option<u64>,
    /// How many bytes their journals may take together.
    pub size: Option<u64>,
}

impl Default for Retention {
    /// 30 days, 200 runs, 512 MiB.
    fn default() -> Self {
        Self {
            age: Some(Duration::from_hours(30 * 24)),
            runs: Some(200),
            size: Some(512 * 1024 * 1024),
        }
    }
}

/// A run that was removed because of its age, or because there were too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// Which run.
    pub id: RunId,
    /// Whether it could still have been gone on with: it was interrupted, or some of its jobs did not succeed.
    pub was_resumable: bool,
}

/// What is to know of a run in order to decide whether it goes.
#[derive(Debug, Clone, Copy)]
struct StoredRun {
    id: RunId,
    size: u64,
    written: SystemTime,
    standing: Standing,
}

/// How much would be lost with a run, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Succeeded,
    Failed,
    /// Interrupted, or not to be read by this version.
    Unfinished,
    Running,
}

impl RunStore {
    /// Removes the runs that are not kept, but not `current`; tells which these were.
    ///
    /// One that cannot be removed stays, and does not keep the others from going.
    pub fn prune(
        &self,
        retention: &Retention,
        now: SystemTime,
        current: RunId,
    ) -> Result<Vec<Pruned>, JournalError> {
        let mut stored = Vec::new();
        for id in self.ids()? {
            match fs::metadata(self.journal(id)) {
                Ok(journal) => stored.push(StoredRun {
                    id,
                    size: journal.len(),
                    written: journal.modified().unwrap_or(now),
                    standing: Standing::Unfinished,
                }),
                Err(error) if error.kind() == ErrorKind::NotFound => self.remove_unbegun(id, now),
                // Whatever it is, it is not to be judged by its age or size.
                Err(_) => {}
            }
        }
        if !retention.is_exceeded(&stored, now) {
            // The usual case: no journal has to be opened.
            return Ok(Vec::new());
        }
        for run in &mut stored {
            run.look(self);
        }
        let going = retention.choose(&stored, now, current);
        let removed = going.into_iter().filter(|run| match self.remove(run.id) {
            Ok(()) => true,
            // Somebody goes on with it since a moment ago, or has removed it, too.
            Err(JournalError::InUse { .. } | JournalError::NoSuchRun { .. }) => false,
            Err(error) => {
                tracing::warn!(%error, run = %run.id, "a run that is no longer kept is still there");
                false
            }
        });
        Ok(removed.collect())
    }

    /// Removes what is left of a run that died before it began.
    fn remove_unbegun(&self, id: RunId, now: SystemTime) {
        let folder = self.folder_of(id);
        let made = fs::metadata(&folder).and_then(|folder| folder.modified());
        if made.is_ok_and(|made| is_older(made, BEGINNING, now)) {
            // Only an empty one: whatever else is in it was not written by ratchet.
            let _ = fs::remove_dir(&folder);
        }
    }
}

impl StoredRun {
    fn look(&mut self, store: &RunStore) {
        self.standing = match store.run(self.id).state {
            RunState::Running { .. } => Standing::Running,
            RunState::Interrupted { .. } | RunState::Unreadable(_) => Standing::Unfinished,
            RunState::Ended { summary, .. } if summary.all_successful() => Standing::Succeeded,
            RunState::Ended { .. } => Standing::Failed,
        };
    }
}

impl Retention {
    fn is_too_old(&self, run: &StoredRun, now: SystemTime) -> bool {
        self.age.is_some_and(|age| is_older(run.written, age, now))
    }

    fn is_too_much(&self, runs: u64, size: u64) -> bool {
        self.runs.is_some_and(|most| runs > most) || self.size.is_some_and(|most| size > most)
    }

    /// Whether anything may have to go.
    fn is_exceeded(&self, stored: &[StoredRun], now: SystemTime) -> bool {
        let size = stored.iter().map(|run| run.size).sum();
        self.is_too_much(stored.len() as u64, size)
            || stored.iter().any(|run| self.is_too_old(run, now))
    }

    fn choose(&self, stored: &[StoredRun], now: SystemTime, current: RunId) -> Vec<Pruned> {
        let mut going = Vec::new();
        let mut kept = Vec::new();
        let (mut runs, mut size) = (0, 0);
        for run in stored {
            let may_go = run.id != current && run.standing != Standing::Running;
            if may_go && self.is_too_old(run, now) {
                going.push(run.pruned());
                continue;
            }
            runs += 1;
            size += run.size;
            if may_go && run.standing != Standing::Unfinished {
                kept.push(run);
            }
        }
        // The next to go is the last.
        kept.sort_by_key(|run| Reverse((run.standing, run.id)));
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

impl StoredRun {
    fn pruned(&self) -> Pruned {
        Pruned {
            id: self.id,
            was_resumable: self.standing != Standing::Succeeded,
        }
    }
}

/// What is in the future, by a clock that was set back since, is not old.
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

    fn stored(number: u32, days: u64, size: u64, standing: Standing) -> StoredRun {
        let id = RunId::at(SystemTime::UNIX_EPOCH + (20_090 + number) * DAY);
        let written = now() - u32::try_from(days).unwrap() * DAY;
        StoredRun {
            id,
            size,
            written,
            standing,
        }
    }

    fn ids(chosen: &[Pruned]) -> Vec<RunId> {
        chosen.iter().map(|run| run.id).collect()
    }

    fn nobody() -> RunId {
        RunId::at(SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_run_goes_by_its_age_unless_it_goes_on_or_is_the_current_one() {
        let retention = Retention {
            runs: None,
            size: None,
            ..Retention::default()
        };
        let runs = [
            stored(1, 31, 1, Standing::Succeeded),
            stored(2, 31, 1, Standing::Unfinished),
            stored(3, 31, 1, Standing::Running),
            stored(4, 31, 1, Standing::Succeeded),
            stored(5, 29, 1, Standing::Succeeded),
        ];
        assert!(retention.is_exceeded(&runs, now()));
        let chosen = retention.choose(&runs, now(), runs[3].id);
        assert_eq!(ids(&chosen), [runs[0].id, runs[1].id]);
        let resumable: Vec<bool> = chosen.iter().map(|run| run.was_resumable).collect();
        assert_eq!(resumable, [false, true]);
        assert!(!retention.is_exceeded(&runs[4..], now()));
        // A clock that was set back makes nothing old.
        assert!(!retention.is_exceeded(&runs, now() - 40 * DAY));
    }

    #[test]
    fn of_too_many_the_oldest_that_succeeded_go_first_and_interrupted_ones_stay() {
        let runs = [
            stored(1, 5, 10, Standing::Unfinished),
            stored(2, 4, 10, Standing::Failed),
            stored(3, 3, 10, Standing::Succeeded),
            stored(4, 2, 10, Standing::Succeeded),
            stored(5, 1, 10, Standing::Failed),
        ];
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
        fn what_stays_is_within_the_limits_or_may_not_go(
            drawn in prop::collection::vec((0_u64..40, 0_u64..50, 0_usize..4), 0..40),
            age in prop::option::of(0_u32..40),
            most in prop::option::of(0_u64..40),
            size in prop::option::of(0_u64..1000),
        ) {
            let standings =
                [Standing::Succeeded, Standing::Failed, Standing::Unfinished, Standing::Running];
            let runs: Vec<StoredRun> = (0..)
                .zip(drawn)
                .map(|(number, (days, size, standing))| {
                    stored(number, days, size, standings[standing])
                })
                .collect();
            let retention = Retention { age: age.map(|days| days * DAY), runs: most, size };
            let current = runs.last().map_or(nobody(), |run| run.id);
            let going = ids(&retention.choose(&runs, now(), current));
            prop_assert!(!going.contains(&current));
            let stays: Vec<&StoredRun> =
                runs.iter().filter(|run| !going.contains(&run.id)).collect();
            let total = stays.iter().map(|run| run.size).sum();
            let may_go = |run: &&&StoredRun| run.id != current && run.standing < Standing::Unfinished;
            if retention.is_too_much(stays.len() as u64, total) {
                prop_assert_eq!(stays.iter().filter(may_go).count(), 0);
            }
            for run in &runs {
                if run.standing == Standing::Running {
                    prop_assert!(!going.contains(&run.id));
                }
            }
            if !retention.is_exceeded(&runs, now()) {
                prop_assert!(going.is_empty());
            }
        }
    }
}
