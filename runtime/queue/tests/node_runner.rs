//! The loop of a node, on a clock that stands still: what it does when all goes well, and when the queue does not answer.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails says where"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ratchet_queue::{
    Attempt, AttemptEnd, BoxError, Cancelled, Claims, Cursor, Declaration, Engine, Error, Event,
    EventKind, Explanation, Fence, FinalStatus, Finish, FinishResult, JobName, JobPage, JobSpec,
    JobState, Membership, MemoryEngine, NodeId, NodeInfo, NodeReport, NodeRunner, NodeSpec,
    Performer, Purged, QueueSettings, QueueStatus, Renewal, Requeued, Submitted,
};
use ratchet_runtime::ParallelizationHint;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The way of a node to its queue, which can be cut.
struct Link {
    queue: Arc<MemoryEngine>,
    /// No call arrives.
    is_cut: AtomicBool,
    /// The next end is recorded, and the answer to it is lost.
    loses_answer: AtomicBool,
}

impl Link {
    fn check(&self) -> Result<(), Error> {
        if self.is_cut.load(Ordering::Relaxed) {
            return Err(Error::Unreachable(BoxError::from("the cable is cut")));
        }
        Ok(())
    }
}

#[async_trait]
impl Engine for Link {
    async fn declare(&self, declarations: &[Declaration]) -> Result<(), Error> {
        self.queue.declare(declarations).await
    }
    async fn submit(&self, jobs: &[JobSpec]) -> Result<Vec<Submitted>, Error> {
        self.queue.submit(jobs).await
    }
    async fn join(&self, node: &NodeSpec) -> Result<Membership, Error> {
        self.check()?;
        self.queue.join(node).await
    }
    async fn claim(&self, node: NodeId, slots: u32, most: usize) -> Result<Claims, Error> {
        self.check()?;
        self.queue.claim(node, slots, most).await
    }
    async fn wait(&self, node: NodeId, most: Duration) -> Result<(), Error> {
        self.queue.wait(node, most).await
    }
    async fn renew(&self, node: NodeId, held: &[(JobName, Fence)]) -> Result<Renewal, Error> {
        self.check()?;
        self.queue.renew(node, held).await
    }
    async fn finish(&self, node: NodeId, ends: &[Finish]) -> Result<Vec<FinishResult>, Error> {
        self.check()?;
        let results = self.queue.finish(node, ends).await?;
        if self.loses_answer.swap(false, Ordering::Relaxed) {
            return Err(Error::Unreachable(BoxError::from("the answer is lost")));
        }
        Ok(results)
    }
    async fn progress(
        &self,
        node: NodeId,
        reports: &[(JobName, Fence, Arc<[u8]>)],
    ) -> Result<(), Error> {
        self.check()?;
        self.queue.progress(node, reports).await
    }
    async fn cancel(&self, jobs: &[JobName]) -> Result<Vec<Cancelled>, Error> {
        self.queue.cancel(jobs).await
    }
    async fn leave(&self, node: NodeId) -> Result<(), Error> {
        self.check()?;
        self.queue.leave(node).await
    }
    async fn events(&self, after: Cursor, most: usize) -> Result<Vec<Event>, Error> {
        self.queue.events(after, most).await
    }
    async fn latest(&self) -> Result<Cursor, Error> {
        self.queue.latest().await
    }
    async fn states(&self, jobs: &[JobName]) -> Result<Vec<Option<JobState>>, Error> {
        self.queue.states(jobs).await
    }
    async fn status(&self) -> Result<QueueStatus, Error> {
        self.queue.status().await
    }
    async fn pause(&self) -> Result<(), Error> {
        self.queue.pause().await
    }
    async fn resume(&self) -> Result<(), Error> {
        self.queue.resume().await
    }
    async fn requeue(&self, jobs: &[JobName]) -> Result<Vec<Requeued>, Error> {
        self.queue.requeue(jobs).await
    }
    async fn purge(&self, jobs: &[JobName]) -> Result<Vec<Purged>, Error> {
        self.queue.purge(jobs).await
    }
    async fn nodes(&self) -> Result<Vec<NodeInfo>, Error> {
        self.queue.nodes().await
    }
    async fn explain(&self, job: &JobName) -> Result<Option<Explanation>, Error> {
        self.queue.explain(job).await
    }
    async fn list(
        &self,
        prefix: &str,
        after: Option<&JobName>,
        most: usize,
    ) -> Result<JobPage, Error> {
        self.queue.list(prefix, after, most).await
    }
}

/// Does what the payload of a job says, and counts what runs on each host.
#[derive(Default)]
struct Work {
    running: Mutex<BTreeMap<String, u32>>,
    /// The most that ever ran on one host at once.
    peak: AtomicU32,
}

/// An attempt that runs, until its future is dropped.
struct Running<'a>(&'a Work, String);

impl<'a> Running<'a> {
    fn on(work: &'a Work, host: &str) -> Self {
        let mut running = work.running.lock().unwrap();
        let count = running.entry(host.to_owned()).or_default();
        *count += 1;
        work.peak.fetch_max(*count, Ordering::Relaxed);
        Self(work, host.to_owned())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap().get_mut(&self.1).unwrap() -= 1;
    }
}

fn over(status: FinalStatus) -> AttemptEnd {
    AttemptEnd::Over {
        status,
        result: b"result".as_slice().into(),
    }
}

#[async_trait]
impl Performer for Work {
    async fn perform(&self, mut attempt: Attempt) -> AttemptEnd {
        let words = String::from_utf8(attempt.claim.payload.to_vec()).unwrap();
        let _running = Running::on(self, "h");
        match &*words {
            "panic" => panic!("as the job says"),
            "obey" => {
                attempt.cancelled().await;
                over(FinalStatus::Cancelled)
            }
            "boast" => AttemptEnd::Over {
                status: FinalStatus::Succeeded,
                result: vec![0; (16 << 20) + 1].into(),
            },
            "tell" => {
                attempt.progress(b"half");
                tokio::time::sleep(Duration::from_secs(1)).await;
                over(FinalStatus::Succeeded)
            }
            seconds => {
                let seconds = seconds.parse().unwrap();
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                over(FinalStatus::Succeeded)
            }
        }
    }
}

/// A queue, the way to it, and what its nodes do.
struct World {
    queue: Arc<MemoryEngine>,
    work: Arc<Work>,
}

/// A node that runs in a task of its own.
struct Node {
    link: Arc<Link>,
    drain: oneshot::Sender<()>,
    task: JoinHandle<Result<NodeReport, Error>>,
}

impl Node {
    async fn drained(self) -> NodeReport {
        self.drain.send(()).unwrap();
        self.task.await.unwrap().unwrap()
    }
}

impl World {
    fn new() -> Self {
        let queue = MemoryEngine::new(QueueSettings::default()).unwrap();
        Self {
            queue: Arc::new(queue),
            work: Arc::default(),
        }
    }

    fn node(&self, slots: u32) -> Node {
        let link = Arc::new(Link {
            queue: Arc::clone(&self.queue),
            is_cut: AtomicBool::new(false),
            loses_answer: AtomicBool::new(false),
        });
        let engine: Arc<dyn Engine> = Arc::<Link>::clone(&link);
        let work: Arc<dyn Performer> = Arc::<Work>::clone(&self.work);
        let runner = NodeRunner::new(engine, NodeSpec::new("node", slots), work);
        let (drain, asked) = oneshot::channel::<()>();
        let task = tokio::spawn(runner.run(async {
            let _sender_is_gone_or_asks = asked.await;
        }));
        Node { link, drain, task }
    }

    /// Submits a job that is the only one on its host.
    async fn submit(&self, name: &str, payload: &str) {
        let job = JobSpec {
            hint: ParallelizationHint::HostExclusive,
            host: Some("h".into()),
            ..Self::job(name, payload)
        };
        self.queue.submit(&[job]).await.unwrap();
    }

    fn job(name: &str, payload: &str) -> JobSpec {
        JobSpec {
            payload: payload.as_bytes().into(),
            ..JobSpec::new(name.parse().unwrap(), "work")
        }
    }

    /// Waits until a job is somewhere, and fails after an hour by the clock that stands still otherwise.
    async fn reaches(&self, job: &str, expected: JobState) {
        let name: JobName = job.parse().unwrap();
        for _ in 0..36_000 {
            let names = std::slice::from_ref(&name);
            if self.queue.states(names).await.unwrap() == [Some(expected)] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{job} does not become {expected:?}");
    }

    async fn ends(&self, job: &str, status: FinalStatus) {
        self.reaches(job, JobState::Ended(status)).await;
    }

    fn peak(&self) -> u32 {
        self.work.peak.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_do_what_there_is_and_leave() {
    let world = World::new();
    let jobs: Vec<JobSpec> = (0..50)
        .map(|number| World::job(&format!("job{number}"), "3"))
        .collect();
    world.queue.submit(&jobs).await.unwrap();
    let (one, other) = (world.node(4), world.node(3));
    for job in &jobs {
        world.ends(job.name.as_str(), FinalStatus::Succeeded).await;
    }
    let (one, other) = (one.drained().await, other.drained().await);
    assert_eq!(one.started + other.started, 50);
    assert_eq!(one.committed + other.committed, 50);
    assert_eq!(world.peak(), 7);
    assert_eq!(world.queue.status().await.unwrap().nodes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_renew_ends_its_attempts_before_others_get_them() {
    let world = World::new();
    world.submit("a", "100").await;
    let cut = world.node(2);
    world.reaches("a", JobState::Running).await;
    let other = world.node(2);
    cut.link.is_cut.store(true, Ordering::Relaxed);
    world.ends("a", FinalStatus::Succeeded).await;
    // Two at once would have been on the host, had the first node gone on.
    assert_eq!(world.peak(), 1);
    cut.link.is_cut.store(false, Ordering::Relaxed);
    // It opens another session, and works again.
    while world.queue.status().await.unwrap().nodes < 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.submit("b", "1").await;
    world.submit("c", "1").await;
    world.ends("c", FinalStatus::Succeeded).await;
    let (cut, other) = (cut.drained().await, other.drained().await);
    assert_eq!((cut.fenced, cut.sessions), (1, 2));
    assert_eq!((other.fenced, other.sessions), (0, 1));
    assert_eq!((cut.stale, other.stale), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_short_silence_costs_nothing() {
    let world = World::new();
    world.submit("a", "20").await;
    let node = world.node(1);
    world.reaches("a", JobState::Running).await;
    for _ in 0..3 {
        node.link.is_cut.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(4)).await;
        node.link.is_cut.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    world.ends("a", FinalStatus::Succeeded).await;
    let report = node.drained().await;
    assert_eq!((report.started, report.committed, report.fenced), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_end_whose_answer_was_lost_is_told_again() {
    let world = World::new();
    world.submit("a", "1").await;
    let node = world.node(1);
    node.link.loses_answer.store(true, Ordering::Relaxed);
    world.ends("a", FinalStatus::Succeeded).await;
    let report = node.drained().await;
    assert_eq!((report.committed, report.stale), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_attempt_is_asked_and_then_dropped() {
    let world = World::new();
    let jobs = [
        World::job("obeys", "obey"),
        World::job("does not", "100000"),
    ];
    world.queue.submit(&jobs).await.unwrap();
    let node = world.node(2);
    for job in &jobs {
        world.reaches(job.name.as_str(), JobState::Running).await;
    }
    let names = jobs.map(|job| job.name);
    world.queue.cancel(&names).await.unwrap();
    for name in &names {
        world.ends(name.as_str(), FinalStatus::Cancelled).await;
    }
    assert!(
        world
            .work
            .running
            .lock()
            .unwrap()
            .values()
            .all(|count| *count == 0)
    );
    node.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_attempt_alone() {
    let world = World::new();
    let jobs = [World::job("panics", "panic"), World::job("works", "5")];
    world.queue.submit(&jobs).await.unwrap();
    let node = world.node(2);
    world.ends("panics", FinalStatus::Crashed).await;
    world.ends("works", FinalStatus::Succeeded).await;
    node.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_drains_ends_what_it_has_and_takes_no_more() {
    let world = World::new();
    // Longer than a session, so it has to be renewed meanwhile.
    world.submit("first", "60").await;
    world.submit("second", "1").await;
    let node = world.node(1);
    world.reaches("first", JobState::Running).await;
    let report = node.drained().await;
    assert_eq!((report.started, report.committed), (1, 1));
    world.reaches("second", JobState::Waiting).await;
}

#[tokio::test(start_paused = true)]
async fn progress_reaches_those_who_follow() {
    let world = World::new();
    world.submit("a", "tell").await;
    let node = world.node(1);
    world.ends("a", FinalStatus::Succeeded).await;
    let events = world.queue.events(Cursor::START, 100).await.unwrap();
    let is_told = |event: &Event| matches!(&event.kind, EventKind::Progress { message, .. } if **message == *b"half");
    assert!(events.iter().any(is_told), "{events:?}");
    node.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_result_is_too_large_fails_and_says_so() {
    let world = World::new();
    world.submit("a", "boast").await;
    let node = world.node(1);
    world.ends("a", FinalStatus::Failed).await;
    let events = world.queue.events(Cursor::START, 100).await.unwrap();
    let told = events.iter().find_map(|event| match &event.kind {
        EventKind::Ended { result, .. } => Some(String::from_utf8(result.to_vec()).unwrap()),
        _ => None,
    });
    let expected = "the result has 16777217 bytes, and the queue takes 16777216";
    assert_eq!(told.as_deref(), Some(expected));
    assert_eq!(node.drained().await.committed, 1);
}
