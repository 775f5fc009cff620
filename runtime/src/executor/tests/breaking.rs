//! Breakers.

use std::sync::Mutex;

use ratchet_resilience::circuit_breaker::{CircuitBreaker, CircuitBreakerBuilder};

use super::*;
use crate::event::{Event, Record};
use crate::executor::Sink;

fn breaker() -> CircuitBreakerBuilder {
    CircuitBreaker::builder()
        .consecutive_failures(2)
        .open_for(SECOND * 10)
        .open_jitter(0.0)
        .probes(1)
}

/// Fails until so many seconds have passed.
fn fails_until(id: &str, seconds: u32, since: tokio::time::Instant) -> Job {
    Job::closure(id, move |_| async move {
        if since.elapsed() < SECOND * seconds {
            return Err(Failure::new(Class::Task, "down"));
        }
        Ok(Payload::null())
    })
}

struct Changes(Arc<Mutex<Vec<String>>>);

impl Sink for Changes {
    fn on(&mut self, record: &Record) {
        if let Event::BreakerChanged { name, state } = &record.event {
            self.0.lock().unwrap().push(format!("{name} {state}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_fails_is_left_alone_and_others_go_on() {
    let changes: Arc<Mutex<Vec<String>>> = Arc::default();
    let executor = Executor::builder()
        .slots(1)
        .host_breaker(breaker)
        .sink(Changes(Arc::clone(&changes)))
        .build()
        .unwrap();
    let begin = tokio::time::Instant::now();
    let jobs = [
        fails_until("a", 5, begin).on_host("web1"),
        fails_until("b", 5, begin).on_host("web1"),
        fails_until("c", 5, begin).on_host("web1"),
        takes("d", 1).on_host("web2"),
    ];
    let outcomes = all(executor.run_list(jobs).unwrap()).await;
    assert_eq!(
        told(&outcomes),
        ["a failed", "b failed", "d succeeded", "c succeeded"]
    );
    assert_eq!(outcomes[3].queued, SECOND * 10, "until the probe");
    assert_eq!(outcomes[3].attempts, 1, "to be refused costs nothing");
    let changes = changes.lock().unwrap().clone();
    assert_eq!(changes, ["web1 open", "web1 half_open", "web1 closed"]);
}

#[tokio::test(start_paused = true)]
async fn patience_ends_before_an_open_breaker_too() {
    let executor = Executor::builder()
        .slots(1)
        .kind_breaker(breaker)
        .build()
        .unwrap();
    let impatient = takes("c", 1).terms(terms(Timeouts {
        queue: Some(SECOND * 3),
        ..Timeouts::default()
    }));
    let outcomes = executor
        .run_all([fails("a"), fails("b"), impatient])
        .await
        .unwrap();
    let failure = outcomes[2].failure().unwrap();
    assert_eq!(failure.class, Class::Breaker);
    assert_eq!((outcomes[2].attempts, outcomes[2].queued), (0, SECOND * 3));
}

#[tokio::test(start_paused = true)]
async fn what_a_job_got_wrong_opens_nothing() {
    let executor = Executor::builder()
        .slots(1)
        .kind_breaker(breaker)
        .build()
        .unwrap();
    let wrong = |id: &str| {
        let failure = Failure::new(Class::Task, "no such file").retryable(false);
        Job::closure(id, move |_| std::future::ready(Err(failure.clone())))
    };
    let begin = tokio::time::Instant::now();
    let jobs = [wrong("a"), wrong("b"), wrong("c"), takes("d", 1)];
    let outcomes = executor.run_all(jobs).await.unwrap();
    assert!(outcomes[3].is_success());
    assert_eq!(begin.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_host_may_be_called_as_a_kind_of_worker_is() {
    let changes: Arc<Mutex<Vec<String>>> = Arc::default();
    let executor = Executor::builder()
        .slots(1)
        .kind_breaker(breaker)
        .host_breaker(breaker)
        .sink(Changes(Arc::clone(&changes)))
        .build()
        .unwrap();
    let jobs = ["a", "b"].map(|id| fails(id).on_host("closures"));
    all(executor.run_list(jobs).unwrap()).await;
    let changes = changes.lock().unwrap().clone();
    assert_eq!(changes, ["closures open", "closures open"]);
}
