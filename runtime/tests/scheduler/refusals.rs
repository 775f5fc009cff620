//! Tests what the scheduler refuses, and with which reason.

use std::time::Duration;

use ratchet_runtime::{
    Decision, Error, Limit, ParallelizationHint, Scheduler, SchedulerRequest, SchedulerSettings,
};

use crate::{now, on, plain, scheduler, starts};

#[test]
fn what_could_never_run_is_refused_with_the_reason() {
    let start = now();
    let mut scheduler = scheduler(4, start);
    let mut refused = |request| scheduler.push(request, start).unwrap_err().to_string();
    assert_eq!(
        refused(SchedulerRequest {
            slots: 5,
            ..plain()
        }),
        "a job of 5 slots can never run with 4 in total"
    );
    assert!(
        refused(SchedulerRequest {
            slots: 0,
            ..plain()
        })
        .contains("0 slots")
    );
    for (rate, reason) in [
        (0.0, "0/s"),
        (-1.0, "negative"),
        (f64::INFINITY, "infinite"),
    ] {
        let hint = ParallelizationHint::rate_limited(rate);
        let error = scheduler
            .push(on("", &hint), start)
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{error}");
    }
    let unknown = scheduler.limit("dv").unwrap_err().to_string();
    assert_eq!(unknown, "unknown limit `dv`, did you mean `db`?");
    assert_eq!(scheduler.load().lanes, 0, "what is refused leaves nothing");

    let heavy = scheduler
        .push(
            SchedulerRequest {
                slots: 3,
                ..plain()
            },
            start,
        )
        .unwrap();
    assert!(scheduler.set_slots(2).is_err(), "it would wait for ever");
    assert_eq!(starts(&mut scheduler, start), [heavy]);
    scheduler.finish(heavy).unwrap();
    scheduler.set_slots(2).unwrap();
}

#[test]
fn one_key_with_two_rates_is_refused_with_both_until_nobody_uses_it() {
    let start = now();
    let mut scheduler = scheduler(4, start);
    let (slow, fast) = (
        ParallelizationHint::rate_limited(1.0),
        ParallelizationHint::rate_limited(2.0),
    );
    let first = scheduler.push(on("", &slow), start).unwrap();
    let error = scheduler
        .push(on("", &fast), start)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "rate key `task` is declared twice: 1/s with burst 1, and 2/s with burst 1"
    );
    assert_eq!(starts(&mut scheduler, start), [first]);
    scheduler.finish(first).unwrap();
    // The token is still owed, now at the new rate.
    scheduler.push(on("", &fast), start).unwrap();
    let due = start + Duration::from_millis(500);
    assert_eq!(scheduler.pop(start), Decision::WaitUntil(due));
}

#[test]
fn a_full_queue_pushes_back_and_a_retry_still_gets_in() {
    let start = now();
    let settings = SchedulerSettings {
        capacity: 2,
        ..SchedulerSettings::default()
    };
    let mut scheduler = Scheduler::new(settings, start).unwrap();
    let first = scheduler.push(plain(), start).unwrap();
    assert_eq!(starts(&mut scheduler, start), [first]);
    scheduler.push(plain(), start).unwrap();
    scheduler.push(plain(), start).unwrap();
    assert_eq!(scheduler.room(), 0);
    assert_eq!(
        scheduler.push(plain(), start),
        Err(Error::QueueFull { capacity: 2 })
    );
    scheduler.retry(first, start).unwrap();
    assert_eq!(starts(&mut scheduler, start), [first]);
}

#[test]
fn a_scheduler_that_could_run_nothing_is_not_made() {
    for (slots, capacity) in [(0, 1), (1, 0)] {
        let settings = SchedulerSettings {
            slots,
            capacity,
            ..SchedulerSettings::default()
        };
        assert!(Scheduler::new(settings, now()).is_err());
    }
}

#[test]
fn one_name_with_two_limits_is_refused_with_both() {
    let start = now();
    let mut scheduler = scheduler(1, start);
    let (db, two, three) = (scheduler.limit("db").unwrap(), Limit::max(2), Limit::max(3));
    assert_eq!(scheduler.declare_limit("db", two.unwrap()), Ok(db));
    let three = three.unwrap();
    let error = scheduler
        .declare_limit("db", three)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "limit `db` is declared twice: max 2, and max 3");

    // At run time the number of a limit may change, but not its kind.
    scheduler.set_limit(db, three, start).unwrap();
    let rate = Limit::rate("1/s".parse().unwrap(), 1).unwrap();
    let error = scheduler
        .set_limit(db, rate, start)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "limit `db` is declared twice: max 3, and 1/s with burst 1"
    );
}
