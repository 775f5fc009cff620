use std::time::{Duration, Instant};

use ratchet_ipc::Payload;

use super::*;
use crate::event::{RunEvent, WorkerNews};
use crate::ids::WorkerName;
use crate::outcome::{Class, Failure, Outcome};

const MS: Duration = Duration::from_millis(1);

fn succeeded(id: &str) -> Outcome {
    Outcome {
        host: Some("web1".into()),
        attempts: 1,
        queued: MS,
        duration: 10 * MS,
        ..Outcome::new(id, "t", Ok(Payload::null()))
    }
}

fn failed(id: &str, class: Class, attempts: u32) -> Outcome {
    Outcome {
        result: Err(Box::new(Failure::new(class, "why"))),
        attempts,
        ..succeeded(id)
    }
}

/// Makes one outcome of each sort.
fn outcomes() -> [Outcome; 8] {
    [
        Outcome {
            duration: 30 * MS,
            attempts: 3,
            host: Some("web2".into()),
            ..succeeded("a")
        },
        succeeded("b"),
        Outcome {
            cached: true,
            attempts: 0,
            duration: Duration::ZERO,
            queued: Duration::ZERO,
            ..succeeded("c")
        },
        failed("d", Class::Task, 2),
        Outcome {
            duration: 50 * MS,
            task: "u".into(),
            ..failed("e", Class::Timeout, 1)
        },
        Outcome {
            host: None,
            ..failed("f", Class::Crash, 1)
        },
        failed("g", Class::Cancelled, 0),
        failed("h", Class::Need, 0),
    ]
}

fn started(id: &str) -> RunEvent {
    RunEvent::AttemptStarted {
        item: None,
        id: id.into(),
        attempt: 1,
        slot: None,
        place: None,
        worker: None,
    }
}

fn ended(outcome: Outcome) -> RunEvent {
    RunEvent::JobEnded {
        outcome: outcome.into(),
    }
}

fn retried(id: &str) -> RunEvent {
    RunEvent::AttemptFailed {
        id: id.into(),
        attempt: 1,
        class: Class::Task,
        message: "why".to_owned(),
        retry_in_ms: 5,
    }
}

fn queued(id: &str) -> RunEvent {
    RunEvent::JobQueued {
        id: id.into(),
        task: "t".into(),
        hint: None,
    }
}

#[test]
fn a_summary_counts_each_job_once_under_its_status() {
    let summary = outcomes().summarize(Duration::from_secs(2));
    assert_eq!(summary.total, 8);
    let counts = Counts {
        succeeded: 3,
        failed: 1,
        timed_out: 1,
        crashed: 1,
        cancelled: 1,
        skipped: 1,
    };
    assert_eq!(summary.counts, counts);
    assert_eq!((summary.cached, summary.retries), (1, 3));
    // Neither the cancelled one nor the skipped one was done.
    assert!((summary.throughput - 3.0).abs() < 1e-9);
    assert!((summary.success_rate - 37.5).abs() < 1e-9);
    assert!((summary.failure_rate - 37.5).abs() < 1e-9);
    // The cached job and those that never ran must not make the run look faster: (30 + 10 + 10 + 50 + 10) / 5.
    let run = summary.run.unwrap();
    assert_eq!((run.min, run.average, run.max), (10 * MS, 22 * MS, 50 * MS));
    assert_eq!(summary.queue.unwrap().min, MS);
}

#[test]
fn a_summary_is_read_back_from_the_json_of_a_report() {
    let mut tally = Tally::default();
    tally.record(&succeeded("a"));
    tally.concurrency(2);
    tally.restart();
    let summary = tally.summary(Duration::from_millis(500));
    let json = serde_json::to_string(&summary).unwrap();
    assert_eq!(
        json,
        concat!(
            r#"{"total":1,"succeeded":1,"failed":0,"timed_out":0,"crashed":0,"cancelled":0,"skipped":0,"#,
            r#""cached":0,"retries":0,"elapsed_ms":500,"throughput":2.0,"success_rate":100.0,"failure_rate":0.0,"#,
            r#""run_ms":{"min":10,"avg":10,"p50":10,"p95":10,"p99":10,"max":10},"#,
            r#""queue_ms":{"min":1,"avg":1,"p50":1,"p95":1,"p99":1,"max":1},"#,
            r#""peak_concurrency":2,"worker_restarts":1}"#
        )
    );
    assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);
    let none = Tally::default().summary(Duration::ZERO);
    let json = serde_json::to_string(&none).unwrap();
    assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), none);
    assert!(none.all_successful());
}

#[test]
fn outcomes_are_counted_filtered_and_grouped() {
    let all = outcomes();
    assert_eq!((all.count_successful(), all.count_failed()), (3, 3));
    assert_eq!(all.filter_by_status(Status::Skipped).count(), 1);
    assert_eq!(all.filter_by_host("web1").count(), 6);
    assert_eq!(all.by_host()["web2"].len(), 1);
    assert_eq!(all.by_task()["u"].len(), 1);
    assert_eq!(all.by_status().len(), 6);
    assert_eq!(all.errors().count(), 5);
    assert_eq!(all.host_names().len(), 2);
    assert!(all.has_errors() && !all.all_successful());
    assert_eq!(all.average_duration(), Some(22 * MS));
    assert_eq!(all.min_duration(), Some(10 * MS));
    assert_eq!(all.max_duration(), Some(50 * MS));
    assert_eq!(all.percentile_duration(80.0), Some(30 * MS));
    assert_eq!(all.percentile_duration(81.0), Some(50 * MS));
}

#[test]
fn no_outcomes_make_rates_of_0_and_no_errors() {
    let none: [Outcome; 0] = [];
    assert_eq!((none.success_rate(), none.failure_rate()), (0.0, 0.0));
    assert!(none.all_successful() && !none.has_errors());
    assert_eq!(none.average_duration(), None);
    assert_eq!(none.percentile_duration(50.0), None);
    // No job ran, but there is an outcome.
    let skipped = [failed("h", Class::Need, 0)];
    assert_eq!(skipped.max_duration(), None);
    assert_eq!((skipped.success_rate(), skipped.failure_rate()), (0.0, 0.0));
}

#[test]
fn the_peak_counts_attempts_that_run_and_not_jobs_that_wait_for_a_retry() {
    let mut tally = Tally::default();
    tally.observe(&started("a"));
    tally.observe(&retried("a"));
    tally.observe(&started("b"));
    tally.observe(&started("a"));
    assert_eq!(tally.peak_concurrency(), 2);
    tally.observe(&retried("a"));
    // Cancelled while it waited.
    tally.observe(&ended(failed("a", Class::Cancelled, 2)));
    tally.observe(&ended(succeeded("b")));
    assert_eq!((tally.running(), tally.peak_concurrency()), (0, 2));
}

#[test]
fn only_workers_that_replace_failed_ones_count_as_restarts() {
    let mut tally = Tally::default();
    let start = |kind, number| {
        RunEvent::Worker(WorkerNews::Started {
            worker: WorkerName::new(kind, number),
            system_id: None,
        })
    };
    let end = |number, unexpected| {
        RunEvent::Worker(WorkerNews::Ended {
            worker: WorkerName::new("a", number),
            cause: "exited with code 1".to_owned(),
            unexpected,
        })
    };
    for event in [
        start("a", 1),
        start("a", 2),
        end(1, false),
        start("a", 3),
        end(2, true),
        start("b", 1),
        start("a", 4),
        start("a", 5),
    ] {
        tally.observe(&event);
    }
    assert_eq!(tally.summary(Duration::ZERO).worker_restarts, 1);
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[test]
fn live_stats_follow_the_events_of_a_run() {
    let began = now();
    let mut live = LiveStats::new(began);
    live.observe(&RunEvent::RunStarted { total: Some(4) }, began);
    for id in ["a", "b", "c"] {
        live.observe(&queued(id), began);
    }
    live.observe(&started("a"), began);
    live.observe(&started("b"), began);
    live.observe(&retried("b"), began);
    let later = began + Duration::from_secs(1);
    live.observe(&ended(succeeded("a")), later);

    let stats = live.stats(later);
    assert_eq!((stats.total_jobs, stats.completed_jobs), (4, 1));
    assert_eq!((stats.failed_jobs, stats.total_retries), (0, 1));
    assert_eq!(stats.average_execution_time, 10 * MS);
    assert_eq!(stats.peak_concurrent_jobs, 2);
    assert!((stats.throughput_per_second - 1.0).abs() < 1e-9);
    assert_eq!(stats.remaining, Some(Duration::from_secs(3)));
    let queue = QueueStatus {
        queued: 3,
        running: 0,
        ended: 1,
        total: 4,
    };
    assert_eq!(stats.queue, queue);
}

#[test]
fn cancelled_jobs_do_not_raise_the_throughput() {
    let began = now();
    let mut live = LiveStats::new(began);
    live.observe(&RunEvent::RunStarted { total: Some(100) }, began);
    let at = |millis: u64| began + Duration::from_millis(millis);
    for number in 0..10 {
        live.observe(&ended(succeeded(&number.to_string())), at(number * 1000));
    }
    let before = live.stats(at(9_500)).throughput_per_second;
    for number in 10..100 {
        let id = number.to_string();
        live.observe(&ended(failed(&id, Class::Cancelled, 0)), at(9_500));
    }
    let stats = live.stats(at(9_500));
    assert!(
        (stats.throughput_per_second - before).abs() < 1e-9,
        "{stats:?}"
    );
    assert_eq!(stats.unfinished_jobs, 90);
}

#[test]
fn the_remaining_time_is_known_once_the_total_is_announced() {
    let began = now();
    let mut live = LiveStats::new(began);
    live.observe(&RunEvent::RunStarted { total: None }, began);
    let at = |seconds: u64| began + Duration::from_secs(seconds);
    for id in ["a", "b", "c", "d"] {
        live.observe(&queued(id), began);
    }
    live.observe(&ended(succeeded("a")), at(30));
    assert_eq!(live.stats(at(45)).remaining, None);
    live.announce(4);
    // No job ended in the last ten seconds, so the throughput since the beginning counts: one job in 45 s.
    let remaining = live.stats(at(45)).remaining.unwrap();
    assert_eq!(remaining.as_secs(), 135);
}

#[test]
fn the_throughput_is_that_of_the_last_ten_seconds() {
    let began = now();
    let mut live = LiveStats::new(began);
    let at = |millis: u64| began + Duration::from_millis(millis);
    assert!(live.stats(began).throughput_per_second.abs() < 1e-9);
    // 10 jobs per second for a minute.
    for number in 0..600 {
        live.observe(&ended(succeeded(&number.to_string())), at(number * 100));
    }
    let pace = live.stats(at(60_000)).throughput_per_second;
    assert!((9.5..=10.5).contains(&pace), "{pace}");
    // 100 jobs per second for the next ten seconds.
    for number in 0..1000 {
        let outcome = succeeded(&number.to_string());
        live.observe(&ended(outcome), at(60_000 + number * 10));
    }
    let pace = live.stats(at(70_000)).throughput_per_second;
    assert!((95.0..=105.0).contains(&pace), "{pace}");
    // Then no jobs.
    let pace = live.stats(at(75_000)).throughput_per_second;
    assert!((45.0..=55.0).contains(&pace), "{pace}");
    let stats = live.stats(at(81_000));
    assert!(stats.throughput_per_second < 3.0);
    assert!(live.stats(at(90_000)).throughput_per_second.abs() < 1e-9);
    assert_eq!(stats.remaining, None, "nobody said how many there are");
}
