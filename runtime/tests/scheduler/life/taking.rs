//! Performs each step on the scheduler and on the model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ratchet_runtime::{
    AfterAttempt, CancelResult, Kind, Limit, LimitId, ParallelizationHint, Priority, ResourceId,
    SchedulerRequest,
};

use super::{CAPACITY, Life, rate_of};
use crate::model::{Job, StartRate, State, Thing};
use crate::steps::{Ending, Hint, Step, UNITS};

impl Life {
    pub(crate) fn take(&mut self, step: Step) {
        let running = |state| state == State::Running;
        match step {
            Step::Push {
                hint,
                kind,
                priority,
                slots,
                limits,
                resources,
            } => {
                self.push(&hint, kind, priority, slots, (&limits, resources));
            }
            Step::Resources(index, units) => {
                if let Some(id) = self.pick(index, |state| state != State::Gone) {
                    self.set_resources(id, units);
                }
            }
            Step::Pop(times) => {
                for _ in 0..times {
                    if !self.pop() {
                        break;
                    }
                }
            }
            Step::PopRefusing(refused, delay) => {
                self.pop_refusing(refused, delay);
            }
            Step::Postpone(index, delay) => {
                if let Some(id) = self.pick(index, |state| state != State::Gone) {
                    self.postpone(id, self.now + delay);
                }
            }
            Step::Finish(index) => {
                if let Some(id) = self.pick(index, running) {
                    self.finish(id);
                }
            }
            Step::Retry(index, delay) => {
                if let Some(id) = self.pick(index, running) {
                    let until = self.now + delay;
                    let moment = self.epoch + Duration::from_nanos(until);
                    self.scheduler.retry(self.tickets[id], moment).unwrap();
                    self.model.jobs[id].state = State::Delayed(until);
                }
            }
            Step::Ahead(kind, times) => {
                for _ in 0..times {
                    let expected = self.model.would_send_ahead(kind.into(), self.now);
                    let sent = self.scheduler.pop_ahead(Kind(kind), self.instant());
                    assert_eq!(sent.map(|ticket| self.ids[&ticket]), expected);
                    let Some(id) = expected else { break };
                    self.model.jobs[id].state = State::Ahead;
                }
            }
            Step::Pass(ended, end, next) => {
                let next = self.pick(next, |state| state == State::Ahead);
                if let (Some(id), Some(next)) = (self.pick(ended, running), next) {
                    self.pass(id, end, next);
                }
            }
            Step::PutBack(index) => {
                if let Some(id) = self.pick(index, |state| state == State::Ahead) {
                    self.scheduler.put_back(self.tickets[id]).unwrap();
                    self.model.jobs[id].state = State::Ready;
                    assert!(self.scheduler.put_back(self.tickets[id]).is_err());
                }
            }
            Step::Cancel(index) => {
                if let Some(id) = self.pick(index, |state| state != State::Gone) {
                    self.cancel(id);
                }
            }
            Step::Advance(nanos) => self.now += nanos,
            Step::Workers(kind, workers) => {
                self.scheduler.set_workers(Kind(kind), workers);
                self.model.workers[usize::from(kind)] = workers;
            }
            Step::Max(limit, max) => {
                let id = self.limits[usize::from(limit)].0;
                let now = self.instant();
                self.scheduler
                    .set_limit(id, Limit::max(max).unwrap(), now)
                    .unwrap();
                self.model.maxima[usize::from(limit)] = max;
            }
            Step::Slots(slots) => self.set_slots(slots),
        }
        self.same_load();
    }

    fn set_slots(&mut self, slots: u32) {
        let alive = self
            .model
            .jobs
            .iter()
            .filter(|job| job.state != State::Gone);
        let heaviest = alive.map(|job| job.slots).max().unwrap_or(1);
        let answer = self.scheduler.set_slots(slots);
        assert_eq!(answer.is_ok(), slots >= heaviest);
        if answer.is_ok() {
            self.model.slots = slots;
        }
    }

    fn postpone(&mut self, id: usize, until: u64) {
        let moment = self.epoch + Duration::from_nanos(until);
        let postponed = self.scheduler.postpone(self.tickets[id], moment);
        let state = &mut self.model.jobs[id].state;
        let waits = matches!(state, State::Ready | State::Delayed(_));
        assert_eq!(postponed.is_ok(), waits);
        if waits {
            *state = State::Delayed(until);
        }
    }

    fn cancel(&mut self, id: usize) {
        let state = self.model.jobs[id].state;
        match self.scheduler.cancel(self.tickets[id]).unwrap() {
            CancelResult::Running => assert!(matches!(state, State::Running | State::Ahead)),
            CancelResult::Removed => {
                assert!(!matches!(state, State::Running | State::Ahead));
                self.model.end(id);
                assert!(!self.scheduler.knows(self.tickets[id]));
            }
        }
    }

    /// Ends a job, and begins one that was sent ahead in its place, whatever else waits.
    fn pass(&mut self, id: usize, end: Ending, next: usize) {
        let end_of = |end| match end {
            Ending::Over => AfterAttempt::Over,
            Ending::Again(delay) => {
                AfterAttempt::Again(self.epoch + Duration::from_nanos(self.now + delay))
            }
        };
        let (ticket, ahead) = (self.tickets[id], self.tickets[next]);
        let wrong = self.scheduler.begin_after(ahead, end_of(end), ahead);
        assert!(wrong.is_err(), "what has not begun cannot end");
        self.scheduler
            .begin_after(ticket, end_of(end), ahead)
            .unwrap();
        match end {
            Ending::Over => self.model.end(id),
            Ending::Again(delay) => {
                self.model.jobs[id].state = State::Delayed(self.now + delay);
            }
        }
        assert_eq!(self.scheduler.knows(ticket), end != Ending::Over);
        self.model.jobs[next].state = State::Running;
        assert!(self.scheduler.is_running(ahead));
        self.model.audit();
    }

    fn claims(&self, units: &BTreeMap<u8, u64>) -> Vec<(ResourceId, u64)> {
        let claims = units.iter();
        claims
            .map(|(&at, &units)| (self.resources[usize::from(at)], units))
            .collect()
    }

    fn set_resources(&mut self, id: usize, units: BTreeMap<u8, u64>) {
        let claims = self.claims(&units);
        let now = self.instant();
        let changed = self.scheduler.set_resources(self.tickets[id], &claims, now);
        let waits = matches!(self.model.jobs[id].state, State::Ready | State::Delayed(_));
        assert_eq!(changed.is_ok(), waits && are_possible(&units));
        if changed.is_ok() {
            self.model.jobs[id].resources = units;
        }
    }

    fn push(
        &mut self,
        hint: &Hint,
        kind: u16,
        priority: Priority,
        slots: u32,
        (limits, resources): (&[u8], BTreeMap<u8, u64>),
    ) {
        let (declared, host) = match hint {
            Hint::Parallel => (ParallelizationHint::FullyParallel, None),
            Hint::Host(host) => (ParallelizationHint::HostExclusive, Some(*host)),
            Hint::Global(host) => (ParallelizationHint::GlobalExclusive, Some(*host)),
            Hint::Alone => (ParallelizationHint::Alone, None),
            Hint::Key(key) => {
                let StartRate {
                    count,
                    nanos,
                    burst,
                } = rate_of(Thing::Key(*key));
                let hint = ParallelizationHint::RateLimited {
                    requests_per_second: count as f64 * 1e9 / nanos as f64,
                    burst: u32::try_from(burst).unwrap(),
                    key: Some(format!("key {key}")),
                };
                (hint, None)
            }
        };
        let named: Vec<LimitId> = limits
            .iter()
            .map(|&at| self.limits[usize::from(at)].0)
            .collect();
        let host_name = host.map(|host| format!("host {host}"));
        let claims = self.claims(&resources);
        let request = SchedulerRequest {
            kind: Kind(kind),
            priority,
            slots,
            hint: &declared,
            host: host_name.as_deref(),
            limits: &named,
            resources: &claims,
            ..SchedulerRequest::new("task")
        };
        let answer = self.scheduler.push(request, self.instant());
        let refused = slots > self.model.slots
            || self.waiting().len() >= CAPACITY
            || !are_possible(&resources);
        assert_eq!(answer.is_err(), refused, "{answer:?}");
        let Ok(ticket) = answer else { return };
        let mut things: BTreeSet<Thing> = limits
            .iter()
            .map(|&at| self.limits[usize::from(at)].1)
            .collect();
        if matches!(hint, Hint::Global(_)) {
            things.insert(Thing::Global);
        }
        self.ids.insert(ticket, self.tickets.len());
        self.tickets.push(ticket);
        self.model.jobs.push(Job {
            state: State::Ready,
            due: self.now + self.model.span(priority),
            kind: kind.into(),
            slots,
            alone: matches!(hint, Hint::Alone),
            place: match *hint {
                Hint::Host(host) | Hint::Global(host) => Some(Thing::Host(host)),
                Hint::Key(key) => Some(Thing::Key(key)),
                Hint::Parallel | Hint::Alone => None,
            },
            limits: things,
            resources,
            endings: 0,
        });
    }
}

/// Whether a job can ever have these units.
fn are_possible(units: &BTreeMap<u8, u64>) -> bool {
    let mut units = units.iter();
    units.all(|(&at, &units)| (1..=UNITS[usize::from(at)]).contains(&units))
}
