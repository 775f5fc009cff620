//! Tests of workers that declare their tasks after they were given jobs.

use ratchet_caching::{MemoryCache, TaskCache};

use super::scripted::{Act, ScriptedPool};
use super::*;
use crate::dispatch::{DeclaredTask, Report};
use crate::scheduling::ParallelizationHint;

fn task(id: &str, task: &str) -> Job {
    Job::task(id, task, Payload::null())
}

/// Runs jobs of two seconds each on two workers that are first taken to say no hello, and then declare this a second
/// later.
async fn declared_late(
    pool: &ScriptedPool,
    executor: crate::ExecutorBuilder,
    jobs: Vec<Job>,
    introduction: DeclaredTask,
) -> Vec<Arc<Outcome>> {
    for job in &jobs {
        pool.script(job.id.as_str(), 1, Act::well(2));
    }
    let outcomes = start(executor.slots(2), pool, jobs);
    tokio::time::sleep(SECOND / 2).await;
    introduce(pool, None);
    tokio::time::sleep(SECOND).await;
    introduce(pool, Some(vec![introduction]));
    outcomes.await.unwrap()
}

/// Starts a run of jobs whose tasks this pool does.
fn start(
    executor: crate::ExecutorBuilder,
    pool: &ScriptedPool,
    jobs: Vec<Job>,
) -> tokio::task::JoinHandle<Vec<Arc<Outcome>>> {
    let executor = executor.pool_source(Arc::new(pool.clone())).build();
    let executor = executor.unwrap();
    let run = executor.run_list(jobs).unwrap();
    tokio::spawn(async move {
        let _executor = executor;
        all(run).await
    })
}

/// Reports that the workers have declared these tasks, or are taken to say no hello.
fn introduce(pool: &ScriptedPool, tasks: Option<Vec<DeclaredTask>>) {
    pool.report(|pool| Report::Introduced {
        kind: pool.kind,
        version: None,
        tasks,
    });
}

fn begun(pool: &ScriptedPool) -> Vec<String> {
    let begun = pool.begun().into_iter();
    let begun = begun.map(|begun| format!("{} at {:?}", begun.id, begun.at));
    begun.collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_late_binds_what_waits_and_what_comes() {
    let pool = ScriptedPool::new(2, 0).silent();
    let alone = DeclaredTask {
        task: "t".into(),
        hint: Some(Ok(ParallelizationHint::Alone)),
        cacheable: false,
    };
    let jobs = vec![
        task("a", "t"),
        task("b", "t"),
        task("unknown", "other"),
        task("c", "t"),
        task("d", "t"),
        task("e", "t").needs(["d"]),
        task("unknown too", "other").needs(["d"]),
    ];
    let outcomes = declared_late(&pool, Executor::builder(), jobs, alone).await;
    assert_eq!(
        begun(&pool),
        [
            "a at 500ms",
            "b at 500ms",
            "c at 2.5s",
            "d at 4.5s",
            "e at 6.5s"
        ]
    );
    let of = |id: &str| outcomes.iter().find(|one| one.id.as_str() == id).unwrap();
    for unknown in ["unknown", "unknown too"] {
        assert_eq!(message(of(unknown)), "unknown task `other`; known: t");
    }
    assert!(of("d").is_success());
    assert_eq!(of("d").queued, SECOND * 9 / 2, "since it came");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waited_for_the_hello_runs_in_its_turn() {
    let pool = ScriptedPool::new(1, 0).silent();
    let here = |id: &str| {
        Job::closure(id, |_| async {
            tokio::time::sleep(SECOND * 2).await;
        })
    };
    let jobs = vec![
        here("1"),
        task("2", "t"),
        here("3"),
        task("4", "t").needs(["1"]),
        here("5"),
    ];
    let known = DeclaredTask {
        task: "t".into(),
        hint: None,
        cacheable: false,
    };
    for id in ["2", "4"] {
        pool.script(id, 1, Act::well(2));
    }
    let outcomes = start(Executor::builder().slots(1), &pool, jobs);
    tokio::time::sleep(SECOND * 3).await;
    introduce(&pool, Some(vec![known]));
    let order: Vec<String> = (outcomes.await.unwrap().iter())
        .map(|outcome| outcome.id.to_string())
        .collect();
    // The third has begun before the hello. The fourth came when the first had ended, so it goes after the fifth.
    assert_eq!(order, ["1", "3", "2", "5", "4"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_cacheable_late_asks_the_cache_while_it_waits() {
    let pool = ScriptedPool::new(2, 0).silent();
    let cacheable = DeclaredTask {
        task: "t".into(),
        hint: None,
        cacheable: true,
    };
    let jobs = ["a", "b", "c", "d", "e"].map(|id| task(id, "t")).to_vec();
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let executor = Executor::builder().cache(cache);
    let outcomes = declared_late(&pool, executor, jobs, cacheable).await;
    // The job that asks first is performed, and the others take its result.
    let begun = pool.begun();
    let at: Vec<Duration> = begun.iter().map(|one| one.at).collect();
    assert_eq!(at, [SECOND / 2, SECOND / 2, SECOND * 5 / 2]);
    assert_eq!(outcomes.iter().filter(|one| one.cached).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_hint_of_ones_own_stays_when_the_worker_declares_another() {
    let pool = ScriptedPool::new(2, 0).silent();
    let alone = DeclaredTask {
        task: "t".into(),
        hint: Some(Ok(ParallelizationHint::Alone)),
        cacheable: false,
    };
    let fully = || Terms {
        hint: Some(ParallelizationHint::FullyParallel),
        ..Terms::default()
    };
    let jobs = ["a", "b", "c", "d"].map(|id| task(id, "t").terms(fully()));
    declared_late(&pool, Executor::builder(), jobs.to_vec(), alone).await;
    assert_eq!(
        begun(&pool),
        ["a at 500ms", "b at 500ms", "c at 2.5s", "d at 2.5s"]
    );
}
