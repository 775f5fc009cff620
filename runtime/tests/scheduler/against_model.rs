//! Random lives of a scheduler, each step compared with the model.
//!
//! `PROPTEST_CASES=100000 cargo test --release -p ratchet-runtime --test scheduler` is the long run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use ratchet_runtime::{
    Ageing, Cancelled, Decision, End, Kind, Limit, LimitId, ParallelizationHint, Priority, Quota,
    Rate, Request, Scheduler, Settings, Ticket, Workers,
};

use crate::model::{Job, Model, Pace, State, Thing};
use crate::steps::{Ending, Hint, KINDS, Step, step};

const CAPACITY: usize = 40;

struct Life {
    scheduler: Scheduler,
    model: Model,
    tickets: Vec<Ticket>,
    ids: BTreeMap<Ticket, usize>,
    limits: Vec<(LimitId, Thing)>,
    epoch: Instant,
    now: u64,
}

fn pace(thing: Thing) -> Pace {
    match thing {
        Thing::Key(0) => Pace {
            count: 1,
            nanos: 50,
            burst: 1,
        },
        Thing::Key(_) => Pace {
            count: 3,
            nanos: 100,
            burst: 3,
        },
        Thing::Rate(2) => Pace {
            count: 7,
            nanos: 200,
            burst: 2,
        },
        _ => Pace {
            count: 1,
            nanos: 90,
            burst: 1,
        },
    }
}

fn quota(thing: Thing) -> Quota {
    let Pace {
        count,
        nanos,
        burst,
    } = pace(thing);
    let rate = Rate::new(count, Duration::from_nanos(nanos)).unwrap();
    Quota::new(rate, u32::try_from(burst).unwrap()).unwrap()
}

impl Life {
    fn new(slots: u32, step: u64) -> Self {
        let epoch = tokio::time::Instant::now().into_std();
        let things = [Thing::Max(0), Thing::Max(1), Thing::Rate(2), Thing::Rate(3)];
        let declared = things.map(|thing| match thing {
            Thing::Max(number) => (
                format!("{thing:?}"),
                Limit::max(1 + u32::from(number)).unwrap(),
            ),
            _ => (format!("{thing:?}"), Limit::Rate(quota(thing))),
        });
        let settings = Settings {
            slots,
            capacity: CAPACITY,
            ageing: Ageing {
                step: Duration::from_nanos(step),
            },
            limits: declared.into(),
        };
        let scheduler = Scheduler::new(settings, epoch).unwrap();
        let limits = things.map(|thing| (scheduler.limit(&format!("{thing:?}")).unwrap(), thing));
        let paced = [Thing::Key(0), Thing::Key(1), Thing::Rate(2), Thing::Rate(3)];
        Self {
            scheduler,
            model: Model {
                jobs: Vec::new(),
                slots,
                workers: vec![Workers::Unlimited; KINDS.into()],
                maxima: vec![1, 2],
                paces: paced
                    .into_iter()
                    .map(|thing| (thing, pace(thing)))
                    .collect(),
                starts: BTreeMap::new(),
                step,
            },
            tickets: Vec::new(),
            ids: BTreeMap::new(),
            limits: limits.into(),
            epoch,
            now: 0,
        }
    }

    fn instant(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.now)
    }

    fn in_state(&self, wanted: impl Fn(State) -> bool) -> Vec<usize> {
        let jobs = self.model.jobs.iter().enumerate();
        jobs.filter(|(_, job)| wanted(job.state))
            .map(|(id, _)| id)
            .collect()
    }

    fn waiting(&self) -> Vec<usize> {
        self.in_state(|state| !matches!(state, State::Running | State::Ahead | State::Gone))
    }

    fn pick(&self, index: prop::sample::Index, wanted: impl Fn(State) -> bool) -> Option<usize> {
        let jobs = self.in_state(wanted);
        (!jobs.is_empty()).then(|| *index.get(&jobs))
    }

    fn take(&mut self, step: Step) {
        let running = |state| state == State::Running;
        match step {
            Step::Push {
                hint,
                kind,
                priority,
                slots,
                limits,
                needs,
            } => {
                self.push(&hint, kind, priority, slots, &limits, &needs);
            }
            Step::Pop(times) => {
                for _ in 0..times {
                    if !self.pop() {
                        break;
                    }
                }
            }
            Step::Finish(index) => {
                if let Some(id) = self.pick(index, running) {
                    self.finish(id);
                }
            }
            Step::Fail(index) => {
                if let Some(id) = self.pick(index, running) {
                    let skipped = self.scheduler.fail(self.tickets[id]).unwrap();
                    let expected = self.model.end(id, false);
                    self.same(&skipped, &expected);
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
            Step::Slots(slots) => {
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
        }
        self.same_load();
    }

    fn cancel(&mut self, id: usize) {
        let state = self.model.jobs[id].state;
        match self.scheduler.cancel(self.tickets[id]).unwrap() {
            Cancelled::Running => assert!(matches!(state, State::Running | State::Ahead)),
            Cancelled::Removed { skipped } => {
                assert!(state != State::Running);
                let expected = self.model.end(id, false);
                self.same(&skipped, &expected);
            }
        }
    }

    fn same_load(&self) {
        let load = self.scheduler.load();
        assert_eq!(load.waiting, self.waiting().len());
        assert_eq!(load.running, self.model.running().count());
        assert_eq!(load.slots_used, self.model.used());
        let ahead = self.in_state(|state| state == State::Ahead);
        assert_eq!(load.ahead, ahead.len());
    }

    /// One ends, and one that was sent ahead begins in its place, whatever else waits.
    fn pass(&mut self, id: usize, end: Ending, next: usize) {
        let end_of = |end| match end {
            Ending::Well => End::Succeeded,
            Ending::Badly => End::Failed,
            Ending::Again(delay) => End::Again(self.epoch + Duration::from_nanos(self.now + delay)),
        };
        let (ticket, ahead) = (self.tickets[id], self.tickets[next]);
        let wrong = self.scheduler.begin_after(ahead, end_of(end), ahead);
        assert!(wrong.is_err(), "what has not begun cannot end");
        let skipped = self
            .scheduler
            .begin_after(ticket, end_of(end), ahead)
            .unwrap();
        let expected = match end {
            Ending::Well => self.model.end(id, true),
            Ending::Badly => self.model.end(id, false),
            Ending::Again(delay) => {
                self.model.jobs[id].state = State::Delayed(self.now + delay);
                BTreeSet::new()
            }
        };
        self.same(&skipped, &expected);
        self.model.jobs[next].state = State::Running;
        assert!(self.scheduler.is_running(ahead));
        self.model.audit();
    }

    fn same(&self, skipped: &[Ticket], expected: &BTreeSet<usize>) {
        let ids: BTreeSet<usize> = skipped.iter().map(|ticket| self.ids[ticket]).collect();
        assert_eq!(ids.len(), skipped.len(), "a job is skipped once");
        assert_eq!(&ids, expected);
        assert!(skipped.iter().all(|ticket| !self.scheduler.knows(*ticket)));
    }

    fn push(
        &mut self,
        hint: &Hint,
        kind: u16,
        priority: Priority,
        slots: u32,
        limits: &[u8],
        needs: &[prop::sample::Index],
    ) {
        let (declared, host) = match hint {
            Hint::Parallel => (ParallelizationHint::FullyParallel, None),
            Hint::Host(host) => (ParallelizationHint::HostExclusive, Some(*host)),
            Hint::Global(host) => (ParallelizationHint::GlobalExclusive, Some(*host)),
            Hint::Alone => (ParallelizationHint::Alone, None),
            Hint::Key(key) => {
                let Pace {
                    count,
                    nanos,
                    burst,
                } = pace(Thing::Key(*key));
                let hint = ParallelizationHint::RateLimited {
                    requests_per_second: count as f64 * 1e9 / nanos as f64,
                    burst: u32::try_from(burst).unwrap(),
                    key: Some(format!("key {key}")),
                };
                (hint, None)
            }
        };
        let needs: BTreeSet<usize> = needs
            .iter()
            .filter_map(|index| self.pick(*index, |state| state != State::Gone))
            .collect();
        let needed: Vec<Ticket> = needs.iter().map(|&id| self.tickets[id]).collect();
        let named: Vec<LimitId> = limits
            .iter()
            .map(|&at| self.limits[usize::from(at)].0)
            .collect();
        let host_name = host.map(|host| format!("host {host}"));
        let request = Request {
            kind: Kind(kind),
            priority,
            slots,
            hint: &declared,
            host: host_name.as_deref(),
            limits: &named,
            needs: &needed,
            ..Request::new("task")
        };
        let answer = self.scheduler.push(request, self.instant());
        let refused = slots > self.model.slots || self.waiting().len() >= CAPACITY;
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
            state: if needs.is_empty() {
                State::Ready
            } else {
                State::Needs
            },
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
            needs,
            endings: 0,
        });
    }

    fn pop(&mut self) -> bool {
        let expected = self.model.would_start(self.now);
        let decision = self.scheduler.pop(self.instant());
        let Some(expected) = expected else {
            match decision {
                Decision::Start(ticket) => panic!("{} must not start", self.ids[&ticket]),
                Decision::WaitUntil(until) => {
                    assert!(until > self.instant(), "{until:?} has passed");
                    let until = u64::try_from((until - self.epoch).as_nanos()).unwrap();
                    assert_eq!(self.model.would_start(until - 1), None, "woken too late");
                }
                Decision::Idle => {
                    for later in [1, 50, 100, 1_000, 1_000_000_000_000] {
                        let start = self.model.would_start(self.now + later);
                        assert_eq!(start, None, "never woken for what {later} ns bring");
                    }
                }
            }
            return false;
        };
        assert_eq!(
            decision,
            Decision::Start(self.tickets[expected]),
            "expected job {expected}"
        );
        self.model.start(expected, self.now);
        assert!(self.model.used() <= self.model.slots);
        self.model.audit();
        true
    }

    fn finish(&mut self, id: usize) {
        self.scheduler.finish(self.tickets[id]).unwrap();
        self.model.end(id, true);
        assert!(
            self.scheduler.finish(self.tickets[id]).is_err(),
            "a job ends once"
        );
    }

    /// Let everything run to its end: nothing is lost, nothing happens twice, nothing stays.
    fn drain(mut self) {
        for kind in 0..KINDS {
            self.take(Step::Workers(kind, Workers::Unlimited));
        }
        for id in self.in_state(|state| state == State::Ahead) {
            self.scheduler.put_back(self.tickets[id]).unwrap();
            self.model.jobs[id].state = State::Ready;
        }
        let mut rounds = 0;
        while self.model.jobs.iter().any(|job| job.state != State::Gone) {
            while self.pop() {}
            for id in self.in_state(|state| state == State::Running) {
                self.finish(id);
            }
            self.now += 25;
            rounds += 1;
            assert!(rounds < 10_000, "these never ran: {:?}", self.waiting());
        }
        assert!(self.model.jobs.iter().all(|job| job.endings == 1));
        self.now += 1_000_000;
        assert_eq!(self.scheduler.pop(self.instant()), Decision::Idle);
        let load = self.scheduler.load();
        assert_eq!((load.waiting, load.running, load.slots_used), (0, 0, 0));
        assert_eq!(
            (load.hosts, load.keys),
            (0, 0),
            "no place outlives its jobs"
        );
        assert!(load.lanes <= KINDS.into(), "{load:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_step_is_the_models(
        slots in 1u32..6,
        // Everything due at once, some of it, nothing ever.
        ageing in prop::sample::select(vec![0u64, 30, 150, 1_000_000_000_000]),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut life = Life::new(slots, ageing);
        for step in steps {
            life.take(step);
        }
        life.drain();
    }
}
