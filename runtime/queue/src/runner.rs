//! The loop of a node: claims attempts, has them performed, renews the session, and ends all when it cannot.
//!
//! One task runs the loop. It has one call of the engine under way at a time, so a session is never renewed while a claim is
//! on its way. Meanwhile it hears of attempts that have ended and watches its deadlines, so a server that does not answer
//! holds up nothing that has to happen.
//!
//! **The fence.** The session of a node is valid for a time that is counted from before the call that opened or renewed it.
//! A fifth of that time before its end, the loop drops the futures of all attempts. So they have ended before the queue gives
//! their claims to others, if whatever they do ends with their future, as the commands and pools of `ratchet-runtime` do. The
//! margin is there because ending takes time. A machine that is suspended as a whole cannot do this; what it runs must be
//! fenced by its own keeper, or check the [`Fence`](crate::Fence) where it writes.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::engine::Engine;
use crate::error::Error;
use crate::job::FinalStatus;
use crate::names::{JobName, NodeId};
use crate::node::{
    AttemptEnd, Claim, Claims, Fence, Finish, FinishResult, Membership, NodeSpec, Renewal,
};

/// How many attempts one claim takes at most, and how many ends one call tells.
const BATCH: usize = 500;
/// How many reports of progress wait to be told. More are dropped, because the next one says more.
const REPORTS: usize = 1024;
/// How many bytes a report of progress may have. It is told to all who follow, and replaced by the next one.
const LONGEST_REPORT: usize = 64 << 10;
/// How long the loop waits after the first call that got no answer. Each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest such wait. It is a third of a usual session, so that a server that is back in time is found in time.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Whoever does the work of a node.
#[async_trait]
pub trait Performer: Send + Sync {
    /// Does one attempt, and says how it ended. A job whose result is larger than the queue takes fails, and a sentence that
    /// says so is its result.
    ///
    /// When the future is dropped, everything that it has started must end.
    async fn perform(&self, attempt: Attempt) -> AttemptEnd;
}

/// An attempt as its performer sees it.
#[derive(Debug)]
pub struct Attempt {
    /// What the node has claimed.
    pub claim: Claim,
    /// The node's session.
    pub node: NodeId,
    cancelled: watch::Receiver<bool>,
    reports: mpsc::Sender<(JobName, Fence, Arc<[u8]>)>,
}

impl Attempt {
    /// Returns when somebody has cancelled the job. After [`NodeRunner::grace`], the future of the attempt is dropped.
    pub async fn cancelled(&mut self) {
        if self
            .cancelled
            .wait_for(|cancelled| *cancelled)
            .await
            .is_err()
        {
            // The loop is gone, and drops this future as well.
            std::future::pending::<()>().await;
        }
    }

    /// Tells those who follow the queue how far the attempt is. When too much waits to be told, this is dropped, and so is what
    /// has more than 64 KiB.
    pub fn progress(&self, message: &[u8]) {
        if message.len() > LONGEST_REPORT {
            tracing::warn!(job = %self.claim.job, "a report of progress has more than 64 KiB, and is dropped");
            return;
        }
        let report = (self.claim.job.clone(), self.claim.fence, message.into());
        let _dropped_when_full = self.reports.try_send(report);
    }
}

/// What a node has done until it left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeReport {
    /// How many attempts it has started.
    pub started: u64,
    /// How many ends of attempts were recorded.
    pub committed: u64,
    /// How many ends came too late, because others had the job already.
    pub stale: u64,
    /// How many attempts it ended because it could not renew its session in time.
    pub fenced: u64,
    /// How many sessions it has had.
    pub sessions: u64,
}

/// A node of a queue.
///
/// ```
/// use std::sync::Arc;
/// use ratchet_queue::{Attempt, AttemptEnd, Engine, FinalStatus, JobSpec, MemoryEngine, NodeRunner, NodeSpec, Performer};
/// use ratchet_queue::QueueSettings;
///
/// struct Echo;
///
/// #[async_trait::async_trait]
/// impl Performer for Echo {
///     async fn perform(&self, attempt: Attempt) -> AttemptEnd {
///         AttemptEnd::Over { status: FinalStatus::Succeeded, result: attempt.claim.payload }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ratchet_queue::Error> {
/// let queue = Arc::new(MemoryEngine::new(QueueSettings::default())?);
/// queue.submit(&[JobSpec::new("hello".parse()?, "echo")]).await?;
///
/// let node = NodeRunner::new(queue.clone(), NodeSpec::new("worker-1", 4), Arc::new(Echo));
/// // It takes jobs until it is asked to drain: here, until there are no more.
/// let drained = async {
///     while queue.status().await.is_ok_and(|status| status.waiting + status.running > 0) {
///         tokio::time::sleep(std::time::Duration::from_millis(5)).await;
///     }
/// };
/// let report = node.run(drained).await?;
/// assert_eq!((report.started, report.committed), (1, 1));
/// # Ok(())
/// # }
/// ```
pub struct NodeRunner {
    engine: Arc<dyn Engine>,
    spec: NodeSpec,
    performer: Arc<dyn Performer>,
    /// How long an attempt may take to end after its job was cancelled.
    pub grace: Duration,
    /// How often an idle node asks for jobs although the queue has not called it, because a call can be lost.
    pub poll: Duration,
}

impl NodeRunner {
    /// Describes a node that asks every two seconds when it is idle and nobody calls it, and gives cancelled attempts ten seconds.
    pub fn new(engine: Arc<dyn Engine>, spec: NodeSpec, performer: Arc<dyn Performer>) -> Self {
        Self {
            engine,
            spec,
            performer,
            grace: Duration::from_secs(10),
            poll: Duration::from_secs(2),
        }
    }

    /// Takes jobs until `drain` is over, ends those that it has then, and leaves.
    ///
    /// While the server does not answer, it tries again with growing pauses. When its session is over, it opens another one.
    /// An error ends all attempts.
    pub async fn run(self, drain: impl Future<Output = ()>) -> Result<NodeReport, Error> {
        let (reports, incoming) = mpsc::channel(REPORTS);
        let mut node = Loop {
            pause: FIRST_PAUSE,
            not_before: Instant::now(),
            claim_at: Instant::now(),
            node: self,
            session: None,
            attempts: JoinSet::new(),
            held: HashMap::new(),
            ends: Vec::new(),
            progress: Vec::new(),
            reports,
            is_draining: false,
            report: NodeReport::default(),
        };
        node.run(drain, incoming).await
    }
}

/// Returns the end to tell instead of one whose result is too large.
fn too_large(end: Finish, most: u64) -> Finish {
    let size = end.result_len();
    if let AttemptEnd::Again { delay, .. } = end.end {
        tracing::warn!(job = %end.job, "what an attempt hands over has {size} bytes, and the queue takes {most}; it is left out");
        let handover = [].into();
        return Finish {
            end: AttemptEnd::Again { delay, handover },
            ..end
        };
    }
    let reason = format!("the result has {size} bytes, and the queue takes {most}");
    tracing::warn!(job = %end.job, "{reason}; the job fails");
    // A limit that is shorter than the sentence leaves no room for it.
    let fits = reason.len() as u64 <= most;
    let result = if fits {
        reason.as_bytes().into()
    } else {
        [].into()
    };
    let status = FinalStatus::Failed;
    let end_instead = AttemptEnd::Over { status, result };
    Finish {
        end: end_instead,
        ..end
    }
}

/// A session, and when something has to happen for it.
#[derive(Clone, Copy)]
struct Session {
    node: NodeId,
    renew_at: Instant,
    fence_at: Instant,
}

impl Session {
    /// Makes the session that is valid for a time from the moment when it was asked for.
    fn new(node: NodeId, asked: Instant, valid_for: Duration) -> Self {
        Self {
            node,
            renew_at: asked + valid_for / 3,
            fence_at: asked + valid_for * 4 / 5,
        }
    }
}

/// An attempt that runs.
struct Held {
    job: JobName,
    fence: Fence,
    slots: u32,
    cancel: watch::Sender<bool>,
    abort: AbortHandle,
    /// When its future is dropped, if its job was cancelled.
    kill_at: Option<Instant>,
}

/// The answer to a call of the engine.
enum Answer {
    Joined(Instant, Result<Membership, Error>),
    Renewed(Instant, Result<Renewal, Error>),
    Claimed(Result<Claims, Error>),
    Told(Vec<Finish>, Result<Vec<FinishResult>, Error>),
    Exchanged(Vec<Finish>, Result<(Vec<FinishResult>, Claims), Error>),
    Progressed(Result<(), Error>),
}

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Returns the answer to the call under way, if there is one.
async fn answer_of(call: Option<&mut Call>) -> Answer {
    match call {
        Some(call) => call.await,
        None => std::future::pending().await,
    }
}

/// What an idle node waits for: until there may be something for it.
type Waiting = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Returns when there may be something for the node, if it waits for that.
async fn answer_of_wait(waiting: Option<&mut Waiting>) -> Result<(), Error> {
    match waiting {
        Some(waiting) => waiting.await,
        None => std::future::pending().await,
    }
}

struct Loop {
    node: NodeRunner,
    session: Option<Session>,
    attempts: JoinSet<AttemptEnd>,
    held: HashMap<Id, Held>,
    /// Ends that are not told yet.
    ends: Vec<Finish>,
    /// Reports that are not told yet.
    progress: Vec<(JobName, Fence, Arc<[u8]>)>,
    reports: mpsc::Sender<(JobName, Fence, Arc<[u8]>)>,
    is_draining: bool,
    /// No call before this moment, because the last one got no answer.
    not_before: Instant,
    /// The next such wait.
    pause: Duration,
    claim_at: Instant,
    report: NodeReport,
}

impl Loop {
    async fn run(
        &mut self,
        drain: impl Future<Output = ()>,
        mut incoming: mpsc::Receiver<(JobName, Fence, Arc<[u8]>)>,
    ) -> Result<NodeReport, Error> {
        let mut drain = std::pin::pin!(drain);
        let mut call: Option<Call> = None;
        let mut waiting: Option<Waiting> = None;
        loop {
            let now = Instant::now();
            self.kill_cancelled(now);
            if self.session.is_some_and(|session| session.fence_at <= now) {
                // What the call under way would bring belongs to this session.
                call = None;
                waiting = None;
                self.fence().await;
            }
            if call.is_none() {
                call = self.next_call(now);
            }
            if waiting.is_none() {
                waiting = self.next_wait(now);
            }
            let is_idle = call.is_none() && self.held.is_empty() && self.ends.is_empty();
            if self.is_draining && is_idle {
                break;
            }
            let wake = self.wake_at(now, call.is_some());
            tokio::select! {
                answer = answer_of(call.as_mut()) => {
                    call = None;
                    if let Err(error) = self.take(answer) {
                        self.fence().await;
                        return Err(error);
                    }
                }
                waited = answer_of_wait(waiting.as_mut()) => {
                    waiting = None;
                    match self.check(waited) {
                        Ok(Some(())) => self.claim_at = Instant::now(),
                        Ok(None) => {}
                        Err(error) => {
                            self.fence().await;
                            return Err(error);
                        }
                    }
                }
                Some(ended) = self.attempts.join_next_with_id() => self.ended(ended),
                Some(report) = incoming.recv() => self.progress.push(report),
                () = &mut drain, if !self.is_draining => self.is_draining = true,
                () = sleep_until(wake) => {}
            }
        }
        if let Some(session) = self.session {
            // A server that does not hear this ends the session by itself, and nothing runs in it.
            let _ended_by_itself_otherwise = self.node.engine.leave(session.node).await;
        }
        Ok(self.report)
    }

    /// Begins what is to be asked or told next, if it is time.
    fn next_call(&mut self, now: Instant) -> Option<Call> {
        if now < self.not_before {
            return None;
        }
        let engine = Arc::clone(&self.node.engine);
        let Some(session) = self.session else {
            if self.is_draining {
                return None;
            }
            let spec = self.node.spec.clone();
            return Some(Box::pin(async move {
                Answer::Joined(now, engine.join(&spec).await)
            }));
        };
        let node = session.node;
        if session.renew_at <= now {
            // An attempt whose end is not told yet is still the node's.
            let untold = self.ends.iter().map(|end| (end.job.clone(), end.fence));
            let running = self
                .held
                .values()
                .map(|held| (held.job.clone(), held.fence));
            let held: Vec<_> = untold.chain(running).collect();
            return Some(Box::pin(async move {
                Answer::Renewed(now, engine.renew(node, &held).await)
            }));
        }
        let free = self.free();
        let claims = !self.is_draining && free > 0 && self.claim_at <= now;
        if !self.ends.is_empty() {
            let ends: Vec<Finish> = self.ends.iter().take(BATCH).cloned().collect();
            if claims && ends.len() == self.ends.len() {
                return Some(Box::pin(async move {
                    let exchanged = engine.exchange(node, &ends, free, BATCH).await;
                    Answer::Exchanged(ends, exchanged)
                }));
            }
            return Some(Box::pin(async move {
                let results = engine.finish(node, &ends).await;
                Answer::Told(ends, results)
            }));
        }
        if !self.progress.is_empty() {
            let reports = std::mem::take(&mut self.progress);
            return Some(Box::pin(async move {
                Answer::Progressed(engine.progress(node, &reports).await)
            }));
        }
        if claims {
            return Some(Box::pin(async move {
                Answer::Claimed(engine.claim(node, free, BATCH).await)
            }));
        }
        None
    }

    /// Begins to wait for jobs, if the next claim comes later.
    fn next_wait(&self, now: Instant) -> Option<Waiting> {
        let node = self.session?.node;
        // In a pause no claim could follow, so a wait that returned at once would be begun again and again.
        let is_paused = self.not_before > now;
        if self.is_draining || is_paused || self.free() == 0 || self.claim_at <= now {
            return None;
        }
        let (engine, most) = (Arc::clone(&self.node.engine), self.node.poll);
        Some(Box::pin(async move { engine.wait(node, most).await }))
    }

    /// Returns how many slots no attempt fills.
    fn free(&self) -> u32 {
        let used = self.held.values().map(|held| held.slots).sum();
        self.node.spec.slots.saturating_sub(used)
    }

    /// Returns the next moment at which the loop has to look.
    fn wake_at(&self, now: Instant, is_calling: bool) -> Instant {
        let mut moments = vec![now + LONGEST_PAUSE];
        moments.extend(self.held.values().filter_map(|held| held.kill_at));
        moments.extend(self.session.map(|session| session.fence_at));
        if is_calling {
            // Another call comes after the answer.
            return moments.into_iter().min().unwrap_or(now);
        }
        let mut calls = Vec::new();
        if let Some(session) = self.session {
            calls.push(session.renew_at);
            if !self.is_draining && self.free() > 0 {
                calls.push(self.claim_at);
            }
        }
        // No call comes before the pause is over.
        moments.extend(calls.into_iter().map(|moment| moment.max(self.not_before)));
        if self.not_before > now {
            moments.push(self.not_before);
        }
        moments.into_iter().min().unwrap_or(now)
    }

    /// Takes the answer to a call. An error is one after which the node cannot go on.
    fn take(&mut self, answer: Answer) -> Result<(), Error> {
        match answer {
            Answer::Joined(asked, joined) => {
                if let Some(membership) = self.check(joined)? {
                    let Membership { node, valid_for } = membership;
                    self.session = Some(Session::new(node, asked, valid_for));
                    self.claim_at = asked;
                    self.report.sessions += 1;
                }
            }
            Answer::Renewed(asked, renewed) => match self.check(renewed)? {
                Some(Renewal::Valid {
                    valid_for,
                    cancelled,
                }) => {
                    if let Some(session) = self.session {
                        let session = Session::new(session.node, asked, valid_for);
                        self.session = Some(session);
                    }
                    self.cancel(&cancelled);
                }
                Some(Renewal::Lost) => self.session_ended(),
                None => {}
            },
            Answer::Claimed(claimed) => {
                if let Some(claims) = self.check(claimed)? {
                    self.start_all(claims);
                }
            }
            Answer::Told(told, results) => {
                if let Some(results) = self.check(results)? {
                    self.told(told, results);
                }
            }
            Answer::Exchanged(told, exchanged) => {
                if let Some((results, claims)) = self.check(exchanged)? {
                    self.told(told, results);
                    self.start_all(claims);
                }
            }
            Answer::Progressed(progressed) => {
                self.check(progressed)?;
            }
        }
        Ok(())
    }

    /// Takes what became of ends that were told.
    fn told(&mut self, told: Vec<Finish>, results: Vec<FinishResult>) {
        // Ends that came meanwhile stand behind those that were told.
        self.ends.drain(..told.len());
        for (end, result) in told.into_iter().zip(results) {
            match result {
                FinishResult::Committed => self.report.committed += 1,
                FinishResult::Stale => self.report.stale += 1,
                FinishResult::TooLarge { most } => self.ends.push(too_large(end, most)),
            }
        }
    }

    /// Has claimed attempts performed, and sets when the next claim comes.
    fn start_all(&mut self, claims: Claims) {
        let wait = if claims.claims.is_empty() {
            claims
                .ask_again
                .unwrap_or(self.node.poll)
                .min(self.node.poll)
        } else {
            Duration::ZERO
        };
        self.claim_at = Instant::now() + wait;
        for claim in claims.claims {
            self.start(claim);
        }
    }

    /// Returns the value of an answer; `None` if the call is to be made again later.
    fn check<T>(&mut self, answer: Result<T, Error>) -> Result<Option<T>, Error> {
        match answer {
            Ok(value) => {
                if self.pause != FIRST_PAUSE {
                    tracing::warn!("the queue answers again");
                    self.pause = FIRST_PAUSE;
                }
                Ok(Some(value))
            }
            Err(Error::NodeLost { .. }) => {
                self.session_ended();
                Ok(None)
            }
            Err(error @ (Error::Unreachable(_) | Error::OutOfMemory { .. })) => {
                // It is told once, not at each try.
                if self.pause == FIRST_PAUSE {
                    tracing::warn!(%error, "the queue does not answer; the node tries again and again");
                } else {
                    tracing::debug!(%error, "the queue does not answer; trying again in {:?}", self.pause);
                }
                self.not_before = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Has the attempts of a session that is over ended at the next look.
    fn session_ended(&mut self) {
        if let Some(session) = &mut self.session {
            session.fence_at = Instant::now();
        }
    }

    /// Ends all attempts, because others may get their claims. Another session follows.
    async fn fence(&mut self) {
        self.report.fenced += self.held.len() as u64;
        if !self.held.is_empty() {
            tracing::warn!(
                "the session could not be renewed; {} attempts are ended",
                self.held.len()
            );
        }
        // Returns when all futures are dropped.
        self.attempts.shutdown().await;
        self.held.clear();
        self.ends.clear();
        self.progress.clear();
        self.session = None;
    }

    /// Has an attempt performed.
    fn start(&mut self, claim: Claim) {
        let Some(session) = self.session else {
            return;
        };
        let (cancel, cancelled) = watch::channel(false);
        let (job, fence, slots) = (claim.job.clone(), claim.fence, claim.slots);
        let attempt = Attempt {
            claim,
            node: session.node,
            cancelled,
            reports: self.reports.clone(),
        };
        let performer = Arc::clone(&self.node.performer);
        let abort = (self.attempts).spawn(async move { performer.perform(attempt).await });
        let held = Held {
            job,
            fence,
            slots,
            cancel,
            kill_at: None,
            abort,
        };
        self.held.insert(held.abort.id(), held);
        self.report.started += 1;
    }

    /// Takes the end of an attempt, to be told.
    fn ended(&mut self, ended: Result<(Id, AttemptEnd), JoinError>) {
        let over = |status| AttemptEnd::Over {
            status,
            result: [].into(),
        };
        let (id, end) = match ended {
            Ok((id, end)) => (id, end),
            Err(error) if error.is_cancelled() => (error.id(), over(FinalStatus::Cancelled)),
            // The panic was printed by whoever handles panics.
            Err(error) => (error.id(), over(FinalStatus::Crashed)),
        };
        if let Some(held) = self.held.remove(&id) {
            self.ends.push(Finish {
                job: held.job,
                fence: held.fence,
                end,
            });
            // A slot is free.
            self.claim_at = self.claim_at.min(Instant::now());
        }
    }

    /// Asks attempts whose jobs were cancelled to stop.
    fn cancel(&mut self, jobs: &[JobName]) {
        let kill_at = Instant::now() + self.node.grace;
        for held in self.held.values_mut() {
            if held.kill_at.is_none() && jobs.contains(&held.job) {
                held.kill_at = Some(kill_at);
                held.cancel.send_replace(true);
            }
        }
    }

    /// Drops the futures of attempts that did not stop when they were asked to.
    fn kill_cancelled(&mut self, now: Instant) {
        for held in self.held.values_mut() {
            if held.kill_at.is_some_and(|moment| moment <= now) {
                held.kill_at = None;
                held.abort.abort();
            }
        }
    }
}
