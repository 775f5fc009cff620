//! Figures about a run in progress, such as its speed and the remaining time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::tally::Tally;
use super::{Durations, per_second};
use crate::event::RunEvent;

/// The time over which throughput is measured: long enough to be steady, short enough to follow a change.
const WINDOW: Duration = Duration::from_secs(10);

/// The step by which the window moves on. It bounds the memory: the window holds 40 steps, however many jobs end in it.
const STEP: Duration = Duration::from_millis(250);

/// The figures of a run in progress, at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExecutionStats {
    /// How many jobs the run has, as far as it is known now.
    pub total_jobs: u64,
    /// How many jobs have succeeded.
    pub completed_jobs: u64,
    /// How many jobs have failed, timed out or crashed.
    pub failed_jobs: u64,
    /// How many jobs ended without a result of their own, because they were cancelled or skipped.
    pub unfinished_jobs: u64,
    /// How many of the completed jobs used an earlier result and did not run.
    pub cached_jobs: u64,
    /// The average run time of last attempts; 0 until a job has ended.
    pub average_execution_time: Duration,
    /// The highest number of attempts that ran at the same time so far.
    pub peak_concurrent_jobs: u64,
    /// How many attempts failed and were, or will be, followed by another one.
    pub total_retries: u64,
    /// How many jobs were done per second in the last ten seconds. Jobs that were cancelled or skipped do not count.
    pub throughput_per_second: f64,
    /// The estimated time until the run ends, if the number of all jobs is known. It follows from the throughput of the last
    /// ten seconds, or from that since the beginning if no job was done in the last ten seconds.
    pub remaining: Option<Duration>,
    /// How many jobs wait, run and have ended.
    pub queue: QueueStatus,
}

/// How many jobs wait, run and have ended at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueStatus {
    /// Jobs that wait, for their first attempt or for another one.
    pub queued: u64,
    /// Jobs with a running attempt.
    pub running: u64,
    /// Jobs that have ended.
    pub ended: u64,
    /// All jobs that are known.
    pub total: u64,
}

/// Computes the [`ExecutionStats`] of a run from its events. It has no clock, so callers pass the time.
///
/// This example runs a batch whose priorities follow from the type of each query, with at most three attempts per job:
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
/// use ratchet_resilience::retry::{BackoffPolicy, Delay};
/// use ratchet_runtime::event::EventRecord;
/// use ratchet_runtime::summary::{LiveStats, Results};
/// use ratchet_runtime::{
///     Class, Executor, Failure, Job, Payload, Priority, Sink, Terms, Timeouts,
/// };
///
/// /// The type of a query.
/// #[derive(Clone, Copy)]
/// enum QueryType { SpecialCharacters, Phrase, Vector }
///
/// impl QueryType {
///     fn priority(self) -> Priority {
///         match self {
///             Self::SpecialCharacters => Priority::High,
///             Self::Phrase => Priority::Normal,
///             Self::Vector => Priority::Low,
///         }
///     }
/// }
///
/// /// Keeps figures that other code reads.
/// struct Figures(Arc<Mutex<LiveStats>>);
///
/// impl Sink for Figures {
///     fn on(&mut self, record: &EventRecord) {
///         let now = tokio::time::Instant::now().into_std();
///         self.0.lock().unwrap().observe(&record.event, now);
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let now = || tokio::time::Instant::now().into_std();
/// let stats = Arc::new(Mutex::new(LiveStats::new(now())));
/// let order = Arc::new(Mutex::new(Vec::new()));
/// let retry = Arc::new(
///     BackoffPolicy::builder()
///         .max_attempts(3)
///         .delay(Delay::Fixed(Duration::from_millis(10)))
///         .build()?,
/// );
///
/// let cases = [QueryType::Vector, QueryType::Phrase, QueryType::SpecialCharacters];
/// let batch = (0..).zip(cases).map(|(number, case)| {
///     let order = Arc::clone(&order);
///     Job::closure(format!("test_{number:06}"), move |context| {
///         let (order, attempt) = (Arc::clone(&order), context.attempt());
///         async move {
///             order.lock().unwrap().push((number, attempt));
///             // The phrase is found when it is looked for once more.
///             if number == 1 && attempt == 1 {
///                 return Err(Failure::new(Class::Task, "not found"));
///             }
///             Ok(Payload::null())
///         }
///     })
///     .terms(Terms {
///         priority: case.priority(),
///         timeouts: Timeouts::after(Duration::from_secs(30)),
///         retry: Some(Arc::clone(&retry)),
///         ..Terms::default()
///     })
/// });
/// let executor = Executor::builder().slots(1).sink(Figures(Arc::clone(&stats))).build()?;
/// let outcomes = executor.run_all(batch).await?;
///
/// assert!(outcomes.all_successful());
/// assert_eq!(*order.lock().unwrap(), [(2, 1), (1, 1), (0, 1), (1, 2)]);
/// let stats = stats.lock().unwrap().stats(now());
/// assert_eq!((stats.total_jobs, stats.completed_jobs, stats.failed_jobs), (3, 3, 0));
/// assert_eq!((stats.total_retries, stats.peak_concurrent_jobs), (1, 1));
/// assert_eq!((stats.queue.queued, stats.queue.running, stats.queue.ended), (0, 0, 3));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LiveStats {
    tally: Tally,
    /// How many jobs the run has taken from its source.
    taken: u64,
    /// How many jobs the run will have, if that is known.
    announced: Option<u64>,
    /// How many attempts have failed, including those that were tried again.
    failed_attempts: u64,
    /// When the run began.
    began: Instant,
    /// The time of each step, and how many jobs had been done before it. Cancelled and skipped jobs do not count as
    /// done.
    steps: VecDeque<(Instant, u64)>,
}

impl LiveStats {
    /// Makes the figures of a run that begins now.
    pub fn new(now: Instant) -> Self {
        Self {
            tally: Tally::default(),
            taken: 0,
            announced: None,
            failed_attempts: 0,
            began: now,
            steps: VecDeque::from([(now, 0)]),
        }
    }

    /// Handles an event that happened now.
    pub fn observe(&mut self, event: &RunEvent, now: Instant) {
        match event {
            RunEvent::RunStarted { total } => self.announced = total.or(self.announced),
            RunEvent::JobQueued { .. } => self.taken += 1,
            RunEvent::AttemptFailed { .. } => self.failed_attempts += 1,
            // The step has to be taken before the job is counted, since it records how many jobs were done before it.
            RunEvent::JobEnded { .. } => self.step(now),
            _ => {}
        }
        self.tally.observe(event);
    }

    /// Sets how many jobs the run will have, if this is known only after the run has begun.
    pub fn announce(&mut self, total: u64) {
        self.announced = Some(total);
    }

    /// Returns the counts of the events so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Returns the figures at this moment.
    pub fn stats(&self, now: Instant) -> ExecutionStats {
        let counts = self.tally.counts();
        let ended = counts.total();
        let total = self
            .announced
            .unwrap_or_default()
            .max(self.taken)
            .max(ended);
        let running = self.tally.running();
        let throughput = self.throughput(now);
        let known = self
            .announced
            .is_some_and(|announced| announced >= self.taken);
        let rest = total - ended;
        // Jobs that take longer than the window leave it empty. Then the throughput of the whole run counts.
        let jobs_per_second = if throughput > 0.0 {
            throughput
        } else {
            per_second(counts.done(), now.saturating_duration_since(self.began))
        };
        #[expect(clippy::cast_precision_loss, reason = "no count reaches 2^53")]
        let remaining = (known && jobs_per_second > 0.0)
            .then(|| Duration::try_from_secs_f64(rest as f64 / jobs_per_second).ok())
            .flatten();
        ExecutionStats {
            total_jobs: total,
            completed_jobs: counts.succeeded,
            failed_jobs: counts.failures(),
            unfinished_jobs: counts.cancelled + counts.skipped,
            cached_jobs: self.tally.cached(),
            average_execution_time: Durations::average(self.tally.run_times()).unwrap_or_default(),
            peak_concurrent_jobs: self.tally.peak_concurrency(),
            total_retries: self.failed_attempts,
            throughput_per_second: throughput,
            remaining: if rest == 0 && known {
                Some(Duration::ZERO)
            } else {
                remaining
            },
            queue: QueueStatus {
                queued: rest.saturating_sub(running),
                running,
                ended,
                total,
            },
        }
    }

    /// Records how many jobs are done, once per step, and drops steps that the window has left behind.
    fn step(&mut self, now: Instant) {
        let last = self.steps.back().map_or(self.began, |(at, _)| *at);
        if now.saturating_duration_since(last) < STEP {
            return;
        }
        self.steps.push_back((now, self.tally.counts().done()));
        // The last step before the window is kept: it has the number of jobs that were done when the window begins.
        while let Some((second, _)) = self.steps.get(1)
            && now.saturating_duration_since(*second) >= WINDOW
        {
            self.steps.pop_front();
        }
    }

    /// Returns how many jobs were done per second within the window, or since the first step if that is in the window.
    fn throughput(&self, now: Instant) -> f64 {
        let ended = self.tally.counts().done();
        let inside = |at: Instant| now.saturating_duration_since(at) < WINDOW;
        // No job ended between the last step before the window and the next step, so the last step's count is also the
        // count at the beginning of the window.
        let before = self.steps.iter().rev().find(|(at, _)| !inside(*at));
        match (before, self.steps.front()) {
            (Some((_, count)), _) => {
                let next = self.steps.iter().find(|(at, _)| inside(*at));
                let count = next.map_or(ended, |(_, next)| *next).max(*count);
                per_second(ended - count, WINDOW)
            }
            (None, Some((at, count))) => {
                per_second(ended - count, now.saturating_duration_since(*at))
            }
            (None, None) => 0.0,
        }
    }
}
