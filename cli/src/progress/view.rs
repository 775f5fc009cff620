//! What is to be seen of a run: a plain value that is told the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ratchet_runtime::JobKey;
use ratchet_runtime::event::Event;
use ratchet_runtime::summary::{ExecutionStats, LiveStats};

use crate::report::{job_name, plain, span};

/// As many running jobs get a line of their own; of more, only how many there are is shown.
pub(super) const LINES: usize = 8;

pub(super) struct View {
    stats: LiveStats,
    running: BTreeMap<JobKey, Running>,
    /// Why new jobs are held back, if they are.
    held: Option<String>,
    stopping: Option<String>,
    begin: Instant,
}

struct Running {
    /// What people call the job.
    name: String,
    since: Instant,
    worker: Option<String>,
    message: Option<String>,
    share: Option<f64>,
}

impl View {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            stats: LiveStats::new(now),
            running: BTreeMap::new(),
            held: None,
            stopping: None,
            begin: now,
        }
    }

    pub(super) fn observe(&mut self, event: &Event, now: Instant) {
        self.stats.observe(event, now);
        match event {
            Event::AttemptStarted {
                id, item, worker, ..
            } => {
                let running = Running {
                    name: job_name(id, item.as_ref()),
                    since: now,
                    worker: worker.as_ref().map(|worker| worker.as_str().to_owned()),
                    message: None,
                    share: None,
                };
                self.running.insert(id.clone(), running);
            }
            Event::AttemptProgress {
                id,
                done,
                total,
                message,
            } => {
                if let Some(running) = self.running.get_mut(id) {
                    running.share = done.zip(*total).map(|(done, total)| done / total);
                    if message.is_some() {
                        running.message.clone_from(message);
                    }
                }
            }
            Event::AttemptFailed { id, .. } => drop(self.running.remove(id)),
            Event::JobEnded { outcome } => drop(self.running.remove(&outcome.id)),
            Event::Admission { held } => self.held.clone_from(held),
            Event::RunStopping { phase, .. } => self.stopping = Some(phase.clone()),
            _ => {}
        }
    }

    /// How many have ended, and of how many.
    pub(super) fn position(&self, now: Instant) -> (u64, u64) {
        let queue = self.stats.stats(now).queue;
        (queue.ended, queue.total)
    }

    /// What stands behind the bar, and is all there is where there are no bars.
    pub(super) fn figures(&self, now: Instant) -> String {
        let ExecutionStats {
            failed_jobs,
            throughput_per_second,
            remaining,
            queue,
            ..
        } = self.stats.stats(now);
        let mut parts = vec![format!("{}/{}", queue.ended, queue.total)];
        if failed_jobs > 0 {
            parts.push(format!("{failed_jobs} failed"));
        }
        parts.push(format!("{} running", queue.running));
        if throughput_per_second > 0.0 {
            parts.push(format!("{throughput_per_second:.1}/s"));
        }
        parts.push(match remaining {
            Some(remaining) if queue.ended < queue.total => format!("{} left", whole(remaining)),
            _ => whole(now.saturating_duration_since(self.begin)),
        });
        if let Some(phase) = &self.stopping {
            parts.push(phase.clone());
        } else if let Some(held) = &self.held {
            parts.push(format!("held back: {}", plain(held)));
        }
        parts.join("  ")
    }

    /// A line a running job, the longest running first; none if they are too many to follow.
    pub(super) fn running(&self, now: Instant) -> Vec<String> {
        if self.running.len() > LINES {
            return Vec::new();
        }
        let mut running: Vec<(&JobKey, &Running)> = self.running.iter().collect();
        running.sort_by_key(|(_, running)| running.since);
        running
            .into_iter()
            .map(|(_, running)| {
                let ran = whole(now.saturating_duration_since(running.since));
                let mut parts = vec![running.name.clone(), ran];
                if let Some(worker) = &running.worker {
                    parts.push(plain(worker).into_owned());
                }
                if let Some(share) = running.share.filter(|share| share.is_finite()) {
                    parts.push(format!("{:.0}%", share * 100.0));
                }
                if let Some(message) = &running.message {
                    let first = message.lines().next().unwrap_or_default();
                    parts.push(plain(first).into_owned());
                }
                parts.join("  ")
            })
            .collect()
    }
}

/// A span that does not flicker in its last digit.
fn whole(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        _ => span(duration),
    }
}
