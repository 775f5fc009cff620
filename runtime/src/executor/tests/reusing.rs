//! Tests of the cache in a run.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use ratchet_caching::mock::MockCache;
use ratchet_caching::{CacheError, MemoryCache, TaskCache};

use super::scripted::ScriptedPool;
use super::*;
use crate::context::Context;
use crate::dispatch::DeclaredTask;
use crate::executor::Dependencies;
use crate::executor::runner::{Attempt, Runner};
use crate::job::CacheTerms;

/// A runner that takes a second for each job, counts the jobs, and fails those whose input is not their id.
struct Counts(Arc<AtomicU32>);

#[async_trait::async_trait]
impl Runner for Counts {
    async fn run(&self, attempt: Attempt, _context: Context) -> Result<Payload, Failure> {
        self.0.fetch_add(1, Relaxed);
        tokio::time::sleep(SECOND).await;
        let crate::job::Work::Task { input, .. } = &attempt.job.work else {
            return Err(Failure::new(Class::Input, "no task"));
        };
        match input.as_str() {
            "\"bad\"" => Err(Failure::new(Class::Task, "bad")),
            _ => Ok(input.clone()),
        }
    }
}

fn cached(id: &str, input: &str) -> Job {
    let terms = Terms {
        cache: Some(CacheTerms::On {
            inputs: Vec::new(),
            env: Vec::new(),
            ttl: None,
        }),
        ..Terms::default()
    };
    Job::task(id, "t", Payload::from_text(input)).terms(terms)
}

fn over(cache: &TaskCache, count: &Arc<AtomicU32>) -> Executor {
    let executor = Executor::builder()
        .slots(4)
        .runner(Counts(Arc::clone(count)));
    executor.cache(cache.clone()).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_result_is_used_again_and_costs_no_attempt() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let count = Arc::default();
    let executor = over(&cache, &count);
    let first = executor.run_all([cached("a", "x")]).await.unwrap();
    let again = executor
        .run_all([cached("b", "x"), cached("c", "y")])
        .await
        .unwrap();
    assert_eq!(count.load(Relaxed), 2);
    assert_eq!((first[0].cached, first[0].attempts), (false, 1));
    assert_eq!((again[0].cached, again[0].attempts), (true, 0));
    assert_eq!(again[0].result, first[0].result);
    assert!(!again[1].cached);
}

#[tokio::test(start_paused = true)]
async fn those_that_are_the_same_are_done_once_at_a_time() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let count = Arc::default();
    let jobs = (0..50).map(|number: u32| cached(&number.to_string(), "same"));
    let outcomes = over(&cache, &count).run_all(jobs).await.unwrap();
    assert_eq!(count.load(Relaxed), 1);
    assert!(outcomes.iter().all(|one| one.is_success()));
    assert_eq!(outcomes.iter().filter(|one| one.cached).count(), 49);
}

#[tokio::test(start_paused = true)]
async fn patience_with_the_queue_ends_while_a_job_waits_for_the_result_of_an_equal_one() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let count = Arc::default();
    let follower = cached("b", "same");
    let patience = Terms {
        timeouts: Timeouts {
            queue: Some(SECOND / 2),
            ..Timeouts::default()
        },
        ..(*follower.terms).clone()
    };
    let jobs = [cached("a", "same"), follower.terms(patience)];
    let outcomes = over(&cache, &count).run_all(jobs).await.unwrap();
    assert_eq!(told(&outcomes), ["a succeeded", "b timed_out"]);
    assert_eq!(outcomes[1].queued, SECOND / 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_nobodys_but_ones_own() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let count = Arc::default();
    let jobs = (0..3).map(|number: u32| cached(&number.to_string(), "bad"));
    let outcomes = over(&cache, &count).run_all(jobs).await.unwrap();
    assert_eq!(told(&outcomes), ["0 failed", "1 failed", "2 failed"]);
    assert_eq!(count.load(Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_fails_fails_no_job() {
    let mut store = MockCache::new();
    let broken = || CacheError::Io {
        action: "open",
        path: "/cache".into(),
        source: Arc::new(std::io::Error::other("the disk is gone")),
    };
    store.expect_get().returning(move |_| Err(broken()));
    store
        .expect_put()
        .times(1)
        .returning(move |_, _| Err(broken()));
    let count = Arc::default();
    let executor = over(&TaskCache::new(Arc::new(store)), &count);
    let outcomes = executor.run_all([cached("a", "x")]).await.unwrap();
    assert_eq!(told(&outcomes), ["a succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn a_need_comes_before_the_cache() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let count = Arc::default();
    let executor = over(&cache, &count);
    executor.run_all([cached("a", "x")]).await.unwrap();
    let jobs = [cached("b", "x").needs(["c"]), fails("c")];
    let outcomes = executor.run_all(jobs).await.unwrap();
    assert_eq!(told(&outcomes), ["b skipped", "c failed"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_keyed_is_refused() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let count = Arc::default();
    let on = |inputs: &[&str]| Terms {
        cache: Some(CacheTerms::On {
            inputs: inputs.iter().map(Into::into).collect(),
            env: Vec::new(),
            ttl: None,
        }),
        ..Terms::default()
    };
    let jobs = [
        takes("closure", 1).terms(on(&[])),
        Job::task("no file", "t", Payload::null()).terms(on(&["/no/such/file"])),
    ];
    let outcomes = over(&cache, &count).run_all(jobs).await.unwrap();
    assert_eq!(told(&outcomes), ["closure failed", "no file failed"]);
    assert!(
        message(&outcomes[1]).contains("/no/such/file"),
        "{}",
        message(&outcomes[1])
    );
}

#[tokio::test(start_paused = true)]
async fn jobs_that_are_looked_up_begin_in_the_order_in_which_they_came() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let executor = Executor::builder().slots(1).runner(Counts(Arc::default()));
    let executor = executor.cache(cache).build().unwrap();
    let ids: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let jobs: Vec<Job> = ids.iter().map(|id| cached(id, id)).collect();
    let mut run = executor.run(jobs).unwrap();
    let mut ended = Vec::new();
    while let Some(outcome) = run.next().await {
        ended.push(outcome.id.to_string());
    }
    assert_eq!(ended, ids);
}

#[test]
fn what_is_done_in_another_folder_is_something_else() {
    let hasher = Arc::new(ratchet_caching::FileHasher::default());
    let key_in = |folder: Option<&std::path::Path>| {
        let mut process = crate::os::ProcessConfig::new("ls").arg("src");
        process.working_dir = folder.map(std::path::Path::to_path_buf);
        let job = Job::command("a", process);
        let dependencies = Dependencies::of(&job, None, &hasher, None).unwrap();
        dependencies.fingerprint().key()
    };
    let here = std::env::current_dir().unwrap();
    assert_eq!(key_in(None), key_in(Some(&here)));
    assert_eq!(key_in(None), key_in(Some(std::path::Path::new("."))));
    assert_ne!(key_in(None), key_in(here.parent()));
}

#[tokio::test(start_paused = true)]
async fn what_another_version_of_the_worker_did_is_not_used_again() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let mut done = Vec::new();
    for version in [None, None, Some("1"), Some("1"), Some("2"), None] {
        let cacheable = DeclaredTask {
            task: "t".into(),
            hint: None,
            cacheable: true,
        };
        let pool = ScriptedPool::new(1, 0)
            .introducing(vec![cacheable])
            .of_version(version);
        let executor = Executor::builder()
            .slots(1)
            .pool_source(Arc::new(pool.clone()))
            .cache(cache.clone());
        let job = Job::task("a", "t", Payload::from_text("x"));
        let executor = executor.build().unwrap();
        let outcomes = executor.run_all([job]).await.unwrap();
        assert!(outcomes[0].is_success());
        done.push(!outcomes[0].cached);
    }
    assert_eq!(done, [true, false, true, false, true, false]);
}

/// A runner that counts the jobs and takes no time for them.
struct CountsAtOnce(Arc<AtomicU32>);

#[async_trait::async_trait]
impl Runner for CountsAtOnce {
    async fn run(&self, _attempt: Attempt, _context: Context) -> Result<Payload, Failure> {
        self.0.fetch_add(1, Relaxed);
        Ok(Payload::null())
    }
}

#[test]
fn without_a_thread_that_looks_at_what_jobs_depend_on_they_run_uncached() {
    let count = Arc::<AtomicU32>::default();
    crate::blocking::tests::run_without_threads(async {
        let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
        let executor = Executor::builder().runner(CountsAtOnce(Arc::clone(&count)));
        let executor = executor.cache(cache).build().unwrap();
        for _ in 0..2 {
            let outcomes = executor.run_all([cached("a", "x")]).await.unwrap();
            assert!(outcomes[0].is_success() && !outcomes[0].cached);
        }
    });
    assert_eq!(count.load(Relaxed), 2);
}
