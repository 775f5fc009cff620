//! Reads a journal into a model.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;
use ratchet_ipc::{HostName, JobKey, TaskName};
use ratchet_runtime::event::RunEvent;
use ratchet_runtime::journal::{JobPlan, JournalEntry, position_of};
use ratchet_runtime::{
    AttemptDetail, AttemptEnd, Blocker, Class, Failure, History, ItemName, JournalError, Outcome,
    SlotNumber, Status, Timestamp,
};

use super::rows::{ROUNDING, RowTable};
use super::{
    AttemptFacts, FailureFacts, JobFacts, Moment, RunEnd, RunModel, TermsFacts, WaitFacts, count,
    telling_output,
};

/// How many failed jobs are kept with their messages and outputs.
const FAILURES_KEPT: usize = 1_000;

/// How many characters of an item are kept, so that a report stays small however long the items are.
const ITEM_KEPT: usize = 256;

/// How many bytes of the output, and of the message, of a failed job are kept.
const OUTPUT_KEPT: usize = 4 * 1024;

/// How many bytes of the outputs of all failed jobs are kept together.
const OUTPUTS_KEPT: usize = 1024 * 1024;

/// How many different reasons of failures are counted, and how many bytes of each are compared.
const REASONS_KEPT: usize = 500;
const REASON_KEPT: usize = 200;

/// The input from which a model is read.
#[derive(Debug)]
pub struct Source<'a> {
    /// The journal.
    pub history: &'a History,
    /// The id of the run.
    pub id: String,
    /// The command line of the run.
    pub command: String,
    /// Whether the run has ended.
    pub end: RunEnd,
    /// When the run ended, or now if it is in progress. For an interrupted run, the last moment in its journal counts.
    pub last: SystemTime,
}

/// Numbers values in the order in which they first occur.
struct Numbers<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32, RandomState>,
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    fn new() -> Self {
        Self {
            values: Vec::new(),
            numbers: HashMap::default(),
        }
    }

    /// Returns the number of a value, which gets the next one if it is new.
    fn of(&mut self, value: &T) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = count(self.values.len());
        self.values.push(value.clone());
        self.numbers.insert(value.clone(), number);
        number
    }
}

impl RunModel {
    /// Reads the journal of a run.
    pub fn load(source: Source<'_>) -> Result<Self, JournalError> {
        let mut loader = Loader::new(source.history);
        for entry in source.history.entries() {
            loader.take(entry?);
        }
        Ok(loader.finish(source))
    }
}

/// Collects the entries of a journal.
struct Loader {
    model: RunModel,
    tasks: Numbers<TaskName>,
    hosts: Numbers<HostName>,
    blockers: Numbers<Blocker>,
    rows: RowTable,
    /// The plans of jobs that needed others.
    plans: Vec<(u32, Box<JobPlan<'static>>)>,
    /// When a stop began that has not ended; `None` if there is none.
    suspended: Option<Moment>,
    /// The indices of reasons in their list.
    reasons: HashMap<(Class, String), usize, RandomState>,
    /// How many bytes of outputs were kept so far.
    output_kept: usize,
    /// The last moment in the entries so far.
    last: Moment,
}

impl Loader {
    fn new(history: &History) -> Self {
        let model = RunModel {
            began_us: micros_of(history.header().started),
            jobs: Vec::with_capacity(history.jobs()),
            attempts: Vec::with_capacity(history.jobs()),
            resumed: history.resumed(),
            damaged: history.damaged(),
            restarts: (history.ended()).map(|(_, summary)| summary.worker_restarts),
            ..RunModel::empty()
        };
        Self {
            model,
            tasks: Numbers::new(),
            hosts: Numbers::new(),
            blockers: Numbers::new(),
            rows: RowTable::default(),
            plans: Vec::new(),
            suspended: None,
            reasons: HashMap::default(),
            output_kept: 0,
            last: 0,
        }
    }

    /// Handles an entry of the journal.
    fn take(&mut self, entry: JournalEntry) {
        match entry {
            JournalEntry::Job { outcome, plan } => self.job(&outcome, plan),
            JournalEntry::Planned { at, plan } => {
                let at = self.moment(micros_of(at));
                self.model.plans.push((at, plan));
            }
            JournalEntry::Event(event) => self.model.events.push(event),
            JournalEntry::Suspended(at) => self.suspended = Some(self.moment(micros_of(at))),
            JournalEntry::Continued(at) => {
                let at = self.moment(micros_of(at));
                if let Some(since) = self.suspended.take() {
                    self.model.suspensions.push((since, at.max(since)));
                }
            }
            // A process that was killed while it was stopped is not continued.
            JournalEntry::Resumed(_) => self.suspended = None,
            _ => {}
        }
    }

    /// Converts microseconds since the Unix epoch to a moment of the run.
    fn moment(&self, us: u64) -> Moment {
        us.saturating_sub(self.model.began_us)
    }

    fn at(&self, at: Timestamp) -> Moment {
        self.moment(at.as_millis().saturating_mul(1_000))
    }

    fn job(&mut self, outcome: &Outcome, plan: Option<Box<JobPlan<'static>>>) {
        let number = count(self.model.jobs.len());
        let first_attempt = count(self.model.attempts.len());
        let detail = outcome.attempts_detail();
        let mut has_failed = false;
        let mut last_end = None;
        for attempt in detail.listed() {
            has_failed |= attempt.end.class().is_some();
            let facts = self.attempt(number, attempt);
            last_end = Some(facts.ended());
            self.model.attempts.push(facts);
        }
        let first_wait = count(self.model.waits.len());
        let mut age = micros(detail.duration());
        for (blocker, time) in outcome.waits.iter() {
            let time = micros(time);
            age = age.saturating_add(time);
            let blocker = self.blockers.of(blocker);
            self.model.waits.push(WaitFacts { blocker, time });
        }
        let ended = match outcome.ended {
            Some(ended) => self.at(ended).max(last_end.unwrap_or_default()),
            None => last_end.unwrap_or(self.last),
        };
        self.last = self.last.max(ended);
        if outcome.is_success() && has_failed {
            self.model.flaky.push(number);
        }
        if let Some(failure) = outcome.failure() {
            self.failure(number, outcome, failure);
        }
        let position = plan.as_deref().and_then(|plan| plan.position);
        let position = position.or_else(|| position_of(outcome.id.as_str()));
        let terms = plan.as_deref().map_or(0, |plan| self.terms(plan));
        if let Some(plan) = plan.filter(|plan| !plan.needs.is_empty()) {
            self.plans.push((number, plan));
        }
        let task = self.tasks.of(&outcome.task);
        let host = outcome.host.as_ref();
        let host = host.map_or(0, |host| self.hosts.of(host) + 1);
        self.model.jobs.push(JobFacts {
            id: outcome.id.clone(),
            item: (outcome.item.as_ref()).map(|item| ItemName::new(&item.shortened(ITEM_KEPT))),
            task,
            host,
            terms,
            position,
            arrived: ended.saturating_sub(age),
            ended,
            first_wait,
            first_attempt,
            wait_count: count(self.model.waits.len()) - first_wait,
            attempt_count: count(self.model.attempts.len()) - first_attempt,
            charged: outcome.attempts,
            status: outcome.status(),
            cached: outcome.cached,
            is_timed: outcome.ended.is_some(),
        });
    }

    fn attempt(&mut self, job: u32, attempt: &AttemptDetail) -> AttemptFacts {
        let (worker, place) = (attempt.worker.as_ref(), attempt.place.as_ref());
        AttemptFacts {
            job,
            row: self.rows.of(worker, place, attempt.slot),
            began: self.at(attempt.started),
            ran: micros(attempt.duration),
            slot: attempt.slot.map_or(0, SlotNumber::get),
            class: attempt.end.class(),
            returned: attempt.end == AttemptEnd::Returned,
            cpu: attempt.usage.and_then(|usage| usage.cpu).map(micros),
            max_rss: attempt.usage.and_then(|usage| usage.max_rss),
        }
    }

    /// Records the reason and the details of a failure, as far as there is room.
    fn failure(&mut self, job: u32, outcome: &Outcome, failure: &Failure) {
        if matches!(outcome.status(), Status::Cancelled | Status::Skipped) {
            return;
        }
        let mut reason = failure.message.clone();
        reason.truncate(reason.floor_char_boundary(REASON_KEPT));
        let key = (failure.class, reason);
        if let Some(place) = self.reasons.get(&key) {
            self.model.reasons[*place].0 += 1;
        } else if self.model.reasons.len() < REASONS_KEPT {
            self.reasons.insert(key.clone(), self.model.reasons.len());
            self.model.reasons.push((1, key.0, key.1));
        }
        if self.model.failures.len() >= FAILURES_KEPT {
            return;
        }
        let room = OUTPUTS_KEPT.saturating_sub(self.output_kept);
        let output = telling_output(outcome, room.min(OUTPUT_KEPT));
        self.output_kept += output.len();
        let mut message = failure.message.clone();
        message.truncate(message.floor_char_boundary(OUTPUT_KEPT));
        self.model.failures.push(FailureFacts {
            job,
            class: failure.class,
            code: failure.code.as_deref().map(str::to_owned),
            message,
            output,
        });
    }

    /// Returns the index of the terms of a job, which are added if they are new.
    fn terms(&mut self, plan: &JobPlan<'static>) -> u32 {
        let terms = TermsFacts {
            hint: plan.hint.as_deref().cloned(),
            limits: plan.limits.to_vec(),
            resources: plan.resources.clone().into_iter().collect(),
            slots: plan.slots.unwrap_or(1),
            priority: plan.priority.unwrap_or_default(),
        };
        // A run has few different terms, and the last ones are likely to occur again.
        let known = self.model.terms.iter();
        let found = known.rev().position(|known| *known == terms);
        if let Some(back) = found {
            return count(self.model.terms.len() - 1 - back);
        }
        self.model.terms.push(terms);
        count(self.model.terms.len() - 1)
    }

    /// Finds the jobs that others needed.
    fn needs(&self) -> Vec<(u32, u32)> {
        if self.plans.is_empty() {
            return Vec::new();
        }
        let needs = self.plans.iter().flat_map(|(_, plan)| plan.needs.iter());
        let wanted: HashSet<&JobKey, RandomState> = needs.collect();
        let jobs = self.model.jobs.iter().enumerate();
        let found: HashMap<&JobKey, u32, RandomState> = jobs
            .filter(|(_, job)| wanted.contains(&job.id))
            .map(|(number, job)| (&job.id, count(number)))
            .collect();
        let pairs = self.plans.iter().flat_map(|(job, plan)| {
            let known = plan.needs.iter().filter_map(|id| found.get(id));
            known.map(|needed| (*job, *needed))
        });
        pairs.collect()
    }

    /// Corrects starts that seem to come before the end of a job that was needed. Starts are recorded to the millisecond.
    fn begin_after_needs(&mut self) {
        for (job, needed) in &self.model.needs {
            let needed = &self.model.jobs[*needed as usize];
            let Some(end) = self
                .model
                .attempts_of(needed)
                .last()
                .map(AttemptFacts::ended)
            else {
                continue;
            };
            let job = &self.model.jobs[*job as usize];
            if job.attempt_count > 0 {
                let first = &mut self.model.attempts[job.first_attempt as usize];
                first.began = first.began.max(end.min(first.began + ROUNDING - 1));
            }
        }
    }

    /// Completes the model, after the last entry.
    fn finish(mut self, source: Source<'_>) -> RunModel {
        self.model.needs = self.needs();
        self.begin_after_needs();
        let Self {
            mut model, last, ..
        } = self;
        model.rows = self.rows.arrange(&mut model.attempts);
        for job in &mut model.jobs {
            let last = (job.first_attempt + job.attempt_count).checked_sub(1);
            if let Some(last) = last.filter(|_| job.attempt_count > 0) {
                job.ended = job.ended.max(model.attempts[last as usize].ended());
            }
        }
        for event in &model.events {
            if let RunEvent::HintsDeclared { hints } = &event.event {
                for (task, hint) in hints {
                    if let Some(task) = self.tasks.numbers.get(&TaskName::from(task.as_str())) {
                        model.task_hints.insert(*task, hint.clone());
                    }
                }
            }
        }
        model.tasks = self.tasks.values.iter().map(ToString::to_string).collect();
        model.hosts = (self.hosts.values.iter())
            .map(|host| host.as_str().to_owned())
            .collect();
        model.blockers = self.blockers.values;
        if let Some(since) = self.suspended {
            model.suspensions.push((since, last.max(since)));
        }
        let until = micros_of(source.last).saturating_sub(model.began_us);
        model.length = match source.end {
            RunEnd::Interrupted => last,
            RunEnd::Ended | RunEnd::Running => last.max(until),
        };
        model.id = source.id;
        model.command = source.command;
        model.end = source.end;
        model
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn micros_of(time: SystemTime) -> u64 {
    micros(
        time.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default(),
    )
}
