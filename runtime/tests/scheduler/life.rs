//! Takes each step with a scheduler and with the model, and compares them.

mod taking;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use ratchet_runtime::{
    Ageing, Decision, Limit, LimitId, Quota, Rate, Resource, ResourceId, Scheduler,
    SchedulerSettings, Ticket, Workers,
};

use crate::model::{Model, StartRate, State, Thing};
use crate::steps::{KINDS, Step, UNITS};

const CAPACITY: usize = 40;

pub(crate) struct Life {
    scheduler: Scheduler,
    model: Model,
    tickets: Vec<Ticket>,
    ids: BTreeMap<Ticket, usize>,
    limits: Vec<(LimitId, Thing)>,
    resources: [ResourceId; 2],
    epoch: Instant,
    now: u64,
}

fn rate_of(thing: Thing) -> StartRate {
    match thing {
        Thing::Key(0) => StartRate {
            count: 1,
            nanos: 50,
            burst: 1,
        },
        Thing::Key(_) => StartRate {
            count: 3,
            nanos: 100,
            burst: 3,
        },
        Thing::Rate(2) => StartRate {
            count: 7,
            nanos: 200,
            burst: 2,
        },
        _ => StartRate {
            count: 1,
            nanos: 90,
            burst: 1,
        },
    }
}

fn quota(thing: Thing) -> Quota {
    let StartRate {
        count,
        nanos,
        burst,
    } = rate_of(thing);
    let rate = Rate::new(count, Duration::from_nanos(nanos)).unwrap();
    Quota::new(rate, u32::try_from(burst).unwrap()).unwrap()
}

impl Life {
    pub(crate) fn new(slots: u32, step: u64) -> Self {
        let epoch = tokio::time::Instant::now().into_std();
        let things = [Thing::Max(0), Thing::Max(1), Thing::Rate(2), Thing::Rate(3)];
        let declared = things.map(|thing| match thing {
            Thing::Max(number) => (
                format!("{thing:?}"),
                Limit::max(1 + u32::from(number)).unwrap(),
            ),
            _ => (format!("{thing:?}"), Limit::Rate(quota(thing))),
        });
        let settings = SchedulerSettings {
            slots,
            capacity: CAPACITY,
            ageing: Ageing {
                step: Duration::from_nanos(step),
            },
            limits: declared.into(),
            resources: vec![
                (
                    "named".to_owned(),
                    Resource::identities(["a", "b", "c"]).unwrap(),
                ),
                ("counted".to_owned(), Resource::count(UNITS[1]).unwrap()),
            ],
        };
        let scheduler = Scheduler::new(settings, epoch).unwrap();
        let limits = things.map(|thing| (scheduler.limit(&format!("{thing:?}")).unwrap(), thing));
        let resources = ["named", "counted"].map(|name| scheduler.resource(name).unwrap());
        let paced = [Thing::Key(0), Thing::Key(1), Thing::Rate(2), Thing::Rate(3)];
        Self {
            scheduler,
            model: Model {
                jobs: Vec::new(),
                slots,
                workers: vec![Workers::Unlimited; KINDS.into()],
                maxima: vec![1, 2],
                totals: UNITS.into(),
                rates: paced
                    .into_iter()
                    .map(|thing| (thing, rate_of(thing)))
                    .collect(),
                starts: BTreeMap::new(),
                step,
            },
            tickets: Vec::new(),
            ids: BTreeMap::new(),
            limits: limits.into(),
            resources,
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

    fn same_load(&self) {
        let load = self.scheduler.load();
        assert_eq!(load.waiting, self.waiting().len());
        assert_eq!(load.running, self.model.running().count());
        assert_eq!(load.slots_used, self.model.used());
        let ahead = self.in_state(|state| state == State::Ahead);
        assert_eq!(load.ahead, ahead.len());
        self.same_shares();
    }

    /// Checks that no two jobs hold one identity, that each job has what it takes, and that the rest is free.
    fn same_shares(&self) {
        let mut taken = BTreeSet::new();
        for id in self.in_state(|_| true) {
            let job = &self.model.jobs[id];
            let shares = self.scheduler.shares(self.tickets[id]);
            if job.state != State::Running {
                assert!(shares.is_empty(), "job {id} does not run");
                continue;
            }
            assert_eq!(shares.len(), job.resources.len());
            for share in shares {
                let number = u8::from(share.name() == "counted");
                assert_eq!(share.units(), job.resources[&number], "job {id}");
                assert_eq!(share.has_identities(), number == 0);
                for identity in share.identities() {
                    assert!(
                        taken.insert(identity.to_owned()),
                        "{identity} is held twice"
                    );
                }
            }
        }
        let left = self.scheduler.resources().map(|(_, _, free)| free);
        let expected = (0..)
            .zip(UNITS)
            .map(|(number, total)| total - self.model.taken(number));
        assert_eq!(left.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }

    fn pop(&mut self) -> bool {
        self.pop_refusing(0, 0)
    }

    /// Refuses this many jobs that could start, for this delay, and lets the next one start.
    fn pop_refusing(&mut self, refused: u8, delay: u64) -> bool {
        let mut wrong = Vec::new();
        for _ in 0..refused {
            let Some(id) = self.model.would_start(self.now) else {
                break;
            };
            wrong.push(self.tickets[id]);
            self.model.jobs[id].state = State::Delayed(self.now + delay.max(1));
        }
        let expected = self.model.would_start(self.now);
        let (not_before, mut asked) = (self.instant() + Duration::from_nanos(delay), Vec::new());
        let decision = self.scheduler.pop_if(self.instant(), |ticket| {
            if asked.len() < refused.into() {
                asked.push(ticket);
                return Err(not_before);
            }
            Ok(())
        });
        assert_eq!(asked, wrong, "in order, and none that lacks anything");
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
        self.model.end(id);
        assert!(
            self.scheduler.finish(self.tickets[id]).is_err(),
            "a job ends once"
        );
    }

    /// Runs all jobs to their ends, and checks that nothing is lost, happens twice or stays.
    pub(crate) fn drain(mut self) {
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
