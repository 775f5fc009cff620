//! What there is to know while a run goes on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::tally::Tally;
use super::{Durations, per_second};
use crate::event::Event;

/// The pace is that of the last ten seconds: long enough to be steady, short enough to follow a change.
const WINDOW: Duration = Duration::from_secs(10);

/// The window moves on by this much.
const STEP: Duration = Duration::from_millis(250);

/// Figures of a run that goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExecutionStats {
    /// How many jobs there are, as far as is known.
    pub total_jobs: u64,
    /// How many have succeeded.
    pub completed_jobs: u64,
    /// How many have failed, timed out or crashed.
    pub failed_jobs: u64,
    /// How many ended without having come to anything: cancelled and skipped ones.
    pub unfinished_jobs: u64,
    /// How many of the completed ones used an earlier result again.
    pub cached_jobs: u64,
    /// How long last attempts ran on average; 0 as long as none has ended.
    pub average_execution_time: Duration,
    /// How many attempts ran at once at the most.
    pub peak_concurrent_jobs: u64,
    /// How many attempts were made beyond the first of each job, or will be.
    pub total_retries: u64,
    /// How many jobs were done a second lately. Those that were cancelled or skipped do not count.
    pub throughput_per_second: f64,
    /// How long the rest takes at that pace, where all jobs are known; where none was done lately, at the pace since
    /// the beginning.
    pub remaining: Option<Duration>,
    /// Where the jobs are.
    pub queue: QueueStatus,
}

/// Where jobs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueStatus {
    /// They wait, some of them for another attempt.
    pub queued: u64,
    /// They run.
    pub running: u64,
    /// They have ended.
    pub ended: u64,
    /// All of them.
    pub total: u64,
}

/// Keeps [`ExecutionStats`] of a run by its events. It has no clock: it is told the time.
///
/// A batch whose jobs are as urgent as their kind says, each tried three times at the most:
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
/// use ratchet_resilience::retry::{BackoffPolicy, Delay};
/// use ratchet_runtime::event::Record;
/// use ratchet_runtime::summary::{LiveStats, Results};
/// use ratchet_runtime::{
///     Class, Executor, Failure, Job, Payload, Priority, Sink, Terms, Timeouts,
/// };
///
/// /// What a case asks for.
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
/// /// Keeps figures that somebody else looks at.
/// struct Figures(Arc<Mutex<LiveStats>>);
///
/// impl Sink for Figures {
///     fn on(&mut self, record: &Record) {
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
    /// How many jobs were taken in.
    taken: u64,
    /// How many there will be, where that is known.
    announced: Option<u64>,
    failed_attempts: u64,
    began: Instant,
    /// How many jobs were done at each step of the window; cancelled and skipped ones are not done.
    steps: VecDeque<(Instant, u64)>,
}

impl LiveStats {
    /// Figures of a run that begins now.
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

    /// Takes note of something that happened now.
    pub fn observe(&mut self, event: &Event, now: Instant) {
        match event {
            Event::RunStarted { total } => self.announced = total.or(self.announced),
            Event::JobQueued { .. } => self.taken += 1,
            Event::AttemptFailed { .. } => self.failed_attempts += 1,
            // Before the job counts: a step says what was before it.
            Event::JobEnded { .. } => self.step(now),
            _ => {}
        }
        self.tally.observe(event);
    }

    /// Takes note of how many jobs there will be, where that becomes known only after the run has begun.
    pub fn announce(&mut self, total: u64) {
        self.announced = Some(total);
    }

    /// What has been counted so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The figures of now.
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
        // Jobs that take longer than the window leave it empty: then the pace is that of the whole run.
        let pace = if throughput > 0.0 {
            throughput
        } else {
            per_second(counts.done(), now.saturating_duration_since(self.began))
        };
        #[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^53")]
        let remaining = (known && pace > 0.0)
            .then(|| Duration::try_from_secs_f64(rest as f64 / pace).ok())
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

    fn step(&mut self, now: Instant) {
        let last = self.steps.back().map_or(self.began, |(at, _)| *at);
        if now.saturating_duration_since(last) < STEP {
            return;
        }
        self.steps.push_back((now, self.tally.counts().done()));
        // One step from before the window is what the window is measured against.
        while let Some((second, _)) = self.steps.get(1)
            && now.saturating_duration_since(*second) >= WINDOW
        {
            self.steps.pop_front();
        }
    }

    fn throughput(&self, now: Instant) -> f64 {
        let ended = self.tally.counts().done();
        let inside = |at: Instant| now.saturating_duration_since(at) < WINDOW;
        // The last step before the window, moved to its beginning: nothing ended between it and the next.
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
