use super::*;

const RAMP: Duration = Duration::from_secs(10);

/// Takes a breaker through an outage, and returns when its ramp begins: at a share of 0.1, for ten seconds.
fn recovered(builder: CircuitBreakerBuilder) -> (CircuitBreaker, Instant) {
    let breaker = builder.probes(1).ramp(RAMP, 0.1).build().unwrap();
    let back = opened(&breaker, now());
    succeed(&breaker, back);
    let until = back + RAMP;
    assert_eq!(breaker.state(), State::Ramping { until });
    (breaker, back)
}

fn succeed(breaker: &CircuitBreaker, now: Instant) {
    let permit = breaker.try_acquire(now).unwrap();
    permit.record(CallOutcome::Success, now);
}

/// Returns one letter per call: admitted or refused.
fn ask(breaker: &CircuitBreaker, now: Instant, calls: usize) -> String {
    let letter = |_| match breaker.try_acquire(now) {
        Ok(_) => 'a',
        Err(_) => '-',
    };
    (0..calls).map(letter).collect()
}

#[test]
fn the_share_is_exact_and_grows_evenly() {
    let (breaker, start) = recovered(fragile());
    assert_eq!(ask(&breaker, start, 20), "a---------a---------");
    for (seconds, share) in [(0, 10), (2, 28), (5, 55), (9, 91)] {
        let admitted = ask(&breaker, start + seconds * SECOND, 1_000);
        assert_eq!(
            admitted.matches('a').count(),
            10 * share,
            "after {seconds} s"
        );
    }
    // A clock that is behind still sees the initial share.
    let behind = start.checked_sub(SECOND).unwrap();
    assert_eq!(ask(&breaker, behind, 100).matches('a').count(), 10);
    assert_eq!(ask(&breaker, start + RAMP, 50), "a".repeat(50));
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn the_refused_are_spread_over_what_is_left() {
    let (breaker, start) = recovered(fragile());
    succeed(&breaker, start);
    for tenths in (1..10).rev() {
        let rejection = breaker.try_acquire(start).unwrap_err();
        assert_eq!(rejection.retry_at(), Some(start + RAMP * tenths / 10));
        assert_eq!(rejection.to_string(), "the circuit breaker is ramping up");
    }
}

#[test]
fn a_call_refused_at_the_last_moment_has_to_wait_for_the_end() {
    let (breaker, start) = recovered(fragile());
    succeed(&breaker, start);
    let last_moment = start + RAMP.checked_sub(Duration::from_nanos(1)).unwrap();
    let rejection = breaker.try_acquire(last_moment).unwrap_err();
    assert_eq!(rejection.retry_at(), Some(start + RAMP));
}

#[test]
fn a_caller_that_comes_back_when_told_gets_through_by_the_end() {
    for before in 0..50 {
        let (breaker, start) = recovered(fragile());
        ask(&breaker, start, before);
        let mut now = start;
        while let Err(rejection) = breaker.try_acquire(now) {
            let until = rejection.retry_at().unwrap();
            assert!(now < until && until <= start + RAMP);
            now = until;
        }
    }
}

#[test]
fn failures_on_the_ramp_open_it_for_longer_than_before() {
    let (breaker, start) = recovered(fragile());
    let failed = start + 9 * SECOND;
    let until = opened(&breaker, failed);
    assert_eq!(until - failed, 2 * SECOND);
    // After the ramp the earlier openings are forgotten, so the open time is the first one again.
    succeed(&breaker, until);
    let over = until + RAMP;
    succeed(&breaker, over);
    assert_eq!(opened(&breaker, over) - over, SECOND);
}

#[test]
fn the_end_of_the_ramp_forgets_no_call() {
    let (breaker, start) = recovered(fragile());
    let end = start + RAMP;
    let almost = start + 9 * SECOND;
    let under_way = breaker.try_acquire(almost).unwrap();
    fail(&breaker, almost);
    assert!(breaker.try_acquire(end).is_ok());
    assert_eq!(
        (breaker.state(), breaker.snapshot(end).failures),
        (State::Closed, 1)
    );
    under_way.record(CallOutcome::Failure, end);
    assert_eq!(
        breaker.state(),
        State::Open {
            until: end + SECOND
        }
    );
}

#[test]
fn only_probes_that_succeeded_lead_to_it() {
    let (breaker, now) = recovered(fragile());
    breaker.reset(now);
    assert_eq!(ask(&breaker, now, 50), "a".repeat(50));
    breaker.force_close(now);
    assert_eq!(ask(&breaker, now, 50), "a".repeat(50));
}

#[test]
fn the_end_of_a_ramp_is_told() {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = Arc::clone(&told);
    let (breaker, start) = recovered(fragile().on_transition(move |change| {
        let (from, to, cause) = (change.from, change.to, change.cause);
        notes
            .lock()
            .unwrap()
            .push(format!("{from} -> {to}: {cause}"));
    }));
    succeed(&breaker, start + RAMP);
    assert_eq!(
        told.lock().unwrap()[2..],
        [
            "half-open -> ramping up: all probes succeeded",
            "ramping up -> closed: the ramp is over"
        ]
    );
}
