//! Random queues: what submitters and nodes do to them, and how a queue answers.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use ratchet_queue::{
    AttemptEnd, Cancelled, Claim, Cursor, Declaration, Event, EventKind, ExplainedState,
    Explanation, FinalStatus, Finish, FinishResult, JobName, JobPage, JobSpec, NodeId, NodeInfo,
    NodeSpec, Purged, Renewal, Requeued, Submitted, WaitReason,
};
use ratchet_runtime::{Limit, ParallelizationHint, Priority, Resource};

use crate::bench::{Bench, name};
use crate::checker::Checker;

/// Something that somebody does to a queue. Numbers choose among what there is at that moment.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Submit(Vec<RandomJob>),
    Join(NodeSpec),
    Claim {
        node: usize,
        slots: u32,
        most: usize,
    },
    Finish {
        node: usize,
        attempt: usize,
        end: AttemptEnd,
    },
    FinishLate {
        node: usize,
        end: AttemptEnd,
    },
    /// A node tells the end of an attempt, and claims at most so many slots and attempts, in one call.
    Exchange(usize, usize, AttemptEnd, (u32, usize)),
    Renew {
        node: usize,
        but: Option<usize>,
    },
    Leave(usize),
    /// The node does nothing any more, and its session ends.
    Die(usize),
    Cancel(usize),
    ChangeLimit(u32),
    Pass(u64),
    Pause(bool),
    Requeue(usize),
    Purge(usize),
    /// A job comes under a name that another one has or had.
    Resubmit(usize, Box<RandomJob>),
    /// Somebody looks at the nodes, the list, and every eighth job.
    Look(usize),
}

/// A job, before its needs and its name are known.
#[derive(Clone, Debug)]
pub(crate) struct RandomJob {
    spec: JobSpec,
    needs: Vec<usize>,
}

/// What a queue answered to a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Submitted(Vec<Submitted>),
    Joined(NodeId),
    Claimed(Vec<Claim>),
    Finished(Vec<FinishResult>),
    Renewed(Renewal),
    Cancelled(Vec<Cancelled>),
    Requeued(Vec<Requeued>),
    Purged(Vec<Purged>),
    Looked(Vec<NodeInfo>, JobPage, Vec<Option<Explanation>>),
    Events(Vec<Event>),
}

/// What is declared in every random queue.
pub(crate) fn declarations() -> Vec<Declaration> {
    let rate = |rate: &str, burst| Limit::rate(rate.parse().unwrap(), burst).unwrap();
    vec![
        Declaration::Limit("db".into(), Limit::max(2).unwrap()),
        Declaration::Limit("api".into(), rate("7/3s", 2)),
        Declaration::Resource("gpu".into(), Resource::identities(["x", "y", "z"]).unwrap()),
        Declaration::Resource("ram".into(), Resource::count(5).unwrap()),
    ]
}

fn hint() -> impl Strategy<Value = ParallelizationHint> {
    let rated = (0..2usize).prop_map(|key| ParallelizationHint::RateLimited {
        requests_per_second: [3.0, 0.7][key],
        burst: [1, 3][key],
        key: [None, Some("key".to_owned())][key].clone(),
    });
    prop_oneof![
        4 => Just(ParallelizationHint::FullyParallel),
        4 => Just(ParallelizationHint::HostExclusive),
        3 => rated,
        1 => Just(ParallelizationHint::GlobalExclusive),
        1 => Just(ParallelizationHint::Alone),
    ]
}

fn job() -> impl Strategy<Value = RandomJob> {
    let place = (
        prop::option::of(prop::sample::select(vec!["a", "b", "c"])),
        prop::sample::select(vec!["task", "other"]),
        prop::bool::weighted(0.15),
    );
    let claims = (
        prop::sample::subsequence(vec!["db", "api"], 0..=2),
        prop::sample::subsequence(vec!["gpu", "ram"], 0..=1),
        1..=3u64,
        prop::sample::select(vec![1, 1, 1, 2, 3u32]),
    );
    let rest = (
        prop::sample::select(Priority::ALL.to_vec()),
        prop::sample::select(vec![0, 0, 0, 700, 5_000u64]),
        1..=3u32,
        prop::collection::vec(0..100usize, 0..=2),
        prop::bool::weighted(0.4),
        prop::option::weighted(0.3, prop::sample::select(vec![0, 500, 3_000u64])),
    );
    (hint(), place, claims, rest).prop_map(|(hint, place, claims, rest)| {
        let (host, task, is_labelled) = place;
        let (limits, resources, units, slots) = claims;
        let (priority, delay, crash_limit, needs, has_needs, unservable_after) = rest;
        let spec = JobSpec {
            hint,
            host: host.map(Into::into),
            priority,
            slots,
            labels: is_labelled
                .then(|| "ssd".parse().unwrap())
                .into_iter()
                .collect(),
            limits: limits.into_iter().map(Into::into).collect(),
            resources: (resources.into_iter())
                .map(|resource| (resource.into(), units))
                .collect(),
            delay: Duration::from_millis(delay),
            crash_limit,
            unservable_after: unservable_after.map(Duration::from_millis),
            ..JobSpec::new(name("unnamed"), task)
        };
        let needs = if has_needs { needs } else { Vec::new() };
        RandomJob { spec, needs }
    })
}

fn end() -> impl Strategy<Value = AttemptEnd> {
    let over = prop::sample::select(vec![
        FinalStatus::Succeeded,
        FinalStatus::Succeeded,
        FinalStatus::Succeeded,
        FinalStatus::Failed,
        FinalStatus::TimedOut,
    ]);
    prop_oneof![
        6 => over.prop_map(|status| AttemptEnd::Over { status, result: b"result".as_slice().into() }),
        2 => (0..3_000u64).prop_map(|millis| AttemptEnd::Again {
            delay: Duration::from_millis(millis),
            handover: vec![7; usize::try_from(millis % 3).unwrap()].into(),
        }),
        1 => Just(AttemptEnd::NotBegun),
    ]
}

fn node_spec() -> impl Strategy<Value = NodeSpec> {
    let tasks = prop::option::of(prop::sample::select(vec!["task", "other"]));
    (tasks, any::<bool>(), 1..=4u32).prop_map(|(task, is_labelled, slots)| NodeSpec {
        tasks: task.map(|task| vec![task.into()]),
        labels: is_labelled
            .then(|| "ssd".parse().unwrap())
            .into_iter()
            .collect(),
        ..NodeSpec::new("random", slots)
    })
}

/// Generates what is done to a queue.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = 0..8usize;
    let step = prop_oneof![
        6 => prop::collection::vec(job(), 1..6).prop_map(Step::Submit),
        2 => node_spec().prop_map(Step::Join),
        14 => (node.clone(), 1..=4u32, 1..6usize)
            .prop_map(|(node, slots, most)| Step::Claim { node, slots, most }),
        10 => (node.clone(), 0..8usize, end())
            .prop_map(|(node, attempt, end)| Step::Finish { node, attempt, end }),
        1 => (node.clone(), end()).prop_map(|(node, end)| Step::FinishLate { node, end }),
        8 => (node.clone(), 0..8usize, end(), (1..=4u32, 1..6usize))
            .prop_map(|(node, attempt, end, room)| Step::Exchange(node, attempt, end, room)),
        3 => (node.clone(), prop::option::weighted(0.1, 0..8usize))
            .prop_map(|(node, but)| Step::Renew { node, but }),
        1 => node.clone().prop_map(Step::Leave),
        1 => node.prop_map(Step::Die),
        2 => (0..100usize).prop_map(Step::Cancel),
        1 => (1..=3u32).prop_map(Step::ChangeLimit),
        1 => any::<bool>().prop_map(Step::Pause),
        3 => (0..100usize).prop_map(Step::Requeue),
        2 => (0..100usize).prop_map(Step::Purge),
        2 => (0..100usize, job()).prop_map(|(name, job)| Step::Resubmit(name, Box::new(job))),
        2 => (0..8usize).prop_map(Step::Look),
        6 => prop::sample::select(vec![1, 100, 142, 900, 4_000u64]).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..120)
}

/// A node as it knows itself.
struct Node {
    id: NodeId,
    spec: NodeSpec,
    held: Vec<Claim>,
    /// The attempts that it has told the end of.
    told: Vec<Claim>,
    is_dead: bool,
}

/// A queue to which random things happen, watched by a checker.
pub(crate) struct World {
    bench: Bench,
    checker: Checker,
    nodes: Vec<Node>,
    jobs: Vec<JobName>,
    answers: Vec<Answer>,
    /// The last event that it has heard of.
    seen: Cursor,
}

impl Node {
    /// Returns how many of these slots are free.
    fn free(&self, slots: u32) -> u32 {
        let used: u32 = self.held.iter().map(|claim| claim.slots).sum();
        slots.min(self.spec.slots.saturating_sub(used))
    }
}

impl World {
    /// Makes a world with one node that does not die, and can do everything but what asks for a label.
    pub(crate) async fn new(bench: Bench) -> Self {
        bench.engine.declare(&declarations()).await.unwrap();
        let mut world = Self {
            checker: Checker::new(&declarations()),
            bench,
            nodes: Vec::new(),
            jobs: Vec::new(),
            answers: Vec::new(),
            seen: Cursor::START,
        };
        world.join(NodeSpec::new("steady", 4)).await;
        world
    }

    async fn join(&mut self, spec: NodeSpec) {
        let id = self.bench.engine.join(&spec).await.unwrap().node;
        self.answers.push(Answer::Joined(id));
        self.nodes.push(Node {
            id,
            spec,
            held: Vec::new(),
            told: Vec::new(),
            is_dead: false,
        });
    }

    /// Does one thing, if it is possible now.
    pub(crate) async fn step(&mut self, step: Step) {
        let count = self.nodes.len();
        match step {
            Step::Submit(jobs) => {
                let mut specs = Vec::new();
                for job in jobs {
                    let spec = self.spec(&format!("job{}", self.jobs.len()), job);
                    self.jobs.push(spec.name.clone());
                    specs.push(spec);
                }
                self.submit(specs).await;
            }
            Step::Resubmit(number, job) => {
                if !self.jobs.is_empty() {
                    let name = self.jobs[number % self.jobs.len()].to_string();
                    let mut spec = self.spec(&name, *job);
                    spec.needs.retain(|need| *need != spec.name);
                    self.submit(vec![spec]).await;
                }
            }
            Step::Pause(true) => self.bench.engine.pause().await.unwrap(),
            Step::Pause(false) => self.bench.engine.resume().await.unwrap(),
            Step::Requeue(job) => {
                if !self.jobs.is_empty() {
                    let job = self.jobs[job % self.jobs.len()].clone();
                    let answers = self.bench.engine.requeue(&[job]).await.unwrap();
                    self.answers.push(Answer::Requeued(answers));
                    self.read_events().await;
                }
            }
            Step::Purge(job) => {
                if !self.jobs.is_empty() {
                    let job = self.jobs[job % self.jobs.len()].clone();
                    let answers =
                        (self.bench.engine.purge(std::slice::from_ref(&job)).await).unwrap();
                    if answers == [Purged::Forgotten] {
                        self.checker.purged(job);
                    }
                    self.answers.push(Answer::Purged(answers));
                }
            }
            Step::Look(first) => self.look(first).await,
            Step::Join(spec) => self.join(spec).await,
            Step::Claim { node, slots, most } => self.claim(node % count, slots, most).await,
            Step::Finish { node, attempt, end } => {
                let node = &self.nodes[node % count];
                if !node.is_dead && !node.held.is_empty() {
                    let attempt = attempt % node.held.len();
                    let at = node.id;
                    self.finish(at, attempt, end).await;
                }
            }
            Step::Exchange(node, attempt, end, room) => {
                self.exchange(node % count, attempt, end, room).await;
            }
            Step::FinishLate { node, end } => {
                let node = &self.nodes[node % count];
                if let Some(claim) = node.told.first() {
                    let results = finish(&self.bench, node.id, claim, end).await;
                    self.answers.push(Answer::Finished(results));
                }
            }
            Step::Renew { node, but } => self.renew(node % count, but).await,
            Step::Leave(node) => {
                // The first node stays to the end.
                let node = node % count;
                if node > 0 && !self.nodes[node].is_dead {
                    let id = self.nodes[node].id;
                    self.bench.engine.leave(id).await.unwrap();
                    self.forget(node);
                }
            }
            Step::Die(node) => {
                let node = node % count;
                if node > 0 {
                    self.nodes[node].is_dead = true;
                }
            }
            Step::Cancel(job) => {
                if !self.jobs.is_empty() {
                    let job = self.jobs[job % self.jobs.len()].clone();
                    let answers = self.bench.engine.cancel(&[job]).await.unwrap();
                    self.answers.push(Answer::Cancelled(answers));
                }
            }
            Step::ChangeLimit(max) => {
                let changed = Declaration::Limit("db".into(), Limit::max(max).unwrap());
                (self
                    .bench
                    .engine
                    .declare(std::slice::from_ref(&changed))
                    .await)
                    .unwrap();
                self.checker.declared(&changed);
            }
            Step::Pass(millis) => self.pass(millis).await,
        }
    }

    /// Gives a random job its name, and needs among the jobs that there are.
    fn spec(&self, name_: &str, job: RandomJob) -> JobSpec {
        let RandomJob { mut spec, needs } = job;
        spec.name = name(name_);
        if !self.jobs.is_empty() {
            let needs = needs.iter().map(|at| at % self.jobs.len());
            spec.needs = needs.map(|at| self.jobs[at].clone()).collect();
        }
        spec.payload = spec.name.to_string().into_bytes().into();
        spec
    }

    async fn submit(&mut self, specs: Vec<JobSpec>) {
        let answers = self.bench.engine.submit(&specs).await.unwrap();
        (self.checker).submitted(&specs, &answers, self.bench.clock.now());
        self.answers.push(Answer::Submitted(answers));
    }

    /// Asks for all that can be asked for. An engine on floating point numbers may be off by a little in the time until a
    /// token comes, so that is left out.
    async fn look(&mut self, first: usize) {
        let engine = &self.bench.engine;
        let nodes = engine.nodes().await.unwrap();
        let page = engine.list("job", None, 50).await.unwrap();
        let mut explanations = Vec::new();
        for job in self.jobs.iter().skip(first).step_by(8) {
            let mut explanation = engine.explain(job).await.unwrap();
            if let Some(ExplainedState::Waiting { reasons, .. }) = explanation
                .as_mut()
                .map(|explanation| &mut explanation.state)
            {
                for reason in reasons {
                    if let WaitReason::RateKey { left, .. } | WaitReason::RateLimit { left, .. } =
                        reason
                    {
                        *left = Duration::ZERO;
                    }
                }
            }
            explanations.push(explanation);
        }
        (self.answers).push(Answer::Looked(nodes, page, explanations));
    }

    /// Lets time pass, in which the living nodes renew their sessions.
    async fn pass(&mut self, millis: u64) {
        self.bench.pass(millis);
        for node in 0..self.nodes.len() {
            self.renew(node, None).await;
        }
    }

    async fn renew(&mut self, at: usize, but: Option<usize>) {
        let node = &mut self.nodes[at];
        if node.is_dead {
            return;
        }
        if let Some(but) = but
            && !node.held.is_empty()
        {
            // The node has not heard of this one.
            let lost = node.held.remove(but % node.held.len());
            self.checker.ended(&lost);
        }
        let renewal = self.bench.renew(node.id, &node.held).await;
        assert_ne!(renewal, Renewal::Lost, "a node that renews is not lost");
        self.answers.push(Answer::Renewed(renewal));
    }

    async fn claim(&mut self, at: usize, slots: u32, most: usize) {
        let node = &self.nodes[at];
        if node.is_dead {
            return;
        }
        let (slots, id) = (node.free(slots), node.id);
        let claims = self
            .bench
            .engine
            .claim(id, slots, most)
            .await
            .unwrap()
            .claims;
        assert!(claims.len() <= most);
        self.claimed(at, slots, claims).await;
    }

    /// Tells the end of an attempt, and claims what is free then.
    async fn exchange(
        &mut self,
        at: usize,
        attempt: usize,
        end: AttemptEnd,
        (slots, most): (u32, usize),
    ) {
        let node = &mut self.nodes[at];
        if node.is_dead || node.held.is_empty() {
            return;
        }
        let claim = node.held.remove(attempt % node.held.len());
        node.told.insert(0, claim.clone());
        let (slots, id) = (node.free(slots), node.id);
        self.checker.told(&claim, &end, self.bench.clock.now());
        let finish = Finish {
            job: claim.job,
            fence: claim.fence,
            end,
        };
        let ends = [finish];
        let exchanged = self.bench.engine.exchange(id, &ends, slots, most);
        let (results, claims) = exchanged.await.unwrap();
        assert_eq!(results, [FinishResult::Committed]);
        self.answers.push(Answer::Finished(results));
        self.claimed(at, slots, claims.claims).await;
    }

    /// Takes what a node has claimed.
    async fn claimed(&mut self, at: usize, slots: u32, claims: Vec<Claim>) {
        self.read_events().await;
        let now = self.bench.clock.now();
        self.checker
            .claimed(&self.nodes[at].spec, slots, &claims, now);
        self.nodes[at].held.extend(claims.iter().cloned());
        self.answers.push(Answer::Claimed(claims));
    }

    /// Learns from the events since the last time which attempts were lost with their nodes, and which jobs wait again.
    async fn read_events(&mut self) {
        let events = self.bench.engine.events(self.seen, 10_000).await.unwrap();
        for event in &events {
            self.seen = event.cursor;
            if let EventKind::Requeued { job } = &event.kind {
                self.checker.requeued(job);
            }
            if let EventKind::NodeLost { node } = event.kind
                && let Some(at) = self.nodes.iter().position(|known| known.id == node)
            {
                assert!(self.nodes[at].is_dead, "only a dead node is lost");
                self.forget(at);
            }
        }
    }

    /// Notes that nothing of a node runs any more.
    fn forget(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.is_dead = true;
        for claim in node.held.drain(..) {
            self.checker.ended(&claim);
        }
    }

    async fn finish(&mut self, id: NodeId, attempt: usize, end: AttemptEnd) {
        let Some(node) = self.nodes.iter_mut().find(|node| node.id == id) else {
            return;
        };
        let claim = node.held.remove(attempt);
        node.told.insert(0, claim.clone());
        self.checker.told(&claim, &end, self.bench.clock.now());
        let results = finish(&self.bench, id, &claim, end).await;
        assert_eq!(results, [FinishResult::Committed], "{}", claim.job);
        self.answers.push(Answer::Finished(results));
    }

    /// Lets the nodes do all that is left, and returns all answers and events.
    pub(crate) async fn drain(mut self) -> Vec<Answer> {
        self.look(0).await;
        self.bench.engine.resume().await.unwrap();
        let able = NodeSpec {
            labels: vec!["ssd".parse().unwrap()],
            ..NodeSpec::new("able", 4)
        };
        self.join(able).await;
        let mut rounds = 0;
        loop {
            for at in 0..self.nodes.len() {
                let slots = self.nodes[at].spec.slots;
                self.claim(at, slots, 100).await;
                while !self.nodes[at].is_dead && !self.nodes[at].held.is_empty() {
                    let end = crate::bench::over(FinalStatus::Succeeded);
                    self.finish(self.nodes[at].id, 0, end).await;
                }
            }
            let status = self.bench.engine.status().await.unwrap();
            if status.waiting + status.running == 0 {
                break;
            }
            rounds += 1;
            // A minute of the queue's time for each job is far more than it takes.
            assert!(
                rounds < 60 * (self.jobs.len() + 1),
                "jobs starve: {status:?}"
            );
            self.pass(1000).await;
        }
        let events = self.bench.events().await;
        self.checker.all_ended(&self.jobs, &events);
        self.answers.push(Answer::Events(events));
        self.answers
    }
}

async fn finish(bench: &Bench, node: NodeId, claim: &Claim, end: AttemptEnd) -> Vec<FinishResult> {
    let finish = Finish {
        job: claim.job.clone(),
        fence: claim.fence,
        end,
    };
    bench.engine.finish(node, &[finish]).await.unwrap()
}

/// Counts answers by what they are, to see that random queues do what they should.
pub(crate) fn count(answers: &[Answer]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        let (word, number) = match answer {
            Answer::Claimed(claims) => ("claimed", claims.len()),
            Answer::Finished(ends) => ("finished", ends.len()),
            Answer::Events(events) => ("events", events.len()),
            _ => ("other", 1),
        };
        *counts.entry(word).or_default() += number;
    }
    counts
}
