//! Tests of the cache in a run.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use ratchet_caching::mock::MockCache;
use ratchet_caching::{CacheError, MemoryCache, TaskCache};

use super::scripted::{Act, How, ScriptedPool};
use super::*;
use crate::context::Context;
use crate::dispatch::DeclaredTask;
use crate::executor::Dependencies;
use crate::executor::runner::{Attempt, Runner};
use crate::executor::{Cancellation, JobState, RunHandle, WaitCause};
use crate::job::CacheTerms;
use crate::scheduling::{Blocker, ParallelizationHint, Priority};

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

/// An executor over a pool of so many workers, of which each has room for attempts that are sent ahead.
fn pooled(workers: u32, ahead: u32) -> (Executor, ScriptedPool) {
    let pool = ScriptedPool::new(workers, ahead);
    let executor = Executor::builder()
        .slots(workers)
        .pool_source(Arc::new(pool.clone()))
        .cache(TaskCache::new(Arc::new(MemoryCache::new(1 << 20))));
    (executor.build().unwrap(), pool)
}

/// A job that is equal to all others of this kind.
fn equal(id: &str) -> Job {
    cached(id, "same")
}

fn urgent(job: Job, priority: Priority) -> Job {
    let terms = Terms {
        priority,
        ..(*job.terms).clone()
    };
    job.terms(terms)
}

/// A job without a cache key.
fn other(id: &str) -> Job {
    Job::task(id, "t", Payload::null())
}

fn on_host(job: Job, host: &str) -> Job {
    let terms = Terms {
        hint: Some(ParallelizationHint::HostExclusive),
        ..(*job.terms).clone()
    };
    job.terms(terms).on_host(host)
}

fn failing(seconds: u64) -> Act {
    Act {
        end: How::Fails,
        ..Act::well(seconds)
    }
}

/// Returns which jobs began, each with the second.
fn begun(pool: &ScriptedPool) -> Vec<(String, u64)> {
    let begun = pool.begun().into_iter();
    begun.map(|one| (one.id, one.at.as_secs())).collect()
}

/// Returns what a job waited for, in seconds, and whether its result is that of another job.
fn waited(outcome: &Outcome) -> (Vec<(String, u64)>, bool) {
    let waits = outcome.waits.iter();
    let waits = waits.map(|(blocker, time)| (blocker.word().into_owned(), time.as_secs()));
    (waits.collect(), outcome.cached)
}

async fn cause(handle: &RunHandle, id: &str) -> WaitCause {
    match handle.find([id.into()]).await.unwrap().pop() {
        Some(Some(JobState::Waiting(waiting))) => waiting.cause,
        other => panic!("{id} waits, and not {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_urgent_job_does_not_wait_for_a_less_urgent_equal_one_to_start() {
    let (executor, pool) = pooled(1, 0);
    for id in ["busy", "low", "urgent"] {
        pool.script(id, 1, Act::well(2));
    }
    let jobs = [
        other("busy"),
        urgent(equal("low"), Priority::Low),
        urgent(equal("urgent"), Priority::Critical),
    ];
    let run = executor.run_list(jobs).unwrap();
    let handle = run.handle();
    tokio::time::sleep(SECOND).await;
    assert_eq!(cause(&handle, "low").await.blocker(), Blocker::Worker);
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(
        cause(&handle, "low").await,
        WaitCause::Equal("urgent".into())
    );
    let outcomes = all(run).await;
    assert_eq!(
        told(&outcomes),
        ["busy succeeded", "urgent succeeded", "low succeeded"]
    );
    let expected = [("busy", 0), ("urgent", 2)];
    assert_eq!(begun(&pool), expected.map(|(id, at)| (id.to_owned(), at)));
    let word = |word: &str, seconds: u64| (word.to_owned(), seconds);
    assert_eq!(waited(&outcomes[1]), (vec![word("worker", 2)], false));
    let low = vec![word("cache", 2), word("worker", 2)];
    assert_eq!(waited(&outcomes[2]), (low, true));
}

#[tokio::test(start_paused = true)]
async fn an_equal_job_of_a_free_host_does_not_wait_for_that_of_a_locked_one() {
    let (executor, pool) = pooled(3, 0);
    pool.script("holds", 1, Act::well(5));
    pool.script("free", 1, Act::well(1));
    let jobs = [
        on_host(other("holds"), "a"),
        on_host(equal("locked"), "a"),
        on_host(equal("free"), "b"),
    ];
    let outcomes = executor.run_all(jobs).await.unwrap();
    let expected = [("holds", 0), ("free", 0)];
    assert_eq!(begun(&pool), expected.map(|(id, at)| (id.to_owned(), at)));
    let cache = vec![("cache".to_owned(), 1)];
    assert_eq!(waited(&outcomes[1]), (cache, true));
}

#[tokio::test(start_paused = true)]
async fn while_a_job_waits_for_its_retry_an_equal_one_computes_and_answers_it() {
    let (executor, pool) = pooled(2, 0);
    pool.script("first", 1, failing(1));
    for id in ["second", "third"] {
        pool.script(id, 1, Act::well(4));
    }
    let retried = |job: Job| {
        let terms = Terms {
            retry: Some(retrying(3)),
            ..(*job.terms).clone()
        };
        job.terms(terms)
    };
    let jobs = [retried(equal("first")), equal("second"), equal("third")];
    let run = executor.run_list(jobs).unwrap();
    let handle = run.handle();
    let mut causes = Vec::new();
    for id in ["second", "first", "first"] {
        tokio::time::sleep(SECOND * 3 / 4).await;
        causes.push(cause(&handle, id).await.blocker().word().into_owned());
    }
    assert_eq!(causes, ["cache", "retry", "cache"]);
    let mut outcomes = all(run).await;
    outcomes.sort_by_key(|outcome| outcome.id.to_string());
    let expected = [("first", 0), ("second", 1)];
    assert_eq!(begun(&pool), expected.map(|(id, at)| (id.to_owned(), at)));
    let word = |word: &str, seconds: u64| (word.to_owned(), seconds);
    let first = vec![word("retry", 1), word("cache", 3)];
    assert_eq!(waited(&outcomes[0]), (first, true));
    assert_eq!((outcomes[0].attempts, outcomes[0].duration), (1, SECOND));
    assert_eq!(waited(&outcomes[1]), (vec![word("cache", 1)], false));
    assert_eq!(waited(&outcomes[2]), (vec![word("cache", 5)], true));
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_the_most_urgent_equal_job_computes_next() {
    let (executor, pool) = pooled(2, 0);
    pool.script("a", 1, failing(1));
    pool.script("urgent", 1, failing(1));
    let jobs = [
        equal("a"),
        equal("b"),
        urgent(equal("low"), Priority::Low),
        urgent(equal("urgent"), Priority::Critical),
    ];
    let outcomes = all(executor.run_list(jobs).unwrap()).await;
    assert_eq!(
        told(&outcomes),
        ["a failed", "urgent failed", "b succeeded", "low succeeded"]
    );
    let expected = [("a", 0), ("urgent", 1), ("b", 2)];
    assert_eq!(begun(&pool), expected.map(|(id, at)| (id.to_owned(), at)));
    assert!(outcomes[3].cached && !outcomes[2].cached);
}

#[tokio::test(start_paused = true)]
async fn equal_jobs_wait_for_one_that_was_sent_ahead_until_it_comes_back() {
    let (executor, pool) = pooled(1, 2);
    let crash = Act {
        end: How::Crashes,
        ..Act::well(2)
    };
    pool.script("busy", 1, crash);
    pool.script("urgent", 1, Act::well(3));
    let run = executor.run_list([other("busy"), equal("ahead")]).unwrap();
    let handle = run.handle();
    tokio::time::sleep(SECOND).await;
    let late = [urgent(equal("urgent"), Priority::Critical), equal("last")];
    handle.add_jobs(late.into()).await.unwrap();
    tokio::time::sleep(SECOND / 2).await;
    for id in ["urgent", "last"] {
        assert_eq!(cause(&handle, id).await, WaitCause::Equal("ahead".into()));
    }
    tokio::time::sleep(SECOND).await;
    for id in ["ahead", "last"] {
        assert_eq!(cause(&handle, id).await, WaitCause::Equal("urgent".into()));
    }
    let outcomes = all(run).await;
    let expected = [("busy", 0), ("urgent", 2)];
    assert_eq!(begun(&pool), expected.map(|(id, at)| (id.to_owned(), at)));
    let answered = outcomes.iter().filter(|outcome| outcome.cached);
    let mut answered: Vec<&str> = answered.map(|outcome| outcome.id.as_str()).collect();
    answered.sort_unstable();
    assert_eq!(answered, ["ahead", "last"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_given_back_takes_its_turn_with_the_equal_ones() {
    let (executor, pool) = pooled(1, 0);
    let returned = Act {
        end: How::Returned,
        ..Act::well(2)
    };
    pool.script("a", 1, returned);
    pool.script("urgent", 1, Act::well(1));
    let run = executor.run_list([equal("a")]).unwrap();
    tokio::time::sleep(SECOND).await;
    let handle = run.handle();
    let late = vec![urgent(equal("urgent"), Priority::Critical)];
    handle.add_jobs(late).await.unwrap();
    let outcomes = all(run).await;
    let expected = [("a", 0), ("urgent", 2)];
    assert_eq!(begun(&pool), expected.map(|(id, at)| (id.to_owned(), at)));
    assert_eq!(told(&outcomes), ["urgent succeeded", "a succeeded"]);
    assert_eq!((outcomes[1].cached, outcomes[1].attempts), (true, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_lets_an_equal_one_compute_and_one_that_waits_just_ends() {
    let (executor, pool) = pooled(2, 0);
    pool.script("a", 1, Act::well(9));
    let run = executor.run_list(["a", "b", "c"].map(equal)).unwrap();
    let handle = run.handle();
    tokio::time::sleep(SECOND).await;
    let cancelled = handle.cancel_jobs(["b".into(), "a".into()]).await.unwrap();
    assert_eq!(cancelled, [Cancellation::Ended, Cancellation::Asked]);
    let outcomes = all(run).await;
    assert_eq!(
        told(&outcomes),
        ["b cancelled", "a cancelled", "c succeeded"]
    );
    assert_eq!(waited(&outcomes[0]), (vec![("cache".to_owned(), 1)], false));
    let expected = [("a", 0), ("c", 1)];
    assert_eq!(begun(&pool), expected.map(|(id, at)| (id.to_owned(), at)));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_drains_ends_the_equal_jobs_that_wait() {
    let (executor, pool) = pooled(2, 0);
    pool.script("a", 1, Act::well(3));
    let run = executor.run_list(["a", "b"].map(equal)).unwrap();
    tokio::time::sleep(SECOND).await;
    run.handle().drain();
    let outcomes = all(run).await;
    assert_eq!(told(&outcomes), ["b cancelled", "a succeeded"]);
    assert_eq!(outcomes[0].queued, SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_an_equal_job_is_charged_to_a_pause_first() {
    let (executor, pool) = pooled(2, 0);
    pool.script("a", 1, Act::well(4));
    let run = executor.run_list(["a", "b"].map(equal)).unwrap();
    let handle = run.handle();
    tokio::time::sleep(SECOND).await;
    handle.pause();
    tokio::time::sleep(SECOND).await;
    assert_eq!(cause(&handle, "b").await, WaitCause::Paused);
    handle.resume();
    let outcomes = all(run).await;
    let word = |word: &str, seconds: u64| (word.to_owned(), seconds);
    let expected = vec![word("paused", 1), word("cache", 3)];
    assert_eq!(waited(&outcomes[1]), (expected, true));
}

#[tokio::test(start_paused = true)]
async fn equal_jobs_whose_input_changes_meanwhile_compute_for_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    std::fs::write(&input, "one").unwrap();
    let (executor, pool) = pooled(3, 0);
    pool.script("a", 1, Act::well(2));
    let reads = |id| {
        let terms = Terms {
            cache: Some(CacheTerms::On {
                inputs: vec![input.to_str().unwrap().into()],
                env: Vec::new(),
                ttl: None,
            }),
            ..Terms::default()
        };
        Job::task(id, "t", Payload::null()).terms(terms)
    };
    let run = executor.run_list(["a", "b", "c"].map(reads)).unwrap();
    tokio::time::sleep(SECOND).await;
    std::fs::write(&input, "another").unwrap();
    let outcomes = all(run).await;
    assert!(outcomes.iter().all(|one| one.is_success() && !one.cached));
    assert_eq!(pool.begun().len(), 3);
}

/// Two runs with one cache, of which the second one has an equal job of the first to wait for.
#[tokio::test(start_paused = true)]
async fn a_job_waits_for_an_equal_one_of_another_run_that_uses_the_same_cache() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let count = Arc::default();
    let first = over(&cache, &count).run_list([cached("a", "bad")]).unwrap();
    tokio::time::sleep(SECOND / 2).await;
    let jobs = [cached("b", "bad"), cached("c", "bad")];
    let second = over(&cache, &count).run_list(jobs).unwrap();
    tokio::time::sleep(SECOND / 4).await;
    assert_eq!(cause(&second.handle(), "b").await, WaitCause::Cache);
    assert_eq!(told(&all(first).await), ["a failed"]);
    tokio::time::sleep(SECOND / 4).await;
    // Now they are equal jobs of one run.
    let states = second
        .handle()
        .find(["b".into(), "c".into()])
        .await
        .unwrap();
    let waiting: Vec<_> = states
        .iter()
        .filter(|state| matches!(state, Some(JobState::Waiting(waiting)) if matches!(waiting.cause, WaitCause::Equal(_))))
        .collect();
    assert_eq!(waiting.len(), 1, "{states:?}");
    assert_eq!(all(second).await.len(), 2);
    assert_eq!(count.load(Relaxed), 3);
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
