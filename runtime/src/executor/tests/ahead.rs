//! Tests of attempts that are sent ahead to busy workers.

use super::scripted::{Act, Deaf, How, ScriptedPool};
use super::*;
use crate::dispatch::{DeclaredTask, Demand};
use crate::executor::RunHandle;
use crate::scheduling::ParallelizationHint;

fn task(id: &str) -> Job {
    Job::task(id, "t", Payload::null())
}

fn hinted(id: &str, hint: ParallelizationHint) -> Job {
    task(id).terms(Terms {
        hint: Some(hint),
        ..Terms::default()
    })
}

fn executor(pool: &ScriptedPool, slots: u32) -> Executor {
    let executor = Executor::builder().slots(slots);
    executor
        .pool_source(Arc::new(pool.clone()))
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn fully_parallel_jobs_lie_in_the_pipe_and_begin_in_turn() {
    let pool = ScriptedPool::new(2, 4);
    let jobs: Vec<Job> = (0..10).map(|number| task(&number.to_string())).collect();
    (0..10).for_each(|number| pool.script(&number.to_string(), 1, Act::well(1)));
    let clock = tokio::time::Instant::now();
    let outcomes = executor(&pool, 2).run_all(jobs).await.unwrap();
    assert!(
        outcomes
            .iter()
            .all(|one| one.is_success() && one.attempts == 1)
    );
    assert_eq!(clock.elapsed(), SECOND * 5);
    let begun = pool.begun();
    assert_eq!(begun.iter().filter(|one| one.was_ahead).count(), 8);
    assert_eq!(pool.most_slots(), 2);
    // The time in the pipe counts as waiting, not as work.
    let queued: Vec<u64> = outcomes.iter().map(|one| one.queued.as_secs()).collect();
    assert_eq!(queued, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_claims_more_is_never_sent_ahead_nor_passed() {
    let pool = ScriptedPool::new(1, 4);
    (0..4).for_each(|number| pool.script(&number.to_string(), 1, Act::well(1)));
    pool.script("exclusive", 1, Act::well(1));
    let jobs = [
        task("0"),
        task("1"),
        hinted("exclusive", ParallelizationHint::HostExclusive),
        task("2"),
        task("3"),
    ];
    let outcomes = executor(&pool, 1).run_all(jobs).await.unwrap();
    assert!(outcomes.iter().all(|one| one.is_success()));
    let begun: Vec<_> = pool
        .begun()
        .into_iter()
        .map(|one| (one.id, one.was_ahead))
        .collect();
    let expected = [
        ("0", false),
        ("1", true),
        ("exclusive", false),
        ("2", true),
        ("3", true),
    ];
    assert_eq!(begun, expected.map(|(id, ahead)| (id.to_owned(), ahead)));
}

#[tokio::test(start_paused = true)]
async fn what_is_ahead_of_a_worker_that_dies_comes_back_uncharged() {
    let pool = ScriptedPool::new(1, 3);
    let crash = Act {
        end: How::Crashes,
        ..Act::well(1)
    };
    pool.script("0", 1, crash);
    let jobs = (0..4).map(|number| task(&number.to_string()));
    let outcomes = executor(&pool, 1).run_all(jobs).await.unwrap();
    assert_eq!(
        told(&outcomes),
        ["0 crashed", "1 succeeded", "2 succeeded", "3 succeeded"]
    );
    assert!(outcomes.iter().all(|one| one.attempts == 1));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_drains_calls_back_what_has_not_begun() {
    let pool = ScriptedPool::new(1, 3);
    pool.script("0", 1, Act::well(2));
    let jobs = (0..6).map(|number| task(&number.to_string()));
    let run = executor(&pool, 1).run_list(jobs).unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(run.handle().status().running, 1);
    run.handle().drain();
    let outcomes = all(run).await;
    assert_eq!(pool.begun().len(), 1);
    assert_eq!(outcomes.iter().filter(|one| one.attempts == 0).count(), 5);
    assert!(outcomes.last().unwrap().is_success());
}

#[tokio::test(start_paused = true)]
async fn one_whose_patience_ends_in_the_pipe_is_called_back() {
    let pool = ScriptedPool::new(1, 3);
    pool.script(
        "0",
        1,
        Act {
            deaf: Deaf::ToAsking,
            ..Act::well(9)
        },
    );
    let impatient = task("1").terms(terms(Timeouts {
        queue: Some(SECOND * 2),
        ..Timeouts::default()
    }));
    let clock = tokio::time::Instant::now();
    let mut run = executor(&pool, 1).run_list([task("0"), impatient]).unwrap();
    let outcome = run.next().await.unwrap();
    assert_eq!(told(&[outcome]), ["1 timed_out"]);
    assert_eq!(clock.elapsed(), SECOND * 2);
    assert!(run.next().await.unwrap().is_success());
}

#[tokio::test(start_paused = true)]
async fn what_has_to_be_alone_waits_for_the_pipes_too_and_not_for_ever() {
    let pool = ScriptedPool::new(2, 8);
    (0..400).for_each(|number| pool.script(&number.to_string(), 1, Act::well(1)));
    pool.script("alone", 1, Act::well(1));
    let mut jobs: Vec<Job> = (0..400).map(|number| task(&number.to_string())).collect();
    jobs.insert(3, hinted("alone", ParallelizationHint::Alone));
    let outcomes = executor(&pool, 2).run_all(jobs).await.unwrap();
    assert!(outcomes.iter().all(|one| one.is_success()));
    let begun = pool.begun();
    let alone = begun.iter().find(|one| one.id == "alone").unwrap();
    // The job is due after 90 s. After that, the jobs in the pipes have to end, at most 8 on each worker.
    let at = alone.at.as_secs();
    assert!((90..=99).contains(&at), "{at}");
}

#[tokio::test(start_paused = true)]
async fn workers_introduce_their_tasks_and_hints_before_jobs_are_judged() {
    let introduction = |task: &str, hint| DeclaredTask {
        task: task.into(),
        hint,
        cacheable: false,
    };
    let pool = ScriptedPool::new(4, 0).introducing(vec![
        introduction("t", Some(Ok(ParallelizationHint::HostExclusive))),
        introduction("wrong", Some(Err("unknown hint `host`".to_owned()))),
    ]);
    for id in ["a", "b"] {
        pool.script(id, 1, Act::well(1));
    }
    let jobs = [
        task("a"),
        task("b"),
        Job::task("c", "wrong", Payload::null()),
        Job::task("d", "wrnog", Payload::null()),
    ];
    let clock = tokio::time::Instant::now();
    let outcomes = executor(&pool, 4).run_all(jobs).await.unwrap();
    assert_eq!(
        told(&outcomes),
        ["a succeeded", "b succeeded", "c failed", "d failed"]
    );
    assert_eq!(clock.elapsed(), SECOND * 2, "one a host, as declared");
    assert!(message(&outcomes[2]).contains("unknown hint `host`"));
    assert_eq!(
        message(&outcomes[3]),
        "unknown task `wrnog`, did you mean `wrong`?"
    );
    let first = pool.demands()[0];
    assert_eq!(
        first,
        Demand::Open { unseated: 4 },
        "all wait for the introduction"
    );
}

#[tokio::test(start_paused = true)]
async fn more_places_ahead_than_can_be_counted_are_no_reason_to_wait() {
    let builder = Executor::builder().slots(1);
    let pools = [
        ScriptedPool::new(1, u32::MAX),
        ScriptedPool::new(1, u32::MAX),
    ];
    let builder = pools
        .into_iter()
        .fold(builder, |builder, pool| builder.pool_source(Arc::new(pool)));
    let outcomes = builder.build().unwrap().run_all([task("0")]).await.unwrap();
    assert_eq!(told(&outcomes), ["0 succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_begins_before_it_can_be_recalled_stops_with_the_others() {
    for order in [RunHandle::cancel, RunHandle::kill] {
        let pool = ScriptedPool::new(1, 1);
        let unstoppable = Act {
            deaf: Deaf::ToKilling,
            ..Act::well(2)
        };
        pool.script("0", 1, unstoppable);
        let early = Act {
            deaf: Deaf::ToRecalling,
            ..Act::well(9)
        };
        pool.script("1", 1, early);
        let clock = tokio::time::Instant::now();
        let jobs = [task("0"), task("1")];
        let run = executor(&pool, 1).run_list(jobs).unwrap();
        tokio::time::sleep(SECOND).await;
        order(&run.handle());
        assert_eq!(told(&all(run).await), ["0 succeeded", "1 cancelled"]);
        assert_eq!(clock.elapsed(), SECOND * 2);
        assert_eq!(pool.begun().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_begins_before_it_can_be_recalled_is_let_finish_while_a_run_drains() {
    let pool = ScriptedPool::new(1, 1);
    pool.script("0", 1, Act::well(2));
    let early = Act {
        deaf: Deaf::ToRecalling,
        ..Act::well(9)
    };
    pool.script("1", 1, early);
    let jobs = [task("0"), task("1")];
    let run = executor(&pool, 1).run_list(jobs).unwrap();
    tokio::time::sleep(SECOND).await;
    run.handle().drain();
    assert_eq!(told(&all(run).await), ["0 succeeded", "1 succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn no_token_is_taken_for_workers_that_are_still_loading() {
    let pool = ScriptedPool::new(8, 0).loading(SECOND * 4);
    let named = |id: &str| {
        task(id).terms(Terms {
            limits: vec!["api".into()],
            ..Terms::default()
        })
    };
    let hint = ParallelizationHint::RateLimited {
        requests_per_second: 2.0,
        burst: 1,
        key: None,
    };
    for job in [&named as &dyn Fn(&str) -> Job, &|id| {
        hinted(id, hint.clone())
    }] {
        let jobs: Vec<Job> = (0..9).map(|number| job(&number.to_string())).collect();
        let builder = Executor::builder().slots(8);
        let builder = builder.limit(
            "api",
            crate::Limit::rate("2/s".parse().unwrap(), 1).unwrap(),
        );
        let executor = builder.pool_source(Arc::new(pool.clone())).build().unwrap();
        let outcomes = executor.run_all(jobs).await.unwrap();
        assert!(outcomes.iter().all(|one| one.is_success()));
    }
    let begun: Vec<Duration> = pool.begun().iter().map(|one| one.at).collect();
    for run in begun.chunks(9) {
        assert_eq!(run[0], SECOND * 4, "when the first worker has loaded");
        for pair in run.windows(2) {
            assert!(pair[1] >= pair[0] + SECOND / 2, "{run:?}");
        }
        assert!(run[8] < SECOND * 9, "and no slower than they may: {run:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_still_loading_holds_up_only_jobs_of_the_same_rate() {
    let pool = ScriptedPool::new(1, 0).loading(SECOND * 4);
    pool.script("model", 1, Act::well(1));
    let limited = |job: Job, limit: &str| {
        job.terms(Terms {
            limits: vec![limit.into()],
            ..Terms::default()
        })
    };
    let here = |id: &str| Job::closure(id, |_| async {});
    let rate = || crate::Limit::rate("2/s".parse().unwrap(), 1).unwrap();
    let executor = Executor::builder()
        .slots(4)
        .limit("model", rate())
        .limit("api", rate())
        .pool_source(Arc::new(pool.clone()))
        .build()
        .unwrap();
    let mut jobs = vec![limited(task("model"), "model")];
    jobs.extend((0..5).map(|id| limited(here(&format!("call{id}")), "api")));
    // It comes when the token of its rate was taken for the worker.
    jobs.push(limited(here("model call"), "model").needs(["call1"]));
    let start = tokio::time::Instant::now();
    let mut run = executor.run_list(jobs).unwrap();
    let mut ended = Vec::new();
    while let Some(outcome) = run.next().await {
        ended.push((outcome.id.to_string(), start.elapsed()));
    }
    let at = |id: &str| ended.iter().find(|(other, _)| other == id).unwrap().1;
    assert_eq!(at("call4"), SECOND * 2, "each half second");
    assert_eq!(
        at("model call"),
        SECOND * 9 / 2,
        "after the worker has loaded"
    );
    assert_eq!(at("model"), SECOND * 5);
}
