//! Compares the breaker with a model that keeps every call and recounts them each time.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const LEASE: u64 = 40;
const OPEN: u64 = 30;
const OPEN_MAX: u64 = 100;
const SLOW: u64 = 25;
const RAMP: u64 = 100;

#[derive(Debug, Clone, Copy)]
struct Rules {
    window: u32,
    by_time: bool,
    minimum: u32,
    rate: Option<f64>,
    consecutive: Option<u32>,
    slow_rate: Option<f64>,
    probes: u32,
    /// The first share of the ramp, in quarters.
    ramp: Option<u64>,
}

#[derive(Debug, Clone)]
enum Step {
    /// The clock advances by this many milliseconds.
    Wait(u64),
    /// A call asks for a permit.
    Acquire,
    /// One of the open permits ends with this outcome.
    Record(usize, CallOutcome),
    /// One of the open permits is dropped without an outcome.
    Drop(usize),
    /// An operator opens the breaker.
    ForceOpen,
    /// An operator closes the breaker.
    ForceClose,
    /// An operator resets the breaker.
    Reset,
}

/// A permit as the model sees it.
#[derive(Debug, Clone, Copy)]
struct Call {
    epoch: u64,
    started: u64,
    /// The number and the end of the lease.
    probe: Option<(u64, u64)>,
}

/// A slow and simple breaker, with which the tests compare the real one. Times are milliseconds since the start. The
/// open time is taken from the real one, and checked against the settings.
struct Model {
    rules: Rules,
    state: State,
    generation: u64,
    /// The generation since which calls count.
    epoch: u64,
    /// When each call of this epoch was recorded, whether it failed, and whether it was slow.
    log: Vec<(u64, bool, bool)>,
    /// The current leases, by number and end.
    leases: Vec<(u64, u64)>,
    succeeded: u32,
    next_lease: u64,
    openings: i32,
    /// The shares of all calls that have asked on this ramp, in units of 1 / (4 x `RAMP`), and how many calls were
    /// admitted.
    asked: Vec<u64>,
    admitted: u64,
}

impl Model {
    fn acquire(&mut self, now: u64, start: Instant) -> Option<Call> {
        if matches!(self.state, State::Open { until } if start + Duration::from_millis(now) >= until)
        {
            self.enter(State::HalfOpen);
        }
        if matches!(self.state, State::Ramping { until } if start + Duration::from_millis(now) >= until)
        {
            (self.state, self.generation, self.openings) = (State::Closed, self.generation + 1, 0);
        }
        let mut call = Call {
            epoch: self.epoch,
            started: now,
            probe: None,
        };
        match self.state {
            State::Closed | State::ForcedClosed => {}
            State::Open { .. } | State::ForcedOpen => return None,
            State::Ramping { until } => {
                let begun = u64::try_from((until - start).as_millis()).unwrap() - RAMP;
                let first = self.rules.ramp.unwrap();
                self.asked.push(first * RAMP + (4 - first) * (now - begun));
                // The initial amount is such that the first call is admitted.
                let due = (4 - first) * RAMP + self.asked.iter().sum::<u64>();
                if due < 4 * RAMP * (self.admitted + 1) {
                    return None;
                }
                self.admitted += 1;
            }
            State::HalfOpen => {
                self.leases.retain(|(_, end)| *end > now);
                if self.leases.len() + self.succeeded as usize == self.rules.probes as usize {
                    return None;
                }
                let lease = (self.next_lease, now + LEASE);
                self.next_lease += 1;
                self.leases.push(lease);
                call.probe = Some(lease);
            }
        }
        Some(call)
    }

    /// Applies the outcome of a call. The model uses an open time of zero.
    fn record(&mut self, call: Call, outcome: CallOutcome, now: u64, start: Instant) {
        if call.epoch != self.epoch {
            return;
        }
        let slow = self.rules.slow_rate.is_some() && now - call.started >= SLOW;
        let failed = outcome == CallOutcome::Failure;
        if let Some(lease) = call.probe {
            self.leases.retain(|held| *held != lease);
            if outcome == CallOutcome::Ignored || lease.1 <= now {
                return;
            }
            self.succeeded += u32::from(!failed && !slow);
            if failed || slow {
                self.enter(State::Open { until: start });
            } else if self.succeeded == self.rules.probes {
                self.enter(match self.rules.ramp {
                    Some(_) => State::Ramping {
                        until: start + Duration::from_millis(now + RAMP),
                    },
                    None => State::Closed,
                });
            }
        } else if outcome != CallOutcome::Ignored {
            self.log.push((now, failed, slow));
            let watched = matches!(self.state, State::Closed | State::Ramping { .. });
            if watched && self.trips(now) {
                self.enter(State::Open { until: start });
            }
        }
    }

    fn window(&self, now: u64) -> Vec<(u64, bool, bool)> {
        let origin = self.log.first().map_or(0, |call| call.0);
        let slice = |time: u64| (time - origin) / u64::from(self.rules.window);
        let recent = self.log.iter().rev().enumerate().filter(|(age, call)| {
            if self.rules.by_time {
                slice(now) - slice(call.0) < 10
            } else {
                *age < self.rules.window as usize
            }
        });
        recent.map(|(_, call)| *call).collect()
    }

    fn in_a_row(&self) -> usize {
        self.log.iter().rev().take_while(|call| call.1).count()
    }

    fn trips(&self, now: u64) -> bool {
        let window = self.window(now);
        // The rates of `rules` are quarters.
        let share = |count: usize, rate: f64| {
            f64::from(u32::try_from(count).unwrap())
                >= rate * f64::from(u32::try_from(window.len()).unwrap())
        };
        let rates_count = window.len() >= self.rules.minimum as usize;
        let failed = window.iter().filter(|call| call.1).count();
        let slow = window.iter().filter(|call| call.2).count();
        self.rules
            .consecutive
            .is_some_and(|limit| self.in_a_row() >= limit as usize)
            || rates_count && self.rules.rate.is_some_and(|rate| share(failed, rate))
            || rates_count && self.rules.slow_rate.is_some_and(|rate| share(slow, rate))
    }

    fn force(&mut self, state: State) {
        if self.state != state {
            self.enter(state);
        }
    }

    fn enter(&mut self, state: State) {
        self.openings = match state {
            State::Open { .. } => self.openings + 1,
            State::HalfOpen | State::Ramping { .. } => self.openings,
            _ => 0,
        };
        (self.state, self.generation, self.succeeded) = (state, self.generation + 1, 0);
        self.epoch = self.generation;
        self.admitted = 0;
        self.asked.clear();
        self.log.clear();
        self.leases.clear();
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    let rate = || proptest::option::of(prop_oneof![Just(0.25), Just(0.5), Just(1.0)]);
    (
        1_u32..8,
        any::<bool>(),
        1_u32..8,
        rate(),
        proptest::option::of(1_u32..5),
        rate(),
        1_u32..4,
        proptest::option::of(1_u64..4),
    )
        .prop_map(
            |(window, by_time, minimum, rate, consecutive, slow_rate, probes, ramp)| Rules {
                window,
                by_time,
                minimum: if by_time {
                    minimum
                } else {
                    minimum.min(window)
                },
                rate,
                consecutive,
                slow_rate,
                probes,
                ramp,
            },
        )
        .prop_filter("something has to open it", |rules| {
            rules.rate.is_some() || rules.consecutive.is_some() || rules.slow_rate.is_some()
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![
        2 => Just(CallOutcome::Success),
        3 => Just(CallOutcome::Failure),
        1 => Just(CallOutcome::Ignored),
    ];
    let step = prop_oneof![
        12 => (0_u64..60).prop_map(Step::Wait),
        20 => Just(Step::Acquire),
        20 => (any::<usize>(), outcome).prop_map(|(index, outcome)| Step::Record(index, outcome)),
        4 => any::<usize>().prop_map(Step::Drop),
        1 => Just(Step::ForceOpen),
        1 => Just(Step::ForceClose),
        1 => Just(Step::Reset),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn the_breaker_does_what_the_model_does(rules in rules(), steps in steps(), seed in any::<u64>()) {
        let millis = Duration::from_millis;
        let mut builder = CircuitBreaker::builder()
            .window(if rules.by_time { Window::Time(millis(u64::from(rules.window) * 10)) } else { Window::Calls(rules.window) })
            .minimum_calls(rules.minimum)
            .failure_rate(rules.rate)
            .consecutive_failures(rules.consecutive)
            .probes(rules.probes)
            .probe_lease(millis(LEASE))
            .open_for(millis(OPEN))
            .open_max(millis(OPEN_MAX))
            .open_jitter(0.5)
            .rng(crate::Rng::seeded(seed));
        if let Some(rate) = rules.slow_rate {
            builder = builder.slow_calls(millis(SLOW), rate);
        }
        if let Some(quarters) = rules.ramp {
            builder = builder.ramp(millis(RAMP), f64::from(u32::try_from(quarters).unwrap()) / 4.0);
        }
        let breaker = builder.build().unwrap();
        let start = tokio::time::Instant::now().into_std();
        let mut model = Model {
            rules, state: State::Closed, generation: 0, epoch: 0, log: vec![], leases: vec![], succeeded: 0, next_lease: 0, openings: 0,
            asked: vec![], admitted: 0,
        };
        let mut calls: Vec<(Permit, Call)> = Vec::new();
        let mut time = 0;
        for step in steps {
            let now = start + millis(time);
            match step {
                Step::Wait(wait) => time += wait,
                Step::Acquire => match (breaker.try_acquire(now), model.acquire(time, start)) {
                    (Ok(permit), Some(call)) => {
                        prop_assert_eq!(permit.is_probe(), call.probe.is_some());
                        calls.push((permit, call));
                    }
                    (Err(rejection), None) => {
                        prop_assert!(rejection.retry_at().is_none_or(|until| until > now));
                        prop_assert_eq!(rejection.retry_at().is_none(), model.state == State::ForcedOpen);
                        if let State::Ramping { until: end } = model.state {
                            prop_assert!(rejection.retry_at() <= Some(end));
                        }
                    }
                    (got, wanted) => prop_assert!(false, "got {got:?}, wanted {wanted:?}"),
                },
                Step::Record(index, outcome) if !calls.is_empty() => {
                    let (permit, call) = calls.swap_remove(index % calls.len());
                    permit.record(outcome, now);
                    model.record(call, outcome, time, start);
                }
                Step::Drop(index) if !calls.is_empty() => {
                    let (permit, call) = calls.swap_remove(index % calls.len());
                    drop(permit);
                    model.record(call, CallOutcome::Ignored, time, start);
                }
                Step::Record(..) | Step::Drop(_) => {}
                Step::ForceOpen => { breaker.force_open(now); model.force(State::ForcedOpen); }
                Step::ForceClose => { breaker.force_close(now); model.force(State::ForcedClosed); }
                Step::Reset => { breaker.reset(now); model.enter(State::Closed); }
            }
            let now = start + millis(time);
            // The model does not compute the open time, so that of the machine is checked against its settings.
            if let (State::Open { until: unset }, State::Open { until }) = (model.state, breaker.state())
                && unset == start
            {
                let full = millis(OPEN).mul_f64(2_f64.powi(model.openings - 1)).min(millis(OPEN_MAX));
                prop_assert!(now + full / 2 <= until && until <= now + full, "open for {:?} of {full:?}", until - now);
                model.state = State::Open { until };
            }
            let seen = breaker.snapshot(now);
            prop_assert_eq!(seen.state, model.state);
            prop_assert_eq!(seen.generation, model.generation);
            let window = model.window(time);
            prop_assert_eq!(seen.calls, window.len() as u64);
            prop_assert_eq!(seen.failures, window.iter().filter(|call| call.1).count() as u64);
            prop_assert_eq!(seen.slow_calls, window.iter().filter(|call| call.2).count() as u64);
            prop_assert_eq!(seen.consecutive_failures as usize, model.in_a_row());
            prop_assert_eq!(seen.probes_under_way, model.leases.iter().filter(|(_, end)| *end > time).count());
            prop_assert!(seen.probes_under_way + model.succeeded as usize <= rules.probes as usize);
        }
    }
}
