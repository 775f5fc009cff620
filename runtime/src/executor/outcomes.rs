//! A run, as whoever takes its outcomes has it.

use std::sync::Arc;

use ratchet_resilience::shutdown::Phase;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::handle::RunHandle;
use super::stop::Stopped;
use crate::error::panic_message;
use crate::outcome::Outcome;

/// A run: gives the outcomes of its jobs.
///
/// Outcomes have to be taken: a run whose outcomes nobody takes stops pulling jobs when its window is full. Dropping
/// it stops all that it has started.
#[derive(Debug)]
#[must_use = "dropping a run stops it"]
pub struct Run {
    /// The outcomes that the loop has let out and that were not taken yet.
    pub(super) outcomes: mpsc::Receiver<Arc<Outcome>>,
    /// The handle through which the run is watched and stopped.
    pub(super) handle: RunHandle,
    /// The task of the loop, until its end was waited for.
    pub(super) task: Option<JoinHandle<Option<Stopped>>>,
    /// Why the loop stopped before its jobs were done, once its task has ended.
    pub(super) stopped: Option<Stopped>,
}

impl Run {
    /// Returns the next outcome; nothing after the last. Cancel safe.
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
                    // Only the drop of the run aborts it, and then nobody asks.
                    Err(_) => Stopped::Asked,
                })
            });
            self.task = None;
        }
        None
    }

    /// Waits for an outcome, and takes it with those that are there, up to `most`. Returns how many it took: 0 after
    /// the last. Cancel safe.
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

    /// Returns a handle that steers the run.
    pub fn handle(&self) -> RunHandle {
        self.handle.clone()
    }

    /// Why it stopped before its jobs were done, if it did; known after the last outcome.
    pub fn stopped(&self) -> Option<&Stopped> {
        self.stopped.as_ref()
    }

    /// Asks it to stop, by this phase, and gives up its outcomes. For those who want none of what is left.
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
