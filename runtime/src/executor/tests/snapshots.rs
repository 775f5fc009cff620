//! Tests of the snapshots that a handle returns.

use super::*;
use crate::scheduling::{Limit, ParallelizationHint};

fn hinted(job: Job, hint: ParallelizationHint) -> Job {
    job.terms(Terms {
        hint: Some(hint),
        ..Terms::default()
    })
}

fn limited(id: &str) -> Job {
    takes(id, 10).terms(Terms {
        limits: vec!["db".to_owned()],
        ..Terms::default()
    })
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_names_what_runs_and_what_each_waiting_job_waits_for() {
    let executor = Executor::builder()
        .slots(3)
        .limit("db", Limit::max(1).unwrap())
        .build()
        .unwrap();
    let exclusive = |id| {
        let job = hinted(takes(id, 10), ParallelizationHint::HostExclusive);
        job.on_host("web1")
    };
    let retried = Terms {
        retry: Some(retrying(2)),
        ..Terms::default()
    };
    let jobs = [
        exclusive("holds"),
        limited("uses"),
        fails("fails").terms(retried),
        takes("fills", 10),
        exclusive("locked-out"),
        limited("used-up"),
        instant("after").needs(["holds", "uses"]),
        hinted(instant("single"), ParallelizationHint::Alone),
        instant("free"),
    ];
    let run = executor.run_list(jobs).unwrap();
    let handle = run.handle();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let snapshot = handle.snapshot().await.unwrap();
    let running: Vec<_> = snapshot
        .running
        .iter()
        .map(|running| (running.job.id.as_str(), running.attempt))
        .collect();
    assert_eq!(running, [("holds", 1), ("uses", 1), ("fills", 1)]);
    let waiting: Vec<_> = snapshot
        .waiting
        .iter()
        .map(|waiting| format!("{} {}", waiting.job.id, waiting.cause))
        .collect();
    let mut sorted = waiting.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "after needs holds, uses",
            "fails waits to be tried again",
            "free waits for a slot",
            "locked-out waits for host web1, held by holds",
            "single waits until nothing else runs",
            "used-up waits for limit db, held by uses",
        ]
    );
    handle.pause();
    let snapshot = handle.snapshot().await.unwrap();
    let paused = |id: &str| {
        let waiting = snapshot.waiting.iter();
        let mut found = waiting.filter(|waiting| waiting.job.id.as_str() == id);
        found.next().unwrap().cause.to_string()
    };
    assert_eq!(paused("free"), "waits: the run is paused");
    drop(run);
    tokio::time::sleep(SECOND).await;
    assert!(handle.snapshot().await.is_err());
}
