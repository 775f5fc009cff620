//! Tests of what is reported about locks, limits and waiting jobs: the figures, and the debug events.

use std::fmt::{Debug, Write as _};
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;
use crate::scheduling::{Limit, ParallelizationHint, ParallelizationManager};

/// Collects the debug events of one target.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "ratchet_runtime::parallelization"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.lock().unwrap().push(line.message + &line.fields);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => write!(self.fields, " {name}={value:?}").unwrap(),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.fields, " {}={value}", field.name()).unwrap();
    }
}

impl Listener {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn hinted(id: &str, hint: ParallelizationHint) -> Job {
    let terms = Terms {
        hint: Some(hint),
        ..Terms::default()
    };
    takes(id, 1).on_host("web1").terms(terms)
}

#[tokio::test(start_paused = true)]
async fn a_run_tells_who_acquires_waits_and_releases() {
    let listener = Listener::default();
    let _listening = tracing::subscriber::set_default(listener.clone());
    let jobs = [
        hinted("a", ParallelizationHint::HostExclusive),
        hinted("b", ParallelizationHint::HostExclusive),
        hinted("c", ParallelizationHint::rate_limited(1000.0)),
    ];
    executor(4).run_all(jobs).await.unwrap();
    let told = |what: &str, hint: &str, job: &str| {
        format!("{what} hint={hint} host=web1 task=closure job={job}")
    };
    let mut lines = listener.take();
    let release_of_a = told("released", "host_exclusive", "a");
    let at = lines.iter().position(|line| *line == release_of_a).unwrap();
    // The jobs `a` and `c` end at the same moment, in either order.
    lines.retain(|line| *line != told("released", "rate_limited", "c"));
    assert_eq!(
        lines,
        [
            told("acquired", "host_exclusive", "a"),
            told("acquired", "rate_limited", "c"),
            told("waits for", "host_exclusive", "b"),
            release_of_a,
            told("acquired", "host_exclusive", "b"),
            told("released", "host_exclusive", "b"),
        ],
    );
    assert!(at >= 3);
}

#[tokio::test(start_paused = true)]
async fn a_manager_tells_who_acquires_waits_and_releases() {
    let listener = Listener::default();
    let _listening = tracing::subscriber::set_default(listener.clone());
    let manager = ParallelizationManager::new();
    let hint = ParallelizationHint::GlobalExclusive;
    let held = manager.try_acquire(&hint, "web1", "apt").unwrap().unwrap();
    let other = manager.clone();
    let waiting = tokio::spawn(async move {
        let hint = ParallelizationHint::GlobalExclusive;
        other.acquire(&hint, "web2", "apt").await.map(drop)
    });
    tokio::task::yield_now().await;
    drop(held);
    waiting.await.unwrap().unwrap();
    let told =
        |what: &str, host: &str| format!("{what} hint=global_exclusive host={host} task=apt");
    assert_eq!(
        listener.take(),
        [
            told("acquired", "web1"),
            told("waits for", "web2"),
            told("released", "web1"),
            told("acquired", "web2"),
            told("released", "web2"),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn an_executor_tells_its_locks_and_limits_before_during_and_after_a_run() {
    let executor = Executor::builder()
        .slots(4)
        .limit("db", Limit::max(2).unwrap())
        .build()
        .unwrap();
    let idle = executor.parallelization().await.unwrap();
    assert!(idle.host_locks.is_empty() && idle.global_available);
    assert!((idle.limits["db"].left - 2.0).abs() < 1e-9);

    let mut run = executor
        .run_list([
            hinted("a", ParallelizationHint::HostExclusive),
            hinted("b", ParallelizationHint::GlobalExclusive),
            hinted("c", ParallelizationHint::rate_limited(0.5)),
        ])
        .unwrap();
    tokio::time::sleep(SECOND / 2).await;
    let busy = executor.parallelization().await.unwrap();
    assert_eq!(busy.host_locks, [("web1".to_owned(), true)].into());
    assert_eq!((busy.running, busy.waiters), (2, 1));
    assert!((busy.rate_limiter_states["closure"].refill_rate - 0.5).abs() < 1e-9);
    while run.next().await.is_some() {}
    assert_eq!(executor.parallelization().await.unwrap(), idle);
}

#[tokio::test(start_paused = true)]
async fn kept_statistics_are_those_of_the_last_run() {
    let executor = Executor::builder().slots(2).keep_stats().build().unwrap();
    let retried = Terms {
        retry: Some(retrying(2)),
        ..Terms::default()
    };
    let jobs = [takes("a", 2), takes("b", 4), fails("c").terms(retried)];
    executor.run_all(jobs).await.unwrap();
    let stats = executor.stats().unwrap();
    assert_eq!((stats.completed_jobs, stats.failed_jobs), (2, 1));
    assert_eq!((stats.total_retries, stats.peak_concurrent_jobs), (1, 2));
    assert_eq!(stats.average_execution_time, SECOND * 2);
    let queue = executor.queue_status();
    assert_eq!(
        (queue.queued, queue.running, queue.ended, queue.total),
        (0, 0, 3, 3)
    );

    executor.run_all([takes("d", 1)]).await.unwrap();
    assert_eq!(executor.stats().unwrap().total_jobs, 1);
    assert!(
        super::executor(1).stats().is_none(),
        "nobody asked to keep them"
    );
    executor.submit(takes("e", 1)).unwrap();
    let queue = executor.queue_status();
    assert_eq!((queue.queued, queue.ended, queue.total), (1, 1, 2));
}
