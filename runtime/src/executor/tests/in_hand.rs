//! Tests of how much a run holds at once: as many jobs as the window allows, and as many bytes.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;
use crate::context::Context;
use crate::executor::{Attempt, OutcomeOrder, Runner};
use crate::scheduling::Priority;

#[tokio::test(start_paused = true)]
async fn a_stream_is_pulled_as_there_is_room_and_no_further() {
    let pulled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pulled);
    let jobs = (0..10_000).map(move |number: u32| {
        count.fetch_add(1, Relaxed);
        instant(&number.to_string())
    });
    let executor = Executor::builder().window(300).build().unwrap();
    let mut run = executor.run(jobs).unwrap();
    // Nobody takes an outcome, so the run stands still after a while: 256 outcomes are in the channel, the others in
    // the run.
    tokio::time::sleep(SECOND).await;
    assert_eq!(pulled.load(Relaxed), 256 + 300);
    let mut outcomes = 0;
    while run.next().await.is_some() {
        outcomes += 1;
    }
    assert_eq!(outcomes, 10_000);
}

#[tokio::test(start_paused = true)]
async fn large_results_that_nobody_takes_hold_up_the_rest() {
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let large = Payload::from_text(&"x".repeat(1024 * 1024));
    let jobs = (0..1_000).map(move |number: u32| {
        let (large, count) = (large.clone(), Arc::clone(&count));
        Job::closure(number.to_string(), move |_| {
            count.fetch_add(1, Relaxed);
            let large = large.clone();
            async move { Ok(large) }
        })
    });
    for ordering in [OutcomeOrder::Completion, OutcomeOrder::Submission] {
        ran.store(0, Relaxed);
        let executor = Executor::builder().slots(1).ordering(ordering);
        let run = executor.build().unwrap().run(jobs.clone()).unwrap();
        tokio::time::sleep(SECOND).await;
        // 256 outcomes are in the channel, and 64 in the run. Each has a few bytes more than a MiB.
        assert_eq!(ran.load(Relaxed), 256 + 64);
        assert_eq!(all(run).await.len(), 1_000);
    }
}

/// A runner that takes a while and returns nothing.
struct Slow;

#[async_trait::async_trait]
impl Runner for Slow {
    async fn run(&self, _: Attempt, _: Context) -> Result<Payload, Failure> {
        tokio::time::sleep(SECOND).await;
        Ok(Payload::null())
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_large_jobs_is_pulled_by_their_bytes() {
    let pulled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pulled);
    let large = Payload::from_text(&"x".repeat(1024 * 1024));
    let jobs = (0..1_000).map(move |number: u32| {
        count.fetch_add(1, Relaxed);
        Job::task(number.to_string(), "t", large.clone())
    });
    let executor = Executor::builder().slots(1).runner(Slow).build().unwrap();
    let run = executor.run(jobs).unwrap();
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(pulled.load(Relaxed), 64);
    assert_eq!(all(run).await.len(), 1_000);
}

/// While jobs end at once, a short queue is enough. When they take longer, the run looks at all jobs that the window
/// allows, because one of them may have to start first.
#[tokio::test(start_paused = true)]
async fn a_job_behind_many_that_have_become_slow_is_seen_in_time() {
    let job = |number: u32| match number {
        0..12_000 => instant(&number.to_string()),
        12_000..14_000 => takes("slow", 1),
        _ => takes("urgent", 1).terms(Arc::new(Terms {
            priority: Priority::Critical,
            ..Terms::default()
        })),
    };
    let jobs = (0..=14_000).map(move |number| Job {
        id: format!("{number}").into(),
        ..job(number)
    });
    let executor = Executor::builder().slots(1).build().unwrap();
    let outcomes = all(executor.run(jobs).unwrap()).await;
    let urgent = outcomes.iter().position(|one| one.id.as_str() == "14000");
    assert!(urgent.is_some_and(|place| place < 12_010), "{urgent:?}");
}

#[tokio::test(start_paused = true)]
async fn one_slow_job_holds_the_source_of_an_ordered_stream() {
    let pulled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pulled);
    let jobs = (0..1_000).map(move |number: u32| {
        count.fetch_add(1, Relaxed);
        takes(&number.to_string(), if number == 0 { 50 } else { 0 })
    });
    let executor = Executor::builder()
        .slots(4)
        .window(100)
        .ordering(OutcomeOrder::Submission)
        .build()
        .unwrap();
    let mut run = executor.run(jobs).unwrap();
    let first = tokio::time::timeout(SECOND * 40, run.next()).await;
    assert!(first.is_err(), "the first is not there yet");
    assert_eq!(pulled.load(Relaxed), 100);
    let outcomes = all(run).await;
    let ids: Vec<usize> = outcomes
        .iter()
        .map(|one| one.id.as_str().parse().unwrap())
        .collect();
    assert_eq!(ids, (0..1_000).collect::<Vec<_>>());
}
