//! Tests of jobs that take resources.

use std::sync::Mutex;

use super::*;
use crate::job::ResourceNeed;
use crate::scheduling::{Blocker, Resource};

fn taking(needs: &[(&str, u64)]) -> Terms {
    let needs = needs.iter();
    Terms {
        resources: needs
            .map(|(name, units)| ResourceNeed::new(*name, *units))
            .collect(),
        ..Terms::default()
    }
}

/// Makes a job that takes this many seconds and returns its share of each resource.
fn tells(id: &str, seconds: u64) -> Job {
    Job::closure(id, move |context| async move {
        tokio::time::sleep(SECOND * u32::try_from(seconds).unwrap()).await;
        let shares = context.resources().iter();
        let shares: Vec<_> = shares
            .map(|share| format!("{}={}", share.name(), share.value()))
            .collect();
        Ok(Payload::from_text(&shares.join(" ")))
    })
}

fn results(outcomes: &[Arc<Outcome>]) -> Vec<&str> {
    let results = outcomes
        .iter()
        .map(|outcome| outcome.result.as_ref().unwrap());
    results.map(Payload::as_str).collect()
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_for_the_identities_that_it_takes_and_is_told_which_it_has() {
    let executor = Executor::builder()
        .slots(8)
        .resource("gpu", Resource::identities(["0", "1", "2"]).unwrap())
        .resource("license", Resource::count(9).unwrap())
        .build()
        .unwrap();
    let jobs = [
        tells("a", 5).terms(taking(&[("gpu", 1)])),
        tells("b", 9).terms(taking(&[("gpu", 1), ("license", 3)])),
        tells("c", 2).terms(taking(&[("gpu", 2)])),
        tells("d", 1).terms(taking(&[("gpu", 1)])),
        tells("e", 1),
    ];
    let began = tokio::time::Instant::now();
    let outcomes = executor.run_all(jobs).await.unwrap();
    assert_eq!(
        results(&outcomes),
        [
            r#""gpu=0""#,
            r#""gpu=1 license=3""#,
            r#""gpu=0,2""#,
            r#""gpu=2""#,
            r#""""#
        ]
    );
    assert_eq!(began.elapsed(), SECOND * 9);
    let waits = &outcomes[2].waits;
    assert_eq!(waits.of(&Blocker::Resource("gpu".into())), SECOND * 5);
    assert_eq!(waits.total(), SECOND * 5);
    assert!(outcomes[4].waits.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_takes_more_than_there_is_fails_and_is_not_started() {
    let executor = Executor::builder()
        .slots(2)
        .resource("memory", Resource::bytes(4 << 30).unwrap())
        .build()
        .unwrap();
    let jobs = [
        tells("much", 1).terms(taking(&[("memory", 5 << 30)])),
        tells("unknown", 1).terms(taking(&[("memroy", 1)])),
    ];
    let outcomes = executor.run_all(jobs).await.unwrap();
    let messages: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.failure().unwrap().message.clone())
        .collect();
    assert_eq!(
        messages,
        [
            "a job that takes 5GiB of resource `memory` can never run with 4GiB in total",
            "unknown resource `memroy`, did you mean `memory`?"
        ]
    );
    let twice = Executor::builder()
        .resource("gpu", Resource::count(1).unwrap())
        .resource("gpu", Resource::count(2).unwrap());
    assert_eq!(
        twice.build().unwrap_err().to_string(),
        "resource `gpu` is declared twice: 1, and 2"
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_killed_for_its_memory_takes_more_the_next_time_up_to_all_there_is() {
    let taken: Arc<Mutex<Vec<u64>>> = Arc::default();
    let noted = Arc::clone(&taken);
    let hungry = Job::closure("hungry", move |context| {
        let noted = Arc::clone(&noted);
        async move {
            let units = context.resource("memory").unwrap().units();
            noted.lock().unwrap().push(units);
            tokio::time::sleep(SECOND).await;
            match context.attempt() {
                // Only a job that ends for want of memory gets more of it.
                2 => Err(Failure::new(Class::Task, "something else")),
                5 => Ok(Payload::null()),
                _ => Err(Failure::new(Class::Memory, "it had too much")),
            }
        }
    });
    let terms = Terms {
        memory_growth: 2.0,
        retry: Some(retrying(9)),
        ..taking(&[("memory", 2)])
    };
    let executor = Executor::builder()
        .slots(4)
        .crash_limit(9)
        .resource("memory", Resource::bytes(7).unwrap())
        .build()
        .unwrap();
    let outcomes = executor.run_all([hungry.terms(terms)]).await.unwrap();
    assert!(outcomes[0].is_success());
    assert_eq!(*taken.lock().unwrap(), [2, 4, 4, 7, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_tells_who_has_a_resource_and_who_waits_for_it() {
    let executor = Executor::builder()
        .slots(4)
        .resource("gpu", Resource::identities(["0", "1"]).unwrap())
        .build()
        .unwrap();
    let jobs = [
        tells("one", 9).terms(taking(&[("gpu", 1)])),
        tells("both", 9).terms(taking(&[("gpu", 2)])),
    ];
    let run = executor.run_list(jobs).unwrap();
    let handle = run.handle();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let snapshot = handle.snapshot().await.unwrap();
    assert_eq!(snapshot.running[0].resources[0].value(), "0");
    assert_eq!(
        snapshot.waiting[0].cause.to_string(),
        "waits for resource gpu, held by one"
    );
}
