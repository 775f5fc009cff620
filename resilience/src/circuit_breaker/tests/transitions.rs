use std::sync::mpsc;

use super::*;

#[test]
fn each_transition_is_told_once_and_a_listener_may_use_the_breaker() {
    let (sender, told) = mpsc::channel();
    let own: Arc<Mutex<Option<CircuitBreaker>>> = Arc::default();
    let seen = Arc::clone(&own);
    let breaker = fragile()
        .probes(1)
        .on_transition(move |change| {
            let state = seen.lock().unwrap().as_ref().map(CircuitBreaker::state);
            sender
                .send((
                    change.generation,
                    change.from,
                    change.to,
                    change.cause,
                    state,
                ))
                .unwrap();
        })
        .build()
        .unwrap();
    *own.lock().unwrap() = Some(breaker.clone());
    assert_eq!(breaker.last_transition(), None);
    let until = opened(&breaker, now());
    let last = breaker.last_transition().unwrap();
    assert_eq!(
        (last.generation, last.cause),
        (1, TransitionCause::ConsecutiveFailures)
    );
    breaker
        .try_acquire(until)
        .unwrap()
        .record(CallOutcome::Success, until);
    let open = State::Open { until };
    assert_eq!(
        told.try_iter().collect::<Vec<_>>(),
        [
            (
                1,
                State::Closed,
                open,
                TransitionCause::ConsecutiveFailures,
                Some(open)
            ),
            (
                2,
                open,
                State::HalfOpen,
                TransitionCause::OpenTimeOver,
                Some(State::HalfOpen)
            ),
            (
                3,
                State::HalfOpen,
                State::Closed,
                TransitionCause::ProbesSucceeded,
                Some(State::Closed)
            ),
        ]
    );
}

#[test]
fn transitions_are_told_one_at_a_time_and_in_order_whoever_causes_them() {
    let (tell, told) = mpsc::channel();
    let (entered, told_first) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let may_go_on = Mutex::new(may_go_on);
    let breaker = fragile()
        .on_transition(move |change| {
            if change.generation == 1 {
                entered.send(()).unwrap();
                may_go_on.lock().unwrap().recv().unwrap();
            }
            tell.send(change.generation).unwrap();
        })
        .build()
        .unwrap();
    let now = now();
    std::thread::scope(|scope| {
        scope.spawn(|| breaker.force_open(now));
        told_first.recv().unwrap();
        // The other thread is still reporting the first change.
        breaker.force_close(now);
        breaker.reset(now);
        go_on.send(()).unwrap();
    });
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn what_a_listener_changes_is_told_after_it_returns() {
    let own: Arc<Mutex<Option<CircuitBreaker>>> = Arc::default();
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let (breaker_of_listener, notes) = (Arc::clone(&own), Arc::clone(&told));
    let breaker = fragile()
        .on_transition(move |change| {
            notes.lock().unwrap().push(format!("to {}", change.to));
            if change.generation == 1 {
                let breaker = breaker_of_listener.lock().unwrap().clone().unwrap();
                breaker.force_close(change.at);
            }
            notes.lock().unwrap().push(format!("told {}", change.to));
        })
        .build()
        .unwrap();
    *own.lock().unwrap() = Some(breaker.clone());
    breaker.force_open(now());
    assert_eq!(
        *told.lock().unwrap(),
        [
            "to forced open",
            "told forced open",
            "to forced closed",
            "told forced closed"
        ]
    );
}

#[test]
fn a_listener_that_panics_is_told_of_the_next_transition() {
    let (tell, told) = mpsc::channel();
    let own: Arc<Mutex<Option<CircuitBreaker>>> = Arc::default();
    let seen = Arc::clone(&own);
    let breaker = fragile()
        .on_transition(move |change| {
            tell.send(change.generation).unwrap();
            if change.generation == 1 {
                let breaker = seen.lock().unwrap().clone().unwrap();
                // This change waits for its turn, which it must not lose because of the panic.
                breaker.force_close(change.at);
                panic!("on purpose");
            }
        })
        .build()
        .unwrap();
    *own.lock().unwrap() = Some(breaker.clone());
    let now = now();
    catch_unwind(AssertUnwindSafe(|| breaker.force_open(now))).unwrap_err();
    breaker.reset(now);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_listener_that_panics_loses_no_probe() {
    let breaker = fragile()
        .probes(1)
        .on_transition(|change| assert_ne!(change.to, State::HalfOpen, "on purpose"))
        .build()
        .unwrap();
    let until = opened(&breaker, now());
    let asked = catch_unwind(AssertUnwindSafe(|| breaker.try_acquire(until)));
    assert!(asked.is_err(), "the panic is the caller's");
    assert_eq!(breaker.snapshot(until).probes_under_way, 0);
    assert!(breaker.try_acquire(until).unwrap().is_probe());
}

#[test]
fn forcing_what_is_forced_changes_nothing() {
    let (tell, told) = mpsc::channel();
    let breaker = fragile()
        .on_transition(move |change| tell.send(change.to).unwrap())
        .build()
        .unwrap();
    let now = now();
    breaker.force_close(now);
    fail(&breaker, now);
    breaker.force_close(now);
    assert_eq!(breaker.snapshot(now).failures, 1);
    breaker.force_open(now);
    breaker.force_open(now);
    assert_eq!(
        told.try_iter().collect::<Vec<_>>(),
        [State::ForcedClosed, State::ForcedOpen]
    );
}
