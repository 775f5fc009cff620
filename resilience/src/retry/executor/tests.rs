use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::retry::{BackoffPolicy, BackoffPolicyBuilder, Delay, Fault, Jitter};

const SECOND: Duration = Duration::from_secs(1);

fn every_second(max_attempts: u32) -> BackoffPolicyBuilder {
    let fixed = BackoffPolicy::builder()
        .delay(Delay::Fixed(SECOND))
        .jitter(Jitter::None);
    fixed.max_attempts(max_attempts)
}

#[tokio::test(start_paused = true)]
async fn executor_waits_between_attempts_and_returns_the_first_success() {
    let executor = RetryExecutor::new(every_second(5).build().unwrap());
    let start = tokio::time::Instant::now();
    let result = executor
        .execute(async |attempt| {
            if attempt < 3 {
                Err(Fault::transient("reset"))
            } else {
                Ok(attempt)
            }
        })
        .await;
    assert_eq!(result.unwrap(), 3);
    assert_eq!(start.elapsed(), 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn executor_names_every_failed_attempt() {
    let executor = RetryExecutor::new(every_second(3).build().unwrap());
    let error = executor
        .execute(async |attempt| {
            tokio::time::sleep(attempt * SECOND).await;
            Err::<(), _>(Fault::transient(format!("failure {attempt}")))
        })
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "all attempts (3) are used up; attempt 1: failure 1; attempt 2: failure 2; attempt 3: failure 3"
    );
    let took: Vec<_> = error
        .failures()
        .iter()
        .map(|failure| (failure.number, failure.took.as_secs()))
        .collect();
    assert_eq!(took, [(1, 1), (2, 2), (3, 3)]);
    assert_eq!(error.into_last().unwrap().into_inner(), "failure 3");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_wait_and_the_operation() {
    let executor = RetryExecutor::new(every_second(9).build().unwrap());
    let start = tokio::time::Instant::now();
    let waiting = executor
        .execute_until(tokio::time::sleep(SECOND / 2), async |_| {
            Err::<(), _>(Fault::transient("reset"))
        })
        .await
        .unwrap_err();
    assert_eq!(
        (waiting.reason(), waiting.failures().len()),
        (GiveUpReason::Cancelled, 1)
    );
    let running = executor
        .execute_until(tokio::time::sleep(SECOND / 2), async |_| {
            pending::<()>().await;
            Err::<(), _>(Fault::transient("reset"))
        })
        .await
        .unwrap_err();
    assert_eq!(
        (running.reason(), running.failures().len()),
        (GiveUpReason::Cancelled, 0)
    );
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_stop_before_the_start_starts_nothing_and_a_result_at_the_stop_is_kept() {
    let executor = RetryExecutor::new(every_second(9).build().unwrap());
    let started = AtomicU32::new(0);
    let stopped = executor
        .execute_until(ready(()), async |_| {
            started.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Fault<&str>>(())
        })
        .await;
    assert_eq!(stopped.unwrap_err().reason(), GiveUpReason::Cancelled);
    assert_eq!(started.load(Ordering::Relaxed), 0);

    let same_moment = executor
        .execute_until(tokio::time::sleep(SECOND), async |_| {
            tokio::time::sleep(SECOND).await;
            Ok::<_, Fault<&str>>("done")
        })
        .await;
    assert_eq!(same_moment.unwrap(), "done");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_waits() {
    let waited = async |seed| {
        let policy = BackoffPolicy::builder().max_attempts(9).build().unwrap();
        let executor = RetryExecutor::new(policy).rng(Rng::seeded(seed));
        let start = tokio::time::Instant::now();
        let failed = executor.execute(async |_| Err::<(), _>(Fault::transient("reset")));
        failed.await.unwrap_err();
        start.elapsed()
    };
    assert_eq!(waited(7).await, waited(7).await);
    assert_ne!(waited(7).await, waited(8).await);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_dropped_and_tried_again() {
    let executor = RetryExecutor::new(every_second(3).build().unwrap());
    let executor = executor.attempt_timeout(5 * SECOND).unwrap();
    let start = tokio::time::Instant::now();
    let result = executor
        .execute(async |attempt| {
            if attempt == 1 {
                pending::<()>().await;
            }
            Ok::<_, Fault<&str>>(attempt)
        })
        .await;
    assert_eq!(result.unwrap(), 2);
    assert_eq!(start.elapsed(), 6 * SECOND);

    let given_up = executor
        .execute(async |_| {
            pending::<()>().await;
            Ok::<_, Fault<&str>>(())
        })
        .await
        .unwrap_err();
    let timed_out = AttemptError::TimedOut { limit: 5 * SECOND };
    assert_eq!(given_up.failures().len(), 3);
    assert!(given_up.failures().iter().all(|one| one.error == timed_out));
    assert_eq!(timed_out.class(), "timeout");
    assert_eq!(given_up.into_last(), None);
}

#[test]
fn an_attempt_timeout_of_zero_is_refused() {
    let refused = RetryExecutor::default().attempt_timeout(Duration::ZERO);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "attempt_timeout is 0ns, but must be between 1ns and 365 days"
    );
}

#[tokio::test(start_paused = true)]
async fn a_listener_hears_of_each_retry_and_not_of_the_last_failure() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let executor = RetryExecutor::new(every_second(3).build().unwrap()).on_retry(move |retry| {
        let told = (
            retry.attempt,
            retry.error.to_string(),
            retry.class.to_owned(),
            retry.delay,
        );
        listener.lock().unwrap().push(told);
    });
    executor
        .execute(async |attempt| {
            Err::<(), _>(Fault::transient(format!("failure {attempt}")).class("network"))
        })
        .await
        .unwrap_err();
    let told = |attempt: u32| {
        (
            attempt,
            format!("failure {attempt}"),
            "network".to_owned(),
            SECOND,
        )
    };
    assert_eq!(*heard.lock().unwrap(), [told(1), told(2)]);
}

#[tokio::test(start_paused = true)]
async fn errors_of_any_type_are_retried_where_a_function_says_so() {
    let executor = RetryExecutor::default();
    let is_transient = |error: &&str| *error == "busy";
    let busy = executor
        .execute_if(is_transient, async |attempt| match attempt {
            1 => Err("busy"),
            _ => Ok(attempt),
        })
        .await;
    assert_eq!(busy.unwrap(), 2);
    let gone = executor
        .execute_if(is_transient, async |_| Err::<(), _>("gone"))
        .await
        .unwrap_err();
    assert_eq!(
        (gone.reason(), gone.failures().len()),
        (GiveUpReason::Permanent, 1)
    );
    assert_eq!(gone.into_last(), Some("gone"));
}

/// Returns a budget of one retry per call, and none without a call.
fn one_for_one() -> RetryBudget {
    let builder = RetryBudget::builder().share(1.0).floor_per_second(0.0);
    builder.build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_starts_pays_nothing_into_the_budget() {
    let budget = Arc::new(one_for_one());
    let executor = RetryExecutor::new(every_second(9).build().unwrap()).budget(Arc::clone(&budget));
    let stopped = executor
        .execute_until(ready(()), async |_| Ok::<_, Fault<&str>>(()))
        .await;
    assert_eq!(stopped.unwrap_err().reason(), GiveUpReason::Cancelled);
    assert!(!budget.withdraw(now()));
    executor
        .execute(async |_| Ok::<_, Fault<&str>>(()))
        .await
        .unwrap();
    assert!(budget.withdraw(now()));
}

#[tokio::test(start_paused = true)]
async fn executors_share_a_budget() {
    let budget = Arc::new(
        RetryBudget::builder()
            .share(0.5)
            .floor_per_second(0.0)
            .build()
            .unwrap(),
    );
    let executor = RetryExecutor::new(every_second(9).build().unwrap()).budget(Arc::clone(&budget));
    let call = async || {
        executor
            .execute(async |_| Err::<(), _>(Fault::transient("reset")))
            .await
            .unwrap_err()
    };
    let attempts = [call().await.failures().len(), call().await.failures().len()];
    // The second call has added one retry to the budget.
    assert_eq!(attempts, [1, 2]);
    assert_eq!(call().await.reason(), GiveUpReason::Budget);
}

#[tokio::test(start_paused = true)]
async fn a_call_can_be_spawned_and_its_operation_may_change_what_it_holds() {
    let executor = Arc::new(RetryExecutor::new(every_second(3).build().unwrap()));
    let calls = tokio::spawn(async move {
        let mut calls = Vec::new();
        let result = executor
            .execute(|attempt| {
                calls.push(attempt);
                async {
                    tokio::task::yield_now().await;
                    Err::<(), _>(Fault::transient("reset"))
                }
            })
            .await;
        assert_eq!(
            result.unwrap_err().reason(),
            GiveUpReason::Attempts { max: 3 }
        );
        calls
    });
    assert_eq!(calls.await.unwrap(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn many_calls_can_share_an_executor_from_tasks_of_their_own() {
    let executor = Arc::new(RetryExecutor::new(every_second(3).build().unwrap()));
    let attempts = Arc::new(AtomicU32::new(0));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (executor, attempts) = (Arc::clone(&executor), Arc::clone(&attempts));
        calls.spawn(async move {
            let call = executor.execute(async |attempt| {
                attempts.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                if attempt == 3 {
                    Ok(())
                } else {
                    Err(Fault::transient("reset"))
                }
            });
            call.await
        });
    }
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    assert_eq!(attempts.load(Ordering::Relaxed), 30);
}

#[cfg(feature = "circuit-breaker")]
mod through_a_breaker {
    use super::*;
    use crate::circuit_breaker::State;

    /// Returns a breaker that opens at the second failure in a row, for ten seconds.
    fn breaker() -> CircuitBreaker {
        CircuitBreaker::builder()
            .consecutive_failures(2)
            .open_for(10 * SECOND)
            .open_jitter(0.0)
            .probes(1)
            .build()
            .unwrap()
    }

    fn opened() -> CircuitBreaker {
        let breaker = breaker();
        for _ in 0..2 {
            breaker
                .try_acquire(now())
                .unwrap()
                .record(CallOutcome::Failure, now());
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejection_is_waited_out_and_costs_no_attempt() {
        let policy = every_second(3).time_limit(60 * SECOND).build().unwrap();
        let executor = RetryExecutor::new(policy).circuit_breaker(breaker());
        let start = tokio::time::Instant::now();
        let result = executor
            .execute(async |attempt| {
                if attempt < 3 {
                    Err(Fault::transient("down"))
                } else {
                    Ok(attempt)
                }
            })
            .await;
        // The failures at 0 s and 1 s open the breaker. It rejects at 2 s, and admits the third attempt at 11 s.
        assert_eq!(result.unwrap(), 3);
        assert_eq!(start.elapsed(), 11 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_time_to_wait_a_rejection_ends_the_call() {
        for policy in [every_second(9), every_second(9).time_limit(5 * SECOND)] {
            let executor = RetryExecutor::new(policy.build().unwrap()).circuit_breaker(breaker());
            let error = executor
                .execute(async |_| Err::<(), _>(Fault::transient("down")))
                .await
                .unwrap_err();
            assert_eq!(
                (error.reason(), error.failures().len()),
                (GiveUpReason::Rejected, 2)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_wait_for_the_breaker() {
        let policy = every_second(9).time_limit(60 * SECOND).build().unwrap();
        let executor = RetryExecutor::new(policy).circuit_breaker(opened());
        let stopped = executor
            .execute_until(tokio::time::sleep(SECOND), async |_| {
                Ok::<_, Fault<&str>>(())
            })
            .await
            .unwrap_err();
        assert_eq!(
            (stopped.reason(), stopped.failures().len()),
            (GiveUpReason::Cancelled, 0)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_attempt_starts_if_the_stop_comes_as_the_breaker_admits() {
        let breaker = opened();
        let policy = every_second(9).time_limit(60 * SECOND).build().unwrap();
        let executor = RetryExecutor::new(policy).circuit_breaker(breaker.clone());
        let stopped = executor
            .execute_until(tokio::time::sleep(10 * SECOND), async |_| {
                Ok::<_, Fault<&str>>("started")
            })
            .await;
        assert_eq!(stopped.unwrap_err().reason(), GiveUpReason::Cancelled);
        assert_eq!(breaker.snapshot(now()).probes_under_way, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_rejected_pays_nothing_into_the_budget() {
        let budget = Arc::new(one_for_one());
        let executor = RetryExecutor::new(every_second(9).build().unwrap())
            .circuit_breaker(opened())
            .budget(Arc::clone(&budget));
        let rejected = executor.execute(async |_| Ok::<_, Fault<&str>>(())).await;
        assert_eq!(rejected.unwrap_err().reason(), GiveUpReason::Rejected);
        assert!(!budget.withdraw(now()));
    }

    /// An error that could succeed later, but of a call that was cancelled.
    #[derive(Debug)]
    struct Interrupted;

    impl fmt::Display for Interrupted {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("interrupted")
        }
    }

    impl Retryable for Interrupted {
        fn is_retryable(&self) -> bool {
            true
        }
        fn is_cancellation(&self) -> bool {
            true
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_counts_attempts_that_time_out_and_ignores_blameless_errors() {
        let breaker = breaker();
        let executor = RetryExecutor::new(every_second(2).build().unwrap())
            .circuit_breaker(breaker.clone())
            .attempt_timeout(SECOND)
            .unwrap();
        for _ in 0..3 {
            let throttled = executor
                .execute(async |_| Err::<(), _>(Fault::transient("429").ignored_by_breakers()))
                .await;
            let max = GiveUpReason::Attempts { max: 2 };
            assert_eq!(throttled.unwrap_err().reason(), max);
        }
        assert_eq!(breaker.snapshot(now()).calls, 0);
        executor
            .execute(async |_| {
                pending::<()>().await;
                Ok::<_, Fault<&str>>(())
            })
            .await
            .unwrap_err();
        assert!(matches!(breaker.state(), State::Open { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn what_says_nothing_about_the_other_side_is_not_counted() {
        let breaker = breaker();
        let executor =
            RetryExecutor::new(every_second(1).build().unwrap()).circuit_breaker(breaker.clone());
        for error in [Fault::permanent("no such user"), Fault::cancelled("gone")] {
            for _ in 0..5 {
                executor
                    .execute(async |_| Err::<(), _>(error.clone()))
                    .await
                    .unwrap_err();
            }
        }
        for _ in 0..5 {
            let cancelled = executor.execute(async |_| Err::<(), _>(Interrupted)).await;
            assert_eq!(cancelled.unwrap_err().reason(), GiveUpReason::Cancelled);
        }
        let abandoned = executor.execute_until(tokio::time::sleep(SECOND), async |_| {
            pending::<()>().await;
            Ok::<_, Fault<&str>>(())
        });
        abandoned.await.unwrap_err();
        let seen = breaker.snapshot(now());
        assert_eq!((seen.state, seen.calls), (State::Closed, 0));
        executor
            .execute(async |_| Ok::<_, Fault<&str>>(()))
            .await
            .unwrap();
        assert_eq!(breaker.snapshot(now()).calls, 1);
    }
}
