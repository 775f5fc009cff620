use std::sync::Barrier;
use std::time::Duration;

use super::*;
use crate::Rng;

mod ramp;
mod transitions;

const SECOND: Duration = Duration::from_secs(1);

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Returns a breaker that opens at the second failure in a row, for a second, and needs two probes.
fn fragile() -> CircuitBreakerBuilder {
    CircuitBreaker::builder()
        .consecutive_failures(2)
        .open_for(SECOND)
        .open_jitter(0.0)
        .probes(2)
}

fn fail(breaker: &CircuitBreaker, now: Instant) {
    breaker
        .try_acquire(now)
        .unwrap()
        .record(CallOutcome::Failure, now);
}

fn opened(breaker: &CircuitBreaker, now: Instant) -> Instant {
    fail(breaker, now);
    fail(breaker, now);
    let State::Open { until } = breaker.state() else {
        panic!("{breaker:?} should be open")
    };
    until
}

#[test]
fn a_result_from_before_a_transition_changes_nothing_after_it() {
    let breaker = fragile().build().unwrap();
    let start = now();
    let old: Vec<_> = (0..3)
        .map(|_| breaker.try_acquire(start).unwrap())
        .collect();
    let until = opened(&breaker, start);
    let probe = breaker.try_acquire(until).unwrap();
    let before = breaker.snapshot(until);
    for (permit, outcome) in old.into_iter().zip([
        CallOutcome::Failure,
        CallOutcome::Success,
        CallOutcome::Ignored,
    ]) {
        permit.record(outcome, until);
    }
    assert_eq!(breaker.snapshot(until), before);
    drop(probe);
}

#[test]
fn closing_forgets_old_failures() {
    let breaker = fragile().build().unwrap();
    let until = opened(&breaker, now());
    let probes = [
        breaker.try_acquire(until).unwrap(),
        breaker.try_acquire(until).unwrap(),
    ];
    for probe in probes {
        probe.record(CallOutcome::Success, until);
    }
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, until);
    assert_eq!(
        breaker.state(),
        State::Closed,
        "one failure after closing is one failure"
    );
}

#[test]
fn a_dropped_probe_decides_nothing_and_makes_room() {
    let breaker = fragile().build().unwrap();
    let until = opened(&breaker, now());
    let kept = breaker.try_acquire(until).unwrap();
    let dropped = breaker.try_acquire(until).unwrap();
    assert!(breaker.try_acquire(until).is_err());
    drop(dropped);
    assert_eq!(breaker.state(), State::HalfOpen);
    assert!(breaker.try_acquire(until).unwrap().is_probe());
    drop(kept);
}

#[test]
fn a_probe_of_an_earlier_half_open_state_frees_no_place_of_a_later_one() {
    let breaker = fragile().build().unwrap();
    let until = opened(&breaker, now());
    let old = breaker.try_acquire(until).unwrap();
    fail(&breaker, until);
    let State::Open { until } = breaker.state() else {
        panic!("{breaker:?} should be open")
    };
    // The same slot, with the same lease number.
    let new = breaker.try_acquire(until).unwrap();
    drop(old);
    assert_eq!(breaker.snapshot(until).probes_under_way, 1);
    drop(new);
    assert_eq!(breaker.snapshot(until).probes_under_way, 0);
}

#[test]
fn a_probe_that_does_not_return_loses_its_place_and_its_say() {
    let breaker = fragile().probes(1).probe_lease(3 * SECOND).build().unwrap();
    let until = opened(&breaker, now());
    let lost = breaker.try_acquire(until).unwrap();
    assert_eq!(
        breaker.try_acquire(until).unwrap_err().retry_at(),
        Some(until + 3 * SECOND)
    );
    let next = breaker.try_acquire(until + 3 * SECOND).unwrap();
    lost.record(CallOutcome::Success, until + 3 * SECOND);
    assert_eq!(breaker.state(), State::HalfOpen);
    next.record(CallOutcome::Success, until + 4 * SECOND);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn each_reopening_lasts_longer_up_to_the_cap_and_closing_starts_over() {
    let breaker = fragile()
        .probes(1)
        .open_growth(3.0)
        .open_max(10 * SECOND)
        .build()
        .unwrap();
    let mut now = now();
    let mut until = opened(&breaker, now);
    let mut lasted = vec![until - now];
    for _ in 0..3 {
        now = until;
        fail(&breaker, now);
        let State::Open { until: next } = breaker.state() else {
            panic!("{breaker:?} should be open")
        };
        lasted.push(next - now);
        until = next;
    }
    assert_eq!(lasted, [1, 3, 9, 10].map(Duration::from_secs));
    breaker
        .try_acquire(until)
        .unwrap()
        .record(CallOutcome::Success, until);
    assert_eq!(opened(&breaker, until) - until, SECOND);
}

#[test]
fn open_jitter_shortens_by_its_share_at_most() {
    let mut spread = Vec::new();
    for seed in 0..200 {
        let breaker = fragile()
            .open_jitter(0.5)
            .rng(Rng::seeded(seed))
            .build()
            .unwrap();
        let now = now();
        let lasted = opened(&breaker, now) - now;
        assert!(SECOND / 2 <= lasted && lasted <= SECOND, "{lasted:?}");
        spread.push(lasted);
    }
    let (least, most) = (spread.iter().min().unwrap(), spread.iter().max().unwrap());
    assert!(
        most.saturating_sub(*least) > SECOND / 3,
        "{least:?} to {most:?} is no jitter"
    );
}

#[test]
fn the_same_seed_gives_the_same_open_time() {
    let lasted = |seed| {
        let builder = fragile().open_jitter(1.0).rng(Rng::seeded(seed));
        let (breaker, now) = (builder.build().unwrap(), now());
        opened(&breaker, now) - now
    };
    assert_eq!(lasted(7), lasted(7));
    assert_ne!(lasted(7), lasted(8));
}

#[test]
fn the_defaults_are_those_the_builder_names() {
    let breaker = CircuitBreaker::builder().build().unwrap();
    let start = now();
    for call in 1..=20 {
        assert_eq!(breaker.state(), State::Closed, "before call {call}");
        let outcome = match call % 2 {
            0 => CallOutcome::Failure,
            _ => CallOutcome::Success,
        };
        let permit = breaker.try_acquire(start).unwrap();
        permit.record(outcome, start + 1_000 * SECOND);
    }
    let mut now = start + 1_000 * SECOND;
    for open_for in [5, 10, 20, 40, 80, 160, 300, 300].map(Duration::from_secs) {
        let State::Open { until } = breaker.state() else {
            panic!("{breaker:?} should be open")
        };
        assert!(open_for * 9 / 10 <= until - now && until - now <= open_for);
        now = until;
        let probes = [(); 3].map(|()| breaker.try_acquire(now).unwrap());
        let lease = breaker.try_acquire(now).unwrap_err().retry_at();
        assert_eq!(lease, Some(now + 30 * SECOND));
        for probe in probes {
            probe.record(CallOutcome::Failure, now);
        }
    }
    breaker.reset(now);
    for call in 1..=10 {
        assert_eq!(breaker.state(), State::Closed, "before failure {call}");
        fail(&breaker, now);
    }
    assert!(matches!(breaker.state(), State::Open { .. }));
}

#[test]
fn rounding_does_not_exceed_the_longest_open_time() {
    // Converted to a float, this is a whole year.
    let year = Duration::new(365 * 24 * 60 * 60 - 1, 999_999_999);
    let breaker = fragile().open_for(year).open_max(year).build().unwrap();
    let now = now();
    assert_eq!(opened(&breaker, now) - now, year);
}

#[test]
fn slow_calls_open_it_and_fail_a_probe() {
    let breaker = fragile()
        .minimum_calls(4)
        .slow_calls(2 * SECOND, 0.5)
        .build()
        .unwrap();
    let start = now();
    let late = start + 2 * SECOND;
    for took in [0, 0, 2, 2] {
        breaker
            .try_acquire(start)
            .unwrap()
            .record(CallOutcome::Success, start + took * SECOND);
    }
    assert_eq!(
        breaker.state(),
        State::Open {
            until: late + SECOND
        }
    );
    let probe = breaker.try_acquire(late + SECOND).unwrap();
    probe.record(CallOutcome::Success, late + 3 * SECOND);
    assert_eq!(
        breaker.state(),
        State::Open {
            until: late + 5 * SECOND
        }
    );
}

#[test]
fn forced_states_hold_until_reset() {
    let breaker = fragile().build().unwrap();
    let now = now();
    breaker.force_close(now);
    for _ in 0..50 {
        fail(&breaker, now);
    }
    assert_eq!(
        (breaker.state(), breaker.snapshot(now).failures),
        (State::ForcedClosed, 50)
    );
    breaker.force_open(now);
    let rejection = breaker.try_acquire(now + 1_000_000 * SECOND).unwrap_err();
    assert_eq!(
        (rejection.state(), rejection.retry_at()),
        (State::ForcedOpen, None)
    );
    assert_eq!(rejection.to_string(), "the circuit breaker is forced open");
    breaker.reset(now);
    assert_eq!(breaker.snapshot(now).calls, 0);
    assert!(breaker.try_acquire(now).is_ok());
}

#[test]
fn threads_get_no_more_probes_than_there_are() {
    let breaker = fragile().probes(3).build().unwrap();
    let until = opened(&breaker, now());
    let threads = 8;
    let barrier = Barrier::new(threads);
    let permits: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    (0..100)
                        .filter_map(|_| breaker.try_acquire(until).ok())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    assert_eq!(permits.len(), 3);
}

#[test]
fn nonsense_is_refused_by_name() {
    let refused = |builder: CircuitBreakerBuilder| builder.build().unwrap_err().to_string();
    let builder = CircuitBreaker::builder;
    for rate in [0.0, -0.5, 1.01, f64::NAN, f64::INFINITY] {
        let expected = format!("failure_rate is {rate}, but must be above 0 and at most 1");
        assert_eq!(refused(builder().failure_rate(rate)), expected);
    }
    assert_eq!(
        refused(builder().slow_calls(SECOND, 2.0)),
        "slow_calls rate is 2, but must be above 0 and at most 1"
    );
    assert_eq!(
        refused(builder().slow_calls(Duration::ZERO, 0.5)),
        "slow_calls threshold is 0ns, but must be between 1ns and 365 days"
    );
    assert_eq!(
        refused(builder().window(Window::Calls(0))),
        "window is 0, but must be between 1 and 100000 calls"
    );
    assert_eq!(
        refused(builder().window(Window::Time(Duration::ZERO))),
        "window is 0ns, but must be between 10ms and 365 days"
    );
    assert_eq!(
        refused(builder().minimum_calls(0)),
        "minimum_calls is 0, but must be at least 1"
    );
    assert_eq!(
        refused(builder().minimum_calls(101)),
        "minimum_calls is 101, but must be at most the window (100)"
    );
    assert_eq!(
        refused(builder().consecutive_failures(0)),
        "consecutive_failures is 0, but must be at least 1"
    );
    assert_eq!(
        refused(builder().failure_rate(None).consecutive_failures(None)),
        "failure_rate is none, but must be set if neither consecutive_failures nor slow_calls is: nothing else opens the breaker"
    );
    assert_eq!(
        refused(builder().probes(0)),
        "probes is 0, but must be between 1 and 1000"
    );
    assert_eq!(
        refused(builder().probe_lease(Duration::ZERO)),
        "probe_lease is 0ns, but must be between 1ms and 365 days"
    );
    assert_eq!(
        refused(builder().open_for(Duration::ZERO)),
        "open_for is 0ns, but must be between 1ms and 365 days"
    );
    assert_eq!(
        refused(builder().open_max(SECOND)),
        "open_max is 1s, but must be at least open_for (5s)"
    );
    assert_eq!(
        refused(builder().open_growth(f64::NAN)),
        "open_growth is NaN, but must be a finite number of at least 1"
    );
    assert_eq!(
        refused(builder().ramp(Duration::ZERO, 0.5)),
        "ramp time is 0ns, but must be between 1ms and 365 days"
    );
    for share in [0.0, 1.0, -0.5, f64::NAN, f64::INFINITY] {
        assert_eq!(
            refused(builder().ramp(SECOND, share)),
            format!("ramp share is {share}, but must be above 0 and below 1")
        );
    }
    assert_eq!(
        refused(builder().open_jitter(1.1)),
        "open_jitter is 1.1, but must be between 0 and 1"
    );
}
