//! A run, as the receiver of its outcomes sees it.

use std::sync::Arc;

use ratchet_resilience::shutdown::Phase;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::handle::RunHandle;
use super::stop::Stopped;
use crate::Error;
use crate::error::panic_message;
use crate::outcome::Outcome;

/// A callback that is told how many jobs have ended, and how many there are.
pub(super) type ProgressCallback<'a> = Box<dyn FnMut(u64, u64) + Send + 'a>;

/// A run, which yields the outcomes of its jobs.
///
/// Outcomes have to be taken: if nobody takes them, the run stops pulling jobs when its window is full. Dropping a run
/// stops all that it has started.
#[derive(Debug)]
#[must_use = "dropping a run stops it"]
pub struct Run {
    /// The outcomes that the loop has sent and that were not taken yet.
    pub(super) outcomes: mpsc::Receiver<Arc<Outcome>>,
    /// The handle through which the run is watched and stopped.
    pub(super) handle: RunHandle,
    /// The task of the loop; `None` after its end was waited for.
    pub(super) task: Option<JoinHandle<Option<Stopped>>>,
    /// Why the run stopped before its jobs were done. It is set when the task of the loop has ended.
    pub(super) stopped: Option<Stopped>,
}

impl Run {
    /// Returns the next outcome; `None` after the last one. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Outcome>> {
        if let Some(outcome) = self.outcomes.recv().await {
            return Some(outcome);
        }
        if let Some(task) = &mut self.task {
            self.stopped = task.await.unwrap_or_else(|error| {
                Some(match error.try_into_panic() {
                    Ok(panic) => Stopped::Broken {
                        reason: panic_message(&*panic).to_owned(),
                    },
                    // Only the drop of the run aborts its task, so nobody sees this value.
                    Err(_) => Stopped::Asked,
                })
            });
            self.task = None;
        }
        None
    }

    /// Waits for an outcome, and takes it with the others that are ready, up to `most`. Returns how many it took, which
    /// is 0 after the last outcome. Cancel safe.
    pub async fn next_many(&mut self, outcomes: &mut Vec<Arc<Outcome>>, most: usize) -> usize {
        match self.next().await {
            None => 0,
            Some(first) => {
                outcomes.push(first);
                let mut taken = 1;
                while taken < most
                    && let Ok(outcome) = self.outcomes.try_recv()
                {
                    outcomes.push(outcome);
                    taken += 1;
                }
                taken
            }
        }
    }

    /// Collects all outcomes of the run, and cancels the run when the token is cancelled. Calls back with `(completed,
    /// total)` after each outcome.
    pub(super) async fn collect(
        mut self,
        mut token: Option<CancellationToken>,
        mut on_progress: Option<ProgressCallback<'_>>,
        total: u64,
    ) -> Result<Vec<Arc<Outcome>>, Error> {
        let mut outcomes = Vec::new();
        loop {
            let outcome = match &token {
                None => self.next().await,
                Some(stop) => tokio::select! {
                    biased;
                    () = stop.cancelled() => {
                        self.handle().cancel();
                        token = None;
                        continue;
                    }
                    outcome = self.next() => outcome,
                },
            };
            let Some(outcome) = outcome else { break };
            outcomes.push(outcome);
            if let Some(callback) = &mut on_progress {
                callback(outcomes.len() as u64, total);
            }
        }
        match self.stopped() {
            Some(Stopped::Broken { reason }) => Err(Error::RunBroke {
                reason: reason.clone(),
            }),
            _ => Ok(outcomes),
        }
    }

    /// Returns a handle that steers the run.
    pub fn handle(&self) -> RunHandle {
        self.handle.clone()
    }

    /// Returns why the run stopped before its jobs were done, if it did. This is known only after the last outcome.
    pub fn stopped(&self) -> Option<&Stopped> {
        self.stopped.as_ref()
    }

    /// Takes the run to this phase, waits for its end, and discards the remaining outcomes.
    pub async fn stop(mut self, phase: Phase) -> Option<Stopped> {
        match phase {
            Phase::Running => {}
            Phase::Draining => self.handle.drain(),
            Phase::Cancelling => self.handle.cancel(),
            Phase::Killing => self.handle.kill(),
        }
        while self.next().await.is_some() {}
        self.stopped.take()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
