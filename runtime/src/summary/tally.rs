//! Counts outcomes and events during a run.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ratchet_ipc::JobKey;

use super::durations::Durations;
use super::{Counts, Summary, per_second};
use crate::breaker::BreakerReport;
use crate::event::{RunEvent, WorkerNews};
use crate::outcome::Outcome;

/// Counts the outcomes of a run, in memory that does not grow with the number of jobs.
///
/// Pass every [`RunEvent`] of a run to [`observe`](Self::observe), and all figures are known. Pass only outcomes to
/// [`record`](Self::record), and the peak of concurrency and the number of restarts stay 0.
///
/// ```
/// use std::time::Duration;
/// use ratchet_runtime::summary::Tally;
///
/// let summary = Tally::default().summary(Duration::from_secs(1));
/// assert_eq!((summary.total, summary.success_rate), (0, 0.0));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Tally {
    counts: Counts,
    /// How many results came from the cache.
    cached: u64,
    retries: u64,
    /// How many jobs succeeded only after an attempt had failed.
    flaky: u64,
    /// How many jobs were slow.
    slow: u64,
    /// How long the attempts of jobs ran.
    run: Durations,
    /// How long jobs waited.
    queue: Durations,
    /// The jobs with a running attempt, as far as events were observed.
    running: HashSet<JobKey>,
    /// The most jobs that ran at once.
    peak: u64,
    /// How many workers of each kind have failed and have not been replaced yet.
    unreplaced: HashMap<String, u64>,
    /// How many workers that failed were replaced.
    restarts: u64,
    /// The jobs whose results were delivered and may be wrong.
    suspects: Vec<JobKey>,
    /// How many jobs succeeded whose outcomes could not be recorded.
    unrecorded: u64,
    /// The reports of the breakers that have opened.
    breakers: Vec<BreakerReport>,
    /// How many retries the budget refused.
    retries_refused: u64,
}

impl Tally {
    /// Counts an event. Outcomes are in the events, so do not [`record`](Self::record) them as well.
    pub fn observe(&mut self, event: &RunEvent) {
        match event {
            RunEvent::AttemptStarted { id, .. } => {
                self.running.insert(id.clone());
                self.concurrency(self.running.len() as u64);
            }
            RunEvent::AttemptFailed { id, .. } => {
                self.running.remove(id);
            }
            RunEvent::JobEnded { outcome } => {
                self.running.remove(&outcome.id);
                self.record(outcome);
            }
            RunEvent::JobsSuspect { ids, .. } => self.suspect(ids.iter().cloned()),
            RunEvent::BreakerChanged(report) => {
                let is_same =
                    |known: &BreakerReport| known.name == report.name && known.host == report.host;
                match self.breakers.iter_mut().find(|known| is_same(known)) {
                    Some(known) => known.clone_from(report),
                    None => self.breakers.push(report.clone()),
                }
            }
            RunEvent::JobSlow { .. } => self.slow += 1,
            RunEvent::Worker(news) => self.observe_worker(news),
            _ => {}
        }
    }

    /// Counts a start as a restart if a worker of the same kind has failed and was not replaced yet.
    fn observe_worker(&mut self, news: &WorkerNews) {
        match news {
            WorkerNews::Ended {
                worker,
                unexpected: true,
                ..
            } => *self.unreplaced.entry(kind(worker.as_str())).or_default() += 1,
            WorkerNews::Started { worker, .. } => {
                if let Some(unreplaced) = self.unreplaced.get_mut(&kind(worker.as_str()))
                    && *unreplaced > 0
                {
                    *unreplaced -= 1;
                    self.restarts += 1;
                }
            }
            _ => {}
        }
    }

    /// Counts an outcome.
    pub fn record(&mut self, outcome: &Outcome) {
        self.counts.add(outcome.status());
        self.cached += u64::from(outcome.cached);
        self.retries += u64::from(retries(outcome));
        self.flaky += u64::from(outcome.is_flaky());
        self.unrecorded += u64::from(outcome.unrecorded && outcome.is_success());
        if ran(outcome) {
            self.run.add(outcome.duration);
            self.queue.add(outcome.queued);
        }
    }

    /// Raises the peak of concurrency to the number of attempts that run now, if that is higher.
    pub fn concurrency(&mut self, running: u64) {
        self.peak = self.peak.max(running);
    }

    /// Counts a worker that was started to replace one that had failed.
    pub fn restart(&mut self) {
        self.restarts += 1;
    }

    /// Sets how many jobs ran for longer than their terms call slow, which does not follow from outcomes.
    pub fn slow(&mut self, count: u64) {
        self.slow = count;
    }

    /// Adds jobs whose results were reported and may be wrong.
    pub fn suspect(&mut self, ids: impl IntoIterator<Item = JobKey>) {
        self.suspects.extend(ids);
    }

    /// Replaces the reports about breakers by these.
    pub fn breakers(&mut self, reports: Vec<BreakerReport>) {
        self.breakers = reports;
    }

    /// Sets how many retries were not made because the retry budget was used up.
    pub fn retries_refused(&mut self, count: u64) {
        self.retries_refused = count;
    }

    /// Returns the number of jobs that ended with each status so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns the number of attempts beyond the first one of each job that has ended.
    pub fn retries(&self) -> u64 {
        self.retries
    }

    /// Returns the number of jobs that used an earlier result and did not run.
    pub fn cached(&self) -> u64 {
        self.cached
    }

    /// Returns the highest number of attempts that ran at the same time.
    pub fn peak_concurrency(&self) -> u64 {
        self.peak
    }

    /// Returns the number of attempts that run now, as far as events were observed.
    pub(super) fn running(&self) -> u64 {
        self.running.len() as u64
    }

    /// Returns the run times of last attempts, one of each job that ran.
    pub fn run_times(&self) -> &Durations {
        &self.run
    }

    /// Returns the figures so far, for a run that has taken this long.
    pub fn summary(&self, elapsed: Duration) -> Summary {
        let total = self.counts.total();
        Summary {
            total,
            counts: self.counts,
            cached: self.cached,
            retries: self.retries,
            flaky: self.flaky,
            slow: self.slow,
            elapsed,
            throughput: per_second(self.counts.done(), elapsed),
            success_rate: self.counts.success_rate(),
            failure_rate: self.counts.failure_rate(),
            run: self.run.stats(),
            queue: self.queue.stats(),
            peak_concurrency: self.peak,
            worker_restarts: self.restarts,
            suspects: self.suspects.clone(),
            unrecorded: self.unrecorded,
            breakers: self.breakers.clone(),
            retries_refused: self.retries_refused,
        }
    }
}

/// Whether a job ran, so that its times count.
pub(super) fn ran(outcome: &Outcome) -> bool {
    outcome.attempts > 0 && !outcome.cached
}

/// Returns the number of attempts beyond the first.
pub(super) fn retries(outcome: &Outcome) -> u32 {
    outcome.attempts.saturating_sub(1)
}

/// Returns the kind of a worker: its name without its number.
fn kind(worker: &str) -> String {
    let kind = worker.rsplit_once('/').map_or(worker, |(kind, _)| kind);
    kind.to_owned()
}
