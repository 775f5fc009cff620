//! One simulation: the events of a run with a change, in the order of their times.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use ratchet_runtime::journal::RunPlan;
use ratchet_runtime::process::working_now;
use ratchet_runtime::{
    Blocker, Decision, Kind, LimitId, ParallelizationHint, Resource, ResourceId, Scheduler,
    SchedulerRequest, SchedulerSettings, Status, Ticket, Workers,
};

use super::{Change, Simulation, number};
use crate::model::{JobFacts, RunModel};

/// The state of a job in the simulation.
struct SimulatedJob {
    /// When the job arrives, if its source was not held back.
    comes: Option<u64>,
    /// How long the job waits between its needs and the queue, for reasons that are not simulated.
    held: u64,
    /// How many of its needs have not ended.
    needs_left: u32,
    has_come: bool,
    /// The index of the next attempt.
    next: u32,
}

/// What happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// An attempt of the job ends.
    Ends(u32),
    /// The job enters the queue.
    Queues(u32),
    /// The job arrives.
    Comes(u32),
    /// A worker of the kind becomes ready for its first job.
    WorkerReady(u16),
    /// The scheduler has to be asked again.
    Wakes,
}

/// One simulation.
pub(super) struct SimulationRun<'a> {
    of: &'a Simulation<'a>,
    change: &'a Change,
    scheduler: Scheduler,
    begin: Instant,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u8, u32, Event)>>,
    jobs: Vec<SimulatedJob>,
    ranks: Vec<u32>,
    /// The jobs that run or wait, by their tickets.
    tickets: HashMap<Ticket, u32, RandomState>,
    /// The ticket of each job that has one.
    ticket_of: Vec<Option<Ticket>>,
    /// The limits of each of the terms.
    limits_of: Vec<Vec<LimitId>>,
    /// The units of resources that each of the terms takes.
    resources_of: Vec<Vec<(ResourceId, u64)>>,
    workers: Vec<Workers>,
    /// How many jobs have arrived and not ended.
    in_flight: usize,
    /// The jobs that are still held back, in the order of arrival.
    held_back: std::vec::IntoIter<u32>,
    last_end: u64,
}

impl<'a> SimulationRun<'a> {
    /// Prepares a simulation with this change. `None` if the scheduler refuses the recorded settings.
    pub(super) fn new(of: &'a Simulation<'a>, change: &'a Change) -> Option<Self> {
        let begin = working_now();
        let more = match change {
            Change::MoreSlots(more) => *more,
            _ => 0,
        };
        let plan = of.model.plans.last().map(|(_, plan)| plan);
        let named = plan.map(|plan| plan.limits.clone()).unwrap_or_default();
        let limits: Vec<_> = named
            .into_iter()
            .filter(|(name, _)| *change != Change::WithoutLimit(name.clone()))
            .collect();
        let enforced: Vec<String> = limits.iter().map(|(name, _)| name.clone()).collect();
        let settings = SchedulerSettings {
            slots: of.slots.saturating_add(more),
            capacity: of.model.jobs.len() + 1,
            limits,
            resources: resources(plan),
            ..SchedulerSettings::default()
        };
        let scheduler = Scheduler::new(settings, begin).ok()?;
        let (workers, ready) = of.workers_with(more);
        let mut run = Self {
            limits_of: limits_of(of.model, &enforced, &scheduler)?,
            resources_of: resources_of(of.model, &scheduler),
            workers,
            jobs: simulated_jobs(of),
            ticket_of: vec![None; of.model.jobs.len()],
            tickets: HashMap::default(),
            events: BinaryHeap::new(),
            held_back: of.jobs_held_back().into_iter(),
            of,
            change,
            scheduler,
            begin,
            now: 0,
            ranks: of.ranks(),
            in_flight: 0,
            last_end: 0,
        };
        run.plan_first_events(&ready);
        Some(run)
    }

    /// Tells the scheduler how many workers there are, and schedules what happens by itself: each worker becomes ready at one
    /// of these times of its kind, and each job arrives that its source did not hold back.
    fn plan_first_events(&mut self, ready: &[Vec<u64>]) {
        for (kind, workers) in self.workers.iter().enumerate() {
            self.scheduler.set_workers(kind_number(kind), *workers);
        }
        for (kind, times) in ready.iter().enumerate() {
            for at in times.iter().filter(|at| **at > 0) {
                self.plan(*at, Event::WorkerReady(kind_number(kind).0));
            }
        }
        for job in 0..number(self.jobs.len()) {
            if let Some(comes) = self.jobs[job as usize].comes {
                self.plan(comes, Event::Comes(job));
            }
        }
    }

    /// Schedules an event. Events of one moment are handled by kind, and then by the ranks of their jobs.
    fn plan(&mut self, at: u64, event: Event) {
        let (order, rank) = match event {
            Event::WorkerReady(kind) => (0, u32::from(kind)),
            Event::Ends(job) => (0, self.ranks[job as usize]),
            Event::Comes(job) => (1, self.ranks[job as usize]),
            Event::Queues(job) => (2, self.ranks[job as usize]),
            Event::Wakes => (3, 0),
        };
        self.events.push(Reverse((at, order, rank, event)));
    }

    fn instant(&self) -> Instant {
        self.begin + Duration::from_micros(self.now)
    }

    /// Simulates the run, and returns the end of the last job. `None` if the scheduler refuses a job.
    pub(super) fn run(mut self) -> Option<u64> {
        self.admit_held_back();
        let mut wake = None;
        while let Some(Reverse((at, _, _, event))) = self.events.pop() {
            self.now = self.now.max(at);
            match event {
                Event::Comes(job) => self.comes(job),
                Event::Queues(job) => self.queues(job)?,
                Event::Ends(job) => self.ends(job)?,
                Event::WorkerReady(kind) => self.worker_is_free(usize::from(kind)),
                Event::Wakes => wake = None,
            }
            // All events of one moment are handled before anything starts.
            let next = self.events.peek().map(|Reverse((at, ..))| *at);
            if next.is_some_and(|next| next <= self.now) {
                continue;
            }
            if let Some(at) = self.start()
                && wake.is_none_or(|wake| at < wake)
            {
                wake = Some(at);
                self.plan(at, Event::Wakes);
            }
        }
        Some(self.last_end)
    }

    /// Admits jobs that their source held back, while the window has room.
    fn admit_held_back(&mut self) {
        while self.in_flight < self.of.window {
            let Some(job) = self.held_back.next() else {
                return;
            };
            self.comes(job);
        }
    }

    /// Handles the arrival of a job.
    fn comes(&mut self, job: u32) {
        self.in_flight += 1;
        self.jobs[job as usize].has_come = true;
        if self.jobs[job as usize].needs_left == 0 {
            self.is_ready(job);
        }
    }

    /// Puts a job whose needs have ended into the queue, after the waits that are not simulated.
    fn is_ready(&mut self, job: u32) {
        let held = self.jobs[job as usize].held;
        self.plan(self.now + held, Event::Queues(job));
    }

    /// Pushes a job into the scheduler. `None` if the scheduler refuses it.
    fn queues(&mut self, index: u32) -> Option<()> {
        let model = self.of.model;
        let job = &model.jobs[index as usize];
        let attempts = model.attempts_of(job);
        let Some(first) = attempts.first() else {
            // The job never ran: its result was cached, a need had failed, or it was given up.
            self.has_ended(index);
            return Some(());
        };
        let terms = model.terms_of(job);
        let hint = self.hint(job);
        let request = SchedulerRequest {
            hint: &hint,
            host: model.host_of(job),
            kind: Kind(self.of.kind_of_row[first.row as usize]),
            priority: terms.priority,
            slots: terms.slots,
            limits: &self.limits_of[job.terms as usize],
            resources: &self.resources_of[job.terms as usize],
            ..SchedulerRequest::new(&model.tasks[job.task as usize])
        };
        let ticket = self.scheduler.push(request, self.instant()).ok()?;
        self.tickets.insert(ticket, index);
        self.ticket_of[index as usize] = Some(ticket);
        Some(())
    }

    /// Returns the hint of a job, unless the change ignores it.
    fn hint(&self, job: &JobFacts) -> ParallelizationHint {
        let hint = self.of.model.hint_of(job).cloned().unwrap_or_default();
        match self.change {
            Change::WithoutHint(name) if hint.name() == *name => ParallelizationHint::default(),
            _ => hint,
        }
    }

    /// Starts the jobs that may start. Returns when to ask again.
    fn start(&mut self) -> Option<u64> {
        loop {
            match self.scheduler.pop(self.instant()) {
                Decision::Start(ticket) => {
                    let job = *self.tickets.get(&ticket)?;
                    let kind = self.kind(job);
                    if let Some(Workers::Free(free)) = self.workers.get_mut(kind) {
                        *free = free.saturating_sub(1);
                    }
                    let ran = self.duration(job);
                    self.plan(self.now + ran, Event::Ends(job));
                }
                Decision::WaitUntil(at) => {
                    let at = at.saturating_duration_since(self.begin);
                    // The timers of the event loop ring to the millisecond, never too early.
                    let at = u64::try_from(at.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
                    return Some(at.saturating_mul(1_000).max(self.now + 1));
                }
                Decision::Idle => return None,
            }
        }
    }

    fn facts(&self, job: u32) -> &'a JobFacts {
        &self.of.model.jobs[job as usize]
    }

    /// Returns the kind of worker of a job's first attempt.
    fn kind(&self, job: u32) -> usize {
        let first = self.of.model.attempts_of(self.facts(job)).first();
        first.map_or(0, |first| {
            usize::from(self.of.kind_of_row[first.row as usize])
        })
    }

    /// Returns how long the next attempt of a job takes.
    fn duration(&self, job: u32) -> u64 {
        let attempts = self.of.model.attempts_of(self.facts(job));
        let next = self.jobs[job as usize].next as usize;
        let ran = attempts.get(next).map_or(0, |attempt| attempt.ran);
        let ran = if *self.change == Change::Halved(job) {
            ran / 2
        } else {
            ran
        };
        ran + self.of.overhead
    }

    /// Handles the end of an attempt: the job is tried again, or has ended.
    fn ends(&mut self, job: u32) -> Option<()> {
        let ticket = self.ticket_of[job as usize]?;
        let kind = self.kind(job);
        let attempts = self.of.model.attempts_of(self.facts(job));
        self.jobs[job as usize].next += 1;
        let next = self.jobs[job as usize].next as usize;
        if next < attempts.len() {
            let not_before = self.instant() + Duration::from_micros(self.delay(job, next));
            self.scheduler.retry(ticket, not_before).ok()?;
        } else {
            self.scheduler.finish(ticket).ok()?;
            self.tickets.remove(&ticket);
            self.has_ended(job);
        }
        self.worker_is_free(kind);
        Some(())
    }

    /// Gives the scheduler one more free worker of a kind, if the kind has a number of workers.
    fn worker_is_free(&mut self, kind: usize) {
        if let Some(Workers::Free(free)) = self.workers.get_mut(kind) {
            *free += 1;
            let workers = Workers::Free(*free);
            self.scheduler.set_workers(kind_number(kind), workers);
        }
    }

    /// Returns the delay before this attempt: its part of the time that the job waited for retries.
    fn delay(&self, job: u32, attempt: usize) -> u64 {
        let facts = self.facts(job);
        let all = self.of.model.waited_for(facts, &Blocker::Retry);
        let attempts = self.of.model.attempts_of(facts);
        let gap = |at: usize| attempts[at].began.saturating_sub(attempts[at - 1].ended());
        let sum: u64 = (1..attempts.len()).map(gap).sum();
        if sum == 0 {
            return 0;
        }
        let part = u128::from(all) * u128::from(gap(attempt)) / u128::from(sum);
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// Handles the end of a job: releases its dependents, and admits jobs that were held back.
    fn has_ended(&mut self, job: u32) {
        self.last_end = self.last_end.max(self.now);
        self.in_flight = self.in_flight.saturating_sub(1);
        let is_needed = self.of.dependents.get(&job);
        for dependent in is_needed.into_iter().flatten() {
            let waiting = &mut self.jobs[*dependent as usize];
            waiting.needs_left = waiting.needs_left.saturating_sub(1);
            let has_failed = self.of.model.jobs[*dependent as usize].status == Status::Skipped;
            if (waiting.needs_left == 0 || has_failed) && waiting.has_come {
                // A job that was skipped ends with the first need that fails.
                waiting.needs_left = 0;
                waiting.has_come = !has_failed;
                waiting.held += self.of.release_delay;
                self.is_ready(*dependent);
            }
        }
        self.admit_held_back();
    }
}

/// Returns the limits of each of the terms that the scheduler knows by these names. `None` if it does not know one of them.
fn limits_of(
    model: &RunModel,
    enforced: &[String],
    scheduler: &Scheduler,
) -> Option<Vec<Vec<LimitId>>> {
    let mut ids: HashMap<&str, LimitId, RandomState> = HashMap::default();
    for name in enforced {
        ids.insert(name, scheduler.limit(name).ok()?);
    }
    let limits = model.terms.iter().map(|terms| {
        let named = terms.limits.iter();
        let known = named.filter_map(|name| ids.get(name.as_str()).copied());
        known.collect()
    });
    Some(limits.collect())
}

/// Returns the units of resources that each of the terms takes. A resource that the record does not declare holds no job
/// back.
fn resources_of(model: &RunModel, scheduler: &Scheduler) -> Vec<Vec<(ResourceId, u64)>> {
    let resources = model.terms.iter().map(|terms| {
        let taken = terms.resources.iter();
        taken
            .filter_map(|(name, units)| Some((scheduler.resource(name).ok()?, *units)))
            .collect()
    });
    resources.collect()
}

/// Returns the jobs of a run before its simulation.
fn simulated_jobs(of: &Simulation<'_>) -> Vec<SimulatedJob> {
    let is_held_for = |blocker: &Blocker| {
        matches!(
            blocker,
            Blocker::Paused
                | Blocker::Breaker
                | Blocker::Cache
                | Blocker::Connect
                | Blocker::Admission
        )
    };
    let jobs = of.model.jobs.iter().enumerate().map(|(index, job)| {
        let waits = of.model.waits_of(job).iter();
        let held = waits.filter(|wait| is_held_for(&of.model.blockers[wait.blocker as usize]));
        SimulatedJob {
            comes: (!of.is_held_back[index]).then(|| of.arrivals[index]),
            held: held.map(|wait| wait.time).sum(),
            needs_left: of.needs[index],
            has_come: false,
            next: 0,
        }
    });
    jobs.collect()
}

/// Returns the resources that the run could use.
fn resources(plan: Option<&RunPlan>) -> Vec<(String, Resource)> {
    let declared = plan.into_iter().flat_map(|plan| &plan.resources);
    declared
        .filter_map(|(name, total)| Some((name.clone(), Resource::count(*total).ok()?)))
        .collect()
}

fn kind_number(kind: usize) -> Kind {
    Kind(u16::try_from(kind).unwrap_or(u16::MAX))
}
