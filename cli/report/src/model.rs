//! The model of a run for reports: the content of its journal, in memory, in some two hundred bytes per job.

mod load;
#[cfg(test)]
pub(crate) mod records;
mod rows;

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;
use ratchet_ipc::JobKey;
use ratchet_runtime::event::EventRecord;
use ratchet_runtime::journal::RunPlan;
use ratchet_runtime::{Blocker, Class, ItemName, Outcome, ParallelizationHint, Priority, Status};

pub use load::Source;
pub(crate) use rows::ROUNDING;

/// A moment of a run, in microseconds since it began.
pub type Moment = u64;

/// How long an attempt takes in a timeline at least, in microseconds: one without a duration would stand within the next one.
pub(crate) const SHORTEST: u64 = 1;

/// Whether a run has ended, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// The run came to its end.
    Ended,
    /// The run was interrupted, and can be resumed.
    Interrupted,
    /// The run is in progress.
    Running,
}

impl RunEnd {
    /// Returns the state in one word, as in `ratchet runs list`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ended => "finished",
            Self::Interrupted => "interrupted",
            Self::Running => "running",
        }
    }
}

/// The content of the journal of a run, for reports.
#[derive(Debug)]
pub struct RunModel {
    /// The id of the run.
    pub id: String,
    /// The command line of the run.
    pub command: String,
    /// Whether the run has ended, and how.
    pub end: RunEnd,
    /// When the run began, in microseconds since the Unix epoch.
    pub began_us: u64,
    /// How long the run lasted, or has lasted so far, by the wall clock.
    pub length: Moment,
    /// How often the run was resumed.
    pub resumed: u32,
    /// The slots and limits of each part of the run, with the moment at which it began.
    pub plans: Vec<(Moment, RunPlan)>,
    /// The jobs that have ended, in the order in which they were recorded.
    pub jobs: Vec<JobFacts>,
    /// The attempts of all jobs. Those of one job are adjacent.
    pub attempts: Vec<AttemptFacts>,
    /// The waits of all jobs. Those of one job are adjacent.
    pub waits: Vec<WaitFacts>,
    /// The jobs that succeeded only after a failed attempt, in the order of [`jobs`](Self::jobs).
    pub flaky: Vec<u32>,
    /// The details of jobs that failed, timed out or crashed, in the order of [`jobs`](Self::jobs); if there are very
    /// many, of the first ones.
    pub failures: Vec<FailureFacts>,
    /// The reasons why jobs did not succeed, with the number of jobs for each reason; if there are very many, the first
    /// ones.
    pub reasons: Vec<(u32, Class, String)>,
    /// The names of tasks.
    pub tasks: Vec<String>,
    /// The blockers for which jobs waited, in the order in which they are charged.
    pub blockers: Vec<Blocker>,
    /// The different terms of jobs. The first is that of a job that needs only a slot.
    pub terms: Vec<TermsFacts>,
    /// The hints that were declared for tasks, by the indices of the tasks.
    pub task_hints: HashMap<u32, ParallelizationHint, RandomState>,
    /// The names of the hosts that jobs name.
    pub hosts: Vec<String>,
    /// The slots and workers on which attempts ran.
    pub rows: Vec<Row>,
    /// The needs of jobs: pairs of the job and the index of the job that it needed.
    pub needs: Vec<(u32, u32)>,
    /// Events of the run that do not follow from outcomes.
    pub events: Vec<EventRecord>,
    /// The times in which the run was stopped with all its jobs, as by Ctrl-Z.
    pub suspensions: Vec<(Moment, Moment)>,
    /// How many lines of the journal are damaged.
    pub damaged: u64,
    /// How many workers were started to replace one that had failed; `None` if the run has not recorded it.
    pub restarts: Option<u64>,
}

/// A job that has ended.
#[derive(Debug, Clone)]
pub struct JobFacts {
    /// The id of the job.
    pub id: JobKey,
    /// The item of a list that the job was for.
    pub item: Option<ItemName>,
    /// The index of the job's task.
    pub task: u32,
    /// The index of the host that the job named, plus one; 0 for none.
    pub host: u32,
    /// The index of the job's terms.
    pub terms: u32,
    /// The position of the job in the order in which jobs were submitted; `None` if that is not recorded.
    pub position: Option<u64>,
    /// When the job arrived.
    pub arrived: Moment,
    /// When the job ended.
    pub ended: Moment,
    /// The index of the first of the job's waits.
    first_wait: u32,
    /// The index of the first of the job's attempts.
    first_attempt: u32,
    /// The number of waits.
    wait_count: u32,
    /// The number of attempts that are listed.
    attempt_count: u32,
    /// How many attempts were charged to the job.
    pub charged: u32,
    /// How the job ended.
    pub status: Status,
    /// Whether the result is an earlier one that was reused.
    pub cached: bool,
    /// Whether the times of the job are known. Journals of old versions have none.
    pub is_timed: bool,
}

/// An attempt at a job.
#[derive(Debug, Clone, Copy)]
pub struct AttemptFacts {
    /// The index of the job.
    pub job: u32,
    /// The index of the row on which the attempt ran.
    pub row: u32,
    /// When the attempt began.
    pub began: Moment,
    /// How long the attempt ran, in microseconds.
    pub ran: u64,
    /// The slot that the attempt held, or the first of them; 0 if that is not known.
    pub slot: u32,
    /// The class of the failure, if the attempt failed.
    pub class: Option<Class>,
    /// Whether the attempt was given back before it had begun.
    pub returned: bool,
    /// The processor time in microseconds, if that is known.
    pub cpu: Option<u64>,
    /// The peak memory in bytes, if that is known.
    pub max_rss: Option<u64>,
}

impl AttemptFacts {
    /// Returns when the attempt ended.
    pub fn ended(&self) -> Moment {
        self.began.saturating_add(self.ran)
    }
}

/// How long a job waited for one thing.
#[derive(Debug, Clone, Copy)]
pub struct WaitFacts {
    /// The index of the blocker.
    pub blocker: u32,
    /// How long the job waited, in microseconds.
    pub time: u64,
}

/// The terms that jobs have in common.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TermsFacts {
    /// The hint that the jobs named. [`RunModel::hint_of`] also knows those that were declared for tasks.
    pub hint: Option<ParallelizationHint>,
    /// The named limits.
    pub limits: Vec<String>,
    /// How many units of each resource a job takes, by the name of the resource.
    pub resources: Vec<(String, u64)>,
    /// How many slots each job fills.
    pub slots: u32,
    /// The priority.
    pub priority: Priority,
}

/// A row of a timeline: the slot or the worker on which attempts ran.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Row {
    /// The kind of worker, or the place of commands: `local`, or a host.
    pub group: String,
    /// The slot or the worker.
    pub name: String,
    /// The number of the slot or worker, by which rows of a group are sorted.
    pub number: u32,
    /// The number of this row among those of one worker, if the worker performs several attempts at once.
    pub part: u32,
}

/// The details of a job that did not succeed.
#[derive(Debug, Clone)]
pub struct FailureFacts {
    /// The index of the job.
    pub job: u32,
    /// The kind of the failure.
    pub class: Class,
    /// The failure code that the worker gave.
    pub code: Option<String>,
    /// The message of the failure.
    pub message: String,
    /// The end of the output: of stderr, or of stdout if stderr is empty.
    pub output: String,
}

impl RunModel {
    /// Makes a run without jobs.
    fn empty() -> Self {
        Self {
            id: String::new(),
            command: String::new(),
            end: RunEnd::Running,
            began_us: 0,
            length: 0,
            resumed: 0,
            plans: Vec::new(),
            jobs: Vec::new(),
            attempts: Vec::new(),
            waits: Vec::new(),
            flaky: Vec::new(),
            failures: Vec::new(),
            reasons: Vec::new(),
            tasks: Vec::new(),
            blockers: Vec::new(),
            terms: vec![TermsFacts {
                slots: 1,
                ..TermsFacts::default()
            }],
            task_hints: HashMap::default(),
            hosts: Vec::new(),
            rows: Vec::new(),
            needs: Vec::new(),
            events: Vec::new(),
            suspensions: Vec::new(),
            damaged: 0,
            restarts: None,
        }
    }

    /// Returns the waits of a job.
    pub fn waits_of(&self, job: &JobFacts) -> &[WaitFacts] {
        let first = job.first_wait as usize;
        &self.waits[first..first + job.wait_count as usize]
    }

    /// Returns the attempts of a job.
    pub fn attempts_of(&self, job: &JobFacts) -> &[AttemptFacts] {
        let first = job.first_attempt as usize;
        &self.attempts[first..first + job.attempt_count as usize]
    }

    /// Returns how long a job waited for this, in microseconds.
    pub fn waited_for(&self, job: &JobFacts, blocker: &Blocker) -> u64 {
        let waits = self.waits_of(job).iter();
        let of = waits.filter(|wait| self.blockers[wait.blocker as usize] == *blocker);
        of.map(|wait| wait.time).sum()
    }

    /// Returns the terms of a job.
    pub fn terms_of(&self, job: &JobFacts) -> &TermsFacts {
        &self.terms[job.terms as usize]
    }

    /// Returns the hint under which a job ran: its own, or the one that was declared for its task.
    pub fn hint_of(&self, job: &JobFacts) -> Option<&ParallelizationHint> {
        let own = self.terms_of(job).hint.as_ref();
        own.or_else(|| self.task_hints.get(&job.task))
    }

    /// Returns the host that a job names.
    pub fn host_of(&self, job: &JobFacts) -> Option<&str> {
        let index = job.host.checked_sub(1)?;
        Some(&self.hosts[index as usize])
    }

    /// Returns how long all attempts of a job ran, in microseconds.
    pub fn ran(&self, job: &JobFacts) -> u64 {
        self.attempts_of(job)
            .iter()
            .map(|attempt| attempt.ran)
            .sum()
    }

    /// Returns the slots of the machine of the executor in the last part of the run, or as many as were seen if none
    /// are recorded.
    pub fn slots(&self) -> u32 {
        match self.plans.last() {
            Some((_, plan)) => plan.slots,
            None => (self.attempts.iter().map(|attempt| attempt.slot).max())
                .unwrap_or(1)
                .max(1),
        }
    }

    /// Returns the slots of all places on which attempts ran, or could have.
    pub fn all_slots(&self) -> u32 {
        let Some((_, plan)) = self.plans.last() else {
            return self.slots();
        };
        let others: u32 = plan.places.values().sum();
        let is_local = |row: &Row| row.group == "local" || !plan.places.contains_key(&row.group);
        if others > 0 && !self.rows.iter().any(is_local) {
            return others;
        }
        plan.slots.saturating_add(others)
    }

    /// Returns for how much of the time between two moments the process was stopped with all its jobs. No job ran or
    /// waited then.
    pub fn suspended_between(&self, from: Moment, until: Moment) -> u64 {
        let parts = self.suspensions.iter().map(|(began, ended)| {
            let (began, ended) = (*began.max(&from), *ended.min(&until));
            ended.saturating_sub(began)
        });
        parts.sum()
    }

    /// Returns how long all jobs together waited for each blocker, the longest first.
    pub fn waits_by_blocker(&self) -> Vec<(&Blocker, Duration)> {
        let mut sums = vec![0_u64; self.blockers.len()];
        for wait in &self.waits {
            let sum = &mut sums[wait.blocker as usize];
            *sum = sum.saturating_add(wait.time);
        }
        let mut sums: Vec<_> = self
            .blockers
            .iter()
            .zip(sums)
            .filter(|(_, sum)| *sum > 0)
            .map(|(blocker, sum)| (blocker, Duration::from_micros(sum)))
            .collect();
        sums.sort_by_key(|(blocker, sum)| (std::cmp::Reverse(*sum), (*blocker).clone()));
        sums
    }
}

/// Returns the name of a job for people: its item if it has one, else its id.
pub fn shown_name(job: &JobFacts) -> &str {
    job.item.as_ref().map_or(job.id.as_str(), ItemName::as_str)
}

/// Converts a number of things that are all in memory to `u32`. There are never four billion of them.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Returns the most informative part of an output: the end of stderr, or of stdout if there is no stderr.
fn telling_output(outcome: &Outcome, most: usize) -> String {
    let Some(failure) = outcome.failure() else {
        return String::new();
    };
    let of = |output: &Option<ratchet_runtime::OutputExcerpt>| {
        output
            .as_deref()
            .map(str::trim_end)
            .unwrap_or_default()
            .to_owned()
    };
    let text = match of(&failure.stderr) {
        empty if empty.is_empty() => of(&failure.stdout),
        text => text,
    };
    let begin = text.len().saturating_sub(most);
    let begin = (begin..=text.len()).find(|at| text.is_char_boundary(*at));
    text[begin.unwrap_or(text.len())..].to_owned()
}
