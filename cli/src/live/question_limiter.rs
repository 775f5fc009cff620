//! Keeps clients from taking more of the loop's time than it has to spare.

use std::sync::Arc;
use std::time::Duration;

use ratchet_runtime::{Error, RunHandle, Snapshot};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// The least time between two questions to the loop.
const MIN_INTERVAL: Duration = Duration::from_millis(5);

/// The pause after an answer, as a multiple of the time that the answer took.
const REST_FACTOR: u32 = 20;

/// How old a snapshot may be that is used for another question.
const MAX_SNAPSHOT_AGE: Duration = Duration::from_millis(100);

/// Passes one question at a time to the loop, with pauses that are long compared to the answers. So a client that
/// floods the socket makes other clients wait, but not the run.
pub(super) struct QuestionLimiter(Mutex<LimiterState>);

/// The time at which the next question may pass, and the last snapshot.
#[derive(Default)]
pub(super) struct LimiterState {
    next: Option<Instant>,
    snapshot: Option<(Instant, Arc<Snapshot>)>,
}

impl QuestionLimiter {
    /// Makes a limiter that has passed no question yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(LimiterState::default()))
    }

    /// Waits for its turn, and asks the loop. Turns are in the order of the calls, because the mutex is fair.
    pub(super) async fn pass<T>(&self, question: impl Future<Output = T>) -> T {
        let mut gate = self.0.lock().await;
        Self::ask(&mut gate, question).await
    }

    /// Returns a snapshot of the run that is fresh enough, and asks the loop if there is none.
    pub(super) async fn snapshot(&self, handle: &RunHandle) -> Result<Arc<Snapshot>, Error> {
        let mut gate = self.0.lock().await;
        if let Some((at, snapshot)) = &gate.snapshot
            && at.elapsed() < MAX_SNAPSHOT_AGE
        {
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = Arc::new(Self::ask(&mut gate, handle.snapshot()).await?);
        gate.snapshot = Some((Instant::now(), Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// Forgets the snapshot, because the next question has to see a change that was made.
    pub(super) async fn forget(&self) {
        self.0.lock().await.snapshot = None;
    }

    async fn ask<T>(
        gate: &mut MutexGuard<'_, LimiterState>,
        question: impl Future<Output = T>,
    ) -> T {
        if let Some(next) = gate.next {
            tokio::time::sleep_until(next).await;
        }
        let asked = Instant::now();
        let answer = question.await;
        gate.next = Some(Instant::now() + (asked.elapsed() * REST_FACTOR).max(MIN_INTERVAL));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_loop_has_its_rest_after_each_question() {
        let question_limiter = QuestionLimiter::new();
        let begin = Instant::now();
        let takes = |millis| async move { tokio::time::sleep(Duration::from_millis(millis)).await };
        question_limiter.pass(takes(10)).await;
        assert_eq!(begin.elapsed(), Duration::from_millis(10));
        question_limiter.pass(takes(0)).await;
        assert_eq!(begin.elapsed(), Duration::from_millis(210));
        question_limiter.pass(takes(0)).await;
        assert_eq!(begin.elapsed(), Duration::from_millis(215));
    }
}
