//! The executor as a whole, on the paused clock.

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

/// A wall clock that goes as tokio's paused clock does.
struct PausedClock {
    began: tokio::time::Instant,
    at: SystemTime,
}

impl PausedClock {
    /// A clock that shows so much since the Unix epoch now.
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

/// A job that takes so many seconds and gives back its id.
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

/// A job that has nothing to do.
fn instant(id: &str) -> Job {
    Job::closure(id, |_| async { Ok(Payload::null()) })
}

/// A job that fails, always.
fn fails(id: &str) -> Job {
    Job::closure(id, |_| async {
        Err::<(), _>(Failure::new(Class::Task, "no"))
    })
}

/// A job that hears that it is asked to stop, and does not.
fn stubborn(id: &str) -> Job {
    Job::closure(id, |context| async move {
        context.cancelled().await;
        std::future::pending::<()>().await;
    })
}

fn executor(slots: u32) -> Executor {
    Executor::builder().slots(slots).build().unwrap()
}

/// So many attempts, a second apart.
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

/// A job that fails after a second, and is tried again up to nine times.
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

/// The outcomes of a run up to its end.
async fn rest(run: &mut Run) -> Vec<Arc<Outcome>> {
    let mut outcomes = Vec::new();
    while let Some(outcome) = run.next().await {
        outcomes.push(outcome);
    }
    outcomes
}

/// Ids and statuses, as text.
fn told(outcomes: &[Arc<Outcome>]) -> Vec<String> {
    let told = outcomes
        .iter()
        .map(|outcome| format!("{} {}", outcome.id, outcome.status()));
    told.collect()
}

fn message(outcome: &Outcome) -> &str {
    outcome.failure().map_or("", |failure| &failure.message)
}
