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

mod control;
mod deliveries;
mod ends;
mod live_events;
mod open_jobs;
mod reading;
mod steady;
mod submissions;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ratchet_queue::{Cancelled, Cursor, Engine, Error, JobName, Purged};
use ratchet_resilience::shutdown::Phase;
use ratchet_runtime::{
    Class, Executor, Failure, Job, Journal, Run, RunHandle, Sink, Stopped, Work,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::control::FollowStage;
pub(super) use self::control::{FollowControl, FollowRules};
use self::deliveries::Deliveries;
use self::ends::Ended;
use self::live_events::{LiveEvents, SharedSink};
use self::open_jobs::OpenJobs;
use self::reading::{JobsRead, PlacedJob, Reading};
use self::steady::SteadyEngine;
use self::submissions::{Submissions, SubmitAnswers, SubmitBatch};
use super::console::Console;
use super::earlier::{EarlierOutcomes, ResumeDifferences};
use super::job_stream::JobStream;
use crate::error::CliError;
use crate::queue::{SpecMaker, queue_error};

/// How many jobs are in the queue or on their way there at most, so that a source of millions needs little memory here and
/// on the server.
const WINDOW: usize = 16_384;

/// How many jobs one call submits, and how many events one call returns at most.
const BATCH: usize = 500;

/// The first and the longest pause between two looks at the events of the queue.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

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

/// What is needed to follow the jobs of a run, before the run begins.
pub(super) struct FollowerParts {
    /// Where trouble with the server is told.
    console: Option<Console>,
    control: FollowControl,
    rules: FollowRules,
    journal: Option<Arc<Mutex<Journal>>>,
    /// Who hears what happens to jobs before they end.
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

    /// Begins a run whose jobs are followed. `announce` is called with the number of all jobs, once it is known.
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
        let QueuedJobs {
            engine,
            maker,
            jobs,
        } = queued;
        let (submitter, run) = executor.open()?;
        let mut follower = Follower {
            engine: SteadyEngine::new(engine, console.clone()),
            handle: run.handle(),
            earlier,
            console,
            control,
            rules,
            announce,
            reading: Reading::Over,
            submissions: Submissions::new(maker),
            open: OpenJobs::new(live),
            deliveries: Deliveries::new(submitter, journal, rules.keeps_order),
            cursor: Cursor::START,
            total: None,
            has_cancelled: false,
            stopped: None,
        };
        follower.take_source(jobs)?;
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
///
/// A job is in one of three places: the [`Reading`] has it until there is room, [`Submissions`] until the queue has taken it,
/// and [`OpenJobs`] until it has ended. Its end leaves through [`Deliveries`].
struct Follower {
    engine: SteadyEngine,
    handle: RunHandle,
    earlier: Option<EarlierOutcomes>,
    console: Option<Console>,
    control: FollowControl,
    rules: FollowRules,
    announce: Box<dyn Fn(u64) + Send>,
    reading: Reading,
    submissions: Submissions,
    open: OpenJobs,
    deliveries: Deliveries,
    /// The place in the events of the queue up to which they were heard.
    cursor: Cursor,
    /// The number of all jobs, once it is known.
    total: Option<u64>,
    has_cancelled: bool,
    /// The rule that ends the run.
    stopped: Option<Stopped>,
}

impl Follower {
    /// Begins to read the jobs.
    fn take_source(&mut self, source: QueuedSource) -> Result<(), CliError> {
        match source {
            QueuedSource::Listed(jobs) => {
                self.know_total(jobs.len() as u64);
                self.reading = Reading::list(jobs);
            }
            QueuedSource::Streamed(stream) => self.reading = Reading::stream(stream)?,
            QueuedSource::Attached(names) => {
                self.know_total(names.len() as u64);
                self.open.attach(names);
            }
        }
        Ok(())
    }

    fn know_total(&mut self, total: u64) {
        self.total = Some(total);
        (self.announce)(total);
    }

    /// Follows until all jobs have ended, or the run stops.
    async fn run(mut self) -> FollowEnd {
        let mut stages = self.control.stages();
        let left = async move {
            let is_leaving = stages.wait_for(|stage| *stage == FollowStage::Leaving);
            if is_leaving.await.is_err() {
                // This follower holds the sender, so the stage can always be reached.
                std::future::pending::<()>().await;
            }
        };
        let result = tokio::select! {
            result = self.follow() => result,
            // A call that waits for the server must not hold this up. What was recorded by then is not lost.
            () = left => Ok(()),
        };
        FollowEnd {
            result,
            differences: self.earlier.map(EarlierOutcomes::differences),
            stopped: self.stopped,
        }
    }

    async fn follow(&mut self) -> Result<(), CliError> {
        let mut stages = self.control.stages();
        // The place is asked for before the first job is submitted, so no end is missed.
        self.go_to_latest().await?;
        let call = |engine: Arc<dyn Engine>| async move { engine.nodes().await };
        let nodes = self.engine.call(call).await;
        self.open
            .know_nodes(nodes.map_err(|error| queue_error(&error))?);
        self.look_up(self.open.names()).await?;
        let deadline = self.rules.deadline.map(|time| Instant::now() + time);
        let mut pause = FIRST_PAUSE;
        loop {
            let stage = *stages.borrow_and_update();
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.stop(Stopped::Deadline);
            }
            if self.handle.status().phase != Phase::Running {
                // The results have no reader, or the run has another reason to end.
                self.deliveries.end_run();
                self.control.cancel();
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
        self.reading.is_over() && self.submissions.is_empty() && self.open.is_empty()
    }

    /// Takes jobs from the source while there is room. Returns whether there were some.
    async fn read(&mut self) -> Result<bool, CliError> {
        let in_hand = self.open.len() + self.submissions.len();
        if WINDOW.saturating_sub(in_hand) < BATCH {
            return Ok(false);
        }
        let JobsRead {
            jobs,
            error,
            is_end,
        } = self.reading.read();
        if is_end && self.total.is_none() {
            self.know_total(self.deliveries.ended() + in_hand as u64);
        }
        let has_read = !jobs.is_empty();
        let mut ended = Vec::new();
        for placed in jobs {
            ended.extend(self.put_in_line(placed));
        }
        self.deliver(ended).await?;
        match error {
            Some(error) => Err(error),
            None => Ok(has_read),
        }
    }

    /// Puts a job in line. Returns its end instead if it was refused, or has succeeded in an earlier part of the run.
    fn put_in_line(&mut self, placed: PlacedJob) -> Option<Ended> {
        let PlacedJob { position, job } = placed;
        self.open.tell_queued(&job);
        let (job, is_redone) = match &mut self.earlier {
            None => (job, false),
            Some(earlier) => {
                let is_redone = earlier.has_outcome(&job);
                (earlier.look_up(job), is_redone)
            }
        };
        match &job.work {
            Work::Ended(outcome) => {
                self.submissions.keep(job.id.clone());
                Some(Ended::earlier(position, Arc::clone(outcome)))
            }
            Work::Refused { failure, .. } => {
                let failure = (**failure).clone();
                Some(Ended::failed(PlacedJob { position, job }, failure))
            }
            _ => {
                self.submissions
                    .push(PlacedJob { position, job }, is_redone);
                None
            }
        }
    }

    /// Submits a batch of the jobs in line. Returns whether some were submitted.
    async fn submit(&mut self) -> Result<bool, CliError> {
        if !self.submissions.may_submit(Instant::now()) {
            return Ok(false);
        }
        let deliveries = &self.deliveries;
        let SubmitBatch {
            specs,
            jobs,
            forgotten,
            mut ended,
        } = self
            .submissions
            .next_batch(|need| deliveries.has_failed(need));
        self.forget(forgotten).await?;
        if jobs.is_empty() {
            self.deliver(ended).await?;
            return Ok(true);
        }
        let specs = Arc::new(specs);
        let call = |engine: Arc<dyn Engine>| {
            let specs = Arc::clone(&specs);
            async move { engine.submit(&specs).await }
        };
        let answers = match self.engine.call(call).await {
            Ok(answers) => answers,
            Err(error) => {
                let Error::TooLarge { job: too_large, .. } = &error else {
                    return Err(queue_error(&error));
                };
                // Nothing was sent. The job that is too large fails, and the others are submitted by the next call.
                let message = error.to_string();
                ended.extend(
                    self.submissions
                        .take_back((&specs, jobs), too_large, &message),
                );
                self.deliver(ended).await?;
                return Ok(true);
            }
        };
        let SubmitAnswers {
            accepted,
            had_ended,
            ended: refused,
            was_full,
        } = self
            .submissions
            .sort_answers(answers, (&specs, jobs), Instant::now());
        for (name, placed) in accepted {
            self.open.add(name, placed);
        }
        ended.extend(refused);
        self.deliver(ended).await?;
        self.look_up(had_ended).await?;
        Ok(!was_full)
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

    /// Asks for the ends of jobs that may have ended before their events were followed.
    async fn look_up(&mut self, names: Vec<JobName>) -> Result<(), CliError> {
        let mut ended = Vec::new();
        for name in names {
            let call = |engine: Arc<dyn Engine>| {
                let name = name.clone();
                async move { engine.explain(&name).await }
            };
            let answer = self.engine.call(call).await;
            let answer = answer.map_err(|error| queue_error(&error))?;
            let deliveries = &self.deliveries;
            ended.extend(
                self.open
                    .take_answer(&name, answer, |need| deliveries.has_failed(need)),
            );
        }
        self.deliver(ended).await
    }

    /// Goes to the latest event of the queue.
    async fn go_to_latest(&mut self) -> Result<(), CliError> {
        let call = |engine: Arc<dyn Engine>| async move { engine.latest().await };
        let latest = self.engine.call(call).await;
        self.cursor = latest.map_err(|error| queue_error(&error))?;
        Ok(())
    }

    /// Takes the next events of the queue. Returns whether there may be more at once.
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
                self.go_to_latest().await?;
                self.look_up(self.open.names()).await?;
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
            let deliveries = &self.deliveries;
            ended.extend(
                self.open
                    .take_event(event, |need| deliveries.has_failed(need)),
            );
            self.control.note_running(self.open.running());
        }
        let has_ended = !ended.is_empty();
        self.deliver(ended).await?;
        Ok(has_ended || is_full)
    }

    /// Delivers ends, and stops the run if too many of them are failures.
    async fn deliver(&mut self, ended: Vec<Ended>) -> Result<(), CliError> {
        if let Err(error) = self.deliveries.deliver(ended).await {
            self.control.cancel();
            return Err(error);
        }
        if let Some(rule) = self.rules.max_failures
            && let Some(failed) = self.deliveries.too_many_failed(rule, self.total)
        {
            self.stop(Stopped::Failures { failed });
        }
        Ok(())
    }

    /// Ends the run by a rule.
    fn stop(&mut self, why: Stopped) {
        if self.stopped.is_none() && !self.is_over() {
            self.stopped = Some(why);
        }
        self.control.cancel();
    }

    /// Submits no more jobs, and cancels those in the queue. Their ends come as all others do.
    async fn cancel_all(&mut self) -> Result<(), CliError> {
        self.has_cancelled = true;
        self.reading = Reading::Over;
        let ended = self.submissions.take_all().map(|placed| {
            let failure = Failure::new(Class::Cancelled, "the run stopped before it was submitted");
            Ended::failed(placed, failure)
        });
        let ended: Vec<Ended> = ended.collect();
        self.deliver(ended).await?;
        for names in self.open.names().chunks(BATCH) {
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
        let known = self.submissions.known();
        if known > 0
            && let Some(console) = &self.console
        {
            console.say(&format!(
                "ratchet: {known} of the jobs were in the queue already under the name `{}`, and were not run again\n",
                self.submissions.name()
            ));
        }
    }
}
