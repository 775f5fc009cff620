//! Tests a run with a journal, and the run that resumes it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ratchet_runtime::journal::{ResumeDecision, RunReason};
use ratchet_runtime::{
    Class, Durability, Executor, Failure, Job, Journal, Payload, Results, Resume, RunStore, Status,
};

/// Makes jobs whose runs are counted. With `fail`, those with odd numbers fail.
fn jobs(runs: &Arc<AtomicU32>, fail: bool) -> Vec<Job> {
    let job = |number: u32| {
        let runs = Arc::clone(runs);
        Job::closure(number.to_string(), move |_| {
            runs.fetch_add(1, Ordering::Relaxed);
            async move {
                if fail && number % 2 == 1 {
                    return Err(Failure::new(Class::Task, "not today").retryable(false));
                }
                Ok(Payload::null())
            }
        })
    };
    (0..10).map(job).collect()
}

#[tokio::test]
async fn only_what_did_not_succeed_is_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = RunStore::at(folder.path());
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
    let (id, journal) = store
        .create(now, None, Payload::null(), Durability::Each)
        .unwrap();
    let runs = Arc::new(AtomicU32::new(0));

    let journal = Arc::new(Mutex::new(journal));
    let executor = Executor::builder()
        .ledger(Arc::clone(&journal))
        .build()
        .unwrap();
    let outcomes = executor.run_all(jobs(&runs, true)).await.unwrap();
    let summary = outcomes.summarize(Duration::from_secs(1));
    assert_eq!((summary.total, summary.counts.failed), (10, 5));
    journal.lock().unwrap().end(now, &summary).unwrap();
    drop((executor, journal));

    let path = store.journal(id);
    let (journal, history) =
        Journal::resume(&path, now, &Payload::null(), Durability::None).unwrap();
    let (ended, kept) = history.ended().unwrap();
    assert_eq!((ended, kept.counts), (now, summary.counts));
    let mut resume = Resume::new(Arc::new(history), None);
    let executor = Executor::builder().ledger(journal).build().unwrap();
    let again: Vec<Job> = jobs(&runs, false)
        .into_iter()
        .filter(|job| match resume.decide(job) {
            ResumeDecision::Keep(recorded) => {
                let outcome = resume.history().outcome(&recorded).unwrap();
                assert_eq!(outcome.id, job.id);
                false
            }
            ResumeDecision::Run(why) => {
                assert_eq!(why, RunReason::Failed);
                true
            }
        })
        .collect();
    let outcomes = executor.run_all(again).await.unwrap();
    assert!(outcomes.all_successful());
    assert_eq!(runs.load(Ordering::Relaxed), 15, "five of ten twice");
    drop(executor);

    let history = ratchet_runtime::History::load(&path).unwrap();
    assert_eq!((history.jobs(), history.recorded()), (10, 15));
    for outcome in history.outcomes() {
        assert_eq!(outcome.unwrap().status(), Status::Succeeded);
    }
}
