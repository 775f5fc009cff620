//! The progress of a run: how many of its jobs have ended.
//!
//! Progress is a value that is replaced, not a queue of reports. A reader sees the latest report, and a slow reader
//! misses some of them. Reports never go back. `completed` equals `total` only in the last report: while jobs may still
//! be added, a report in which both are equal is held back, because it would soon be wrong.

use std::time::Duration;

use tokio::sync::watch;

/// The progress of a run: how many of its jobs have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunProgress {
    /// How many jobs have ended, in whatever way.
    pub completed: u64,
    /// How many jobs there are, as far as is known.
    pub total: u64,
    /// Whether this is the last report: no more jobs will be added, and all have ended.
    pub finished: bool,
}

impl RunProgress {
    /// Returns the share of jobs that have ended, in percent. It is 0 if there are no jobs.
    #[expect(clippy::cast_precision_loss, reason = "no count reaches 2^53")]
    pub fn percent(&self) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        self.completed as f64 / self.total as f64 * 100.0
    }
}

/// How often a callback is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressInterval {
    /// The callback is called for each change. Changes that come while it runs are reported together.
    Change,
    /// The callback is called at most once in this time, except that the last report comes at once.
    Every(Duration),
}

/// Counts the progress of a run. Dropping the meter ends its [`ProgressWatch`].
///
/// ```
/// use ratchet_runtime::{Executor, Job, ProgressInterval, Payload, ProgressMeter};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut meter, watch) = ProgressMeter::new();
/// let told = tokio::spawn(async move {
///     let mut last = (0, 0);
///     let print = |completed, total| {
///         println!("Progress: {completed}/{total}");
///         last = (completed, total);
///     };
///     watch.each(ProgressInterval::Change, print).await;
///     last
/// });
///
/// let clusters = ["prod-us-east", "prod-eu-west", "staging"];
/// let jobs = clusters.map(|name| Job::closure(name, |_| async { Ok(Payload::null()) }));
/// meter.add(jobs.len() as u64);
/// meter.close();
/// let mut run = Executor::builder().build()?.run(jobs)?;
/// while run.next().await.is_some() {
///     meter.complete(1);
/// }
/// assert_eq!(told.await?, (3, 3));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ProgressMeter {
    completed: u64,
    /// How many jobs were added.
    added: u64,
    /// How many jobs are announced to come in all.
    announced: u64,
    /// Whether no more jobs are added, so that the total is known.
    closed: bool,
    reports: watch::Sender<RunProgress>,
}

/// Receives the progress reports of a [`ProgressMeter`].
///
/// ```
/// use ratchet_runtime::{ProgressInterval, ProgressMeter};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (mut meter, watch) = ProgressMeter::new();
/// let printing = tokio::spawn(watch.each(ProgressInterval::Change, |completed, total| {
///     println!("{completed}/{total}");
/// }));
/// meter.add(2);
/// meter.complete(1);
/// meter.close();
/// meter.complete(1);
/// printing.await.unwrap();
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ProgressWatch {
    reports: watch::Receiver<RunProgress>,
}

impl ProgressMeter {
    /// Makes a meter, and the watch that receives its reports.
    pub fn new() -> (Self, ProgressWatch) {
        let (sender, receiver) = watch::channel(RunProgress::default());
        let meter = Self {
            completed: 0,
            added: 0,
            announced: 0,
            closed: false,
            reports: sender,
        };
        (meter, ProgressWatch { reports: receiver })
    }

    /// Announces how many jobs will come in all.
    pub fn announce(&mut self, total: u64) {
        self.announced = total;
        self.report();
    }

    /// Counts jobs that were added. It has no effect after [`close`](Self::close).
    pub fn add(&mut self, jobs: u64) {
        if !self.closed {
            self.added += jobs;
            self.report();
        }
    }

    /// Counts jobs that have ended. The count never exceeds that of the jobs that were added.
    pub fn complete(&mut self, jobs: u64) {
        self.completed = self.completed.saturating_add(jobs).min(self.added);
        self.report();
    }

    /// States that no more jobs will be added.
    pub fn close(&mut self) {
        self.closed = true;
        self.report();
    }

    /// Publishes the progress for those who watch it.
    fn report(&self) {
        let total = if self.closed {
            self.added
        } else {
            self.added.max(self.announced)
        };
        let next = RunProgress {
            completed: self.completed,
            total,
            finished: self.closed && self.completed == total,
        };
        if next.completed == total && !next.finished {
            return;
        }
        self.reports.send_if_modified(|last| {
            let changed = !last.finished && *last != next;
            if changed {
                *last = next;
            }
            changed
        });
    }
}

impl ProgressWatch {
    /// Returns the latest report.
    pub fn current(&self) -> RunProgress {
        *self.reports.borrow()
    }

    /// Waits for the next report after the one that this method returned last; `None` if the meter was dropped.
    ///
    /// Cancel safe.
    pub async fn changed(&mut self) -> Option<RunProgress> {
        self.reports.changed().await.ok()?;
        Some(*self.reports.borrow_and_update())
    }

    /// Calls back with `(completed, total)` until the last report, or until the meter is dropped.
    pub async fn each(mut self, pace: ProgressInterval, mut callback: impl FnMut(u64, u64) + Send) {
        while let Some(progress) = self.changed().await {
            callback(progress.completed, progress.total);
            if progress.finished {
                return;
            }
            if let ProgressInterval::Every(interval) = pace {
                self.pass(interval).await;
            }
        }
    }

    /// Waits for this time, but no longer than until the last report.
    async fn pass(&self, interval: Duration) {
        // A clone of the receiver, because `wait_for` marks the reports that it sees as seen.
        let mut ahead = self.reports.clone();
        let finished = ahead.wait_for(|progress| progress.finished);
        // Whether the time is over, the last report has come or the meter was dropped: the next report is due.
        let _ = tokio::time::timeout(interval, finished).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;

    type Seen = Arc<Mutex<Vec<(u64, u64)>>>;

    fn record(seen: &Seen) -> impl FnMut(u64, u64) + Send + use<> {
        let seen = Arc::clone(seen);
        move |completed, total| seen.lock().unwrap().push((completed, total))
    }

    #[tokio::test]
    async fn equality_is_told_when_it_is_final() {
        let (mut meter, mut watch) = ProgressMeter::new();
        meter.add(1);
        assert_eq!(watch.changed().await.unwrap().total, 1);
        meter.complete(1);
        assert_eq!(watch.current().completed, 0, "more may come");
        meter.add(1);
        let progress = watch.changed().await.unwrap();
        assert_eq!((progress.completed, progress.total), (1, 2));
        assert!((progress.percent() - 50.0).abs() < 1e-9);
        meter.close();
        meter.complete(1);
        meter.complete(1);
        meter.add(1);
        let last = watch.changed().await.unwrap();
        assert_eq!((last.completed, last.total, last.finished), (2, 2, true));
        drop(meter);
        assert_eq!(watch.changed().await, None);
    }

    #[tokio::test]
    async fn a_run_of_nothing_ends_too() {
        let (mut meter, watch) = ProgressMeter::new();
        let seen = Seen::default();
        meter.close();
        watch.each(ProgressInterval::Change, record(&seen)).await;
        assert_eq!(*seen.lock().unwrap(), [(0, 0)]);
    }

    #[tokio::test]
    async fn fewer_than_announced_end_as_well() {
        let (mut meter, watch) = ProgressMeter::new();
        meter.announce(5);
        meter.add(2);
        meter.complete(2);
        assert_eq!(watch.current().total, 5);
        meter.close();
        let last = watch.current();
        assert_eq!((last.completed, last.total, last.finished), (2, 2, true));
    }

    #[tokio::test(start_paused = true)]
    async fn reports_keep_their_distance_except_the_last() {
        let (mut meter, watch) = ProgressMeter::new();
        let seen = Seen::default();
        let began = tokio::time::Instant::now();
        let task = tokio::spawn(watch.each(
            ProgressInterval::Every(Duration::from_secs(5)),
            record(&seen),
        ));
        meter.add(100);
        for _ in 0..98 {
            meter.complete(1);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        meter.close();
        meter.complete(2);
        task.await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [(1, 100), (51, 100), (100, 100)]);
        assert!(began.elapsed() < Duration::from_millis(9_900));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_ends_when_its_run_is_dropped() {
        let (mut meter, watch) = ProgressMeter::new();
        let seen = Seen::default();
        let task = tokio::spawn(watch.each(ProgressInterval::Every(Duration::MAX), record(&seen)));
        meter.add(2);
        tokio::task::yield_now().await;
        meter.complete(1);
        drop(meter);
        task.await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [(0, 2), (1, 2)]);
    }

    proptest! {
        #[test]
        fn reports_never_go_back_and_finish_once(steps in prop::collection::vec(0..4_u8, 0..60)) {
            let (mut meter, mut watch) = ProgressMeter::new();
            let mut reports = Vec::new();
            let mut step = |meter: &ProgressMeter| {
                let _ = meter;
                if watch.reports.has_changed().unwrap() {
                    reports.push(*watch.reports.borrow_and_update());
                }
            };
            for kind in steps {
                match kind {
                    0 | 1 => meter.add(1),
                    2 => meter.complete(1),
                    _ => meter.announce(u64::from(kind)),
                }
                step(&meter);
            }
            meter.close();
            step(&meter);
            for _ in meter.completed..=meter.added {
                meter.complete(1);
                step(&meter);
            }
            prop_assert!(reports.is_sorted_by_key(|report| report.completed));
            let equal = reports.iter().filter(|report| report.completed == report.total).count();
            prop_assert_eq!(equal, 1);
            let last = reports.last().unwrap();
            prop_assert!(last.finished && last.completed == meter.added);
        }
    }
}
