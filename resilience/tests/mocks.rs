//! The mocks, as the tests of another crate use them.
#![cfg(feature = "mock")]

#[cfg(feature = "retry")]
#[tokio::test(start_paused = true)]
async fn an_executor_can_be_given_a_mocked_policy() {
    use std::time::Duration;

    use ratchet_resilience::retry::{Fault, GiveUp, MockRetryPolicy, RetryExecutor};

    let mut policy = MockRetryPolicy::new();
    policy
        .expect_should_retry()
        .times(2)
        .returning(|history, _| match history.failures() {
            1 => Ok(()),
            _ => Err(GiveUp::Policy),
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
        (error.why(), start.elapsed()),
        (GiveUp::Policy, Duration::from_secs(7))
    );
}

#[cfg(feature = "shutdown")]
#[tokio::test(start_paused = true)]
async fn a_coordinator_can_be_given_a_mocked_hook() {
    use std::time::Duration;

    use ratchet_resilience::shutdown::{HookPoint, MockShutdownHook, Phase, ShutdownCoordinator};

    let mut hook = MockShutdownHook::new();
    hook.expect_name().return_const("flush".to_owned());
    hook.expect_run()
        .once()
        .returning(|_| Err("disk full".into()));

    let builder = ShutdownCoordinator::builder().hook(HookPoint::End, Duration::from_secs(1), hook);
    let coordinator = builder.build().unwrap();
    coordinator.handle().advance();
    let report = coordinator.run().await;
    assert_eq!(report.reached, Phase::Draining);
    assert_eq!(
        report.to_string(),
        "0 of 0 tasks finished, draining after 0ns; hook flush failed: disk full"
    );
}
