//! Tests of breakers and of the retry budget in a run.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::*;
use crate::event::{EventRecord, RunEvent};
use crate::executor::Sink;
use crate::{BreakerConfig, HostName, Limit};

/// Makes a breaker that opens after two failures in a row, for ten seconds, and lets one probe through. Jitter may make
/// its open time a tenth shorter.
fn breaker() -> BreakerConfig {
    BreakerConfig {
        failure_rate: None,
        consecutive: Some(2),
        open: SECOND * 10,
        probes: 1,
        ..BreakerConfig::default()
    }
}

/// Makes a job that fails until this many seconds have passed.
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
    fn on(&mut self, record: &EventRecord) {
        if let RunEvent::BreakerChanged(report) = &record.event {
            let on = report.host.as_ref().map_or("-", HostName::as_str);
            let (name, state) = (&report.name, report.state.as_str());
            self.0.lock().unwrap().push(format!("{name} {on} {state}"));
        }
    }
}

fn retried(job: Job, attempts: u32) -> Job {
    job.terms(Terms {
        retry: Some(retrying(attempts)),
        ..Terms::default()
    })
}

#[tokio::test(start_paused = true)]
async fn a_host_that_fails_is_left_alone_and_others_go_on() {
    let changes: Arc<Mutex<Vec<String>>> = Arc::default();
    let executor = Executor::builder()
        .slots(1)
        .breaker(breaker())
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
    let mut run = executor.run_list(jobs).unwrap();
    let outcomes = rest(&mut run).await;
    assert_eq!(
        told(&outcomes),
        ["a failed", "b failed", "d succeeded", "c succeeded"]
    );
    let queued = outcomes[3].queued;
    assert!(
        SECOND * 9 <= queued && queued <= SECOND * 10,
        "until the probe: {queued:?}"
    );
    assert_eq!(outcomes[3].attempts, 1, "to be refused costs nothing");
    let changes = changes.lock().unwrap().clone();
    assert_eq!(
        changes,
        [
            "closures web1 open",
            "closures web1 half_open",
            "closures web1 closed"
        ]
    );
    let reports = run.handle().status().breakers;
    assert_eq!((reports.len(), reports[0].opened), (1, 1));
    assert_eq!(u128::from(reports[0].open_ms), queued.as_millis());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_lost_again_and_again_opens_its_own_breaker() {
    let executor = Executor::builder().slots(1).breaker(breaker());
    let executor = executor.build().unwrap();
    let lost = |id: &str| {
        let job = Job::closure(id, |_| async {
            Err::<Payload, _>(Failure::new(Class::Host, "lost"))
        });
        job.on_host("web1")
    };
    let jobs = [
        lost("a"),
        lost("b"),
        takes("c", 1).on_host("web1"),
        takes("d", 1).on_host("web2"),
    ];
    let outcomes = all(executor.run_list(jobs).unwrap()).await;
    assert_eq!(
        told(&outcomes),
        ["a crashed", "b crashed", "d succeeded", "c succeeded"]
    );
    assert!(outcomes[3].queued >= SECOND * 9, "until the probe");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_down_for_a_minute_gets_few_calls_and_each_job_succeeds() {
    let calls = Arc::new(AtomicU32::new(0));
    let executor = Executor::builder()
        .slots(8)
        .breaker(breaker())
        .build()
        .unwrap();
    let begin = tokio::time::Instant::now();
    let jobs = (0..1_000).map(|number| {
        let calls = Arc::clone(&calls);
        let job = Job::closure(number.to_string(), move |_| {
            calls.fetch_add(1, Relaxed);
            async move {
                tokio::time::sleep(SECOND / 100).await;
                if begin.elapsed() < SECOND * 60 {
                    return Err(Failure::new(Class::Task, "down"));
                }
                Ok(Payload::null())
            }
        });
        retried(job, 20)
    });
    let outcomes = all(executor.run_list(jobs).unwrap()).await;
    assert!(outcomes.iter().all(|outcome| outcome.is_success()));
    let failed = calls.load(Relaxed) - 1_000;
    // Eight jobs ran when the breaker opened. Then one probe failed after 10, 30 and 70 seconds.
    assert!(failed <= 8 + 3, "{failed} calls failed");
    assert!(begin.elapsed() < SECOND * 75, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refused_attempt_takes_no_token_of_a_rate() {
    let executor = Executor::builder()
        .slots(1)
        .breaker(breaker())
        .limit("api", Limit::rate("1/m".parse().unwrap(), 3).unwrap())
        .build()
        .unwrap();
    let begin = tokio::time::Instant::now();
    let limited = |job: Job| {
        job.terms(Terms {
            limits: vec!["api".to_owned()],
            ..Terms::default()
        })
    };
    // Two tokens are used by two failures. The refusals of the next ten seconds must leave the third token to the
    // probe.
    let jobs = ["a", "b", "c"].map(|id| limited(fails_until(id, 5, begin)));
    let outcomes = all(executor.run_list(jobs).unwrap()).await;
    assert_eq!(told(&outcomes), ["a failed", "b failed", "c succeeded"]);
    assert!(begin.elapsed() <= SECOND * 10, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn jobs_that_wait_for_a_probe_start_as_soon_as_it_has_succeeded() {
    let executor = Executor::builder()
        .slots(4)
        .breaker(breaker())
        .build()
        .unwrap();
    let begin = tokio::time::Instant::now();
    let slow = |id: &str| {
        Job::closure(id, move |_| async move {
            tokio::time::sleep(SECOND * 2).await;
            if begin.elapsed() < SECOND * 5 {
                return Err(Failure::new(Class::Task, "down"));
            }
            Ok(Payload::null())
        })
    };
    let ids = ["a", "b", "c", "d", "e", "f", "g"];
    let outcomes = all(executor.run_list(ids.map(slow)).unwrap()).await;
    let succeeded = outcomes.iter().filter(|outcome| outcome.is_success());
    assert_eq!(succeeded.count(), 3);
    // The breaker is open from 2 s to 12 s, then one probe takes 2 s, then the other two run at once.
    assert!(begin.elapsed() <= SECOND * 16, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn patience_ends_before_an_open_breaker_too() {
    let executor = Executor::builder()
        .slots(1)
        .breaker(breaker())
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
        .breaker(breaker())
        .build()
        .unwrap();
    let wrong = |id: &str| {
        let failure = Failure::new(Class::Task, "no such file").retryable(false);
        Job::closure(id, move |_| {
            std::future::ready(Err::<(), _>(failure.clone()))
        })
    };
    let begin = tokio::time::Instant::now();
    let jobs = [wrong("a"), wrong("b"), wrong("c"), takes("d", 1)];
    let outcomes = executor.run_all(jobs).await.unwrap();
    assert!(outcomes[3].is_success());
    assert_eq!(begin.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_rejects_fails_jobs_at_once_and_says_why() {
    let executor = Executor::builder()
        .slots(1)
        .breaker(BreakerConfig {
            reject: true,
            ..breaker()
        })
        .build()
        .unwrap();
    let begin = tokio::time::Instant::now();
    let jobs = [fails("a"), fails("b"), takes("c", 1), takes("d", 1)];
    let outcomes = all(executor.run_list(jobs).unwrap()).await;
    assert_eq!(
        told(&outcomes),
        ["a failed", "b failed", "c failed", "d failed"]
    );
    let failure = outcomes[3].failure().unwrap();
    assert_eq!((failure.class, outcomes[3].attempts), (Class::Breaker, 0));
    assert_eq!(
        failure.message,
        "the breaker of closures is open: too many attempts failed in a row; task: no"
    );
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_job_is_tried_again_if_its_policy_names_the_class() {
    let reject = BreakerConfig {
        reject: true,
        ..breaker()
    };
    for (class, status) in [("breaker", "succeeded"), ("timeout", "failed")] {
        let executor = Executor::builder()
            .slots(1)
            .breaker(reject)
            .build()
            .unwrap();
        let policy = BackoffPolicy::builder()
            .max_attempts(20)
            .delay(Delay::Fixed(SECOND))
            .jitter(Jitter::None)
            .classes([class])
            .build()
            .unwrap();
        let again = takes("c", 1).terms(Terms {
            retry: Some(Arc::new(policy)),
            ..Terms::default()
        });
        let jobs = [fails("a"), fails("b"), again];
        let outcomes = all(executor.run_list(jobs).unwrap()).await;
        assert_eq!(told(&outcomes)[2], format!("c {status}"));
    }
}

#[tokio::test(start_paused = true)]
async fn retries_stay_within_the_budget_of_the_run() {
    let calls = Arc::new(AtomicU32::new(0));
    let executor = Executor::builder()
        .slots(4)
        .retry_budget(0.1)
        .build()
        .unwrap();
    let jobs = (0..100).map(|number| {
        let calls = Arc::clone(&calls);
        let job = Job::closure(number.to_string(), move |_| {
            calls.fetch_add(1, Relaxed);
            async { Err::<(), _>(Failure::new(Class::Task, "down")) }
        });
        retried(job, 4)
    });
    let mut run = executor.run_list(jobs).unwrap();
    let mut messages = Vec::new();
    while let Some(outcome) = run.next().await {
        messages.push(message(&outcome).to_owned());
    }
    // Retries are a tenth of the first attempts, and ten in any case.
    assert_eq!(calls.load(Relaxed), 100 + 10 + 10);
    let refused = "down (not tried again: the retry budget of 10 % is used up)";
    assert!(messages.iter().filter(|said| *said == refused).count() >= 90);
    let status = run.handle().status();
    assert!(status.retries_refused >= 90, "{status:?}");
}
