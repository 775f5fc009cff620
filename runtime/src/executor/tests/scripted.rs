//! A pool whose workers follow a script, and which checks what the loop asks of it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ratchet_ipc::Payload;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::Error;
use crate::dispatch::{
    Assignment, AttemptKey, DeclaredTask, Demand, FilterState, Offer, Order, PoolKey, Report,
    Reporter, StopRequest, WorkerLink, WorkerNumber,
};
use crate::executor::kinds::{KindOfWorker, Tasks};
use crate::executor::performers::{DemandLink, PoolPerformer};
use crate::executor::places::Places;
use crate::executor::pools::PoolSource;
use crate::ids::KindId;
use crate::ids::{PlaceId, WorkerName};
use crate::job::{CacheTerms, Placement, Work};
use crate::os::ProcessConfig;
use crate::outcome::{Class, Failure};
use crate::process::{PoolConfig, Prefetch, Seats};
use crate::scheduling::ParallelizationHint;

/// What an attempt does, by the script.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act {
    pub(super) takes: Duration,
    pub(super) end: How,
    /// Which requests to stop it ignores.
    pub(super) deaf: Deaf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Well,
    Fails,
    Crashes,
    /// The worker gives the attempt back, the first time.
    Returned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deaf {
    No,
    ToAsking,
    ToKilling,
    /// It ignores a recall, and begins.
    ToRecalling,
}

impl Act {
    pub(super) fn well(seconds: u64) -> Self {
        Self {
            takes: Duration::from_secs(seconds),
            end: How::Well,
            deaf: Deaf::No,
        }
    }
}

/// A record of an attempt that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) id: String,
    pub(super) at: Duration,
    pub(super) was_ahead: bool,
}

/// A pool of workers that perform one attempt at a time. Each has a pipe for attempts that are sent ahead.
#[derive(Clone)]
pub(super) struct ScriptedPool(Arc<Mutex<State>>);

struct State {
    workers: Vec<Worker>,
    ahead: u32,
    tasks: Tasks,
    introduction: Option<Vec<DeclaredTask>>,
    version: Option<String>,
    script: HashMap<(String, u32), Act>,
    returned: HashMap<String, u32>,
    begun: Vec<Begun>,
    most_slots: u32,
    demands: Vec<Demand>,
    panics: bool,
    /// How long workers take to read their first request, if they are not proven from the start.
    loading: Option<Duration>,
    epoch: Instant,
    key: PoolKey,
    reporter: Option<Reporter>,
}

#[derive(Default)]
struct Worker {
    running: Option<(Assignment, Option<AbortHandle>)>,
    /// When that attempt began.
    since: Option<Instant>,
    pipe: VecDeque<Assignment>,
}

impl ScriptedPool {
    pub(super) fn new(workers: u32, ahead: u32) -> Self {
        Self(Arc::new(Mutex::new(State {
            workers: (0..workers).map(|_| Worker::default()).collect(),
            ahead,
            tasks: Tasks::Any,
            introduction: None,
            version: None,
            script: HashMap::new(),
            returned: HashMap::new(),
            begun: Vec::new(),
            most_slots: 0,
            demands: Vec::new(),
            panics: false,
            loading: None,
            epoch: Instant::now(),
            key: PoolKey {
                kind: KindId(0),
                place: PlaceId::LOCAL,
            },
            reporter: None,
        })))
    }

    /// Makes the workers come and declare these tasks when the first job waits for them.
    pub(super) fn introducing(self, tasks: Vec<DeclaredTask>) -> Self {
        let mut state = self.0.lock().unwrap();
        state.tasks = Tasks::Introduced;
        state.introduction = Some(tasks);
        drop(state);
        self
    }

    /// Makes the workers declare this version.
    pub(super) fn of_version(self, version: Option<&str>) -> Self {
        self.0.lock().unwrap().version = version.map(str::to_owned);
        self
    }

    /// Makes the workers declare their tasks only when the test calls [`report`](Self::report).
    pub(super) fn silent(self) -> Self {
        self.0.lock().unwrap().tasks = Tasks::Introduced;
        self
    }

    /// Makes the pool panic in the loop when it is told how much work is left.
    pub(super) fn panicking(self) -> Self {
        self.0.lock().unwrap().panics = true;
        self
    }

    /// Makes the workers take attempts at once, but read the first one only after this time, which they do not
    /// announce.
    pub(super) fn loading(self, time: Duration) -> Self {
        self.0.lock().unwrap().loading = Some(time);
        self
    }

    /// Sets what an attempt of a job does. All other attempts succeed at once.
    pub(super) fn script(&self, id: &str, attempt: u32, act: Act) {
        let mut state = self.0.lock().unwrap();
        state.script.insert((id.to_owned(), attempt), act);
    }

    pub(super) fn begun(&self) -> Vec<Begun> {
        self.0.lock().unwrap().begun.clone()
    }

    /// Returns the most slots that were ever filled at once.
    pub(super) fn most_slots(&self) -> u32 {
        self.0.lock().unwrap().most_slots
    }

    pub(super) fn demands(&self) -> Vec<Demand> {
        self.0.lock().unwrap().demands.clone()
    }

    pub(super) fn report(&self, report: impl FnOnce(PoolKey) -> Report) {
        let state = self.0.lock().unwrap();
        let reporter = state.reporter.clone().expect("a run goes on");
        reporter.send(report(state.key));
    }

    /// Offers all workers, each with a task that obeys its orders.
    fn offer_all(&self, state: &State) {
        let reporter = state.reporter.clone().expect("a run goes on");
        for at in 0..state.workers.len() {
            let (link, mut orders) = WorkerLink::channel();
            let number = at as u64 + 1;
            let offer = Offer {
                number: WorkerNumber(number),
                name: WorkerName::new("scripted", number),
                link,
                concurrency: 1,
                gives_back: true,
                is_proven: state.loading.is_none(),
                max_jobs: None,
                filter: FilterState::default(),
            };
            let key = state.key;
            reporter.send(Report::Offered { pool: key, offer });
            let pool = self.clone();
            let (loading, reporter) = (state.loading, reporter.clone());
            tokio::spawn(async move {
                if let Some(loading) = loading {
                    tokio::time::sleep(loading).await;
                    let worker = WorkerNumber(number);
                    // A real connection also looks for orders every now and then.
                    if !orders.is_empty() {
                        reporter.send(Report::Proven { pool: key, worker });
                    } else if let Some(order) = orders.recv().await {
                        reporter.send(Report::Proven { pool: key, worker });
                        pool.obey(at, order);
                    }
                }
                while let Some(order) = orders.recv().await {
                    pool.obey(at, order);
                }
            });
        }
    }

    fn obey(&self, at: usize, order: Order) {
        match order {
            Order::Perform(assignment) if assignment.ahead => {
                let mut state = self.0.lock().unwrap();
                if state.workers[at].running.is_some() {
                    state.workers[at].pipe.push_back(assignment);
                } else {
                    give_back(assignment, None);
                }
            }
            Order::Perform(assignment) => {
                let mut state = self.0.lock().unwrap();
                self.begin(&mut state, at, assignment);
            }
            Order::Stop(key, stop) => self.stop(at, key, stop),
            Order::Recall => {
                let mut state = self.0.lock().unwrap();
                for assignment in state.workers[at].pipe.drain(..) {
                    give_back(assignment, None);
                }
            }
            Order::Last(_) | Order::Abandon | Order::Retire(_) | Order::Kill(_) => {
                panic!("{order:?}")
            }
        }
    }

    fn begin(&self, state: &mut State, at: usize, assignment: Assignment) {
        let id = assignment.job.id.as_str().to_owned();
        let key = (id.clone(), assignment.attempt);
        let act = state.script.get(&key).copied().unwrap_or(Act::well(0));
        state.begun.push(Begun {
            id: id.clone(),
            at: state.epoch.elapsed(),
            was_ahead: assignment.ahead,
        });
        let returns = act.end == How::Returned && {
            let times = state.returned.entry(id).or_default();
            *times += 1;
            *times == 1
        };
        assert!(state.workers[at].running.is_none(), "the worker is free");
        let (pool, key) = (self.clone(), assignment.key());
        state.workers[at].running = Some((assignment, None));
        state.workers[at].since = Some(Instant::now());
        state.check();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(act.takes).await;
            let end = match act.end {
                How::Returned if returns => End::Returned,
                How::Well | How::Returned => End::Ended(Ok(Payload::null())),
                How::Fails => End::Ended(Err(Failure::new(Class::Task, "it failed"))),
                How::Crashes => End::Died(Failure::new(Class::Crash, "its worker died")),
            };
            pool.end(at, key, end);
        });
        if let Some((_, handle)) = &mut state.workers[at].running {
            *handle = Some(timer.abort_handle());
        }
    }

    fn end(&self, at: usize, key: AttemptKey, end: End) {
        let mut state = self.0.lock().unwrap();
        if !state.runs(at, key) {
            return;
        }
        let Some((assignment, _)) = state.workers[at].running.take() else {
            return;
        };
        if matches!(end, End::Died(_)) {
            for back in state.workers[at].pipe.drain(..) {
                give_back(back, None);
            }
        }
        let since = state.workers[at].since;
        let next = state.workers[at].pipe.pop_front();
        let ticket = next.as_ref().and_then(|next| next.key().ticket());
        match end {
            End::Returned => give_back(assignment, ticket),
            End::Ended(result) => answer(assignment, at, since, result, ticket),
            End::Died(failure) => answer(assignment, at, since, Err(failure), ticket),
        }
        if let Some(next) = next {
            self.begin(&mut state, at, next);
        }
    }

    fn stop(&self, at: usize, key: AttemptKey, stop: StopRequest) {
        let mut state = self.0.lock().unwrap();
        let deaf = |state: &State, one: &Assignment| {
            let key = (one.job.id.as_str().to_owned(), one.attempt);
            state.script.get(&key).map_or(Deaf::No, |act| act.deaf)
        };
        let mut pipe = state.workers[at].pipe.iter();
        if let Some(place) = pipe.position(|one| one.key() == key) {
            if deaf(&state, &state.workers[at].pipe[place]) != Deaf::ToRecalling {
                let back = state.workers[at].pipe.remove(place);
                give_back(back.unwrap(), None);
            }
            return;
        }
        if !state.runs(at, key) {
            return;
        }
        let Some((assignment, timer)) = &state.workers[at].running else {
            return;
        };
        let deaf = deaf(&state, assignment);
        let hears = match stop {
            StopRequest::Ask { .. } => matches!(deaf, Deaf::No | Deaf::ToRecalling),
            StopRequest::Kill => deaf != Deaf::ToKilling,
            StopRequest::Recall => false,
        };
        if !hears {
            return;
        }
        if let Some(timer) = timer {
            timer.abort();
        }
        drop(state);
        let stopped = Failure::new(Class::Cancelled, "it was stopped");
        let end = match stop {
            StopRequest::Ask { .. } => End::Ended(Err(stopped)),
            StopRequest::Kill | StopRequest::Recall => End::Died(stopped),
        };
        self.end(at, key, end);
    }
}

enum End {
    Ended(Result<Payload, Failure>),
    Died(Failure),
    Returned,
}

fn give_back(assignment: Assignment, next: Option<crate::ids::Ticket>) {
    assignment.give_back(next, false).expect("it is a run's");
}

fn answer(
    assignment: Assignment,
    at: usize,
    since: Option<Instant>,
    result: Result<Payload, Failure>,
    next: Option<crate::ids::Ticket>,
) {
    let worker = Some(WorkerName::new("scripted", at as u64 + 1));
    let ran = since.map_or(Duration::ZERO, |since| since.elapsed());
    assignment.answer(result.map_err(Box::new), worker, ran, next);
}

impl State {
    fn runs(&self, at: usize, key: AttemptKey) -> bool {
        let running = self.workers[at].running.as_ref();
        running.is_some_and(|(assignment, _)| assignment.key() == key)
    }

    /// Checks what must hold at every moment.
    fn check(&mut self) {
        let running = self
            .workers
            .iter()
            .filter_map(|worker| worker.running.as_ref());
        let running: Vec<&Assignment> = running.map(|(assignment, _)| assignment).collect();
        let slots = running.iter().map(|one| one.job.terms.slots).sum();
        self.most_slots = self.most_slots.max(slots);
        let hint = |one: &Assignment| one.job.terms.hint.clone().unwrap_or_default();
        let alone = running
            .iter()
            .any(|one| hint(one) == ParallelizationHint::Alone);
        let staged = self.workers.iter().any(|worker| !worker.pipe.is_empty());
        assert!(!alone || (running.len() == 1 && !staged), "alone is alone");
        let mut hosts: Vec<_> = running
            .iter()
            .filter(|one| hint(one) == ParallelizationHint::HostExclusive)
            .map(|one| one.job.host.clone())
            .collect();
        let jobs = hosts.len();
        hosts.sort();
        hosts.dedup();
        assert_eq!(hosts.len(), jobs, "one a host");
        let inputs = running
            .iter()
            .filter_map(|one| match (&one.job.work, &one.job.terms.cache) {
                // Files may change, and then jobs that were equal are not any more.
                (Work::Task { input, .. }, Some(CacheTerms::On { inputs, .. }))
                    if inputs.is_empty() =>
                {
                    Some(input.as_str())
                }
                _ => None,
            });
        let mut inputs: Vec<&str> = inputs.collect();
        let jobs = inputs.len();
        inputs.sort_unstable();
        inputs.dedup();
        assert_eq!(inputs.len(), jobs, "one of equal jobs");
    }
}

impl DemandLink for ScriptedPool {
    fn demand(&self, demand: Demand) {
        let mut state = self.0.lock().unwrap();
        if state.panics {
            drop(state);
            panic!("the pool is upset");
        }
        state.demands.push(demand);
        if let Some(tasks) = state.introduction.take() {
            let reporter = state.reporter.clone().expect("a run goes on");
            reporter.send(Report::Introduced {
                kind: state.key.kind,
                version: state.version.clone(),
                tasks: Some(tasks),
            });
            self.offer_all(&state);
        }
    }
}

impl PoolSource for ScriptedPool {
    fn kind(&self) -> KindOfWorker {
        KindOfWorker {
            name: "scripted".to_owned(),
            tasks: self.0.lock().unwrap().tasks.clone(),
            on: Placement::Here,
            process: None,
            programs: None,
        }
    }

    fn attach(
        &self,
        kind: KindId,
        _: &Places,
        reporter: Reporter,
    ) -> Result<Vec<PoolPerformer>, Error> {
        let place = PlaceId::LOCAL;
        Ok(vec![self.attach_at(PoolKey { kind, place }, reporter)])
    }
}

impl ScriptedPool {
    /// Attaches the pool to a run, which knows it by this key.
    fn attach_at(&self, key: PoolKey, reporter: Reporter) -> PoolPerformer {
        let mut state = self.0.lock().unwrap();
        state.key = key;
        state.epoch = Instant::now();
        state.reporter = Some(reporter);
        if state.introduction.is_none() {
            self.offer_all(&state);
        }
        let config = PoolConfig {
            prefetch: Prefetch::Fixed(state.ahead),
            ..PoolConfig::new("scripted", ProcessConfig::new("scripted"))
        };
        let seats = Seats::new(Arc::new(config));
        PoolPerformer::new(key.place, seats, Box::new(self.clone()))
    }
}

/// Scripted pools of one kind, each at a place.
pub(super) struct ScriptedPools {
    pub(super) pools: Vec<(&'static str, ScriptedPool)>,
    pub(super) on: Placement,
}

impl PoolSource for ScriptedPools {
    fn kind(&self) -> KindOfWorker {
        KindOfWorker {
            on: self.on.clone(),
            ..self.pools[0].1.kind()
        }
    }

    fn attach(
        &self,
        kind: KindId,
        places: &Places,
        reporter: Reporter,
    ) -> Result<Vec<PoolPerformer>, Error> {
        let attach = |(name, pool): &(&str, ScriptedPool)| {
            let place = places.find(name).expect("the test has this place");
            pool.attach_at(PoolKey { kind, place }, reporter.clone())
        };
        Ok(self.pools.iter().map(attach).collect())
    }
}
