//! Simulates how long a run would have taken with a change. The real scheduler decides, with a clock that jumps from
//! event to event, so a simulation takes only a moment.
//!
//! Each job arrives when it arrived, waits for its needs, and its attempts take as long as they took. Waits that are
//! not simulated keep their recorded time: the delays of retries, and waits for breakers, the cache, connections,
//! pauses and short memory. A worker takes its first job when it was ready for it in the record.

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

use crate::model::{AttemptFacts, JobFacts, ROUNDING, RunModel};

/// The time within which attempts on one row follow each other if only their start takes time.
const QUICK_MICROS: u64 = 20_000;

/// The least number of unfinished jobs at which a run is assumed to have held back its source.
const SMALLEST_WINDOW: usize = 512;

/// A difference from the recorded run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing is different.
    Nothing,
    /// There are more slots, and as many more workers of each kind.
    MoreSlots(u32),
    /// A named limit is not enforced.
    WithoutLimit(String),
    /// A hint is ignored: the jobs with the hint of this name run fully parallel.
    WithoutHint(&'static str),
    /// The attempts of a job take half as long.
    Halved(u32),
}

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

/// The recorded run, prepared to be simulated several times.
pub struct Simulation<'a> {
    model: &'a RunModel,
    /// The jobs in the order in which they were submitted; if that is not recorded, in the order in which they were
    /// started. Jobs that were never started are ordered by their ends.
    order: Vec<u32>,
    /// When each job arrived, without the time for which the run was stopped.
    arrivals: Vec<u64>,
    /// Whether the job arrived as soon as there was room for it.
    is_held_back: Vec<bool>,
    /// The greatest number of unfinished jobs, if that held back the source.
    window: usize,
    /// The dependents of each job.
    dependents: HashMap<u32, Vec<u32>, RandomState>,
    needs: Vec<u32>,
    /// The kind of worker of each row, and how many workers each kind has.
    kind_of_row: Vec<u16>,
    workers: Vec<Workers>,
    /// When each worker of each kind became ready; empty for kinds that are not pools of workers.
    ready: Vec<Vec<u64>>,
    slots: u32,
    /// The time from the end of an attempt until the next one began in its place.
    overhead: u64,
    /// The time from the end of a job until the jobs that need it are released: it is recorded first.
    release_delay: u64,
    /// The recorded end of the last job, without the time for which the run was stopped.
    recorded: u64,
}

impl<'a> Simulation<'a> {
    /// Prepares a run. Returns `None` if the journal has no times.
    pub fn new(model: &'a RunModel) -> Option<Self> {
        if model.jobs.is_empty() || model.jobs.iter().any(|job| !job.is_timed) {
            return None;
        }
        let stops = Stops(&model.suspensions);
        let mut arrivals: Vec<u64> = (model.jobs.iter())
            .map(|job| {
                let ended = stops.working(job.ended);
                let began = model
                    .attempts_of(job)
                    .first()
                    .map(|first| stops.working(first.began));
                let age = job.ended - job.arrived;
                let came = ended.saturating_sub(age);
                began.map_or(came, |began| came.min(began))
            })
            .collect();
        let mut order: Vec<u32> = (0..number(model.jobs.len())).collect();
        let places: Option<Vec<u64>> = model.jobs.iter().map(|job| job.position).collect();
        order.sort_by_key(|index| {
            if let Some(places) = &places {
                return (places[*index as usize], None, *index);
            }
            let job = &model.jobs[*index as usize];
            let began = model.attempts_of(job).first().map(|first| first.began);
            // Starts are known to the millisecond, and slots are given out from the first on.
            let slot = model.attempts_of(job).first().map(|first| first.slot);
            (began.unwrap_or(job.ended) / 1_000, slot, *index)
        });
        settle_arrivals(
            &mut arrivals,
            places.is_some() && model.resumed == 0,
            &order,
        );
        let (is_held_back, window) = held_back(model, &arrivals, stops);
        let mut dependents: HashMap<u32, Vec<u32>, RandomState> = HashMap::default();
        let mut needs = vec![0; model.jobs.len()];
        for (job, needed) in &model.needs {
            dependents.entry(*needed).or_default().push(*job);
            needs[*job as usize] += 1;
        }
        let (kind_of_row, workers, slots) = kinds(model);
        let ready = ready_times(model, &kind_of_row, workers.len(), stops);
        let recorded = model.jobs.iter().map(|job| stops.working(job.ended));
        Some(Self {
            model,
            order,
            arrivals,
            is_held_back,
            window,
            dependents,
            needs,
            kind_of_row,
            workers,
            ready,
            slots,
            overhead: overhead(model),
            release_delay: release_delay(model),
            recorded: recorded.max().unwrap_or_default(),
        })
    }

    /// Returns when the last job of the recorded run ended, in microseconds, without the time for which the run was
    /// stopped.
    pub fn recorded(&self) -> u64 {
        self.recorded
    }

    /// Returns when the last job ends with this change, in microseconds. `None` if the scheduler refuses a job, for
    /// example if the record has no limits.
    pub fn length(&self, change: &Change) -> Option<u64> {
        SimulationRun::new(self, change)?.run()
    }

    /// Returns how many workers of each kind are free at the beginning if there are `more` of each kind, and when each worker
    /// becomes ready.
    fn workers_with(&self, more: u32) -> (Vec<Workers>, Vec<Vec<u64>>) {
        let mut ready = self.ready.clone();
        for times in &mut ready {
            // The other workers of a kind are started like its first one.
            if let Some(first) = times.iter().min().copied() {
                times.extend(std::iter::repeat_n(first, more as usize));
            }
        }
        let workers = self.workers.iter().zip(&ready);
        let workers = workers.map(|(workers, ready)| match workers {
            Workers::Free(_) if !ready.is_empty() => {
                Workers::Free(number(ready.iter().filter(|at| **at == 0).count()))
            }
            Workers::Free(free) => Workers::Free(free.saturating_add(more)),
            other => *other,
        });
        (workers.collect(), ready)
    }

    /// Returns the position of each job in [`order`](Self::order), by the index of the job.
    fn ranks(&self) -> Vec<u32> {
        let mut ranks = vec![0; self.order.len()];
        for (rank, job) in self.order.iter().enumerate() {
            ranks[*job as usize] = number(rank);
        }
        ranks
    }
}

/// The times in which a run was stopped.
#[derive(Clone, Copy)]
struct Stops<'a>(&'a [(u64, u64)]);

impl Stops<'_> {
    /// Returns the moment by a clock that is paused while the run is stopped.
    fn working(self, at: u64) -> u64 {
        let before = self.0.iter().filter(|(from, _)| *from < at);
        let stopped: u64 = before.map(|(from, to)| (*to).min(at) - from).sum();
        at - stopped
    }
}

/// Corrects arrivals by what is known of them besides their times: jobs arrive in the order in which they were submitted, if
/// that order is known, and ends are recorded to the millisecond. So jobs that arrived within one millisecond are taken to have
/// arrived at once, or the first of them would be started although more urgent ones were there.
fn settle_arrivals(arrivals: &mut [u64], is_ordered: bool, order: &[u32]) {
    let mut latest = 0;
    for job in order {
        let arrival = &mut arrivals[*job as usize];
        if is_ordered {
            // The end of a job is rounded down, so that none has arrived earlier than it seems to.
            latest = (*arrival).max(latest);
            *arrival = latest;
        }
        *arrival -= *arrival % 1_000;
    }
}

/// Returns the usual time from the end of the last job that another one needs until that one is released: the mean of all such
/// times.
fn release_delay(model: &RunModel) -> u64 {
    let mut last_ends: HashMap<u32, u64, RandomState> = HashMap::default();
    for (job, needed) in &model.needs {
        let last = last_ends.entry(*job).or_default();
        *last = (*last).max(model.jobs[*needed as usize].ended);
    }
    let delays = last_ends.into_iter().filter_map(|(job, ended)| {
        let job = &model.jobs[job as usize];
        let waited = model.waited_for(job, &Blocker::Needs);
        let delay = (job.arrived + waited).cast_signed() - ended.cast_signed();
        (waited > 0 && delay.unsigned_abs() < QUICK_MICROS).then_some(delay)
    });
    // What is below a hundredth of a millisecond comes from rounding.
    mean(delays).unwrap_or(0) / 10 * 10
}

/// Returns the mean of times, of which some may seem to be negative because starts and ends are recorded to the millisecond.
/// `None` if there are too few.
fn mean(times: impl IntoIterator<Item = i64>) -> Option<u64> {
    const LEAST: i64 = 8;
    let (mut sum, mut count) = (0_i64, 0_i64);
    for time in times {
        sum += time;
        count += 1;
    }
    (count >= LEAST).then(|| u64::try_from(sum / count).unwrap_or(0))
}

/// Converts a length to a number of 32 bits.
fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Finds the jobs that arrived only when there was room for them, and for how many there was room.
fn held_back(model: &RunModel, arrivals: &[u64], stops: Stops<'_>) -> (Vec<bool>, usize) {
    let mut is_held_back = vec![false; arrivals.len()];
    let mut came: Vec<u32> = (0..number(arrivals.len())).collect();
    came.sort_unstable_by_key(|index| arrivals[*index as usize]);
    let mut ends: Vec<u64> = model
        .jobs
        .iter()
        .map(|job| stops.working(job.ended))
        .collect();
    ends.sort_unstable();
    let mut ended = 0;
    let in_flight: Vec<usize> = came
        .iter()
        .enumerate()
        .map(|(before, index)| {
            let now = arrivals[*index as usize];
            while ends.get(ended).is_some_and(|end| *end < now) {
                ended += 1;
            }
            before.saturating_sub(ended)
        })
        .collect();
    let window = in_flight.iter().copied().max().unwrap_or_default();
    if window < SMALLEST_WINDOW || came.len() <= window + window / 4 {
        return (is_held_back, usize::MAX);
    }
    for (index, in_flight) in came.iter().zip(in_flight).skip(window) {
        is_held_back[*index as usize] = in_flight >= window / 2;
    }
    (is_held_back, window)
}

/// Assigns each row the number of its kind of worker. Also returns how many workers each kind has, and how many slots
/// there are.
fn kinds(model: &RunModel) -> (Vec<u16>, Vec<Workers>, u32) {
    let plan = model.plans.last().map(|(_, plan)| plan);
    let mut numbers: HashMap<&str, u16, RandomState> = HashMap::default();
    let (mut workers, mut rows) = (Vec::new(), Vec::new());
    for row in &model.rows {
        let next = u16::try_from(workers.len()).unwrap_or(u16::MAX);
        let kind = *numbers.entry(row.group.as_str()).or_insert_with(|| {
            workers.push(0_u32);
            next
        });
        workers[usize::from(kind)] += 1;
        rows.push(kind);
    }
    let places = plan.map(|plan| &plan.places);
    let mut slots = model.slots();
    let mut of_kinds = vec![Workers::Unlimited; workers.len()];
    for (group, kind) in numbers {
        let kind = usize::from(kind);
        let is_pool = group != "local" && places.is_none_or(|places| !places.contains_key(group));
        if let Some(of_place) = places.and_then(|places| places.get(group)) {
            of_kinds[kind] = Workers::Free(*of_place);
            slots = slots.saturating_add(*of_place);
        } else if is_pool {
            of_kinds[kind] = Workers::Free(workers[kind]);
        }
    }
    (rows, of_kinds, slots)
}

/// Returns when each worker of each kind became ready. That is not recorded, but it shows if the first job of a worker
/// waited for one. Workers for which no job waited count as ready from the beginning.
fn ready_times(
    model: &RunModel,
    kind_of_row: &[u16],
    kinds: usize,
    stops: Stops<'_>,
) -> Vec<Vec<u64>> {
    let places = model.plans.last().map(|(_, plan)| &plan.places);
    let mut firsts: Vec<Option<&AttemptFacts>> = vec![None; model.rows.len()];
    for attempt in &model.attempts {
        let first = &mut firsts[attempt.row as usize];
        if first.is_none_or(|first| attempt.began < first.began) {
            *first = Some(attempt);
        }
    }
    let mut ready = vec![Vec::new(); kinds];
    for ((row, kind), first) in model.rows.iter().zip(kind_of_row).zip(firsts) {
        let is_place = places.is_some_and(|places| places.contains_key(&row.group));
        if row.group == "local" || is_place {
            continue;
        }
        let at = first.map_or(0, |first| {
            let job = &model.jobs[first.job as usize];
            let attempts = model.attempts_of(job);
            let is_first = attempts.first().is_some_and(|of| of.began == first.began);
            let waited = model.waited_for(job, &Blocker::Worker);
            if !is_first || waited <= ROUNDING {
                return 0;
            }
            // A job is charged for a slot only when a worker is ready for it.
            let for_slot = model.waited_for(job, &Blocker::Slot);
            stops.working(first.began).saturating_sub(for_slot)
        });
        ready[usize::from(*kind)].push(at);
    }
    ready
}

/// Returns the usual time between two attempts in one slot if the second one waited for nothing else: the mean of all such
/// times.
///
/// The row of a worker tells nothing of this where workers share slots: a worker is also idle while others have them.
fn overhead(model: &RunModel) -> u64 {
    let shares_numbers = (model.plans.iter()).any(|(_, plan)| !plan.places.is_empty());
    let place = |attempt: &AttemptFacts| match attempt.slot {
        0 => (attempt.row, 0),
        // Each place has a slot of this number.
        slot if shares_numbers => (attempt.row, slot),
        slot => (u32::MAX, slot),
    };
    let mut order: Vec<u32> = (0..number(model.attempts.len())).collect();
    order.sort_unstable_by_key(|index| {
        let attempt = &model.attempts[*index as usize];
        (place(attempt), attempt.began)
    });
    let gaps = order.windows(2).filter_map(|pair| {
        let [before, after] = [0, 1].map(|side| &model.attempts[pair[side] as usize]);
        let job = &model.jobs[after.job as usize];
        let waited_for_turn = model.waits_of(job).iter().all(|wait| {
            matches!(
                model.blockers[wait.blocker as usize],
                Blocker::Slot | Blocker::Worker
            )
        });
        let gap = after.began.cast_signed() - before.ended().cast_signed();
        let is_quick = gap.unsigned_abs() < QUICK_MICROS;
        let is_next = place(before) == place(after) && job.arrived < before.ended();
        (waited_for_turn && is_quick && is_next).then_some(gap)
    });
    mean(gaps).unwrap_or(0)
}

/// Returns the resources that the run could use.
fn resources(plan: Option<&RunPlan>) -> Vec<(String, Resource)> {
    let declared = plan.into_iter().flat_map(|plan| &plan.resources);
    declared
        .filter_map(|(name, total)| Some((name.clone(), Resource::count(*total).ok()?)))
        .collect()
}

/// One simulation.
struct SimulationRun<'a> {
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
    fn new(of: &'a Simulation<'a>, change: &'a Change) -> Option<Self> {
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
        let settings = SchedulerSettings {
            slots: of.slots.saturating_add(more),
            capacity: of.model.jobs.len() + 1,
            limits: limits.clone(),
            resources: resources(plan),
            ..SchedulerSettings::default()
        };
        let scheduler = Scheduler::new(settings, begin).ok()?;
        let mut ids: HashMap<String, LimitId, RandomState> = HashMap::default();
        for (name, _) in limits {
            let id = scheduler.limit(&name).ok()?;
            ids.insert(name, id);
        }
        let limits_of = of.model.terms.iter().map(|terms| {
            let named = terms.limits.iter();
            named.filter_map(|name| ids.get(name).copied()).collect()
        });
        let resources_of = of.model.terms.iter().map(|terms| {
            let taken = terms.resources.iter();
            // A resource that the record does not declare holds no job back.
            taken
                .filter_map(|(name, units)| Some((scheduler.resource(name).ok()?, *units)))
                .collect()
        });
        let resources_of: Vec<_> = resources_of.collect();
        let (workers, ready) = of.workers_with(more);
        let jobs = of.model.jobs.iter().enumerate().map(|(index, job)| {
            let waited = |blocker: &Blocker| {
                matches!(
                    blocker,
                    Blocker::Paused
                        | Blocker::Breaker
                        | Blocker::Cache
                        | Blocker::Connect
                        | Blocker::Admission
                )
            };
            let waits = of.model.waits_of(job).iter();
            let held = waits.filter(|wait| waited(&of.model.blockers[wait.blocker as usize]));
            SimulatedJob {
                comes: (!of.is_held_back[index]).then(|| of.arrivals[index]),
                held: held.map(|wait| wait.time).sum(),
                needs_left: of.needs[index],
                has_come: false,
                next: 0,
            }
        });
        let mut held_back: Vec<u32> = (0..number(of.model.jobs.len()))
            .filter(|index| of.is_held_back[*index as usize])
            .collect();
        let ranks = of.ranks();
        held_back.sort_by_key(|index| (of.arrivals[*index as usize], ranks[*index as usize]));
        let mut pass = Self {
            limits_of: limits_of.collect(),
            resources_of,
            workers,
            jobs: jobs.collect(),
            ticket_of: vec![None; of.model.jobs.len()],
            tickets: HashMap::default(),
            events: BinaryHeap::new(),
            held_back: held_back.into_iter(),
            of,
            change,
            scheduler,
            begin,
            now: 0,
            ranks,
            in_flight: 0,
            last_end: 0,
        };
        for (kind, workers) in pass.workers.iter().enumerate() {
            pass.scheduler.set_workers(kind_number(kind), *workers);
        }
        for (kind, times) in ready.iter().enumerate() {
            for at in times.iter().filter(|at| **at > 0) {
                pass.plan(*at, Event::WorkerReady(kind_number(kind).0));
            }
        }
        for job in 0..number(pass.jobs.len()) {
            if let Some(comes) = pass.jobs[job as usize].comes {
                pass.plan(comes, Event::Comes(job));
            }
        }
        Some(pass)
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
    fn run(mut self) -> Option<u64> {
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

fn kind_number(kind: usize) -> Kind {
    Kind(u16::try_from(kind).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests;
