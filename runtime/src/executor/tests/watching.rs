//! Tests of sinks.

use std::sync::Mutex;
use std::sync::mpsc;

use super::*;
use crate::context::Context;
use crate::context::Step;
use crate::event::{EventRecord, RunEvent};
use crate::executor::{EventFilter, Sink};

/// A sink that records all events.
struct Notes(Arc<Mutex<Vec<EventRecord>>>);

impl Sink for Notes {
    fn on(&mut self, record: &EventRecord) {
        self.0.lock().unwrap().push(record.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_sees_all_that_happens_in_order() {
    let notes = Arc::default();
    let executor = Executor::builder()
        .slots(1)
        .clock(PausedClock::new(SECOND))
        .sink(Notes(Arc::clone(&notes)))
        .build()
        .unwrap();
    let job = Job::closure("a", |context: Context| async move {
        tokio::time::sleep(SECOND).await;
        context.progress(Step {
            message: Some("half".to_owned()),
            ..Step::default()
        });
        tokio::time::sleep(SECOND).await;
        match context.attempt() {
            1 => Err(Failure::new(Class::Task, "once more")),
            _ => Ok(Payload::null()),
        }
    });
    let retried = Terms {
        retry: Some(retrying(2)),
        ..Terms::default()
    };
    executor.run_all([job.terms(retried)]).await.unwrap();
    let notes: Vec<String> = notes
        .lock()
        .unwrap()
        .iter()
        .map(|record| {
            let EventRecord { at_ms, event, .. } = record;
            let what = match event {
                RunEvent::RunStarted { total } => format!("run of {total:?}"),
                RunEvent::JobQueued { id, task, .. } => format!("{id} queued: {task}"),
                RunEvent::AttemptStarted { id, attempt, .. } => format!("{id} started: {attempt}"),
                RunEvent::AttemptProgress { id, message, .. } => format!("{id} says {message:?}"),
                RunEvent::AttemptFailed { retry_in_ms, .. } => format!("again in {retry_in_ms}"),
                RunEvent::JobEnded { outcome } => format!("{} ended", outcome.id),
                RunEvent::RunEnded { total, succeeded } => format!("{succeeded} of {total}"),
                other => format!("{other:?}"),
            };
            format!("{at_ms}: {what}")
        })
        .collect();
    assert_eq!(
        notes,
        [
            "1000: run of Some(1)",
            "1000: a queued: closure",
            "1000: a started: 1",
            "2000: a says Some(\"half\")",
            "3000: again in 1000",
            "4000: a started: 2",
            "5000: a says Some(\"half\")",
            "6000: a ended",
            "6000: 1 of 1",
        ]
    );
}

struct Panics;

impl Sink for Panics {
    fn on(&mut self, _record: &EventRecord) {
        panic!("no more paper");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_may_panic_and_others_see_on() {
    let notes: Arc<Mutex<Vec<EventRecord>>> = Arc::default();
    let executor = Executor::builder()
        .sink(Panics)
        .sink(Notes(Arc::clone(&notes)))
        .build()
        .unwrap();
    let outcomes = executor.run_all([takes("a", 1)]).await.unwrap();
    assert_eq!(told(&outcomes), ["a succeeded"]);
    let last = notes.lock().unwrap().last().unwrap().event.clone();
    assert_eq!(
        last,
        RunEvent::RunEnded {
            total: 1,
            succeeded: 1
        }
    );
}

/// A sink that waits at its first record until the test lets it go on.
struct Stuck {
    gate: mpsc::Receiver<()>,
    seen: Arc<Mutex<(u64, u64, u64)>>,
}

impl Sink for Stuck {
    fn on(&mut self, record: &EventRecord) {
        // The test may have ended by then.
        let _ = self.gate.recv();
        let mut seen = self.seen.lock().unwrap();
        seen.0 += 1;
        seen.1 += u64::from(matches!(record.event, RunEvent::JobEnded { .. }));
    }

    fn events_dropped(&mut self, count: u64) {
        self.seen.lock().unwrap().2 += count;
    }
}

/// The test needs several threads, because a sink that waits blocks one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_sink_that_is_stuck_holds_up_nobody_and_is_told_what_it_missed() {
    let (open, gate) = mpsc::channel();
    let seen = Arc::default();
    let stuck = Stuck {
        gate,
        seen: Arc::clone(&seen),
    };
    let executor = Executor::builder().slots(4).sink(stuck).build().unwrap();
    let jobs = (0..3_000)
        .map(|number: u32| Job::closure(number.to_string(), |_| async { Ok(Payload::null()) }));
    let mut run = executor.run(jobs).unwrap();
    for _ in 0..3_000 {
        assert!(
            run.next().await.unwrap().is_success(),
            "it goes on without the sink"
        );
    }
    drop(open);
    assert!(run.next().await.is_none());
    let (records, ended, missed) = *seen.lock().unwrap();
    // Each job is queued, started and ended, and the run has two events of its own. The records that the sink does not
    // need were dropped first.
    assert_eq!(records + missed, 3 * 3_000 + 2);
    assert!(missed > 0);
    assert_eq!(ended, 3_000);
}

/// A sink with this interest that records its events.
struct Interested(EventFilter, Arc<Mutex<Vec<EventRecord>>>);

impl Sink for Interested {
    fn on(&mut self, record: &EventRecord) {
        self.1.lock().unwrap().push(record.clone());
    }

    fn event_filter(&self) -> EventFilter {
        self.0
    }
}

async fn seen_of(event_filter: EventFilter, jobs: usize) -> Vec<EventRecord> {
    let seen = Arc::default();
    let sink = Interested(event_filter, Arc::clone(&seen));
    let executor = Executor::builder().slots(4).sink(sink).build().unwrap();
    let jobs =
        (0..jobs).map(|number| Job::closure(number.to_string(), |_| async { Ok(Payload::null()) }));
    executor.run_all(jobs).await.unwrap();
    let seen = seen.lock().unwrap();
    seen.clone()
}

#[tokio::test(start_paused = true)]
async fn a_sink_with_interest_in_the_run_hears_of_no_single_job() {
    let events = seen_of(EventFilter::Run, 3).await;
    assert!(matches!(
        &events[..],
        [
            EventRecord {
                event: RunEvent::RunStarted { .. },
                ..
            },
            EventRecord {
                event: RunEvent::RunEnded { total: 3, .. },
                ..
            }
        ]
    ));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_wants_all_events_misses_none() {
    // These are many more events than the backlog of a sink with another interest holds.
    let events = seen_of(EventFilter::Complete, 20_000).await;
    assert_eq!(events.len(), 3 * 20_000 + 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_runs_for_longer_than_its_terms_call_slow_is_told_once() {
    let notes: Arc<Mutex<Vec<EventRecord>>> = Arc::default();
    let executor = Executor::builder()
        .slots(1)
        .clock(PausedClock::new(SECOND))
        .sink(Notes(Arc::clone(&notes)))
        .build()
        .unwrap();
    let slow = |retry| Terms {
        slow: Some(SECOND * 2),
        retry,
        ..Terms::default()
    };
    let twice = Job::closure("twice", |context: Context| async move {
        tokio::time::sleep(SECOND * 5).await;
        match context.attempt() {
            1 => Err(Failure::new(Class::Task, "once more")),
            _ => Ok(Payload::null()),
        }
    });
    let jobs = [
        twice.terms(slow(Some(retrying(2)))),
        takes("quick", 1).terms(slow(None)),
        takes("just", 3).terms(slow(None)),
    ];
    let run = executor.run_list(jobs).unwrap();
    let handle = run.handle();
    all(run).await;
    let notes = notes.lock().unwrap();
    let told: Vec<_> = notes
        .iter()
        .filter_map(|record| match &record.event {
            RunEvent::JobSlow {
                id,
                attempt,
                after_ms,
                ..
            } => Some((record.at_ms, id.to_string(), *attempt, *after_ms)),
            _ => None,
        })
        .collect();
    // `twice` began at 1000 and again at 7000, and `just` at 12000.
    assert_eq!(
        told,
        [
            (3000, "twice".to_owned(), 1, 2000),
            (14000, "just".to_owned(), 1, 2000)
        ]
    );
    assert_eq!(handle.status().slow, 2);
}
