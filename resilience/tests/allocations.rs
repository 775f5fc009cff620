//! Code that runs for every call must not allocate.

#[cfg(feature = "circuit-breaker")]
#[test]
fn a_closed_breaker_allocates_nothing() {
    use std::time::Duration;

    use ratchet_resilience::circuit_breaker::{CallOutcome, CircuitBreaker, State, Window};

    for window in [Window::Calls(100), Window::Time(Duration::from_secs(1))] {
        let breaker = CircuitBreaker::builder().window(window).build().unwrap();
        let mut now = tokio::time::Instant::now().into_std();
        let used = allocation_counter::measure(|| {
            for call in 0..1_000 {
                now += Duration::from_millis(7);
                let outcome = if call % 3 == 0 {
                    CallOutcome::Failure
                } else {
                    CallOutcome::Success
                };
                breaker.try_acquire(now).unwrap().record(outcome, now);
            }
        });
        assert_eq!((breaker.state(), used.count_total), (State::Closed, 0));
    }
}

#[cfg(feature = "circuit-breaker")]
#[test]
fn a_ramp_allocates_nothing_while_it_lasts_and_after_it() {
    use std::time::Duration;

    use ratchet_resilience::circuit_breaker::{CallOutcome, CircuitBreaker, State};

    let breaker = CircuitBreaker::builder()
        .consecutive_failures(1)
        .open_for(Duration::from_secs(1))
        .probes(1)
        .ramp(Duration::from_secs(10), 0.1)
        .build()
        .unwrap();
    let mut now = tokio::time::Instant::now().into_std();
    for outcome in [CallOutcome::Failure, CallOutcome::Success] {
        breaker.try_acquire(now).unwrap().record(outcome, now);
        now += Duration::from_secs(1);
    }
    let mut refused = 0;
    let used = allocation_counter::measure(|| {
        for _ in 0..1_000 {
            now += Duration::from_millis(18);
            match breaker.try_acquire(now) {
                Ok(permit) => permit.record(CallOutcome::Success, now),
                Err(_) => refused += 1,
            }
        }
    });
    assert!(refused > 100, "{refused} refused is no ramp");
    assert_eq!((breaker.state(), used.count_total), (State::Closed, 0));
}

#[cfg(feature = "retry")]
#[test]
fn a_retry_decision_allocates_nothing() {
    use ratchet_resilience::Rng;
    use ratchet_resilience::retry::{
        BackoffPolicy, Fault, RetryBudget, RetryDecision, RetryHistory,
    };

    let policy = BackoffPolicy::builder()
        .max_attempts(5_000)
        .classes(["timeout"])
        .build()
        .unwrap();
    let budget = RetryBudget::builder()
        .floor_per_second(1_000.0)
        .build()
        .unwrap();
    let error = Fault::transient("slow").class("timeout");
    let mut rng = Rng::seeded(1);
    let now = tokio::time::Instant::now().into_std();
    let mut history = RetryHistory::new(now);
    // `backoff` draws from a generator that each thread allocates once, at its first decision.
    let _ = history.record_failure(&policy, &error, now, &mut rng);
    let used = allocation_counter::measure(|| {
        for _ in 0..1_000 {
            let decision = history
                .record_failure(&policy, &error, now, &mut rng)
                .limited_by(&budget, now);
            assert!(matches!(decision, RetryDecision::Retry { .. }));
        }
    });
    assert_eq!(used.count_total, 0);
}
