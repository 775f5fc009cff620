//! What a queue in memory holds: its jobs from their submission until their end is forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_runtime::{
    Limit, LimitId, Quota, Resource, ResourceId, Scheduler, SchedulerRequest, SchedulerSettings,
    Ticket, Workers,
};
use smol_str::SmolStr;

use super::classes::{ClassId, Classes, Turn};
use super::events::Events;
use super::node::Node;
use crate::clock::Moment;
use crate::engine::QueueSettings;
use crate::error::Error;
use crate::event::EventKind;
use crate::job::{
    Declaration, FinalStatus, JobSpec, JobState, Purged, QueueStatus, Refusal, Requeued, Submitted,
};
use crate::names::{JobName, NodeId};
use crate::node::Fence;

/// A job, from its submission until its end is forgotten.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) spec: JobSpec,
    pub(super) class: ClassId,
    pub(super) phase: Phase,
    /// Its place in the order of the queue, from the moment when its needs are met.
    pub(super) turn: Option<Turn>,
    /// When its needs were met.
    came: Moment,
    /// When it may start at the earliest.
    pub(super) not_before: Moment,
    /// How many of its needs have not succeeded yet.
    pub(super) missing: usize,
    /// The jobs that need this one.
    pub(super) dependents: Vec<JobName>,
    pub(super) attempts: u32,
    /// What its last attempt that was to be tried again has handed over.
    pub(super) handover: Arc<[u8]>,
    /// How many nodes were lost while they ran it.
    pub(super) losses: u32,
    /// The number of the attempt that runs.
    pub(super) fence: Option<Fence>,
    /// The number of the latest attempt of which the end was told.
    pub(super) told: Option<Fence>,
    /// Whether somebody has cancelled it while it ran.
    pub(super) is_cancelled: bool,
    /// When its end is forgotten, if it has ended.
    pub(super) expires: Moment,
    /// When it fails because no living node can do it, if that is so.
    gives_up: Option<Moment>,
    /// Whether it failed because no living node could do it.
    pub(super) is_unservable: bool,
}

impl Job {
    /// Returns the jobs that it needs, in the order in which it names them first.
    pub(super) fn needs(&self) -> Vec<JobName> {
        let mut needs: Vec<JobName> = Vec::new();
        for need in &self.spec.needs {
            if !needs.contains(need) {
                needs.push(need.clone());
            }
        }
        needs
    }
}

/// Where a job is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// It waits for its needs.
    Needs,
    /// It waits in the scheduler.
    Queued(Ticket),
    /// It waits outside of the scheduler, because no living node can do it.
    Parked,
    /// A node has it.
    Running {
        /// The node.
        node: NodeId,
        /// Its ticket in the scheduler.
        ticket: Ticket,
    },
    /// It has ended.
    Ended(FinalStatus),
}

/// What happens at a moment. At one moment, what comes first here happens first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The session of a node ends.
    Session(NodeId),
    /// The end of a job is forgotten.
    Expiry(JobName),
    /// A job has waited for too long for a node that can do it.
    Unservable(JobName),
}

/// What a queue holds. It is told the time before each step.
#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: QueueSettings,
    /// The moment zero, by the clock of the scheduler.
    start: Instant,
    pub(super) now: Moment,
    pub(super) scheduler: Scheduler,
    pub(super) jobs: HashMap<JobName, Job>,
    pub(super) tickets: HashMap<Ticket, JobName>,
    pub(super) classes: Classes,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) timers: BTreeSet<(Moment, Timer)>,
    pub(super) events: Events,
    limits: HashMap<SmolStr, (LimitId, Limit)>,
    resources: HashMap<SmolStr, (ResourceId, Resource)>,
    /// The rate keys of jobs that have not ended, and how many such jobs use each.
    pub(super) rates: HashMap<SmolStr, (Quota, usize)>,
    /// How many jobs have not ended.
    pub(super) open: u64,
    pub(super) running: u64,
    /// Whether no job may start.
    pub(super) is_paused: bool,
    /// The number of the latest change that may let a job start.
    pub(super) change: u64,
    /// How many jobs have had their needs met.
    last_number: u64,
    pub(super) last_node: u64,
    pub(super) last_fence: u64,
}

impl State {
    pub(super) fn new(settings: QueueSettings, start: Instant) -> Result<Self, Error> {
        let scheduler = Scheduler::new(
            SchedulerSettings {
                // Slots are counted by node. The queue counts its jobs itself.
                slots: u32::MAX,
                capacity: usize::MAX,
                ageing: settings.ageing,
                ..SchedulerSettings::default()
            },
            start,
        )?;
        Ok(Self {
            settings,
            start,
            now: Moment::default(),
            scheduler,
            jobs: HashMap::new(),
            tickets: HashMap::new(),
            classes: Classes::default(),
            nodes: BTreeMap::new(),
            timers: BTreeSet::new(),
            events: Events::default(),
            limits: HashMap::new(),
            resources: HashMap::new(),
            rates: HashMap::new(),
            open: 0,
            running: 0,
            is_paused: false,
            change: 0,
            last_number: 0,
            last_node: 0,
            last_fence: 0,
        })
    }

    /// Returns a moment by the clock of the scheduler.
    pub(super) fn instant(&self, moment: Moment) -> Instant {
        self.start + Duration::from_micros(moment.as_micros())
    }

    /// Returns an instant of the scheduler by the clock of the queue, rounded up, since nothing is due before it.
    pub(super) fn moment(&self, instant: Instant) -> Moment {
        let nanos = instant.saturating_duration_since(self.start).as_nanos();
        Moment::from_micros(u64::try_from(nanos.div_ceil(1000)).unwrap_or(u64::MAX))
    }

    /// Lets the clock do what is due. Time only goes forward.
    pub(super) fn advance(&mut self, now: Moment) {
        self.now = self.now.max(now);
        while let Some((moment, _)) = self.timers.first()
            && *moment <= self.now
        {
            match self.timers.pop_first() {
                Some((_, Timer::Session(node))) => self.lose(node),
                Some((_, Timer::Expiry(job))) => self.forget(&job),
                Some((_, Timer::Unservable(job))) => self.give_up(&job),
                None => return,
            }
        }
    }

    /// Forgets the end of a job, and the events that are as old.
    fn forget(&mut self, name: &JobName) {
        self.jobs.remove(name);
        let kept = self
            .now
            .since(Moment::default().after(self.settings.retention));
        self.events.drop_before(Moment::default().after(kept));
    }

    /// Declares limits and resources, all or none.
    pub(super) fn declare(&mut self, declarations: &[Declaration]) -> Result<(), Error> {
        let conflict = |name: &SmolStr, second: String| Error::Conflict {
            name: name.clone(),
            second,
        };
        for declaration in declarations {
            match declaration {
                Declaration::Limit(name, limit) => {
                    if let Some((_, first)) = self.limits.get(name)
                        && std::mem::discriminant(first) != std::mem::discriminant(limit)
                    {
                        return Err(conflict(name, limit.to_string()));
                    }
                }
                Declaration::Resource(name, resource) => {
                    if let Some((_, first)) = self.resources.get(name)
                        && first != resource
                    {
                        return Err(conflict(name, resource.to_string()));
                    }
                }
            }
        }
        self.change += 1;
        let now = self.instant(self.now);
        for declaration in declarations {
            match declaration {
                Declaration::Limit(name, limit) => {
                    let id = match self.limits.get(name) {
                        Some((id, _)) => {
                            self.scheduler.set_limit(*id, *limit, now)?;
                            *id
                        }
                        None => self.scheduler.declare_limit(name, *limit)?,
                    };
                    self.limits.insert(name.clone(), (id, *limit));
                }
                Declaration::Resource(name, resource) => {
                    let id = self.scheduler.declare_resource(name, resource.clone())?;
                    (self.resources).insert(name.clone(), (id, resource.clone()));
                }
            }
        }
        Ok(())
    }

    /// Adds a job.
    pub(super) fn submit(&mut self, spec: &JobSpec) -> Result<Submitted, Error> {
        if let Some(state) = self.state_of(&spec.name) {
            return Ok(Submitted::Known(state));
        }
        if self.open >= self.settings.capacity {
            return Ok(Submitted::Full);
        }
        if let Err(refusal) = self.check(spec) {
            return Ok(Submitted::Refused(refusal));
        }
        let (class, is_new) = self.classes.of(spec)?;
        if is_new {
            self.open_class(class);
        }
        let job = Job {
            spec: spec.clone(),
            class,
            phase: Phase::Needs,
            turn: None,
            came: Moment::default(),
            not_before: self.now.after(spec.delay),
            missing: 0,
            dependents: Vec::new(),
            attempts: 0,
            handover: [].into(),
            losses: 0,
            fence: None,
            told: None,
            is_cancelled: false,
            expires: Moment::default(),
            gives_up: None,
            is_unservable: false,
        };
        self.jobs.insert(spec.name.clone(), job);
        self.open(&spec.name);
        self.meet_needs(&spec.name);
        Ok(Submitted::Accepted)
    }

    /// Counts a job that has not ended, and its use of a rate key.
    fn open(&mut self, name: &JobName) {
        self.open += 1;
        let rate = self.jobs.get(name).and_then(|job| job.spec.rate().ok()?);
        if let Some((key, quota)) = rate {
            self.rates.entry(key).or_insert((quota, 0)).1 += 1;
        }
    }

    /// Lets a job wait for its needs, or gives it its place if all of them have succeeded. It is skipped if one did not.
    fn meet_needs(&mut self, name: &JobName) {
        let needs = self.jobs.get(name).map(Job::needs).unwrap_or_default();
        let (mut missing, mut has_failed) = (0, false);
        for need in needs {
            let Some(needed) = self.jobs.get_mut(&need) else {
                continue;
            };
            match needed.phase {
                Phase::Ended(FinalStatus::Succeeded) => {}
                Phase::Ended(_) => has_failed = true,
                _ => {
                    needed.dependents.push(name.clone());
                    missing += 1;
                }
            }
        }
        if let Some(job) = self.jobs.get_mut(name) {
            job.missing = missing;
        }
        if has_failed {
            self.end(name, FinalStatus::Skipped, [].into());
        } else if missing == 0 {
            self.enter(name);
        }
    }

    /// Lets a job that has ended without success wait again, and with it those that it needs.
    pub(super) fn requeue(&mut self, name: &JobName) -> Requeued {
        match self.state_of(name) {
            None => return Requeued::Unknown,
            Some(JobState::Ended(FinalStatus::Succeeded)) => return Requeued::Succeeded,
            Some(JobState::Ended(_)) => {}
            Some(unended) => return Requeued::Unended(unended),
        }
        let mut ended = vec![name.clone()];
        let mut rates: HashMap<SmolStr, Quota> = HashMap::new();
        let mut at = 0;
        while let Some(job) = ended.get(at).and_then(|name| self.jobs.get(name)) {
            at += 1;
            for need in job.needs() {
                match self.state_of(&need) {
                    None => return Requeued::Refused(Refusal::UnknownNeed { need }),
                    Some(JobState::Ended(FinalStatus::Succeeded)) => {}
                    Some(JobState::Ended(_)) if !ended.contains(&need) => ended.push(need),
                    Some(_) => {}
                }
            }
            if let Ok(Some((key, quota))) = job.spec.rate() {
                let known = self.rates.get(&key).map(|(quota, _)| *quota);
                let first = *rates.entry(key.clone()).or_insert(known.unwrap_or(quota));
                if first != quota {
                    return Requeued::Refused(Refusal::RateConflict { key });
                }
            }
        }
        if let Some(need) = self.circular(&ended) {
            return Requeued::Refused(Refusal::CircularNeed { need });
        }
        if self.open.saturating_add(ended.len() as u64) > self.settings.capacity {
            return Requeued::Full;
        }
        for name in &ended {
            if let Some(job) = self.jobs.get_mut(name) {
                self.timers
                    .remove(&(job.expires, Timer::Expiry(name.clone())));
                job.phase = Phase::Needs;
                job.turn = None;
                job.not_before = self.now;
                job.attempts = 0;
                job.handover = [].into();
                job.losses = 0;
                job.is_cancelled = false;
                job.is_unservable = false;
            }
            self.open(name);
            let job = name.clone();
            self.events.add(EventKind::Requeued { job }, self.now);
        }
        for name in &ended {
            self.meet_needs(name);
        }
        Requeued::Waiting
    }

    /// Returns the first of these jobs that would wait for itself, or for one that would.
    fn circular(&self, jobs: &[JobName]) -> Option<JobName> {
        let mut waiting: Vec<&JobName> = jobs.iter().collect();
        loop {
            let before = waiting.len();
            let known: BTreeSet<&JobName> = waiting.iter().copied().collect();
            waiting.retain(|name| {
                let needs = self.jobs.get(*name).map(Job::needs).unwrap_or_default();
                needs.iter().any(|need| known.contains(need))
            });
            if waiting.len() == before {
                return waiting.first().map(|name| (*name).clone());
            }
        }
    }

    /// Forgets a job that has ended, with its result.
    pub(super) fn purge(&mut self, name: &JobName) -> Purged {
        match self.state_of(name) {
            None => Purged::Unknown,
            Some(JobState::Ended(_)) => {
                if let Some(job) = self.jobs.remove(name) {
                    self.timers
                        .remove(&(job.expires, Timer::Expiry(name.clone())));
                }
                self.events.remove_end(name);
                Purged::Forgotten
            }
            Some(unended) => Purged::Unended(unended),
        }
    }

    /// Refuses a job that names what is not there.
    fn check(&self, spec: &JobSpec) -> Result<(), Refusal> {
        if let Some(name) = (spec.limits.iter()).find(|name| !self.limits.contains_key(*name)) {
            return Err(Refusal::UnknownLimit { name: name.clone() });
        }
        for (name, asked) in spec.units() {
            let Some((_, resource)) = self.resources.get(&name) else {
                return Err(Refusal::UnknownResource { name });
            };
            let total = resource.total();
            if asked == 0 || asked > total {
                return Err(Refusal::ImpossibleResource { name, asked, total });
            }
        }
        if let Some(need) = spec
            .needs
            .iter()
            .find(|need| !self.jobs.contains_key(*need))
        {
            return Err(Refusal::UnknownNeed { need: need.clone() });
        }
        if let Ok(Some((key, quota))) = spec.rate()
            && self
                .rates
                .get(&key)
                .is_some_and(|(first, _)| *first != quota)
        {
            return Err(Refusal::RateConflict { key });
        }
        Ok(())
    }

    /// Finds the nodes that can do the jobs of a new class.
    fn open_class(&mut self, class: ClassId) {
        (self.scheduler).set_workers(class.kind(), Workers::Free(0));
        for node in self.nodes.values_mut() {
            if self.classes.get(class).is_served_by(&node.spec) {
                node.classes.push(class);
                self.classes.get_mut(class).nodes += 1;
            }
        }
    }

    /// Counts a node that can do the jobs of a class. The first one brings them into the scheduler.
    pub(super) fn add_server(&mut self, id: ClassId) {
        let class = self.classes.get_mut(id);
        class.nodes += 1;
        if class.nodes == 1 {
            let names: Vec<JobName> = class.waiting.values().cloned().collect();
            for name in names {
                self.set_give_up(&name, false);
                self.queue(&name);
            }
        }
    }

    /// Sets when a waiting job fails that no living node can do, or takes that back.
    pub(super) fn set_give_up(&mut self, name: &JobName, is_unserved: bool) {
        let Some(job) = self.jobs.get_mut(name) else {
            return;
        };
        if let Some(moment) = job.gives_up.take() {
            (self.timers).remove(&(moment, Timer::Unservable(name.clone())));
        }
        if let Some(time) = job.spec.unservable_after.filter(|_| is_unserved) {
            let moment = self.now.max(job.not_before).after(time);
            job.gives_up = Some(moment);
            (self.timers).insert((moment, Timer::Unservable(name.clone())));
        }
    }

    /// Fails a job that no living node could do for too long.
    fn give_up(&mut self, name: &JobName) {
        if let Some(job) = self.jobs.get_mut(name) {
            job.is_unservable = true;
        }
        let job = name.clone();
        (self.events).add(EventKind::Unservable { job }, self.now);
        self.end(name, FinalStatus::Failed, [].into());
    }

    /// Counts a node down. After the last one, the jobs of the class wait outside of the scheduler.
    pub(super) fn remove_server(&mut self, id: ClassId, node: NodeId) {
        let class = self.classes.get_mut(id);
        class.nodes -= 1;
        if class.reserved == Some(node) {
            class.reserved = None;
        }
        if class.nodes == 0 {
            let names: Vec<JobName> = class.waiting.values().cloned().collect();
            for name in names {
                self.unqueue(&name);
                if let Some(job) = self.jobs.get_mut(&name) {
                    job.phase = Phase::Parked;
                }
                self.set_give_up(&name, true);
            }
        }
    }

    /// Gives a job whose needs are met its place in the order of the queue.
    pub(super) fn enter(&mut self, name: &JobName) {
        let Some(job) = self.jobs.get_mut(name) else {
            return;
        };
        job.came = self.now;
        let turn = Turn {
            due: (self.now).after(self.settings.ageing.span(job.spec.priority)),
            number: self.last_number,
        };
        self.last_number += 1;
        self.wait(name, turn);
    }

    /// Lets a job wait in its turn.
    pub(super) fn wait(&mut self, name: &JobName, turn: Turn) {
        self.change += 1;
        let Some(job) = self.jobs.get_mut(name) else {
            return;
        };
        job.turn = Some(turn);
        job.phase = Phase::Parked;
        let class = self.classes.get_mut(job.class);
        class.waiting.insert(turn, name.clone());
        if class.nodes > 0 {
            self.queue(name);
        } else {
            self.set_give_up(name, true);
        }
    }

    /// Puts a job into the scheduler.
    #[expect(
        clippy::expect_used,
        reason = "the submission has checked all that the scheduler could refuse"
    )]
    fn queue(&mut self, name: &JobName) {
        let Some(job) = self.jobs.get(name) else {
            return;
        };
        let spec = &job.spec;
        let limits: Vec<LimitId> = (spec.limits.iter())
            .filter_map(|name| self.limits.get(name))
            .map(|(id, _)| *id)
            .collect();
        let resources: Vec<(ResourceId, u64)> = (spec.units().into_iter())
            .filter_map(|(name, units)| Some((self.resources.get(&name)?.0, units)))
            .collect();
        let request = SchedulerRequest {
            kind: job.class.kind(),
            priority: spec.priority,
            hint: &spec.hint,
            host: spec.host.as_deref(),
            limits: &limits,
            resources: &resources,
            ..SchedulerRequest::new(&spec.task)
        };
        let turn = job.turn.expect("a job waits in its turn");
        let not_before = self.instant(job.not_before);
        let is_early = job.not_before > self.now;
        let came = (self.instant(job.came), turn.number);
        let now = self.instant(self.now);
        let ticket = (self.scheduler.push_late(request, came, now))
            .expect("a job that was accepted can be pushed");
        if is_early {
            (self.scheduler.postpone(ticket, not_before))
                .expect("a job that was pushed waits for its turn");
        }
        self.tickets.insert(ticket, name.clone());
        if let Some(job) = self.jobs.get_mut(name) {
            job.phase = Phase::Queued(ticket);
        }
    }

    /// Takes a waiting job out of the scheduler, if it is there.
    #[expect(
        clippy::expect_used,
        reason = "the ticket of a job is in the scheduler"
    )]
    fn unqueue(&mut self, name: &JobName) {
        if let Some(job) = self.jobs.get(name)
            && let Phase::Queued(ticket) = job.phase
        {
            (self.scheduler.cancel(ticket)).expect("a queued job can be cancelled");
            self.tickets.remove(&ticket);
        }
    }

    /// Passes on what attempts report.
    pub(super) fn progress(&mut self, reports: &[(JobName, Fence, Arc<[u8]>)]) {
        for (name, fence, message) in reports {
            let is_current = |job: &Job| job.fence == Some(*fence);
            if self.jobs.get(name).is_some_and(is_current) {
                let (job, message) = (name.clone(), Arc::clone(message));
                (self.events).add(EventKind::Progress { job, message }, self.now);
            }
        }
    }

    /// Returns where a job is.
    pub(super) fn state_of(&self, name: &JobName) -> Option<JobState> {
        Some(match self.jobs.get(name)?.phase {
            Phase::Needs | Phase::Queued(_) | Phase::Parked => JobState::Waiting,
            Phase::Running { .. } => JobState::Running,
            Phase::Ended(status) => JobState::Ended(status),
        })
    }

    /// Returns how many jobs and nodes there are.
    pub(super) fn status(&self) -> QueueStatus {
        QueueStatus {
            waiting: self.open - self.running,
            running: self.running,
            nodes: self.nodes.len() as u64,
            is_paused: self.is_paused,
        }
    }
}
