//! The progress of a run as it is shown, as a plain value that takes the time as an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ratchet_runtime::event::RunEvent;
use ratchet_runtime::summary::{ExecutionStats, LiveStats};
use ratchet_runtime::worker::WorkerName;
use ratchet_runtime::{ItemName, JobKey, PlaceName};

use crate::escape::plain;
use crate::readable::{duration, job_name};

/// How many lines show running jobs. If more jobs run, the last line shows how many are not shown.
pub(super) const LINES: usize = 8;

/// The state of a run as progress displays show it, computed from events.
pub(super) struct View {
    stats: LiveStats,
    running: BTreeMap<JobKey, RunningJob>,
    /// The reason why new jobs are held back, if they are.
    held: Option<String>,
    stopping: Option<String>,
    /// When the run began, by the work clock.
    begin: Instant,
}

/// A job with a running attempt.
struct RunningJob {
    item: Option<ItemName>,
    since: Instant,
    worker: Option<WorkerName>,
    /// The host on which it runs, if that is not this machine.
    place: Option<PlaceName>,
    message: Option<String>,
    share: Option<f64>,
}

impl View {
    /// Makes the view of a run that begins now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            stats: LiveStats::new(now),
            running: BTreeMap::new(),
            held: None,
            stopping: None,
            begin: now,
        }
    }

    /// Handles an event.
    pub(super) fn observe(&mut self, event: &RunEvent, now: Instant) {
        self.stats.observe(event, now);
        match event {
            RunEvent::AttemptStarted {
                id,
                item,
                worker,
                place,
                ..
            } => {
                let running = RunningJob {
                    item: item.clone(),
                    since: now,
                    worker: worker.clone(),
                    place: place.clone(),
                    message: None,
                    share: None,
                };
                self.running.insert(id.clone(), running);
            }
            RunEvent::AttemptProgress {
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
            RunEvent::AttemptFailed { id, .. } => drop(self.running.remove(id)),
            RunEvent::JobEnded { outcome } => drop(self.running.remove(&outcome.id)),
            RunEvent::Admission { held } => self.held.clone_from(held),
            RunEvent::RunStopping { phase, .. } => self.stopping = Some(phase.clone()),
            _ => {}
        }
    }

    /// Sets how many jobs there will be.
    pub(super) fn announce(&mut self, total: u64) {
        self.stats.announce(total);
    }

    /// Returns how many jobs have ended, and of how many. Cancelled jobs do not count as ended, because `resume` runs
    /// them.
    pub(super) fn position(&self, now: Instant) -> (u64, u64) {
        let queue = self.stats.stats(now).queue;
        (queue.ended - self.cancelled(), queue.total)
    }

    fn cancelled(&self) -> u64 {
        self.stats.tally().counts().cancelled
    }

    /// Returns the figures to the right of the bar, which are the whole line if there are no bars.
    pub(super) fn figures(&self, now: Instant) -> String {
        let ExecutionStats {
            failed_jobs,
            throughput_per_second,
            remaining,
            queue,
            ..
        } = self.stats.stats(now);
        let cancelled = self.cancelled();
        let mut parts = vec![format!("{}/{}", queue.ended - cancelled, queue.total)];
        if failed_jobs > 0 {
            parts.push(format!("{failed_jobs} failed"));
        }
        if cancelled > 0 {
            parts.push(format!("{cancelled} cancelled"));
        }
        parts.push(format!("{} running", queue.running));
        if throughput_per_second > 0.0 {
            parts.push(format!("{throughput_per_second:.1}/s"));
        }
        parts.push(match remaining {
            Some(remaining) if queue.ended < queue.total && self.stopping.is_none() => {
                format!("{} left", whole(remaining))
            }
            _ => whole(now.saturating_duration_since(self.begin)),
        });
        if let Some(phase) = &self.stopping {
            parts.push(phase.clone());
        } else if let Some(held) = &self.held {
            parts.push(format!("held back: {}", plain(held)));
        }
        parts.join("  ")
    }

    /// Returns a line for each running job, the longest running first.
    pub(super) fn running(&self, now: Instant) -> Vec<String> {
        let mut running: Vec<(&JobKey, &RunningJob)> = self.running.iter().collect();
        let shown = if running.len() > LINES {
            LINES - 1
        } else {
            running.len()
        };
        let by_start = |job: &(&JobKey, &RunningJob)| job.1.since;
        if shown < running.len() {
            // Thousands of jobs may run, and this is called several times per second, so not all of them are sorted.
            running.select_nth_unstable_by_key(shown, by_start);
        }
        let others = running.split_off(shown).len();
        running.sort_by_key(by_start);
        let mut lines: Vec<String> = running
            .into_iter()
            .map(|(id, running)| {
                let ran = whole(now.saturating_duration_since(running.since));
                let mut parts = vec![job_name(id, running.item.as_ref()), ran];
                if let Some(worker) = &running.worker {
                    parts.push(plain(worker.as_str()).into_owned());
                } else if let Some(place) = &running.place {
                    // The name of a worker includes its place.
                    parts.push(format!("at {}", plain(place.as_str())));
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
            .collect();
        if others > 0 {
            lines.push(format!("and {others} more"));
        }
        lines
    }
}

/// Formats a duration without digits that change with every frame.
fn whole(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        _ => self::duration(duration),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ratchet_runtime::{Class, Failure, Outcome, Payload};

    use super::*;

    fn ended(id: &str, result: Result<Payload, Class>) -> RunEvent {
        let result = result.map_err(|class| Box::new(Failure::new(class, "it ended")));
        RunEvent::JobEnded {
            outcome: Arc::new(Outcome {
                result,
                ..outcome(id)
            }),
        }
    }

    fn outcome(id: &str) -> Outcome {
        let text = format!(
            r#"{{"v":1,"id":"{id}","status":"succeeded","result":null,"attempts":1,"cached":false,"task":"t","queued_ms":0,"duration_ms":1}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_command_that_runs_on_a_host_is_shown_with_it() {
        let begin = tokio::time::Instant::now().into_std();
        let mut view = View::new(begin);
        for (id, worker) in [("a", None), ("b", Some(WorkerName::new("w@web1", 1)))] {
            let started = RunEvent::AttemptStarted {
                id: id.into(),
                item: None,
                attempt: 1,
                slot: None,
                place: Some(PlaceName::new("web1")),
                worker,
            };
            view.observe(&started, begin);
        }
        assert_eq!(view.running(begin), ["a  0 s  at web1", "b  0 s  w@web1/1"]);
    }

    #[test]
    fn cancelled_jobs_do_not_fill_the_bar_nor_shorten_the_time_left() {
        let begin = tokio::time::Instant::now().into_std();
        let mut view = View::new(begin);
        let at = |seconds| begin + Duration::from_secs(seconds);
        view.observe(&RunEvent::RunStarted { total: Some(100) }, begin);
        view.observe(&ended("1", Ok(Payload::null())), at(5));
        assert_eq!(view.position(at(5)), (1, 100));
        assert!(view.figures(at(5)).contains(" left"));
        let phase = "draining".to_owned();
        let reason = "asked".to_owned();
        view.observe(&RunEvent::RunStopping { phase, reason }, at(5));
        for number in 2..90 {
            view.observe(&ended(&number.to_string(), Err(Class::Cancelled)), at(5));
        }
        assert_eq!(view.position(at(5)), (1, 100));
        let figures = view.figures(at(5));
        assert_eq!(
            figures,
            "1/100  88 cancelled  0 running  0.2/s  5 s  draining"
        );
    }

    #[test]
    fn the_time_left_is_shown_once_a_stream_has_said_how_many_jobs_it_has() {
        let begin = tokio::time::Instant::now().into_std();
        let mut view = View::new(begin);
        view.observe(&RunEvent::RunStarted { total: None }, begin);
        let later = begin + Duration::from_secs(5);
        view.observe(&ended("1", Ok(Payload::null())), later);
        assert!(!view.figures(later).contains(" left"));
        view.announce(3);
        assert_eq!(view.figures(later), "1/3  0 running  0.2/s  10 s left");
    }
}
