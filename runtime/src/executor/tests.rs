//! Tests of the executor as a whole, on the paused clock.

mod acquisitions;
mod ages;
mod ahead;
mod at_random;
mod breaking;
mod closures;
mod coming_in;
mod executing;
mod failing;
mod in_hand;
mod late;
mod machine;
mod orchestrating;
mod owners;
mod placing;
mod pool;
mod recording;
mod resources;
mod reusing;
mod scripted;
mod snapshots;
mod steering;
mod stopping;
mod watching;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ratchet_ipc::Payload;
use ratchet_resilience::retry::{BackoffPolicy, Delay, Jitter};

use super::{Executor, Run};
use crate::job::{Job, Terms, Timeouts};
use crate::outcome::{Class, Failure, Outcome};

const SECOND: Duration = Duration::from_secs(1);

/// A wall clock that moves with tokio's paused clock.
struct PausedClock {
    began: tokio::time::Instant,
    at: SystemTime,
}

impl PausedClock {
    /// Makes a clock that shows this time since the Unix epoch now.
    fn new(since_epoch: Duration) -> Self {
        Self {
            began: tokio::time::Instant::now(),
            at: SystemTime::UNIX_EPOCH + since_epoch,
        }
    }
}

impl ratchet_caching::Clock for PausedClock {
    fn now(&self) -> SystemTime {
        self.at + self.began.elapsed()
    }
}

/// Makes a job that takes this many seconds and returns its id.
fn takes(id: &str, seconds: u64) -> Job {
    let text = id.to_owned();
    Job::closure(id, move |_| {
        let text = text.clone();
        async move {
            tokio::time::sleep(SECOND * u32::try_from(seconds).unwrap()).await;
            Ok(Payload::from_text(&text))
        }
    })
}

/// Makes a job that ends at once.
fn instant(id: &str) -> Job {
    Job::closure(id, |_| async { Ok(Payload::null()) })
}

/// Makes a job of which every attempt fails.
fn fails(id: &str) -> Job {
    Job::closure(id, |_| async {
        Err::<(), _>(Failure::new(Class::Task, "no"))
    })
}

/// Makes a job that takes its stop token but does not stop when it is asked.
fn stubborn(id: &str) -> Job {
    Job::closure(id, |context| async move {
        context.cancelled().await;
        std::future::pending::<()>().await;
    })
}

fn executor(slots: u32) -> Executor {
    Executor::builder().slots(slots).build().unwrap()
}

/// Makes a policy of this many attempts, a second apart.
fn retrying(attempts: u32) -> Arc<BackoffPolicy> {
    let policy = BackoffPolicy::builder()
        .max_attempts(attempts)
        .delay(Delay::Fixed(SECOND))
        .jitter(Jitter::None);
    Arc::new(policy.build().unwrap())
}

fn terms(timeouts: Timeouts) -> Terms {
    Terms {
        timeouts,
        ..Terms::default()
    }
}

/// Makes a job that fails after a second, and is tried again up to nine times.
fn fails_and_is_tried_again(id: &str) -> Job {
    let job = Job::closure(id, |_| async {
        tokio::time::sleep(SECOND).await;
        Err::<(), _>(Failure::new(Class::Task, "no"))
    });
    job.terms(Terms {
        retry: Some(retrying(9)),
        ..Terms::default()
    })
}

async fn all(mut run: Run) -> Vec<Arc<Outcome>> {
    rest(&mut run).await
}

/// Collects the outcomes of a run up to its end.
async fn rest(run: &mut Run) -> Vec<Arc<Outcome>> {
    let mut outcomes = Vec::new();
    while let Some(outcome) = run.next().await {
        outcomes.push(outcome);
    }
    outcomes
}

/// Formats the ids and statuses of outcomes.
fn told(outcomes: &[Arc<Outcome>]) -> Vec<String> {
    let told = outcomes
        .iter()
        .map(|outcome| format!("{} {}", outcome.id, outcome.status()));
    told.collect()
}

fn message(outcome: &Outcome) -> &str {
    outcome.failure().map_or("", |failure| &failure.message)
}
