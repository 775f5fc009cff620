//! Tests of the mocks, as another crate would use them.
#![cfg(feature = "mock")]

#[cfg(feature = "retry")]
#[tokio::test(start_paused = true)]
async fn an_executor_can_be_given_a_mocked_policy() {
    use std::time::Duration;

    use ratchet_resilience::mock::MockRetryPolicy;
    use ratchet_resilience::retry::{Fault, GiveUpReason, RetryExecutor};

    let mut policy = MockRetryPolicy::new();
    policy
        .expect_should_retry()
        .times(2)
        .returning(|history, _| match history.failures() {
            1 => Ok(()),
            _ => Err(GiveUpReason::Policy),
        });
    policy
        .expect_retry_delay()
        .once()
        .returning(|_, _, _| Duration::from_secs(7));
    policy.expect_time_limit().returning(|| None);

    let start = tokio::time::Instant::now();
    let executor = RetryExecutor::new(policy);
    let error = executor
        .execute(async |_| Err::<(), _>(Fault::transient("busy")))
        .await
        .unwrap_err();
    assert_eq!(
        (error.reason(), start.elapsed()),
        (GiveUpReason::Policy, Duration::from_secs(7))
    );
}
