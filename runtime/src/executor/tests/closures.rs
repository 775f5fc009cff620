//! Tests of work that runs in this process.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::*;
use crate::context::Context;
use crate::context::Step;
use crate::executor::runner::{Attempt, Runner};
use crate::executor::{MockRunner, RunHandle};
use crate::os::ProcessConfig;
use crate::outcome::Status;

#[tokio::test(start_paused = true)]
async fn as_many_run_as_there_are_slots_and_no_more() {
    let begin = tokio::time::Instant::now();
    let jobs = (0..10).map(|number| takes(&number.to_string(), 1));
    let outcomes = executor(4).run_all(jobs).await.unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.is_success()));
    assert_eq!(begin.elapsed().as_secs(), 3, "4 + 4 + 2");
    let waited: Vec<u64> = outcomes.iter().map(|one| one.queued.as_secs()).collect();
    assert_eq!(waited, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]);
    assert!(
        outcomes
            .iter()
            .all(|one| one.duration == SECOND && one.attempts == 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_crash_of_the_attempt_and_of_nothing_else() {
    let panics = Job::closure("a", |_| async {
        assert!(std::hint::black_box(false), "out of {}", "cheese");
    });
    let early = Job::closure("b", |_| -> std::future::Ready<()> { panic!("at once") });
    let outcomes = executor(2)
        .run_all([panics, early, takes("c", 1)])
        .await
        .unwrap();
    assert_eq!(told(&outcomes), ["a crashed", "b crashed", "c succeeded"]);
    assert_eq!(message(&outcomes[0]), "it panicked: out of cheese");
    assert_eq!(message(&outcomes[1]), "it panicked: at once");
}

#[tokio::test(start_paused = true)]
async fn a_soft_timeout_asks_and_a_hard_one_kills() {
    let limits = |soft: Option<u32>, hard: Option<u32>| {
        terms(Timeouts {
            soft: soft.map(|seconds| SECOND * seconds),
            hard: hard.map(|seconds| SECOND * seconds),
            ..Timeouts::default()
        })
    };
    let listens = Job::closure("asked", |context: Context| async move {
        context.cancelled().await;
        Err::<(), _>(Failure::new(Class::Task, "interrupted"))
    });
    let finishes = Job::closure("in time", |context: Context| async move {
        context.cancelled().await;
        Ok(Payload::null())
    });
    let jobs = [
        listens.terms(limits(Some(2), Some(9))),
        finishes.terms(limits(Some(2), Some(9))),
        stubborn("killed").terms(limits(Some(2), Some(3))),
        stubborn("only hard").terms(limits(None, Some(3))),
        stubborn("only soft").terms(limits(Some(2), None)),
        stubborn("both").terms(limits(Some(2), Some(2))),
    ];
    let outcomes = executor(6).run_all(jobs).await.unwrap();
    let seconds: Vec<u64> = outcomes.iter().map(|one| one.duration.as_secs()).collect();
    assert_eq!(
        seconds,
        [2, 2, 3, 3, 12, 2],
        "one that has only a soft timeout has the grace, 10 seconds, and nobody runs beyond its hard one"
    );
    let messages: Vec<&str> = outcomes.iter().map(|one| message(one)).collect();
    assert_eq!(
        messages,
        [
            "timed out after 2s",
            "",
            "timed out after 2s, and was killed",
            "timed out after 3s, and was killed",
            "timed out after 2s, and was killed",
            "timed out after 2s, and was killed",
        ]
    );
    assert_eq!(outcomes[0].status(), Status::TimedOut);
    assert!(
        outcomes[1].is_success(),
        "who finishes in time has finished"
    );
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_never_took_its_token_is_dropped_when_it_would_be_asked() {
    let soft = terms(Timeouts {
        soft: Some(SECOND / 5),
        hard: Some(SECOND * 60),
        ..Timeouts::default()
    });
    let cannot_hear = || Job::closure("a", |_| std::future::pending::<()>());
    let begin = tokio::time::Instant::now();
    let outcomes = executor(1)
        .run_all([cannot_hear().terms(soft)])
        .await
        .unwrap();
    assert_eq!(told(&outcomes), ["a timed_out"]);
    assert_eq!(begin.elapsed(), SECOND / 5);

    // The same holds for the deadline of the whole run.
    let limited = Executor::builder()
        .deadline(SECOND * 3 / 10)
        .build()
        .unwrap();
    let begin = tokio::time::Instant::now();
    let outcomes = limited.run_all([cannot_hear()]).await.unwrap();
    assert_eq!(told(&outcomes), ["a cancelled"]);
    assert_eq!(begin.elapsed(), SECOND * 3 / 10);
}

#[tokio::test(start_paused = true)]
async fn an_idle_timeout_lets_live_what_tells_of_progress() {
    let idle = || {
        terms(Timeouts {
            idle: Some(SECOND * 2),
            ..Timeouts::default()
        })
    };
    let busy = Job::closure("busy", |context: Context| async move {
        for _ in 0..5 {
            tokio::time::sleep(SECOND).await;
            context.progress(Step::default());
        }
        Ok(Payload::null())
    });
    let silent = Job::closure("silent", |context: Context| async move {
        context.cancelled().await;
        Err::<(), _>(Failure::new(Class::Task, "interrupted"))
    });
    let outcomes = executor(2)
        .run_all([busy.terms(idle()), silent.terms(idle())])
        .await
        .unwrap();
    assert_eq!(told(&outcomes), ["busy succeeded", "silent timed_out"]);
    assert_eq!(message(&outcomes[1]), "timed out: no progress for 2s");
    assert_eq!(outcomes[1].duration, SECOND * 2);
}

#[tokio::test(start_paused = true)]
async fn a_runner_does_what_names_a_task() {
    let mut runner = MockRunner::new();
    runner.expect_run().times(2).returning(|attempt, context| {
        assert_eq!(attempt.number, context.attempt());
        match attempt.job.task_name() {
            "good" => Ok(Payload::null()),
            _ => Err(Failure::new(Class::Task, "bad")),
        }
    });
    let executor = Executor::builder().runner(runner).build().unwrap();
    let jobs = ["good", "bad"].map(|task| Job::task(task, task, Payload::null()));
    let outcomes = executor.run_all(jobs).await.unwrap();
    assert_eq!(told(&outcomes), ["good succeeded", "bad failed"]);
    assert_eq!(outcomes[0].task, "good".into());
}

struct Panics;

#[async_trait::async_trait]
impl Runner for Panics {
    async fn run(&self, attempt: Attempt, _context: Context) -> Result<Payload, Failure> {
        panic!("no {}", attempt.job.task_name())
    }
}

#[tokio::test(start_paused = true)]
async fn a_runner_may_panic() {
    let executor = Executor::builder().runner(Panics).build().unwrap();
    let jobs = [Job::task("a", "way", Payload::null())];
    let outcomes = executor.run_all(jobs).await.unwrap();
    assert_eq!(message(&outcomes[0]), "it panicked: no way");
}

#[tokio::test]
async fn commands_run_as_jobs() {
    let shell =
        |id: &str, script: &str| Job::command(id, ProcessConfig::new("sh").args(["-c", script]));
    let outcomes = executor(2)
        .run_all([shell("a", "echo hello"), shell("b", "exit 7")])
        .await
        .unwrap();
    let printed = r#"{"exit_code":0,"stdout":"hello\n","stderr":""}"#;
    assert_eq!(outcomes[0].result.as_ref().unwrap().as_str(), printed);
    assert_eq!(outcomes[0].task, "sh".into());
    assert_eq!(message(&outcomes[1]), "it ended with exit code 7");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_run_stops_all_it_has_started() {
    /// Counts the values that were not dropped yet.
    struct Lives(Arc<AtomicU32>);
    impl Drop for Lives {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Relaxed);
        }
    }
    let living = Arc::new(AtomicU32::new(0));
    let jobs: Vec<Job> = (0..10)
        .map(|number| {
            let living = Arc::clone(&living);
            Job::closure(number.to_string(), move |_| {
                living.fetch_add(1, Relaxed);
                let life = Lives(Arc::clone(&living));
                async move {
                    let _life = life;
                    std::future::pending::<()>().await;
                }
            })
        })
        .collect();
    let run = executor(3).run(jobs).unwrap();
    let handle: RunHandle = run.handle();
    tokio::time::sleep(SECOND).await;
    assert_eq!(living.load(Relaxed), 3);
    drop(run);
    tokio::time::sleep(SECOND).await;
    assert_eq!(living.load(Relaxed), 0);
    assert_eq!(handle.set_slots(1).await, Err(crate::Error::RunEnded));
}
