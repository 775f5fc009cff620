//! The workers of one kind: who gets what, who is started, and who has to go.
//!
//! A plain value without input or output of its own: it is told what happens and when, hands work to
//! its members, and says by [`Roster::tend`] how many workers to start.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::{Payload, Profile};

use super::Acquirer;
use super::call::without_worker;
use super::member::Member;
use super::metrics::Counts;
use crate::event::WorkerNews;
use crate::executor::crew::{Introduction, Report};
use crate::executor::reporter::Reporter;
use crate::outcome::{Class, Failure};
use crate::process::health::{Health, Verdict};
use crate::process::pool::Estimate;
use crate::process::{Lease, PoolConfig};
use crate::scheduling::{Balancer, Candidate, Kind, ParallelizationHint, WorkerNumber};
use crate::worker::orders::{Death, Key, Order, ReplyTo, Work, Worked};
use crate::worker::state::{Move, WorkerState};
use crate::worker::{Cause, Retirement};

/// How long a worker may be idle while another has work in its pipe that it does not get to.
const RECALL_AFTER: Duration = Duration::from_millis(2);

/// An executor that is told what becomes of a kind, and what it calls the kind.
pub(in crate::process) struct Listener {
    pub(super) reporter: Reporter,
    pub(super) kind: Kind,
}

/// The tasks that workers say they know, if they say.
struct Repertoire(Option<Vec<Introduction>>);

pub(super) struct Roster {
    pub(super) kind: Kind,
    listeners: Vec<Listener>,
    pub(super) config: Arc<PoolConfig>,
    pub(super) members: Vec<Member>,
    /// Bounds that hold now; `scale_to` moves them.
    min: u32,
    max: u32,
    /// Attempts that no worker has room for yet.
    pending: VecDeque<Work>,
    /// Those who want a worker for themselves.
    acquirers: VecDeque<Acquirer>,
    balancer: Box<dyn Balancer>,
    candidates: Vec<Candidate>,
    health: Health,
    /// Why the kind was given up.
    pub(super) broken: Option<Box<Failure>>,
    estimate: Estimate,
    /// How many jobs wait with an executor.
    expected: usize,
    /// Since when there has been more to do than workers for it.
    short_since: Option<Instant>,
    /// Its workers say no hello.
    pub(super) silent: bool,
    announced: (u32, u32),
    /// Another whenever the number of places is.
    edition: u64,
    /// What its workers say they can do, once one has spoken, or has shown that it will not.
    repertoire: Option<Repertoire>,
    pub(super) counts: Counts,
    next_number: u64,
}

impl Roster {
    pub(super) fn new(kind: Kind, config: PoolConfig) -> Self {
        Self {
            kind,
            listeners: Vec::new(),
            min: config.size.min,
            max: config.size.max,
            members: Vec::new(),
            pending: VecDeque::new(),
            acquirers: VecDeque::new(),
            balancer: config.balance.balancer(),
            candidates: Vec::new(),
            health: Health::new(config.restart),
            broken: None,
            estimate: Estimate::default(),
            expected: 0,
            short_since: None,
            silent: false,
            announced: (0, 0),
            edition: 0,
            repertoire: None,
            counts: Counts::default(),
            next_number: 1,
            config: Arc::new(config),
        }
    }

    pub(super) fn member(&mut self, number: u64) -> Option<&mut Member> {
        self.members
            .iter_mut()
            .find(|member| member.number == number)
    }

    pub(super) fn next_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// How many workers there are that stay.
    pub(super) fn size(&self) -> u32 {
        count(self.members.iter().filter(|member| {
            member.stays() && member.replaces.is_none_or(|old| !self.is_staying(old))
        }))
    }

    fn is_staying(&self, number: u64) -> bool {
        self.members
            .iter()
            .any(|member| member.number == number && member.stays())
    }

    pub(super) fn scale_to(&mut self, size: u32) {
        (self.min, self.max) = (size, size);
    }

    /// An executor has so many jobs waiting for workers of this kind.
    pub(super) fn expect(&mut self, waiting: usize) {
        self.expected = waiting;
    }

    /// Somebody wants a worker for themselves.
    pub(super) fn acquire(&mut self, acquirer: Acquirer) {
        match &self.broken {
            // Who asked may be gone.
            Some(failure) => drop(acquirer.answer.send(Err(failure.clone()))),
            None => self.acquirers.push_back(acquirer),
        }
    }

    /// An attempt comes in.
    pub(super) fn take(&mut self, work: Work, now: Instant) {
        if let Some(failure) = &self.broken {
            let failure = failure.clone();
            return work.answer(Err(failure), None, Duration::ZERO, None);
        }
        if work.ahead {
            return match self.stage(work, now) {
                None => {}
                Some(work) => give_back(work),
            };
        }
        self.pending.push_back(work);
        self.hand_out(now);
        self.return_outdated();
    }

    /// Gives back what no worker has room for, if the place that it was sent to is gone.
    fn return_outdated(&mut self) {
        let mut number = 0;
        while let Some(work) = self.pending.get(number) {
            if !work.is_outdated(self.edition) {
                number += 1;
            } else if let Some(outdated) = self.pending.remove(number) {
                give_back(outdated);
            }
        }
    }

    /// An attempt comes back with which nobody is charged.
    pub(super) fn take_back(&mut self, number: u64, work: Work, begun: bool, now: Instant) {
        let mut leased = false;
        if let Some(member) = self.member(number) {
            member.staged -= u32::from(work.ahead && !begun && member.staged > 0);
            member.recalled &= member.staged > 0;
            member.make(Move::GaveBack(1), now);
            leased = member.leased;
        }
        if work.has_slot() {
            give_back(work);
        } else if !work.is_wanted() {
            // Its cancellation may have missed it on the way.
        } else if leased {
            // It was meant for this worker and no other.
            without_worker(work);
        } else {
            let ahead = false;
            self.take(Work { ahead, ..work }, now);
        }
    }

    /// Puts an attempt into the pipe of a worker that is busy.
    fn stage(&mut self, work: Work, now: Instant) -> Option<Work> {
        let (config, estimate) = (&self.config, &self.estimate);
        let roomiest = self
            .members
            .iter_mut()
            .filter(|member| {
                member.takes_work() && !member.leased && !member.recalled && member.room() == 0
            })
            .filter(|member| {
                member.staged < estimate.ahead(config, member.concurrency, member.gives_back)
            })
            .min_by_key(|member| member.staged);
        match roomiest {
            Some(member) => member.give(work, now).err(),
            None => Some(work),
        }
    }

    /// Gives what waits to whoever has room.
    pub(super) fn hand_out(&mut self, now: Instant) {
        while let Some(acquirer) = self.acquirers.pop_front() {
            if acquirer.answer.is_closed() {
                continue;
            }
            // One whose successor is on the way would leave under its lease.
            let free = self.members.iter_mut().find(|member| {
                matches!(member.state, WorkerState::Ready { .. })
                    && member.takes_work()
                    && !member.leased
                    && !member.succeeded
            });
            let Some(member) = free else {
                self.acquirers.push_front(acquirer);
                break;
            };
            member.leased = true;
            let Acquirer { answer, supervisor } = acquirer;
            let lease = Lease::new(self.kind, member.number, member.name.clone(), supervisor);
            if let Err(Ok(unwanted)) = answer.send(Ok(lease)) {
                unwanted.forget();
                member.leased = false;
            }
        }
        while let Some(work) = self.pending.pop_front() {
            let host = work.job.host.clone();
            if let Some(member) = self.choose(host.as_ref().map(ratchet_ipc::HostName::as_str)) {
                if let Err(work) = member.give(work, now) {
                    self.pending.push_front(work);
                }
                continue;
            }
            // Whoever called the pool holds no slot, so its work can lie in a pipe as well.
            let work = if work.has_slot() {
                Some(work)
            } else {
                let ahead = true;
                self.stage(Work { ahead, ..work }, now)
            };
            if let Some(work) = work {
                let ahead = false;
                self.pending.push_front(Work { ahead, ..work });
                break;
            }
        }
    }

    fn choose(&mut self, key: Option<&str>) -> Option<&mut Member> {
        self.candidates.clear();
        for member in &self.members {
            if member.room() > 0 {
                self.candidates.push(Candidate {
                    worker: WorkerNumber(member.number),
                    in_flight: member.running(),
                    capacity: member.concurrency,
                    weight: 1,
                });
            }
        }
        let chosen = self.balancer.choose(&self.candidates, key)?;
        let number = self.candidates.get(chosen)?.worker.0;
        self.member(number)
    }

    /// A worker takes work from now on, or has said more of itself.
    pub(super) fn ready(&mut self, number: u64, profile: &Profile, now: Instant) {
        let concurrency = self.config.concurrency.unwrap_or(profile.concurrency).get();
        let Some(member) = self.member(number) else {
            return;
        };
        member.introduce(profile, concurrency);
        let replaced = if member.is_starting() {
            member.make(Move::Readied, now);
            let after = now.saturating_duration_since(member.born);
            let news = WorkerNews::Ready {
                worker: member.name.clone(),
                after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            };
            let replaced = member.replaces.take();
            self.tell(|_| Report::Worker(news.clone()));
            replaced
        } else {
            None
        };
        if let Some(old) = replaced {
            self.retire_worn(old, now);
        }
        if self.repertoire.is_none() || profile.tasks.is_some() {
            let tasks = introductions(profile);
            self.repertoire = Some(Repertoire(tasks.clone()));
            self.tell(|kind| Report::Introduced {
                kind,
                tasks: tasks.clone(),
            });
        }
        self.hand_out(now);
    }

    fn retire_worn(&mut self, number: u64, now: Instant) {
        let ttl = self.config.recycling.ttl;
        if let Some(member) = self.member(number) {
            let why = if member.swollen {
                Retirement::Memory
            } else if ttl.is_some_and(|ttl| now.saturating_duration_since(member.born) >= ttl) {
                Retirement::Age
            } else {
                Retirement::MaxJobs
            };
            retire(member, why, now);
        }
    }

    /// A worker has done something.
    pub(super) fn worked(&mut self, number: u64, worked: Worked, now: Instant) {
        let Some(member) = self.member(number) else {
            return;
        };
        member.staged = member.staged.saturating_sub(worked.begun);
        member.recalled &= member.staged > 0;
        if worked.ended > 0 {
            member.make(Move::GaveBack(worked.ended), now);
        }
        member.jobs_done += u64::from(worked.ended);
        member.busy += worked.busy;
        self.counts.jobs += u64::from(worked.ended);
        self.estimate.learn(worked.ended, worked.busy);
        self.health.did_well();
        self.hand_out(now);
    }

    /// A worker is no more. Says how the kind takes it.
    pub(super) fn bury(&mut self, number: u64, death: &Death, now: Instant) -> Option<Member> {
        let place = self
            .members
            .iter()
            .position(|member| member.number == number)?;
        let mut member = self.members.remove(place);
        // With nothing to do, or not even ready, it is its kind that is to blame, and not a job.
        let blames_kind = death.charged == 0 || death.cause.is_final();
        member.make(Move::Died, now);
        self.balancer.forget(WorkerNumber(number));
        let unexpected = death.cause.is_unexpected();
        self.counts.ended(death.cause.name(), unexpected);
        let news = WorkerNews::Ended {
            worker: member.name.clone(),
            cause: death.cause.to_string(),
            unexpected,
        };
        self.tell(|_| Report::Worker(news.clone()));
        if let Some(old) = member.replaces.and_then(|old| self.member(old)) {
            // The old one stays until another successor is there.
            old.succeeded = false;
        }
        if unexpected && blames_kind {
            self.fail(&member, death, now);
        }
        Some(member)
    }

    fn fail(&mut self, member: &Member, death: &Death, now: Instant) {
        let verdict = if death.cause.is_final() {
            Verdict::GiveUp
        } else {
            self.health.failed(now)
        };
        match verdict {
            Verdict::Again(delay) => {
                tracing::warn!(worker = %member.name, cause = %death.cause, ?delay, "a worker failed");
                let kind = self.config.name.clone();
                self.tell(|_| {
                    let kind = kind.clone();
                    Report::Worker(WorkerNews::Waiting { kind, delay })
                });
            }
            Verdict::GiveUp => self.give_up(member, death),
        }
    }

    /// The kind is not to be had any more: whoever waits for it is told why.
    fn give_up(&mut self, member: &Member, death: &Death) {
        let policy = self.config.restart;
        let reason = match &death.cause {
            cause if cause.is_final() => format!("worker {} {cause}", member.name),
            cause => format!(
                "worker `{}` is given up: {} of its workers failed within {:?}; the last, {}, {cause}",
                self.config.name, policy.intensity, policy.period, member.name
            ),
        };
        tracing::error!(kind = %self.config.name, %reason, "a kind of worker is given up");
        let class = match death.cause {
            Cause::Refused(_) => Class::Protocol,
            _ => Class::Spawn,
        };
        let failure = Failure::new(class, reason.clone())
            .retryable(false)
            .stderr(death.stderr.clone());
        self.broken = Some(Box::new(failure.clone()));
        for work in self.pending.drain(..) {
            work.answer(Err(Box::new(failure.clone())), None, Duration::ZERO, None);
        }
        for acquirer in self.acquirers.drain(..) {
            // Who asked may be gone.
            drop(acquirer.answer.send(Err(Box::new(failure.clone()))));
        }
        let news = WorkerNews::Broken {
            kind: self.config.name.clone(),
            reason,
        };
        self.tell(|_| Report::Worker(news.clone()));
        self.tell(|kind| Report::Broken {
            kind,
            failure: Box::new(failure.clone()),
        });
    }

    /// An executor is gone, and nobody wants its attempts any more.
    pub(super) fn abandon(&mut self, executor: &Reporter) {
        self.listeners
            .retain(|listener| !listener.reporter.is(executor));
        self.pending.retain(|work| !work.is_of(executor));
        self.expected = 0;
        for member in self.members.iter().filter(|member| member.state.jobs() > 0) {
            member.order(Order::Abandon(executor.clone()));
        }
    }

    /// Tells executors how many attempts the kind takes, where that has changed.
    pub(super) fn announce(&mut self) {
        let mut places = 0;
        let mut ahead = 0;
        for member in &self.members {
            if member.takes_work() && !member.leased {
                places += member.concurrency;
                ahead += self
                    .estimate
                    .ahead(&self.config, member.concurrency, member.gives_back);
            } else if !member.leased {
                places += member.running();
            }
        }
        if (places, ahead) != self.announced {
            self.edition += u64::from(places != self.announced.0);
            self.announced = (places, ahead);
            let edition = self.edition;
            self.tell(|kind| Report::Places {
                kind,
                places,
                ahead,
                edition,
            });
            // Whoever sent it knows better by now.
            self.return_outdated();
        }
    }

    /// Sees to the size and the state of the pool. Says how many workers are to be started now, and
    /// whom each replaces.
    pub(super) fn tend(&mut self, now: Instant) -> Vec<Option<u64>> {
        if self.broken.is_some() {
            return Vec::new();
        }
        self.shrink(now);
        self.recall(now);
        let mut starts = Vec::new();
        let size = self.size();
        let missing = self.min.saturating_sub(size);
        let wanted = missing.max(self.growth(size, now));
        if wanted > 0 && self.health.not_before(now).is_none() {
            starts.extend((0..wanted).map(|_| None));
        }
        let ttl = self.config.recycling.ttl;
        for member in &mut self.members {
            let worn = member.stays() && !member.is_starting() && member.is_worn(ttl, now);
            if worn && !member.succeeded && !member.leased && self.health.not_before(now).is_none()
            {
                member.succeeded = true;
                starts.push(Some(member.number));
            }
        }
        starts
    }

    /// How many workers more there should be, by what waits and for how long.
    fn growth(&mut self, size: u32, now: Instant) -> u32 {
        let waiting = self.expected + self.pending.len() + self.acquirers.len();
        let coming = count(self.members.iter().filter(|member| member.is_starting()));
        let room: u32 = self.members.iter().map(Member::room).sum();
        let short = waiting.saturating_sub((room + coming) as usize);
        if short == 0 || size >= self.max {
            self.short_since = None;
            return 0;
        }
        let since = *self.short_since.get_or_insert(now);
        let waited = now.saturating_duration_since(since);
        let step = u32::try_from(short).unwrap_or(u32::MAX);
        if self.config.size.grow_after.is_zero() {
            return step.min(self.max - size);
        }
        // With nobody there, there is nothing to wait for.
        if size > 0 && waited < self.config.size.grow_after {
            return 0;
        }
        self.short_since = Some(now);
        1
    }

    /// Workers beyond the most there may be leave, and so do those that have long been idle.
    fn shrink(&mut self, now: Instant) {
        let mut surplus = self.size().saturating_sub(self.max);
        while surplus > 0 {
            let idle = self
                .members
                .iter_mut()
                .filter(|member| member.stays() && !member.leased);
            // Whoever has least to do leaves first.
            let Some(member) = idle.min_by_key(|member| (member.state.jobs(), member.jobs_done))
            else {
                break;
            };
            retire(member, Retirement::Shrunk, now);
            surplus -= 1;
        }
        let Some(ttl) = self.config.recycling.idle_ttl else {
            return;
        };
        let mut spare = self.size().saturating_sub(self.min);
        for member in &mut self.members {
            let idle = member.idle_since();
            if spare > 0 && idle.is_some_and(|since| now.saturating_duration_since(since) >= ttl) {
                retire(member, Retirement::Idle, now);
                spare -= 1;
            }
        }
    }

    /// Makes room for another kind: the worker that has been idle longest leaves.
    pub(super) fn yield_one(&mut self, now: Instant) -> bool {
        if self.size() <= self.min || self.expected > 0 {
            return false;
        }
        let idle = self
            .members
            .iter_mut()
            .filter(|member| member.idle_since().is_some());
        match idle.min_by_key(|member| member.idle_since()) {
            Some(member) => {
                retire(member, Retirement::Shrunk, now);
                true
            }
            None => false,
        }
    }

    /// A short job must not lie behind a long one while another worker has nothing to do.
    fn recall(&mut self, now: Instant) {
        if self
            .bored_since()
            .is_none_or(|since| now.saturating_duration_since(since) < RECALL_AFTER)
        {
            return;
        }
        for member in &mut self.members {
            if member.staged > 0 && member.gives_back && !member.recalled && !member.leased {
                member.recalled = true;
                member.order(Order::Recall);
            }
        }
    }

    /// Since when somebody has been idle while another has work that it does not get to.
    fn bored_since(&self) -> Option<Instant> {
        let lies = |member: &Member| member.staged > 0 && member.gives_back && !member.recalled;
        if !self.members.iter().any(lies) {
            return None;
        }
        self.members.iter().filter_map(Member::idle_since).min()
    }

    /// When to tend to the pool again, if nothing happens before.
    pub(super) fn next_check(&self, now: Instant) -> Option<Instant> {
        if self.broken.is_some() {
            return None;
        }
        let recycling = &self.config.recycling;
        let ages = recycling.ttl.into_iter().flat_map(|ttl| {
            let living = self
                .members
                .iter()
                .filter(|member| member.stays() && !member.succeeded);
            living.filter_map(move |member| member.born.checked_add(ttl))
        });
        let spare = self.size() > self.min;
        let idles = recycling
            .idle_ttl
            .filter(|_| spare)
            .into_iter()
            .flat_map(|ttl| {
                let idle = self.members.iter().filter_map(Member::idle_since);
                idle.filter_map(move |since| since.checked_add(ttl))
            });
        let grow = self
            .short_since
            .and_then(|since| since.checked_add(self.config.size.grow_after));
        let recall = self
            .bored_since()
            .and_then(|since| since.checked_add(RECALL_AFTER));
        let restart = self.health.not_before(now);
        // What is past was seen to, or waits for something that will happen.
        let times = [grow, recall, restart]
            .into_iter()
            .flatten()
            .chain(ages)
            .chain(idles);
        times.filter(|at| *at > now).min()
    }

    /// Work that no worker has yet is not wanted any more.
    pub(super) fn drop_pending(&mut self, key: Key) -> bool {
        let Some(place) = self.pending.iter().position(|work| work.key() == key) else {
            return false;
        };
        if let Some(work) = self.pending.remove(place) {
            let failure = Failure::new(Class::Cancelled, "cancelled before it began");
            work.answer(Err(Box::new(failure)), None, Duration::ZERO, None);
        }
        true
    }

    /// Takes on a listener, and tells it where things stand.
    pub(super) fn greet(&mut self, listener: Listener) {
        let Listener { reporter, kind } = &listener;
        let kind = *kind;
        let (places, ahead) = self.announced;
        reporter.tell(Report::Places {
            kind,
            places,
            ahead,
            edition: self.edition,
        });
        if let Some(Repertoire(tasks)) = &self.repertoire {
            let tasks = tasks.clone();
            reporter.tell(Report::Introduced { kind, tasks });
        }
        if let Some(failure) = &self.broken {
            let failure = failure.clone();
            reporter.tell(Report::Broken { kind, failure });
        }
        self.listeners.retain(|other| !other.reporter.is_closed());
        self.listeners.push(listener);
    }

    pub(super) fn tell(&self, report: impl Fn(Kind) -> Report) {
        for listener in &self.listeners {
            listener.reporter.tell(report(listener.kind));
        }
    }

    /// All workers are to end; what waits is given back or told so.
    pub(super) fn close(&mut self, now: Instant) {
        (self.min, self.max) = (0, 0);
        let failure = Failure::new(Class::Cancelled, "the workers are shutting down");
        self.broken.get_or_insert_with(|| Box::new(failure.clone()));
        for work in self.pending.drain(..) {
            work.answer(Err(Box::new(failure.clone())), None, Duration::ZERO, None);
        }
        for acquirer in self.acquirers.drain(..) {
            drop(acquirer.answer.send(Err(Box::new(failure.clone()))));
        }
        for member in &mut self.members {
            retire(member, Retirement::Shutdown, now);
        }
    }

    /// How long the oldest work has been waiting, as far as is known here.
    pub(super) fn queue_age(&self, now: Instant) -> Duration {
        self.short_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

fn retire(member: &mut Member, why: Retirement, now: Instant) {
    member.make(Move::Retire(why), now);
    member.order(Order::Retire(why));
}

/// An attempt goes back to its executor, uncharged.
fn give_back(work: Work) {
    match work.reply {
        ReplyTo::Loop {
            ticket, reporter, ..
        } => reporter.tell(Report::Returned { ticket }),
        ReplyTo::Caller { .. } => {
            // Never: callers' work is handed out again.
            let failure = Failure::new(Class::Crash, "the worker gave the job back");
            work.answer(
                Err::<Payload, _>(Box::new(failure)),
                None,
                Duration::ZERO,
                None,
            );
        }
    }
}

fn introductions(profile: &Profile) -> Option<Vec<Introduction>> {
    let tasks = profile.tasks.as_ref()?;
    let introductions = tasks.iter().map(|(task, declaration)| Introduction {
        task: task.clone(),
        hint: declaration.hint.as_ref().map(|hint| {
            hint.read::<ParallelizationHint>()
                .map_err(|error| error.to_string())
        }),
        cacheable: declaration.cacheable,
    });
    Some(introductions.collect())
}

fn count<'a>(members: impl Iterator<Item = &'a Member>) -> u32 {
    u32::try_from(members.count()).unwrap_or(u32::MAX)
}
