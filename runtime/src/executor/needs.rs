//! The dependencies of a run: which jobs wait for which others, and how the needed jobs have ended.

use ratchet_ipc::JobKey;

use super::arrival::Arrival;
use crate::table::Table;

/// What is known of a job that others need.
#[derive(Debug)]
struct Needed {
    state: NeededState,
    /// The numbers of the jobs that wait for it.
    dependents: Vec<u64>,
    /// How many jobs that need it have not come yet, if that is known. When it reaches zero and the job has ended, the
    /// record is removed.
    left: Option<u32>,
}

impl Needed {
    /// Makes the record of a job of a stream, for which the number of dependents is not known.
    fn of_stream(state: NeededState) -> Self {
        Self {
            state,
            dependents: Vec::new(),
            left: None,
        }
    }
}

/// The state of a job that others need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NeededState {
    /// The job has not come yet.
    Unseen,
    /// The job has come and has not ended.
    Living,
    /// The job has succeeded.
    Succeeded,
    /// The job has ended without a success.
    Lost,
}

/// A job that waits for others.
struct WaitingForNeeds {
    arrival: Arrival,
    /// How many of the jobs that it needs have not succeeded yet.
    left: u32,
}

/// The state of a job's dependencies.
pub(super) enum NeedsStatus {
    /// All needs of the job have succeeded, so it may proceed.
    Clear(Arrival),
    /// The job waits for others, and [`Needs::ended`] returns it later.
    Waits,
    /// A job that it needs did not succeed.
    Lost(Arrival, JobKey),
    /// A job that it needs is not known.
    Unknown(Arrival, JobKey),
}

/// Knows which jobs wait for which others, and the state of each needed job.
pub(super) struct Needs {
    /// What is known of each job that others need or may need.
    needed: Table<JobKey, Needed>,
    /// The jobs that wait, by numbers that only this struct uses.
    waiting: Table<u64, WaitingForNeeds>,
    /// The number for the next job that waits.
    next: u64,
    memory: RetainedJobs,
}

/// Which jobs are remembered after their end, because later jobs may need them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetainedJobs {
    /// Only jobs that others are known to need are remembered.
    Nothing,
    /// All jobs are remembered.
    All,
    /// Only jobs that did not succeed are remembered. All needs name earlier jobs, so a needed job that is neither
    /// remembered nor unfinished has succeeded.
    Losses,
}

impl Needs {
    /// Makes the needs of a run. For a list, `needed` says how many jobs need each job. For a stream it is empty, and
    /// `memory` says which jobs are remembered.
    pub(super) fn new(needed: Table<JobKey, u32>, memory: RetainedJobs) -> Self {
        let needed = needed.into_iter().map(|(id, count)| {
            let needed = Needed {
                state: NeededState::Unseen,
                dependents: Vec::new(),
                left: Some(count),
            };
            (id, needed)
        });
        Self {
            needed: needed.collect(),
            waiting: Table::default(),
            next: 0,
            memory,
        }
    }

    /// Remembers that a job did not succeed, if later jobs may ask. Returns whether any needed job is recorded, so that
    /// [`ended`](Self::ended) has something to do.
    pub(super) fn record_end(&mut self, id: &JobKey, well: bool) -> bool {
        if self.memory == RetainedJobs::Losses && !well {
            let lost = Needed::of_stream(NeededState::Lost);
            self.needed.entry(id.clone()).or_insert(lost);
        }
        !self.needed.is_empty()
    }

    /// Whether a job with this id came before. It is always false unless all jobs are remembered.
    pub(super) fn remembers(&self, id: &JobKey) -> bool {
        self.memory == RetainedJobs::All && self.needed.contains_key(id)
    }

    /// Whether a waiting job needs this one.
    pub(super) fn is_needed(&self, id: &JobKey) -> bool {
        let needed = self.needed.get(id);
        needed.is_some_and(|needed| !needed.dependents.is_empty())
    }

    /// Whether a needed job is known to have come.
    pub(super) fn knows(&self, id: &JobKey) -> bool {
        let needed = self.needed.get(id);
        needed.is_some_and(|needed| needed.state != NeededState::Unseen)
    }

    /// Records that one more job will need this one. `lives` says that the needed job was pulled; otherwise it will
    /// come before the job that needs it.
    pub(super) fn expect(&mut self, id: &JobKey, lives: bool) {
        if self.memory != RetainedJobs::Nothing {
            return; // Who needs it looks it up when it comes.
        }
        let state = if lives {
            NeededState::Living
        } else {
            NeededState::Unseen
        };
        let needed = self.needed.entry(id.clone()).or_insert(Needed {
            state,
            dependents: Vec::new(),
            left: Some(0),
        });
        if let Some(left) = &mut needed.left {
            *left += 1;
        }
    }

    /// Records that a job was pulled.
    pub(super) fn arrived(&mut self, id: &JobKey) {
        if let Some(needed) = self.needed.get_mut(id) {
            needed.state = NeededState::Living;
        } else if self.memory == RetainedJobs::All {
            let needed = Needed::of_stream(NeededState::Living);
            self.needed.insert(id.clone(), needed);
        }
    }

    /// Decides whether a pulled job may proceed. `lives` says whether an unfinished job has an id.
    pub(super) fn admit(
        &mut self,
        arrival: Arrival,
        lives: impl Fn(&JobKey) -> bool,
    ) -> NeedsStatus {
        if arrival.job.needs.is_empty() {
            return NeedsStatus::Clear(arrival);
        }
        let job = std::sync::Arc::clone(&arrival.job);
        if self.memory == RetainedJobs::Losses {
            for need in &job.needs {
                if lives(need) && !self.needed.contains_key(need) {
                    let needed = Needed::of_stream(NeededState::Living);
                    self.needed.insert(need.clone(), needed);
                }
            }
        }
        let mut left = 0;
        let mut lost = None;
        for need in &job.needs {
            match self.needed.get(need).map(|needed| needed.state) {
                None if self.memory == RetainedJobs::Losses => {}
                None | Some(NeededState::Unseen) => {
                    return NeedsStatus::Unknown(arrival, need.clone());
                }
                Some(NeededState::Lost) => lost = lost.or(Some(need)),
                Some(NeededState::Living) => left += 1,
                Some(NeededState::Succeeded) => {}
            }
        }
        for need in &job.needs {
            let Some(needed) = self.needed.get_mut(need) else {
                continue; // Named twice, and forgotten at the first.
            };
            if lost.is_none() && needed.state == NeededState::Living {
                needed.dependents.push(self.next);
            }
            if let Some(left) = &mut needed.left {
                debug_assert!(
                    *left > 0,
                    "a list counts each need once a job that names it"
                );
                *left -= 1;
                if *left == 0 && needed.state != NeededState::Living {
                    self.needed.remove(need);
                }
            }
        }
        if let Some(lost) = lost {
            return NeedsStatus::Lost(arrival, lost.clone());
        }
        if left == 0 {
            return NeedsStatus::Clear(arrival);
        }
        self.waiting
            .insert(self.next, WaitingForNeeds { arrival, left });
        self.next += 1;
        NeedsStatus::Waits
    }

    /// Records that a job has ended. Returns the jobs that no longer wait, each with the state of its dependencies.
    pub(super) fn ended(&mut self, id: &JobKey, well: bool) -> Vec<NeedsStatus> {
        let Some(needed) = self.needed.get_mut(id) else {
            return Vec::new();
        };
        needed.state = if well {
            NeededState::Succeeded
        } else {
            NeededState::Lost
        };
        let dependents = std::mem::take(&mut needed.dependents);
        if needed.left == Some(0) || (well && self.memory == RetainedJobs::Losses) {
            self.needed.remove(id);
        }
        let mut free = Vec::new();
        for number in dependents {
            let Some(waiting) = self.waiting.get_mut(&number) else {
                continue; // Lost to another of its needs.
            };
            waiting.left -= 1;
            if well && waiting.left > 0 {
                continue;
            }
            #[expect(clippy::expect_used, reason = "`get_mut` has just found it")]
            let WaitingForNeeds { arrival, .. } =
                (self.waiting.remove(&number)).expect("the job is still in the table");
            free.push(if well {
                NeedsStatus::Clear(arrival)
            } else {
                NeedsStatus::Lost(arrival, id.clone())
            });
        }
        free
    }

    /// Iterates over the jobs that wait, each with the ids of the needed jobs that have not ended.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Arrival, Vec<JobKey>)> {
        self.waiting.values().map(|waiting| {
            let needs = waiting.arrival.job.needs.iter();
            let lives = |need: &&JobKey| {
                let needed = self.needed.get(*need);
                needed.is_some_and(|needed| needed.state == NeededState::Living)
            };
            (&waiting.arrival, needs.filter(lives).cloned().collect())
        })
    }

    /// Iterates over the jobs that wait.
    pub(super) fn waiting_jobs(&self) -> impl Iterator<Item = &Arrival> {
        self.waiting.values().map(|waiting| &waiting.arrival)
    }

    /// Removes and returns the waiting jobs for which the condition holds.
    pub(super) fn take(&mut self, is_wanted: impl Fn(&Arrival) -> bool) -> Vec<Arrival> {
        // Their numbers stay in the lists of dependents. `ended` skips numbers that no longer wait.
        let taken = self
            .waiting
            .extract_if(|_, waiting| is_wanted(&waiting.arrival));
        taken.map(|(_, waiting)| waiting.arrival).collect()
    }

    /// Removes and returns all waiting jobs in the order in which they came, because the run stops.
    pub(super) fn give_up(&mut self) -> Vec<Arrival> {
        let mut all: Vec<_> = self.waiting.drain().collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        all.into_iter()
            .map(|(_, waiting)| waiting.arrival)
            .collect()
    }
}
