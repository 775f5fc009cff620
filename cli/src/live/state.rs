//! Makes the answers to clients from what the loop of a run reports.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ratchet_runtime::process::HeadTail;
use ratchet_runtime::{
    Blocker, JobKey, JobOutput, JobState, RunStatus, RunningJob, Snapshot, WaitCause,
};

use super::figures::LiveFigures;
use super::message::{
    Explanation, JobAt, LimitNow, LiveState, OutputPiece, Printed, RunningNow, WaitCount,
    WorkersNow,
};
use super::status_text::command;
use crate::readable::duration;

/// The most running jobs that are listed.
const MAX_RUNNING: usize = 500;

/// How many seconds of the history are listed.
const HISTORY: usize = 120;

/// Over how many of the last seconds the rate is measured.
const RATE: usize = 10;

/// The number of ended jobs at each of the last seconds.
#[derive(Debug, Default)]
pub(super) struct History {
    ended: VecDeque<u64>,
}

impl History {
    /// Adds the current number of ended jobs. It is called once a second.
    pub(super) fn note(&mut self, ended: u64) {
        if self.ended.len() > HISTORY {
            self.ended.pop_front();
        }
        self.ended.push_back(ended);
    }

    /// Returns how many jobs have ended in each of the last seconds.
    pub(super) fn per_second(&self) -> Vec<u64> {
        let pairs = self.ended.iter().zip(self.ended.iter().skip(1));
        pairs.map(|(before, after)| after - before).collect()
    }

    /// Returns how many jobs end in a second, measured over the last seconds, or over the whole run if none has ended
    /// in these seconds.
    pub(super) fn rate(&self, ended: u64, elapsed: Duration) -> f64 {
        let seconds = self.per_second();
        let of_late = &seconds[seconds.len().saturating_sub(RATE)..];
        let sum: u64 = of_late.iter().sum();
        if sum > 0 {
            as_float(sum) / as_float(of_late.len() as u64)
        } else if ended > 0 {
            as_float(ended) / elapsed.as_secs_f64().max(0.001)
        } else {
            0.0
        }
    }
}

/// Makes the state of a run.
pub(super) fn state(
    (run, elapsed): (&str, Duration),
    (snapshot, workers): (&Snapshot, Vec<WorkersNow>),
    status: RunStatus,
    figures: &LiveFigures,
    history: &History,
) -> LiveState {
    let total = status.total.or_else(|| figures.total());
    // Jobs may have been added after a stream had announced its number of jobs.
    let total = total.map(|total| total.max(status.taken));
    let rate = history.rate(status.ended, elapsed);
    let left = total.map(|total| total.saturating_sub(status.ended));
    let left_ms = left
        .filter(|_| rate > 0.0 && !status.is_paused)
        .map(|left| millis(Duration::try_from_secs_f64(as_float(left) / rate).unwrap_or_default()));
    let mut waits: BTreeMap<Blocker, u64> = BTreeMap::new();
    for waiting in &snapshot.waiting {
        *waits.entry(waiting.cause.blocker()).or_default() += 1;
    }
    LiveState {
        run: run.to_owned(),
        pid: std::process::id(),
        phase: status.phase.to_string(),
        held: status.held,
        paused: status.is_paused,
        elapsed_ms: millis(elapsed),
        slots: status.slots,
        slots_used: status.slots_used,
        total,
        queued: total.map(|total| total.saturating_sub(status.taken)),
        waiting: snapshot.waiting.len() as u64,
        running: snapshot.running.len() as u64,
        ended: status.ended,
        succeeded: status.succeeded,
        failed: status.failed,
        rate,
        left_ms,
        history: history.per_second(),
        waits: waits
            .into_iter()
            .map(|(blocker, jobs)| WaitCount {
                cause: blocker.word().into_owned(),
                jobs,
            })
            .collect(),
        workers,
        limits: snapshot
            .limits
            .iter()
            .map(|(name, state)| LimitNow {
                name: name.clone(),
                limit: state.limit,
                left: state.left,
            })
            .collect(),
        jobs: snapshot
            .running
            .iter()
            .take(MAX_RUNNING)
            .map(running_now)
            .collect(),
        failures: figures.failures(),
    }
}

/// How many characters of an item are told, so that an answer stays short however long the items are.
const LONGEST_ITEM: usize = 256;

fn running_now(running: &RunningJob) -> RunningNow {
    let share = running
        .progress
        .as_ref()
        .and_then(|step| Some(step.done? / step.total?))
        .filter(|share| share.is_finite());
    RunningNow {
        id: running.job.id.clone(),
        item: running
            .job
            .item
            .as_ref()
            .map(|item| item.name.shortened(LONGEST_ITEM)),
        does: command(&running.job),
        age_ms: millis(running.age),
        attempt: running.attempt,
        at: at(running),
        share,
    }
}

fn at(running: &RunningJob) -> JobAt {
    JobAt {
        slot: running.slot.map(ratchet_runtime::SlotNumber::get),
        worker: running.worker.as_ref().map(ToString::to_string),
        place: running.place.as_ref().map(ToString::to_string),
    }
}

/// Makes the answer about the state of a job.
pub(super) fn explanation(job: JobKey, state: Option<&JobState>) -> Explanation {
    let text =
        "the run does not have this job now: the job has ended, or the run has not read it yet";
    let mut explanation = Explanation::new(job, "unknown", text);
    match state {
        Some(JobState::Pending) => {
            "pending".clone_into(&mut explanation.state);
            "waits until the run has room to take it in".clone_into(&mut explanation.text);
        }
        Some(JobState::Waiting(waiting)) => {
            let cause = &waiting.cause;
            "waiting".clone_into(&mut explanation.state);
            explanation.text = cause.to_string();
            explanation.age_ms = Some(millis(waiting.age));
            explanation.cause = Some(cause.blocker().word().into_owned());
            explanation.left_ms = cause.left().map(millis);
            match cause {
                WaitCause::Needs(needs) => explanation.needs.clone_from(needs),
                WaitCause::Alone(job) | WaitCause::Equal(job) => {
                    explanation.held_by = vec![job.clone()];
                }
                WaitCause::Host { held_by, .. } | WaitCause::Global { held_by } => {
                    explanation.held_by.clone_from(held_by);
                }
                WaitCause::Limit { held_by, limit, .. } => {
                    explanation.held_by.clone_from(held_by);
                    explanation.text = format!("{} ({limit})", explanation.text);
                }
                _ => {}
            }
        }
        Some(JobState::Running(running)) => {
            "running".clone_into(&mut explanation.state);
            explanation.text = format!(
                "has been running for {}: {}",
                duration(running.age),
                command(&running.job)
            );
            explanation.age_ms = Some(millis(running.age));
            explanation.attempt = Some(running.attempt);
            explanation.at = at(running);
        }
        _ => {}
    }
    explanation
}

/// Makes the answer about what a job has printed after these bytes.
pub(super) fn printed(
    output: &JobOutput,
    running: bool,
    stdout_from: u64,
    stderr_from: u64,
) -> Printed {
    let piece = |kept: &HeadTail, from| {
        let (dropped, bytes) = kept.since(from);
        OutputPiece::new(kept.total(), dropped, &bytes)
    };
    Printed {
        running,
        attempt: output.attempt(),
        stdout: piece(&output.stdout(), stdout_from),
        stderr: piece(&output.stderr(), stderr_from),
    }
}

/// Returns a duration in whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures for people, of which the first digits count"
)]
fn as_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds_or_else_of_the_whole_run() {
        let mut history = History::default();
        let minute = Duration::from_mins(1);
        assert!(history.rate(0, minute).abs() < 1e-9);
        assert!((history.rate(120, minute) - 2.0).abs() < 1e-9);
        (0..=200).for_each(|second| history.note(second * 5));
        assert!((history.rate(1000, minute) - 5.0).abs() < 1e-9);
        assert_eq!(history.per_second().len(), HISTORY);
        (0..20).for_each(|_| history.note(1000));
        assert!((history.rate(1000, minute) - 1000.0 / 60.0).abs() < 1e-9);
    }
}
