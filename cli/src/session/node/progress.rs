//! Passes the progress of workers on to the queue, at a bounded rate: the queue keeps each report and tells it to all who follow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ratchet_runtime::event::{EventRecord, RunEvent};
use ratchet_runtime::{JobKey, Sink};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::queue::QueuedProgress;

/// The least time between two reports of an attempt. In between, the latest one replaces those before it.
const INTERVAL: Duration = Duration::from_secs(1);

/// The latest progress of each attempt of a node.
#[derive(Clone, Default)]
pub(super) struct ProgressReports(Arc<Mutex<Latest>>);

type Latest = HashMap<JobKey, watch::Sender<QueuedProgress>>;

/// Hears the events of the executor of a node.
pub(super) struct ProgressSink(ProgressReports);

/// The progress of one attempt. It is forgotten when this is dropped.
pub(super) struct AttemptProgress {
    reports: ProgressReports,
    job: JobKey,
    changes: watch::Receiver<QueuedProgress>,
    /// When the next report may be told.
    not_before: Instant,
}

impl ProgressReports {
    /// Returns the sink that fills the table.
    pub(super) fn sink(&self) -> ProgressSink {
        ProgressSink(self.clone())
    }

    /// Begins to watch the attempt at a job.
    pub(super) fn watch(&self, job: JobKey) -> AttemptProgress {
        let (sender, changes) = watch::channel(QueuedProgress::default());
        self.latest().insert(job.clone(), sender);
        AttemptProgress {
            reports: self.clone(),
            job,
            changes,
            not_before: Instant::now(),
        }
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        // No panic can leave the table half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AttemptProgress {
    /// Waits for a report that is to be told now. If this is dropped while it waits, nothing is lost.
    pub(super) async fn next(&mut self) -> QueuedProgress {
        tokio::time::sleep_until(self.not_before).await;
        if self.changes.changed().await.is_err() {
            // Only the drop of this value, or another attempt at the job, removes the sender.
            std::future::pending::<()>().await;
        }
        self.not_before = Instant::now() + INTERVAL;
        self.changes.borrow_and_update().clone()
    }
}

impl Drop for AttemptProgress {
    fn drop(&mut self) {
        let mut latest = self.reports.latest();
        // If the sender is gone, that of another attempt at the job has taken its place.
        if self.changes.has_changed().is_ok() {
            latest.remove(&self.job);
        }
    }
}

impl Sink for ProgressSink {
    fn on(&mut self, record: &EventRecord) {
        let RunEvent::AttemptProgress {
            id,
            done,
            total,
            message,
        } = &record.event
        else {
            return;
        };
        if let Some(sender) = self.0.latest().get(id) {
            sender.send_replace(QueuedProgress {
                done: *done,
                total: *total,
                message: message.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(sink: &mut ProgressSink, job: &str, done: f64) {
        sink.on(&EventRecord {
            v: EventRecord::VERSION,
            at_ms: 0,
            event: RunEvent::AttemptProgress {
                id: job.into(),
                done: Some(done),
                total: None,
                message: None,
            },
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_chatty_worker_is_told_once_a_second_with_what_it_said_last() {
        let reports = ProgressReports::default();
        let mut sink = reports.sink();
        let mut watched = reports.watch("a".into());
        let begin = Instant::now();
        let mut heard = Vec::new();
        for step in 0_u32..35 {
            told(&mut sink, "a", f64::from(step));
            told(&mut sink, "b", 99.0);
            let next_step = begin + Duration::from_millis(100) * (step + 1);
            if let Ok(report) = tokio::time::timeout_at(next_step, watched.next()).await {
                heard.push((begin.elapsed().as_secs(), report.done));
                tokio::time::sleep_until(next_step).await;
            }
        }
        let seconds: Vec<u64> = heard.iter().map(|(at, _)| *at).collect();
        assert_eq!(seconds, [0, 1, 2, 3]);
        let values: Vec<Option<f64>> = heard.iter().map(|(_, done)| *done).collect();
        assert_eq!(values[0], Some(0.0));
        assert!(values[3].is_some_and(|done| done >= 29.0), "{values:?}");
        drop(watched);
        assert!(reports.latest().is_empty());
    }

    #[test]
    fn the_end_of_an_attempt_leaves_the_next_one_watched() {
        let reports = ProgressReports::default();
        let first = reports.watch("a".into());
        let second = reports.watch("a".into());
        drop(first);
        assert_eq!(reports.latest().len(), 1);
        drop(second);
        assert!(reports.latest().is_empty());
    }
}
