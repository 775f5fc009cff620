//! The workers of one kind: who gets what, who is started, and who has to go.
//!
//! A plain value without input or output of its own: it is told what happens and when, hands work to
//! its members, and says by [`Roster::tend`] how many workers to start.

mod filters;
mod listening;
mod sizing;
mod work;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::Profile;

use listening::repertoire;

use super::Acquirer;
use super::member::Member;
use super::metrics::Counts;
use crate::event::WorkerNews;
use crate::executor::crew::{Introduction, Prospect, Report};
use crate::executor::reporter::Reporter;
use crate::outcome::{Class, Failure};
use crate::process::PoolConfig;
use crate::process::health::{Health, Verdict};
use crate::process::pool::Estimate;
use crate::scheduling::{Balancer, Candidate, Kind, WorkerNumber};
use crate::worker::orders::{Death, Order, Work, Worked};
use crate::worker::state::Move;
use crate::worker::{Cause, Retirement};

/// An executor that is told what becomes of a kind, and what it calls the kind.
pub(in crate::process) struct Listener {
    pub(super) reporter: Reporter,
    pub(super) kind: Kind,
    /// What it has left to do.
    pub(super) prospect: Prospect,
}

/// What workers say of themselves.
#[derive(Clone)]
struct Repertoire {
    version: Option<String>,
    /// The tasks that they know.
    tasks: Option<Vec<Introduction>>,
}

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
    /// What its executors have left between them.
    prospect: Prospect,
    /// Somebody uses it who is no executor, and may do so at any time.
    called: bool,
    /// Until when executors have the time to say what they have left, now that something has ended.
    heeds_until: Option<Instant>,
    /// Since when there has been more to do than workers for it.
    short_since: Option<Instant>,
    /// What was said to its filters, and of them.
    told: filters::Told,
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
            prospect: Prospect::default(),
            called: false,
            heeds_until: None,
            short_since: None,
            told: filters::Told::default(),
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
        self.called = true;
    }

    /// Somebody wants a worker for themselves.
    pub(super) fn acquire(&mut self, acquirer: Acquirer) {
        self.called = true;
        match &self.broken {
            // Who asked may be gone.
            Some(failure) => drop(acquirer.answer.send(Err(failure.clone()))),
            None => self.acquirers.push_back(acquirer),
        }
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
        if self.told.last
            && let Some(member) = self.member(number)
        {
            member.order(Order::Last(true));
        }
        let says_more = profile.tasks.is_some() || profile.worker_version.is_some();
        if self.repertoire.is_none() || says_more {
            let repertoire = repertoire(profile);
            self.tell(|kind| repertoire.clone().told(kind));
            self.repertoire = Some(repertoire);
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
        if worked.ended > 0 && !member.succeeded && member.is_worn(None, now) {
            self.heed(now);
        }
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
        let blames_kind = death.charged == 0 || death.cause.blames_kind();
        member.make(Move::Died, now);
        self.balancer.forget(WorkerNumber(number));
        let unexpected = death.cause.is_unexpected();
        self.counts.ended(death.cause.name(), unexpected);
        if death.charged > 0 {
            self.heed(now);
        }
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
            Cause::Refused(_) | Cause::Surplus { .. } => Class::Protocol,
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

fn count<'a>(members: impl Iterator<Item = &'a Member>) -> u32 {
    u32::try_from(members.count()).unwrap_or(u32::MAX)
}
