//! Follows jobs through a queue: submits them, hears how they ended, and passes each on to the run as a job that has ended.
//!
//! ```text
//!   source --jobs--> Follower --JobSpec--> queue --events--> Follower --Job::ended--> Executor --> Report, Summary ..
//!                                                               |
//!                                                               +--> journal, before the outcome is passed on
//! ```
//!
//! The nodes do the jobs, so the executor of this process only orders, counts and delivers what has ended. The rules that
//! end a run (failures, deadline) are applied here, because only the follower can cancel what waits and runs in the queue.
//!
//! Nothing depends on this process. A job that was submitted is done, whether or not somebody follows it. If this process dies,
//! `resume` submits the jobs without a recorded outcome again under the same names, so the queue knows them and tells
//! how they ended.

mod ends;
mod live_events;
mod steady;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ratchet_queue::{
    Cancelled, Cursor, Engine, Error, EventKind, ExplainedState, FinalStatus, JobName, JobSpec,
    JobState, NodeId, Purged, Refusal, Submitted,
};
use ratchet_resilience::shutdown::Phase;
use ratchet_runtime::process::working_now;
use ratchet_runtime::{
    Class, Executor, Failure, Job, JobKey, Journal, MaxFailures, PlaceName, Run, RunHandle, Sink,
    Status, Stopped, Submitter, Work,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::ends::{EndCounts, EndOrder, Ended};
use self::live_events::{LiveEvents, SharedSink};
use self::steady::SteadyEngine;
use super::console::Console;
use super::earlier::{EarlierOutcomes, ResumeDifferences, needs_first};
use super::job_stream::JobStream;
use crate::error::CliError;
use crate::queue::{EndFacts, SpecMaker, outcome_of, queue_error};

/// How many jobs are in the queue or on their way there at most, so that a source of millions needs little memory here and
/// on the server.
const WINDOW: usize = 16_384;

/// How many jobs one call submits, and how many events one call returns at most.
const BATCH: usize = 500;

/// How many batches of a stream are read ahead.
const READ_AHEAD: usize = 4;

/// The first and the longest pause between two looks at the events of the queue.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause before a job is submitted again that found the queue full.
const FULL_PAUSE: Duration = Duration::from_secs(2);

/// The jobs of a run that nodes of a queue do.
pub(crate) struct QueuedJobs {
    /// The queue.
    pub(crate) engine: Arc<dyn Engine>,
    /// Makes what the queue is asked for.
    pub(crate) maker: SpecMaker,
    /// Where the jobs come from.
    pub(crate) jobs: QueuedSource,
}

impl QueuedJobs {
    /// Makes what follows these jobs. Trouble with the server is told to the console, if there is one.
    #[expect(
        clippy::unused_self,
        reason = "a command without queues has no such jobs, and so nothing that follows them"
    )]
    pub(super) fn follower(&self, rules: FollowRules, console: Option<Console>) -> FollowerParts {
        FollowerParts {
            console,
            control: FollowControl::new(),
            rules,
            journal: None,
            live: LiveEvents::default(),
        }
    }
}

/// Where the jobs of a run through a queue come from.
pub(crate) enum QueuedSource {
    /// They are all known, and are submitted.
    Listed(Vec<Job>),
    /// They are submitted as they come.
    Streamed(Box<dyn JobStream>),
    /// They were submitted by another call, under these names.
    Attached(Vec<JobName>),
}

/// Stops a follower, and holds what it has to know of the run.
#[derive(Clone)]
pub(super) struct FollowControl {
    stage: Arc<watch::Sender<FollowStage>>,
    /// The greatest number of jobs that ran at once.
    peak: Arc<Mutex<u64>>,
}

/// How far a follower is on the way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum FollowStage {
    Following,
    /// No more jobs are submitted, and those in the queue are cancelled.
    Cancelling,
    /// What still runs is not waited for.
    Leaving,
}

impl FollowControl {
    /// Makes the control of a follower that is about to start.
    fn new() -> Self {
        Self {
            stage: Arc::new(watch::channel(FollowStage::Following).0),
            peak: Arc::default(),
        }
    }

    /// Cancels the jobs that are in the queue, and submits no more.
    pub(super) fn cancel(&self) {
        self.reach(FollowStage::Cancelling);
    }

    /// Leaves without waiting for jobs that still run.
    pub(super) fn leave(&self) {
        self.reach(FollowStage::Leaving);
    }

    /// Returns the greatest number of jobs that ran at once.
    pub(super) fn peak(&self) -> u64 {
        *self.peak.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self, wanted: FollowStage) {
        self.stage.send_if_modified(|stage| {
            let is_new = *stage < wanted;
            *stage = wanted.max(*stage);
            is_new
        });
    }
}

/// The rules that end a run before its jobs are done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FollowRules {
    /// How many jobs may fail.
    pub(super) max_failures: Option<MaxFailures>,
    /// How long the run may take.
    pub(super) deadline: Option<Duration>,
    /// Whether outcomes are passed on in the order of the jobs.
    pub(super) keeps_order: bool,
}

/// What a follower needs of its run.
struct FollowContext {
    submitter: Submitter,
    handle: RunHandle,
    journal: Option<Arc<Mutex<Journal>>>,
    earlier: Option<EarlierOutcomes>,
    /// Where trouble with the server is told.
    console: Option<Console>,
    control: FollowControl,
    rules: FollowRules,
    /// Is called with the number of all jobs, once it is known.
    announce: Box<dyn Fn(u64) + Send>,
    /// Who hears what happens to jobs before they end.
    live: LiveEvents,
}

/// What is needed to follow the jobs of a run, before the run begins.
pub(super) struct FollowerParts {
    console: Option<Console>,
    control: FollowControl,
    rules: FollowRules,
    journal: Option<Arc<Mutex<Journal>>>,
    live: LiveEvents,
}

impl FollowerParts {
    /// Has outcomes recorded in this journal.
    pub(super) fn record_in(&mut self, journal: &Arc<Mutex<Journal>>) {
        self.journal = Some(Arc::clone(journal));
    }

    /// Has a sink hear what happens to jobs before they end. Returns the sink for the executor.
    pub(super) fn share<S: Sink + 'static>(&mut self, sink: S) -> SharedSink<S> {
        self.live.share(sink)
    }

    /// Returns what stops the follower.
    pub(super) fn control(&self) -> FollowControl {
        self.control.clone()
    }

    /// Begins a run whose jobs are followed.
    pub(super) fn begin(
        self,
        queued: QueuedJobs,
        executor: &Executor,
        earlier: Option<EarlierOutcomes>,
        announce: Box<dyn Fn(u64) + Send>,
    ) -> Result<(Run, JoinHandle<FollowEnd>), CliError> {
        let Self {
            console,
            control,
            rules,
            journal,
            live,
        } = self;
        let (submitter, run) = executor.open()?;
        let context = FollowContext {
            submitter,
            handle: run.handle(),
            journal,
            earlier,
            console,
            control,
            rules,
            announce,
            live,
        };
        let follower = Follower::new(queued, context)?;
        Ok((run, tokio::spawn(follower.run())))
    }
}

/// How a follower ended.
pub(super) struct FollowEnd {
    /// An error, after which jobs may be without an outcome.
    pub(super) result: Result<(), CliError>,
    /// How the jobs of a resumed run differ from those of its earlier part.
    pub(super) differences: Option<ResumeDifferences>,
    /// The rule that ended the run.
    pub(super) stopped: Option<Stopped>,
}

/// Submits jobs and follows them to their ends.
struct Follower {
    engine: SteadyEngine,
    maker: SpecMaker,
    context: FollowContext,
    source: Reading,
    /// Jobs that are not submitted yet.
    pending: VecDeque<PlacedJob>,
    /// Those of them whose old ends have to be forgotten first, because they are done again.
    redone: HashSet<JobKey>,
    /// Jobs that are in the queue.
    open: HashMap<JobName, OpenJob>,
    /// The jobs that others need and that have succeeded in an earlier part of the run. The queue may have forgotten them.
    kept: HashSet<JobKey>,
    /// Jobs that others may need and that did not succeed.
    failed: HashSet<JobKey>,
    cursor: Cursor,
    counts: EndCounts,
    total: Option<u64>,
    running: HashSet<JobName>,
    /// Jobs that fail next because no node could do them.
    unservable: HashSet<JobName>,
    /// What nodes are called.
    nodes: HashMap<NodeId, PlaceName>,
    known: u64,
    /// No job is submitted before, because the queue was full.
    full_until: Option<Instant>,
    full_pause: Duration,
    has_cancelled: bool,
    stopped: Option<Stopped>,
    /// Holds outcomes back until those of earlier jobs are there, if they are wanted in the order of the jobs.
    order: Option<EndOrder>,
    /// Whether the run takes no more outcomes. They are only recorded then.
    is_run_over: bool,
}

/// A job with its position in the order in which the jobs were given.
struct PlacedJob {
    position: u64,
    job: Job,
}

/// A job in the queue.
struct OpenJob {
    placed: PlacedJob,
    submitted: std::time::Instant,
    /// The number of its latest attempt, as far as it was heard of.
    attempt: u32,
}

/// The part of the source that was not read yet.
enum Reading {
    List(std::vec::IntoIter<PlacedJob>),
    /// The stream, with the position of the next job.
    Stream(mpsc::Receiver<Vec<Result<Job, CliError>>>, u64),
    Over,
}

impl Follower {
    /// Begins to read the jobs.
    fn new(queued: QueuedJobs, context: FollowContext) -> Result<Self, CliError> {
        let QueuedJobs {
            engine,
            maker,
            jobs,
        } = queued;
        let engine = SteadyEngine::new(engine, context.console.clone());
        let order = context.rules.keeps_order.then(EndOrder::default);
        let mut follower = Self {
            engine,
            maker,
            context,
            source: Reading::Over,
            pending: VecDeque::new(),
            redone: HashSet::new(),
            open: HashMap::new(),
            kept: HashSet::new(),
            failed: HashSet::new(),
            cursor: Cursor::START,
            counts: EndCounts::default(),
            total: None,
            running: HashSet::new(),
            unservable: HashSet::new(),
            nodes: HashMap::new(),
            known: 0,
            full_until: None,
            full_pause: LONGEST_PAUSE,
            has_cancelled: false,
            stopped: None,
            order,
            is_run_over: false,
        };
        match jobs {
            QueuedSource::Listed(jobs) => {
                follower.total = Some(jobs.len() as u64);
                let order = needs_first(&jobs);
                let mut jobs: Vec<Option<Job>> = jobs.into_iter().map(Some).collect();
                let ordered = order.into_iter().filter_map(|at| {
                    let position = at as u64;
                    jobs[at].take().map(|job| PlacedJob { position, job })
                });
                let ordered: Vec<PlacedJob> = ordered.collect();
                follower.source = Reading::List(ordered.into_iter());
            }
            QueuedSource::Streamed(stream) => {
                follower.source = Reading::Stream(read_ahead(stream)?, 0);
            }
            QueuedSource::Attached(names) => {
                follower.total = Some(names.len() as u64);
                let now = working_now();
                for (position, name) in (0..).zip(names) {
                    let id = name.as_str().split_once('/').map_or("", |(_, id)| id);
                    let unknown = Failure::new(Class::Input, "it was submitted elsewhere");
                    let job = Job::refused(id, "unknown", unknown);
                    follower.open.insert(
                        name,
                        OpenJob {
                            placed: PlacedJob { position, job },
                            submitted: now,
                            attempt: 0,
                        },
                    );
                }
            }
        }
        if let Some(total) = follower.total {
            (follower.context.announce)(total);
        }
        Ok(follower)
    }

    /// Follows until all jobs have ended, or the run stops.
    async fn run(mut self) -> FollowEnd {
        let mut stages = self.context.control.stage.subscribe();
        let left = async move {
            if stages
                .wait_for(|stage| *stage == FollowStage::Leaving)
                .await
                .is_err()
            {
                // This follower holds the sender, so the stage can always be reached.
                std::future::pending::<()>().await;
            }
        };
        let result = tokio::select! {
            result = self.follow() => result,
            // A call that waits for the server must not hold this up. What was recorded by then is not lost.
            () = left => Ok(()),
        };
        let FollowContext { earlier, .. } = self.context;
        FollowEnd {
            result,
            differences: earlier.map(EarlierOutcomes::differences),
            stopped: self.stopped,
        }
    }

    async fn follow(&mut self) -> Result<(), CliError> {
        let mut stages = self.context.control.stage.subscribe();
        // The place is asked for before the first job is submitted, so no end is missed.
        let call = |engine: Arc<dyn Engine>| async move { engine.latest().await };
        let latest = self.engine.call(call).await;
        self.cursor = latest.map_err(|error| queue_error(&error))?;
        let call = |engine: Arc<dyn Engine>| async move { engine.nodes().await };
        let nodes = self.engine.call(call).await;
        let nodes = nodes.map_err(|error| queue_error(&error))?;
        let names = nodes.into_iter();
        self.nodes = names
            .map(|info| (info.node, PlaceName::new(&info.spec.name)))
            .collect();
        if !self.open.is_empty() {
            for open in self.open.values() {
                self.context.live.queued(&open.placed.job);
            }
            let names: Vec<JobName> = self.open.keys().cloned().collect();
            self.look_up(names).await?;
        }
        let deadline = self
            .context
            .rules
            .deadline
            .map(|time| Instant::now() + time);
        let mut pause = FIRST_PAUSE;
        loop {
            let stage = *stages.borrow_and_update();
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.stop(Stopped::Deadline);
            }
            if self.context.handle.status().phase != Phase::Running {
                // The results have no reader, or the run has another reason to end.
                self.is_run_over = true;
                self.context.control.cancel();
            }
            if stage >= FollowStage::Cancelling && !self.has_cancelled {
                self.cancel_all().await?;
            }
            let read = self.read().await?;
            let submitted = self.submit().await?;
            let heard = self.hear().await?;
            if self.is_over() {
                self.tell_known();
                return Ok(());
            }
            if read || submitted || heard {
                pause = FIRST_PAUSE;
                continue;
            }
            let wakes = [Some(Instant::now() + pause), deadline];
            let wake = wakes.into_iter().flatten().min();
            tokio::select! {
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)) => {
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                _ = stages.changed() => {}
            }
        }
    }

    /// Whether all jobs have ended.
    fn is_over(&self) -> bool {
        matches!(self.source, Reading::Over) && self.pending.is_empty() && self.open.is_empty()
    }

    /// Takes jobs from the source while there is room. Returns whether there were some.
    async fn read(&mut self) -> Result<bool, CliError> {
        let mut read = Vec::new();
        let room = WINDOW.saturating_sub(self.open.len() + self.pending.len());
        if room < BATCH {
            return Ok(false);
        }
        let mut refused = None;
        match &mut self.source {
            Reading::Over => return Ok(false),
            Reading::List(jobs) => {
                read.extend(jobs.take(BATCH));
                if read.is_empty() {
                    self.source = Reading::Over;
                }
            }
            Reading::Stream(batches, next) => match batches.try_recv() {
                Ok(batch) => {
                    for job in batch {
                        match job {
                            Ok(job) => {
                                let position = *next;
                                *next += 1;
                                read.push(PlacedJob { position, job });
                            }
                            Err(error) => refused = Some(error),
                        }
                    }
                }
                Err(mpsc::error::TryRecvError::Empty) => return Ok(false),
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    self.source = Reading::Over;
                    if self.total.is_none() {
                        let total =
                            self.counts.ended() + (self.open.len() + self.pending.len()) as u64;
                        self.total = Some(total);
                        (self.context.announce)(total);
                    }
                }
            },
        }
        let has_read = !read.is_empty();
        self.take(read).await?;
        match refused {
            Some(error) => Err(error),
            None => Ok(has_read),
        }
    }

    /// Keeps jobs that have succeeded in an earlier part of the run, and puts the others in line.
    async fn take(&mut self, jobs: Vec<PlacedJob>) -> Result<(), CliError> {
        let mut ended = Vec::new();
        for PlacedJob { position, job } in jobs {
            self.context.live.queued(&job);
            let job = match &mut self.context.earlier {
                None => job,
                Some(earlier) => {
                    let was_recorded = earlier.has_outcome(&job);
                    let looked_up = earlier.look_up(job);
                    if let Work::Ended(outcome) = &looked_up.work {
                        self.kept.insert(looked_up.id.clone());
                        ended.push(Ended::earlier(position, Arc::clone(outcome)));
                        continue;
                    }
                    if was_recorded {
                        self.redone.insert(looked_up.id.clone());
                    }
                    looked_up
                }
            };
            if let Work::Refused { failure, .. } = &job.work {
                let failure = (**failure).clone();
                ended.push(Ended::failed(PlacedJob { position, job }, failure));
                continue;
            }
            self.pending.push_back(PlacedJob { position, job });
        }
        self.deliver(ended).await
    }

    /// Submits a batch of the jobs in line. Returns whether some were submitted.
    async fn submit(&mut self) -> Result<bool, CliError> {
        if self.pending.is_empty() || self.full_until.is_some_and(|until| until > Instant::now()) {
            return Ok(false);
        }
        let (batch, forgotten, mut ended) = self.next_batch();
        self.forget(forgotten).await?;
        if batch.is_empty() {
            self.deliver(ended).await?;
            return Ok(true);
        }
        let (specs, jobs): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let specs = Arc::new(specs);
        let call = |engine: Arc<dyn Engine>| {
            let specs = Arc::clone(&specs);
            async move { engine.submit(&specs).await }
        };
        let answers = match self.engine.call(call).await {
            Ok(answers) => answers,
            Err(error @ Error::TooLarge { .. }) => {
                // Nothing was sent. The job that is too large fails, and the others are submitted by the next call.
                let Error::TooLarge { job: large, .. } = &error else {
                    return Err(queue_error(&error));
                };
                for (placed, spec) in jobs.into_iter().zip(specs.iter()).rev() {
                    if spec.name == *large {
                        let failure = Failure::new(Class::TooLarge, error.to_string());
                        ended.push(Ended::failed(placed, failure));
                    } else {
                        self.pending.push_front(placed);
                    }
                }
                self.deliver(ended).await?;
                return Ok(true);
            }
            Err(error) => return Err(queue_error(&error)),
        };
        let known = self.take_answers(answers, (jobs, &specs), &mut ended);
        let was_full = self.full_until.is_some();
        self.deliver(ended).await?;
        self.look_up(known).await?;
        Ok(!was_full)
    }

    /// Takes jobs out of the line for one call. Returns them with what the queue is asked for, those whose old ends have to
    /// be forgotten first, and those that end without being submitted.
    fn next_batch(&mut self) -> (Vec<(JobSpec, PlacedJob)>, Vec<JobName>, Vec<Ended>) {
        let mut ended = Vec::new();
        let mut batch = Vec::new();
        let mut forgotten = Vec::new();
        while batch.len() < BATCH
            && let Some(placed) = self.pending.pop_front()
        {
            let job = &placed.job;
            if let Some(need) = job.needs.iter().find(|need| self.failed.contains(*need)) {
                let message = format!("it needs `{need}`, which did not succeed");
                ended.push(Ended::failed(placed, Failure::new(Class::Need, message)));
                continue;
            }
            match self.maker.spec(job, |need| !self.kept.contains(need)) {
                Ok(spec) => {
                    if self.redone.contains(&job.id) {
                        forgotten.push(spec.name.clone());
                    }
                    batch.push((spec, placed));
                }
                Err(refused) => {
                    let message = format!("{}; {}", refused.message, refused.help);
                    ended.push(Ended::failed(placed, Failure::new(Class::Input, message)));
                }
            }
        }
        (batch, forgotten, ended)
    }

    /// Has the queue forget the ends of jobs that are done again.
    async fn forget(&mut self, names: Vec<JobName>) -> Result<(), CliError> {
        if names.is_empty() {
            return Ok(());
        }
        let names = Arc::new(names);
        let call = |engine: Arc<dyn Engine>| {
            let names = Arc::clone(&names);
            async move { engine.purge(&names).await }
        };
        let purged = self.engine.call(call).await;
        let purged = purged.map_err(|error| queue_error(&error))?;
        for (name, purged) in names.iter().zip(purged) {
            if let Purged::Unended(_) = purged {
                tracing::debug!(job = %name, "a job that is done again is in the queue already");
            }
        }
        Ok(())
    }

    /// Takes the answers to a submission. Returns the jobs that have ended before.
    fn take_answers(
        &mut self,
        answers: Vec<Submitted>,
        (jobs, specs): (Vec<PlacedJob>, &[JobSpec]),
        ended: &mut Vec<Ended>,
    ) -> Vec<JobName> {
        let now = working_now();
        let mut full = Vec::new();
        let mut known = Vec::new();
        for ((answer, placed), spec) in answers.into_iter().zip(jobs).zip(specs.iter()) {
            match answer {
                Submitted::Full => {
                    full.push(placed);
                    continue;
                }
                Submitted::Refused(refusal) => {
                    ended.push(Ended::failed(placed, refused(&refusal)));
                    continue;
                }
                Submitted::Accepted => {}
                Submitted::Known(state) => {
                    self.known += 1;
                    if let JobState::Ended(_) = state {
                        known.push(spec.name.clone());
                    }
                }
            }
            self.redone.remove(&placed.job.id);
            self.open.insert(
                spec.name.clone(),
                OpenJob {
                    placed,
                    submitted: now,
                    attempt: 0,
                },
            );
        }
        let was_full = !full.is_empty();
        for placed in full.into_iter().rev() {
            self.pending.push_front(placed);
        }
        if was_full {
            self.full_until = Some(Instant::now() + self.full_pause);
            self.full_pause = (self.full_pause * 2).min(FULL_PAUSE);
        } else {
            self.full_pause = LONGEST_PAUSE;
            self.full_until = None;
        }
        known
    }

    /// Asks for the ends of jobs that may have ended before their events were followed.
    async fn look_up(&mut self, names: Vec<JobName>) -> Result<(), CliError> {
        let mut ended = Vec::new();
        for name in names {
            let call = |engine: Arc<dyn Engine>| {
                let name = name.clone();
                async move { engine.explain(&name).await }
            };
            let explained = self.engine.call(call).await;
            let explained = explained.map_err(|error| queue_error(&error))?;
            let Some(explained) = explained else {
                if let Some(open) = self.open.remove(&name) {
                    ended.push(Ended::lost(open.placed));
                }
                continue;
            };
            if let ExplainedState::Ended {
                status,
                result,
                is_unservable,
            } = explained.state
                && let Some(open) = self.open.remove(&name)
            {
                let facts = (explained.attempts, is_unservable);
                ended.push(match result {
                    Some(result) => self.end(open, status, facts, &result),
                    None => Ended::lost(open.placed),
                });
            }
        }
        self.deliver(ended).await
    }

    /// Takes the next events of the queue. Returns whether there were some.
    async fn hear(&mut self) -> Result<bool, CliError> {
        if self.open.is_empty() {
            return Ok(false);
        }
        let cursor = self.cursor;
        let call = |engine: Arc<dyn Engine>| async move { engine.events(cursor, BATCH).await };
        let events = match self.engine.call(call).await {
            Ok(events) => events,
            Err(Error::EventsExpired) => {
                // This process was stopped for as long as events are kept. The ends of the jobs are kept as long.
                let call = |engine: Arc<dyn Engine>| async move { engine.latest().await };
                let latest = self.engine.call(call).await;
                self.cursor = latest.map_err(|error| queue_error(&error))?;
                let names: Vec<JobName> = self.open.keys().cloned().collect();
                self.look_up(names).await?;
                return Ok(true);
            }
            Err(error) => return Err(queue_error(&error)),
        };
        let Some(last) = events.last() else {
            return Ok(false);
        };
        self.cursor = last.cursor;
        let is_full = events.len() >= BATCH;
        let mut ended = Vec::new();
        for event in events {
            match event.kind {
                EventKind::NodeJoined { node, name } => {
                    self.nodes.insert(node, PlaceName::new(&name));
                }
                EventKind::Started { job, node, attempt } if self.open.contains_key(&job) => {
                    if let Some(open) = self.open.get_mut(&job) {
                        open.attempt = attempt;
                        let id = open.placed.job.id.clone();
                        let place = self.nodes.get(&node).cloned();
                        self.context.live.started(id, attempt, place);
                    }
                    self.running.insert(job);
                    let mut peak = self
                        .context
                        .control
                        .peak
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    *peak = (*peak).max(self.running.len() as u64);
                }
                EventKind::Retried { job, delay } => {
                    self.attempt_ended(&job, (Class::Task, "the attempt failed"), delay);
                }
                EventKind::AttemptLost { job, .. } => {
                    self.attempt_ended(&job, (Class::Host, "its node was lost"), Duration::ZERO);
                }
                EventKind::GivenBack { job } => {
                    self.attempt_ended(
                        &job,
                        (Class::Host, "its node gave it back"),
                        Duration::ZERO,
                    );
                }
                EventKind::Ended {
                    job,
                    status,
                    attempts,
                    result,
                } => {
                    self.running.remove(&job);
                    if let Some(open) = self.open.remove(&job) {
                        let is_unservable = self.unservable.remove(&job);
                        let facts = (attempts, is_unservable);
                        ended.push(self.end(open, status, facts, &result));
                    }
                }
                EventKind::Unservable { job } => {
                    self.unservable.insert(job);
                }
                _ => {}
            }
        }
        let has_ended = !ended.is_empty();
        self.deliver(ended).await?;
        Ok(has_ended || is_full)
    }

    /// Tells that an attempt has ended and another one follows.
    fn attempt_ended(&mut self, job: &JobName, (class, why): (Class, &str), delay: Duration) {
        if self.running.remove(job)
            && let Some(open) = self.open.get(job)
        {
            self.context
                .live
                .failed((&open.placed.job.id, open.attempt), (class, why), delay);
        }
    }

    /// Makes the end of a job from what the queue says.
    fn end(
        &self,
        open: OpenJob,
        status: FinalStatus,
        (attempts, is_unservable): (u32, bool),
        result: &[u8],
    ) -> Ended {
        let job = &open.placed.job;
        let lost = job.needs.iter().find(|need| self.failed.contains(*need));
        let facts = EndFacts {
            attempts,
            lost_need: lost.or(job.needs.first()).map(JobKey::as_str),
            is_unservable,
        };
        let mut outcome = outcome_of(job, status, result, facts);
        // What is not the time of attempts was spent in the queue.
        let age = working_now().saturating_duration_since(open.submitted);
        outcome.queued = outcome.queued.max(age.saturating_sub(outcome.duration));
        Ended::new(open.placed, outcome)
    }

    /// Records ends, and passes them on to the run.
    async fn deliver(&mut self, ended: Vec<Ended>) -> Result<(), CliError> {
        if ended.is_empty() {
            return Ok(());
        }
        for one in &ended {
            self.counts.count(one.outcome.status());
            if !one.outcome.is_success() {
                self.failed.insert(one.outcome.id.clone());
            }
        }
        let outcomes = ended
            .iter()
            .map(|one| (one.position, Arc::clone(&one.outcome)));
        let outcomes = match &mut self.order {
            None => outcomes.map(|(_, outcome)| outcome).collect(),
            Some(order) => order.sort(outcomes),
        };
        if let Some(journal) = self.context.journal.clone() {
            let recorded =
                tokio::task::spawn_blocking(move || ends::record(&journal, &ended)).await;
            let recorded = recorded.map_err(|error| {
                CliError::internal("an outcome cannot be recorded").because(error)
            })?;
            if let Err(error) = recorded {
                self.context.control.cancel();
                return Err(CliError::internal(
                    "the run was stopped because its results could not be recorded",
                )
                .because(error)
                .with_help(
                    "what was recorded is safe: remove the cause, then run `ratchet resume`",
                ));
            }
        }
        if !self.is_run_over {
            let jobs: Vec<Job> = outcomes.into_iter().map(Job::ended).collect();
            if !jobs.is_empty() && self.context.submitter.submit_many(jobs).await.is_err() {
                self.is_run_over = true;
            }
        }
        if let Some(rule) = self.context.rules.max_failures
            && self.counts.breaks(rule, self.total)
        {
            let failed = self.counts.failed();
            self.stop(Stopped::Failures { failed });
        }
        Ok(())
    }

    /// Ends the run by a rule.
    fn stop(&mut self, why: Stopped) {
        if self.stopped.is_none() && !self.is_over() {
            self.stopped = Some(why);
        }
        self.context.control.cancel();
    }

    /// Submits no more jobs, and cancels those in the queue. Their ends come as all others do.
    async fn cancel_all(&mut self) -> Result<(), CliError> {
        self.has_cancelled = true;
        self.source = Reading::Over;
        let ended = self.pending.drain(..).map(|placed| {
            let failure = Failure::new(Class::Cancelled, "the run stopped before it was submitted");
            Ended::failed(placed, failure)
        });
        let ended: Vec<Ended> = ended.collect();
        self.deliver(ended).await?;
        let names: Vec<JobName> = self.open.keys().cloned().collect();
        for names in names.chunks(BATCH) {
            let names: Arc<[JobName]> = names.into();
            let call = |engine: Arc<dyn Engine>| {
                let names = Arc::clone(&names);
                async move { engine.cancel(&names).await }
            };
            let answers = self.engine.call(call).await;
            let answers = answers.map_err(|error| queue_error(&error))?;
            let unknown = names.iter().zip(answers);
            let unknown: Vec<JobName> = unknown
                .filter(|(_, answer)| *answer == Cancelled::Unknown)
                .map(|(name, _)| name.clone())
                .collect();
            self.look_up(unknown).await?;
        }
        Ok(())
    }

    /// Says that jobs were in the queue before.
    fn tell_known(&self) {
        if self.known > 0
            && let Some(console) = &self.context.console
        {
            console.say(&format!(
                "ratchet: {} of the jobs were in the queue already under the name `{}`, and were not run again\n",
                self.known, self.maker.submission
            ));
        }
    }
}

/// Returns the failure of a job that the queue does not take.
fn refused(refusal: &Refusal) -> Failure {
    Failure::new(
        Class::Input,
        format!("the queue does not take it: {refusal}"),
    )
}

/// Reads a stream on a thread of its own, because reading may wait.
fn read_ahead(
    mut stream: Box<dyn JobStream>,
) -> Result<mpsc::Receiver<Vec<Result<Job, CliError>>>, CliError> {
    let (send, batches) = mpsc::channel(READ_AHEAD);
    std::thread::Builder::new()
        .name("jobs".to_owned())
        .spawn(move || {
            let mut batch = Vec::new();
            loop {
                let next = stream.next();
                let is_end = !matches!(next, Some(Ok(_)));
                batch.extend(next);
                if (is_end || batch.len() == BATCH || stream.may_wait())
                    && (send.blocking_send(std::mem::take(&mut batch)).is_err() || is_end)
                {
                    return;
                }
            }
        })
        .map_err(|error| {
            CliError::internal("the thread for jobs cannot be started").because(error)
        })?;
    Ok(batches)
}

/// Whether a job did not succeed for a fault of its own.
fn has_failed(status: Status) -> bool {
    matches!(status, Status::Failed | Status::TimedOut | Status::Crashed)
}
