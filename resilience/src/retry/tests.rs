use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::Rng;

const SECOND: Duration = Duration::from_secs(1);

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn every_second(max_attempts: u32) -> BackoffPolicyBuilder {
    BackoffPolicy::builder()
        .max_attempts(max_attempts)
        .delay(Delay::Fixed(SECOND))
        .jitter(Jitter::None)
}

fn decide(
    history: &mut RetryHistory,
    policy: &dyn RetryPolicy,
    error: &dyn Retryable,
    now: Instant,
) -> RetryDecision {
    history.record_failure(policy, error, now, &mut Rng::seeded(1))
}

#[test]
fn the_defaults_and_the_plain_settings_are_a_policy_like_any_other() {
    let same = |policy: BackoffPolicy, other: BackoffPolicyBuilder| {
        assert_eq!(
            format!("{policy:?}"),
            format!("{:?}", other.build().unwrap())
        );
    };
    let exponential = |attempts, initial, multiplier, cap| {
        let initial = Duration::from_millis(initial);
        BackoffPolicy::builder()
            .max_attempts(attempts)
            .delay(Delay::Exponential {
                initial,
                multiplier,
            })
            .max_delay(Duration::from_secs(cap))
            .jitter(Jitter::Full)
    };
    same(
        BackoffPolicy::builder().build().unwrap(),
        exponential(3, 100, 2.0, 30),
    );
    let settings = ExponentialBackoff {
        max_attempts: 4,
        initial_delay: Duration::from_millis(200),
        max_delay: Duration::from_secs(7),
        multiplier: 3.0,
    };
    same(settings.build().unwrap(), exponential(4, 200, 3.0, 7));
}

#[test]
fn attempts_are_counted_from_the_first() {
    let policy = every_second(3).build().unwrap();
    let error = Fault::transient("reset");
    let now = now();
    let mut history = RetryHistory::new(now);
    for _ in 0..2 {
        assert_eq!(
            decide(&mut history, &policy, &error, now),
            RetryDecision::Retry { at: now + SECOND }
        );
    }
    assert_eq!(
        decide(&mut history, &policy, &error, now),
        RetryDecision::GiveUp {
            reason: GiveUpReason::Attempts { max: 3 }
        }
    );
    assert_eq!(history.failures(), 3);
}

#[test]
fn no_policy_can_retry_a_cancellation_or_a_permanent_error() {
    // Without an expectation, the mock panics on any call.
    let policy = MockRetryPolicy::new();
    for (error, reason) in [
        (Fault::cancelled("gone"), GiveUpReason::Cancelled),
        (Fault::permanent("wrong"), GiveUpReason::Permanent),
    ] {
        let now = now();
        assert_eq!(
            decide(&mut RetryHistory::new(now), &policy, &error, now),
            RetryDecision::GiveUp { reason }
        );
    }
}

#[test]
fn a_policy_of_ones_own_is_asked_with_the_history() {
    let mut policy = MockRetryPolicy::new();
    policy
        .expect_should_retry()
        .withf(|history, error| history.failures() == 8 && error.class() == "odd")
        .returning(|_, _| Err(GiveUpReason::Policy));
    let now = now();
    let mut history = RetryHistory::resumed(now, 7);
    let error = Fault::transient("?").class("odd");
    assert_eq!(
        decide(&mut history, &policy, &error, now),
        RetryDecision::GiveUp {
            reason: GiveUpReason::Policy
        }
    );
}

#[test]
fn a_class_that_is_not_named_is_not_retried() {
    let policy = every_second(3).classes(["timeout"]).build().unwrap();
    let now = now();
    let retried = Fault::transient("slow").class("timeout");
    assert!(matches!(
        decide(&mut RetryHistory::new(now), &policy, &retried, now),
        RetryDecision::Retry { .. }
    ));
    let not = Fault::transient("full").class("disk");
    assert_eq!(
        decide(&mut RetryHistory::new(now), &policy, &not, now),
        RetryDecision::GiveUp {
            reason: GiveUpReason::Class
        }
    );
}

#[test]
fn a_class_can_have_its_own_delay() {
    let policy = every_second(3)
        .class_delay("throttled", Delay::Fixed(9 * SECOND))
        .build()
        .unwrap();
    let now = now();
    let after = |class| {
        let error = Fault::transient("busy").class(class);
        decide(&mut RetryHistory::new(now), &policy, &error, now)
    };
    assert_eq!(
        after("throttled"),
        RetryDecision::Retry {
            at: now + 9 * SECOND
        }
    );
    assert_eq!(after("other"), RetryDecision::Retry { at: now + SECOND });
}

#[test]
fn a_decorrelated_delay_grows_from_the_last_one() {
    let delay = Delay::Decorrelated { initial: SECOND };
    let policy = BackoffPolicy::builder()
        .max_attempts(1_000)
        .max_delay(1_000 * SECOND)
        .delay(delay)
        .build()
        .unwrap();
    let (now, mut rng) = (now(), Rng::seeded(3));
    let mut history = RetryHistory::new(now);
    let mut longest = Duration::ZERO;
    for _ in 0..100 {
        let high = history
            .previous_delay()
            .map_or(SECOND, |previous| 3 * previous);
        let decision = history.record_failure(&policy, &Fault::transient("reset"), now, &mut rng);
        let delay = history.previous_delay().unwrap();
        assert_eq!(decision, RetryDecision::Retry { at: now + delay });
        assert!(
            SECOND <= delay && delay <= high,
            "{delay:?} is not within 1s..={high:?}"
        );
        longest = longest.max(delay);
    }
    assert!(longest > 10 * SECOND, "{longest:?} is no growth");
}

#[test]
fn an_error_may_ask_for_more_time_up_to_the_cap() {
    let policy = every_second(3).max_delay(10 * SECOND).build().unwrap();
    let now = now();
    let after = |asked| {
        let error = Fault::transient("busy").retry_after(asked);
        decide(&mut RetryHistory::new(now), &policy, &error, now)
    };
    assert_eq!(
        after(5 * SECOND),
        RetryDecision::Retry {
            at: now + 5 * SECOND
        }
    );
    assert_eq!(
        after(Duration::ZERO),
        RetryDecision::Retry { at: now + SECOND }
    );
    assert_eq!(
        after(Duration::MAX),
        RetryDecision::Retry {
            at: now + 10 * SECOND
        }
    );
}

#[test]
fn nothing_is_set_for_a_time_after_the_limit() {
    let policy = every_second(99).time_limit(5 * SECOND).build().unwrap();
    let error = Fault::transient("reset");
    let start = now();
    let mut history = RetryHistory::new(start);
    let last = decide(&mut history, &policy, &error, start + 4 * SECOND);
    assert_eq!(
        last,
        RetryDecision::Retry {
            at: start + 5 * SECOND
        }
    );
    let late = decide(
        &mut history,
        &policy,
        &error,
        start + 4 * SECOND + Duration::from_nanos(1),
    );
    assert_eq!(
        late,
        RetryDecision::GiveUp {
            reason: GiveUpReason::TimeLimit { limit: 5 * SECOND }
        }
    );
}

proptest! {
    /// Checks a whole call: the limits of attempts and time hold together, and no wait exceeds the cap.
    #[test]
    fn a_call_ends_within_its_limits(
        max_attempts in 1_u32..50,
        initial in 1_u64..5_000,
        cap in 0_u64..60_000,
        limit in 1_u64..600_000,
        took in 0_u64..10_000,
        asked in proptest::option::of(0_u64..1_000_000),
        seed in any::<u64>(),
    ) {
        let millis = Duration::from_millis;
        let cap = millis(initial + cap);
        let policy = BackoffPolicy::builder()
            .max_attempts(max_attempts)
            .delay(Delay::Exponential { initial: millis(initial), multiplier: 2.0 })
            .max_delay(cap)
            .time_limit(millis(limit))
            .build()
            .unwrap();
        let mut error = Fault::transient("busy");
        if let Some(asked) = asked {
            error = error.retry_after(millis(asked));
        }
        let mut rng = Rng::seeded(seed);
        let start = now();
        let (mut history, mut time, mut attempts) = (RetryHistory::new(start), start, 0);
        loop {
            attempts += 1;
            time += millis(took);
            match history.record_failure(&policy, &error, time, &mut rng) {
                RetryDecision::Retry { at } => {
                    prop_assert!(at >= time && at - time <= cap);
                    prop_assert!(at - start <= millis(limit));
                    time = at;
                }
                RetryDecision::GiveUp { .. } => break,
            }
        }
        prop_assert!(attempts <= max_attempts);
    }
}

#[test]
fn nonsense_is_refused_by_name() {
    let refused = |builder: BackoffPolicyBuilder| builder.build().unwrap_err().to_string();
    let builder = BackoffPolicy::builder;
    let exponential = |multiplier| Delay::Exponential {
        initial: SECOND,
        multiplier,
    };
    assert_eq!(
        refused(builder().max_attempts(0)),
        "max_attempts is 0, but must be at least 1"
    );
    assert_eq!(
        refused(builder().delay(Delay::Fixed(SECOND)).max_delay(SECOND / 2)),
        "max_delay is 500ms, but must be at least initial_delay (1s)"
    );
    for multiplier in [f64::NAN, f64::INFINITY, 0.5, -1.0] {
        assert_eq!(
            refused(builder().delay(exponential(multiplier))),
            format!("multiplier is {multiplier}, but must be a finite number of at least 1")
        );
    }
    assert_eq!(
        refused(builder().delay(Delay::Fibonacci {
            initial: Duration::ZERO
        })),
        "initial_delay is 0ns, but must be between 1ns and 365 days"
    );
    assert_eq!(
        refused(builder().delay(Delay::Linear {
            initial: SECOND,
            increment: Duration::MAX
        })),
        format!(
            "increment is {:?}, but must be between 0ns and 365 days",
            Duration::MAX
        )
    );
    assert_eq!(
        refused(builder().max_delay(Duration::MAX)),
        format!(
            "max_delay is {:?}, but must be between 0ns and 365 days",
            Duration::MAX
        )
    );
    assert_eq!(
        refused(builder().time_limit(Duration::ZERO)),
        "time_limit is 0ns, but must be between 1ns and 365 days"
    );
    assert_eq!(
        refused(builder().classes(Vec::<String>::new())),
        "classes is empty, but must be one class at least; max_attempts 1 retries nothing"
    );
    assert_eq!(
        refused(
            builder()
                .classes(["a"])
                .class_delay("b", Delay::Fixed(SECOND))
        ),
        "class_delay is for \"b\", but must be for one of classes"
    );
    assert_eq!(
        refused(
            builder()
                .class_delay("b", Delay::Fixed(SECOND))
                .class_delay("b", Delay::Fixed(SECOND))
        ),
        "class_delay is given twice for \"b\", but must be given once a class"
    );
    assert_eq!(
        refused(builder().class_delay("b", Delay::Fixed(60 * SECOND))),
        "max_delay is 30s, but must be at least initial_delay (60s)"
    );
    assert_eq!(
        refused(
            builder()
                .delay(Delay::Decorrelated { initial: SECOND })
                .jitter(Jitter::Full)
        ),
        "jitter is Full, but must be left out with a decorrelated delay, which is random by itself"
    );
    let settings = ExponentialBackoff {
        max_attempts: 0,
        ..ExponentialBackoff::default()
    };
    assert_eq!(
        settings.build().unwrap_err().to_string(),
        "max_attempts is 0, but must be at least 1"
    );
}
