//! A crew whose workers do as a script says, and which checks what is asked of it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ratchet_ipc::Payload;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::executor::builder::Recruiter;
use crate::executor::crew::{Assignment, Crew, Introduction, Prospect, Report, Stop};
use crate::executor::kinds::{KindOfWorker, Tasks};
use crate::executor::reporter::Reporter;
use crate::outcome::{Class, Failure};
use crate::scheduling::{Kind, ParallelizationHint, Ticket};
use crate::worker::WorkerName;

/// What an attempt does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act {
    pub(super) takes: Duration,
    pub(super) end: How,
    /// How deaf it is.
    pub(super) deaf: Deaf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Well,
    Fails,
    Crashes,
    /// The worker gives it back, the first time.
    Returned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deaf {
    No,
    ToAsking,
    ToKilling,
    /// It begins, though it was recalled from the pipe.
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

/// What happened on the floor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) id: String,
    pub(super) at: Duration,
    pub(super) was_ahead: bool,
}

/// Workers, as many as there are places, each with a pipe for what is sent ahead.
#[derive(Clone)]
pub(super) struct Floor(Arc<Mutex<State>>);

struct State {
    workers: Vec<Worker>,
    ahead: u32,
    tasks: Tasks,
    introduction: Option<Vec<Introduction>>,
    version: Option<String>,
    script: HashMap<(String, u32), Act>,
    returned: HashMap<String, u32>,
    begun: Vec<Begun>,
    most_slots: u32,
    expected: Vec<Prospect>,
    epoch: Instant,
    kind: Kind,
    reporter: Option<Reporter>,
}

#[derive(Default)]
struct Worker {
    running: Option<(Assignment, Option<AbortHandle>)>,
    pipe: VecDeque<Assignment>,
}

impl Floor {
    pub(super) fn new(places: u32, ahead: u32) -> Self {
        Self(Arc::new(Mutex::new(State {
            workers: (0..places).map(|_| Worker::default()).collect(),
            ahead,
            tasks: Tasks::Any,
            introduction: None,
            version: None,
            script: HashMap::new(),
            returned: HashMap::new(),
            begun: Vec::new(),
            most_slots: 0,
            expected: Vec::new(),
            epoch: Instant::now(),
            kind: Kind(0),
            reporter: None,
        })))
    }

    /// Workers that introduce themselves when the first job is expected.
    pub(super) fn introducing(self, tasks: Vec<Introduction>) -> Self {
        let mut state = self.0.lock().unwrap();
        state.tasks = Tasks::Introduced;
        state.introduction = Some(tasks);
        drop(state);
        self
    }

    /// Workers that say which version they are when they introduce themselves.
    pub(super) fn of_version(self, version: Option<&str>) -> Self {
        self.0.lock().unwrap().version = version.map(str::to_owned);
        self
    }

    /// Workers that say what they do when they are made to, by [`report`](Self::report).
    pub(super) fn silent(self) -> Self {
        self.0.lock().unwrap().tasks = Tasks::Introduced;
        self
    }

    /// Says what an attempt at a job does; all others end well at once.
    pub(super) fn script(&self, id: &str, attempt: u32, act: Act) {
        let mut state = self.0.lock().unwrap();
        state.script.insert((id.to_owned(), attempt), act);
    }

    pub(super) fn begun(&self) -> Vec<Begun> {
        self.0.lock().unwrap().begun.clone()
    }

    /// The most slots that were ever filled at once.
    pub(super) fn most_slots(&self) -> u32 {
        self.0.lock().unwrap().most_slots
    }

    pub(super) fn expected(&self) -> Vec<Prospect> {
        self.0.lock().unwrap().expected.clone()
    }

    pub(super) fn report(&self, report: impl FnOnce(Kind) -> Report) {
        let state = self.0.lock().unwrap();
        let reporter = state.reporter.clone().expect("a run goes on");
        reporter.tell(report(state.kind));
    }

    fn begin(&self, state: &mut State, at: usize, assignment: Assignment) {
        let id = assignment.job.id.as_str().to_owned();
        let key = (id.clone(), assignment.number);
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
        let (floor, ticket) = (self.clone(), assignment.ticket);
        state.workers[at].running = Some((assignment, None));
        state.check();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(act.takes).await;
            let result = match act.end {
                How::Returned if returns => Outcome::Returned,
                How::Well | How::Returned => Outcome::Ended(Ok(Payload::null())),
                How::Fails => Outcome::Ended(Err(Failure::new(Class::Task, "it failed"))),
                How::Crashes => Outcome::Died(Failure::new(Class::Crash, "its worker died")),
            };
            floor.end(ticket, result);
        });
        if let Some((_, handle)) = &mut state.workers[at].running {
            *handle = Some(timer.abort_handle());
        }
    }

    fn end(&self, ticket: Ticket, outcome: Outcome) {
        let mut state = self.0.lock().unwrap();
        let Some(at) = state.runs(ticket) else { return };
        let Some((assignment, _)) = state.workers[at].running.take() else {
            return;
        };
        let reporter = state.reporter.clone().expect("a run goes on");
        let ran = Duration::from_secs(1);
        let worker = Some(WorkerName::new("scripted", at as u64 + 1));
        let (result, dies) = match outcome {
            Outcome::Returned => {
                let ticket = assignment.ticket;
                reporter.tell(Report::Returned { ticket });
                // The slot is free and nothing begins in its place, so what lies in the pipe comes back.
                state.empty(at, &reporter);
                return;
            }
            Outcome::Ended(result) => (result, false),
            Outcome::Died(failure) => (Err(failure), true),
        };
        if dies {
            state.empty(at, &reporter);
        }
        let next = state.workers[at].pipe.pop_front();
        reporter.tell(Report::Ended {
            ticket,
            result: result.map_err(Box::new),
            worker,
            ran,
            next: next.as_ref().map(|next| next.ticket),
            provisional: false,
        });
        if let Some(next) = next {
            self.begin(&mut state, at, next);
        }
    }
}

enum Outcome {
    Ended(Result<Payload, Failure>),
    Died(Failure),
    Returned,
}

impl State {
    fn runs(&self, ticket: Ticket) -> Option<usize> {
        let runs = |worker: &Worker| {
            let running = worker.running.as_ref();
            running.is_some_and(|(assignment, _)| assignment.ticket == ticket)
        };
        self.workers.iter().position(runs)
    }

    fn empty(&mut self, at: usize, reporter: &Reporter) {
        for back in self.workers[at].pipe.drain(..) {
            let ticket = back.ticket;
            reporter.tell(Report::Returned { ticket });
        }
    }

    /// What must hold at every moment.
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
    }
}

struct Floorman(Floor);

impl Crew for Floorman {
    fn start(&mut self, assignment: Assignment) {
        let mut state = self.0.0.lock().unwrap();
        let reporter = state.reporter.clone().expect("a run goes on");
        let ticket = assignment.ticket;
        if assignment.ahead {
            let busy = state.workers.iter().enumerate();
            let busy = busy.filter(|(_, worker)| worker.running.is_some());
            match busy.min_by_key(|(_, worker)| worker.pipe.len()) {
                Some((at, _)) => state.workers[at].pipe.push_back(assignment),
                None => reporter.tell(Report::Returned { ticket }),
            }
            return;
        }
        let idle = state
            .workers
            .iter()
            .position(|worker| worker.running.is_none());
        let at = idle.expect("a worker is free for whatever starts");
        reporter.tell(Report::Started {
            ticket,
            worker: Some(WorkerName::new("scripted", at as u64 + 1)),
        });
        self.0.begin(&mut state, at, assignment);
    }

    fn stop(&mut self, ticket: Ticket, stop: Stop) {
        let mut state = self.0.0.lock().unwrap();
        let reporter = state.reporter.clone().expect("a run goes on");
        let deaf = |state: &State, one: &Assignment| {
            let key = (one.job.id.as_str().to_owned(), one.number);
            state.script.get(&key).map_or(Deaf::No, |act| act.deaf)
        };
        for at in 0..state.workers.len() {
            let mut pipe = state.workers[at].pipe.iter();
            let Some(place) = pipe.position(|one| one.ticket == ticket) else {
                continue;
            };
            if deaf(&state, &state.workers[at].pipe[place]) != Deaf::ToRecalling {
                state.workers[at].pipe.remove(place);
                reporter.tell(Report::Returned { ticket });
            }
            return;
        }
        let Some(at) = state.runs(ticket) else { return };
        let Some((assignment, timer)) = &state.workers[at].running else {
            return;
        };
        let deaf = deaf(&state, assignment);
        let hears = match stop {
            Stop::Ask { .. } => matches!(deaf, Deaf::No | Deaf::ToRecalling),
            Stop::Kill => deaf != Deaf::ToKilling,
            Stop::Recall => false,
        };
        if !hears {
            return;
        }
        if let Some(timer) = timer {
            timer.abort();
        }
        drop(state);
        let stopped = Failure::new(Class::Cancelled, "it was stopped");
        let outcome = match stop {
            Stop::Ask { .. } => Outcome::Ended(Err(stopped)),
            Stop::Kill | Stop::Recall => Outcome::Died(stopped),
        };
        self.0.end(ticket, outcome);
    }

    fn expect(&mut self, kind: Kind, prospect: Prospect) {
        let mut state = self.0.0.lock().unwrap();
        state.expected.push(prospect);
        let reporter = state.reporter.clone().expect("a run goes on");
        if let Some(tasks) = state.introduction.take() {
            reporter.tell(Report::Introduced {
                kind,
                version: state.version.clone(),
                tasks: Some(tasks),
            });
        }
    }
}

impl Recruiter for Floor {
    fn kinds(&self) -> Vec<KindOfWorker> {
        vec![KindOfWorker {
            name: "scripted".to_owned(),
            tasks: self.0.lock().unwrap().tasks.clone(),
            process: None,
            programs: None,
        }]
    }

    fn crew(&self, first: Kind, reporter: Reporter) -> Box<dyn Crew> {
        let mut state = self.0.lock().unwrap();
        state.kind = first;
        state.epoch = Instant::now();
        reporter.tell(Report::Places {
            edition: 1,
            kind: first,
            places: u32::try_from(state.workers.len()).unwrap(),
            ahead: state.ahead,
        });
        state.reporter = Some(reporter);
        Box::new(Floorman(self.clone()))
    }
}
