//! Tests what a run measures while everything is suspended, as by Ctrl-Z. All tests of a process share the clock of work,
//! and this test stops it, so it has a process of its own.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use ratchet_caching::Clock;
use ratchet_runtime::event::{EventRecord, RunEvent};
use ratchet_runtime::process::{suspend_while, working_now};
use ratchet_runtime::{
    BreakerConfig, Class, Executor, Failure, Job, Payload, Sink, Terms, Timestamp,
};
use tokio::sync::Notify;
use tokio::time::{Instant, advance, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// Suspends everything while this much time passes.
fn suspended_for(time: Duration) {
    suspend_while(|| {
        // The clock has moved when this was polled for the first time; then it only yields.
        let _ = pin!(advance(time)).poll(&mut Context::from_waker(Waker::noop()));
    });
}

/// The time of day, as far as the paused clock has moved.
struct TimeOfDay(Instant);

impl Clock for TimeOfDay {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.0.elapsed()
    }
}

#[derive(Clone, Default)]
struct Times(Arc<Mutex<Vec<(u64, RunEvent)>>>);

impl Sink for Times {
    fn on(&mut self, record: &EventRecord) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.push((record.at_ms, record.event.clone()));
    }
}

#[tokio::test(start_paused = true)]
async fn neither_deadline_nor_patience_nor_durations_count_the_time_of_a_suspension() {
    let times = Times::default();
    let executor = Executor::builder()
        .slots(1)
        .deadline(SECOND * 10)
        .breaker(BreakerConfig {
            consecutive: Some(1),
            ..BreakerConfig::default()
        })
        .sink(times.clone())
        .clock(TimeOfDay(Instant::now()))
        .build()
        .unwrap();
    let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, goes) = (Arc::clone(&began), Arc::clone(&go));
    let first = Job::closure("first", move |_| {
        let (begins, goes) = (Arc::clone(&begins), Arc::clone(&goes));
        async move {
            begins.notify_one();
            goes.notified().await;
            Ok(Payload::null())
        }
    });
    let mut terms = Terms::default();
    terms.timeouts.queue = Some(SECOND * 5);
    let second = Job::closure("second", |_| async { Ok(Payload::null()) }).terms(terms);
    // The failure of this job opens the breaker.
    let third = Job::closure("third", |_| async {
        Err::<(), _>(Failure::new(Class::Task, "down"))
    });
    let (start, work_start) = (Instant::now(), working_now());
    let mut run = executor.run_list([first, second, third]).unwrap();
    began.notified().await;
    sleep(SECOND * 2).await;
    suspended_for(SECOND * 100);
    // This gives timers that ring too early the time to do so.
    sleep(SECOND * 2).await;
    go.notify_one();
    let mut outcomes = Vec::new();
    while let Some(outcome) = run.next().await {
        outcomes.push(outcome);
    }
    assert_eq!(run.stopped(), None);
    assert_eq!(start.elapsed(), SECOND * 104);
    assert_eq!(working_now() - work_start, SECOND * 4);
    assert!(outcomes[..2].iter().all(|outcome| outcome.is_success()));
    assert_eq!(outcomes[0].duration, SECOND * 4);
    assert_eq!(outcomes[1].queued, SECOND * 4);
    // The times of events, jobs and breakers are times of day, which do not stand still. The times from before the
    // suspension do not change by it.
    let day = |millis| Some(Timestamp::from_millis(millis));
    let began_and_ended = |number: usize| (outcomes[number].started, outcomes[number].ended);
    assert_eq!(began_and_ended(0), (day(0), day(104_000)));
    assert_eq!(began_and_ended(1), (day(104_000), day(104_000)));
    let breakers = run.handle().status().breakers;
    assert_eq!(breakers[0].first_opened_at_ms, 104_000);
    let times = times.0.lock().unwrap();
    assert_eq!(times.last().unwrap().0 - times[0].0, 104_000);
}
