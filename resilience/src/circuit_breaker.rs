//! Stops calls to a service that fails, and detects when it works again.
//!
//! Without a breaker every caller of a dead service waits for its own timeout. Slots fill with calls that cannot
//! succeed, and once the service is back, all callers hit it at once. Simple breakers have faults of their own: their
//! window never forgets, their half-open state admits all callers, results of calls from before an outage decide what
//! happens after it, a cancelled probe counts as a success, or a lost probe keeps the breaker half-open forever.
//!
//! A [`CircuitBreaker`] is closed at first and watches a sliding [`Window`] of calls. It opens after too many failures,
//! too many failures in a row, or too many slow calls, and then refuses calls at once. When its open time is over it is
//! half-open and admits a few probes. If all probes succeed it closes; if one fails it opens again, for longer. With a
//! [`ramp`](CircuitBreakerBuilder::ramp) it admits a growing share of the calls before it closes, since a service that
//! has just recovered may not withstand all calls at once.
//!
//! ```text
//!            a rule trips                 its time is over
//!  Closed ───────────────────▶ Open ─────────────────────▶ HalfOpen
//!    ▲                         ▲  ▲                         │    │
//!    │                         │  └──── a probe failed ─────┘    │
//!    │  its time is over       │ a rule trips                    │
//!    ├◀───────────────────── Ramping ◀──── with a ramp ──────────┤
//!    └───────────────────────────── all probes succeeded ────────┘
//! ```
//!
//! ```
//! use ratchet_resilience::circuit_breaker::{CallOutcome, CircuitBreaker, State};
//! use std::time::{Duration, Instant};
//!
//! let breaker = CircuitBreaker::builder()
//!     .consecutive_failures(2)
//!     .open_for(Duration::from_secs(5))
//!     .open_jitter(0.0)
//!     .probes(1)
//!     .build()?;
//!
//! let now = Instant::now();
//! for _ in 0..2 {
//!     let permit = breaker.try_acquire(now)?;
//!     permit.record(CallOutcome::Failure, now);
//! }
//! let until = now + Duration::from_secs(5);
//! assert_eq!(breaker.state(), State::Open { until });
//! assert_eq!(breaker.try_acquire(now).unwrap_err().retry_at(), Some(until));
//!
//! let probe = breaker.try_acquire(until)?;
//! assert!(breaker.try_acquire(until).is_err(), "one probe is allowed");
//! probe.record(CallOutcome::Success, until);
//! assert_eq!(breaker.state(), State::Closed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A breaker is synchronous, takes the time as an argument and does no I/O, so it fits a loop, a thread or a task. A
//! closed breaker allocates nothing.
//!
//! [`CircuitBreaker::call`] makes an asynchronous call through the breaker, and
//! [`call_classified`](CircuitBreaker::call_classified) also decides which results count.
//!
//! Do not put a breaker in front of something that cannot be overloaded, or that must be called in any case. Do not
//! share one between services that fail independently. Put the breaker inside the retry, not around it, as
//! `RetryExecutor::circuit_breaker` does.

mod builder;
mod call;
mod machine;
mod permit;
mod probes;
mod ramp;
mod rejection;
mod settings;
mod ticket;
mod transition;
mod transition_queue;
mod window;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub use builder::CircuitBreakerBuilder;
pub use call::CallError;
pub use permit::{CallOutcome, Permit};
pub use rejection::Rejection;
pub use settings::Window;
pub use transition::{BreakerSnapshot, State, Transition, TransitionCause};

use machine::StateMachine;

/// Admits calls while a service works and refuses them while it fails. Clones share one breaker.
///
/// See the [module](self) for the states.
#[derive(Clone)]
pub struct CircuitBreaker(Arc<Shared>);

/// Called on each change of state.
type Listener = Box<dyn Fn(&Transition) + Send + Sync>;

/// The state that all clones of a breaker share.
struct Shared {
    machine: Mutex<StateMachine>,
    listener: Option<Listener>,
}

impl CircuitBreaker {
    /// Starts with the default settings; each method of the builder names its default.
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::default()
    }

    /// Admits a call that starts now, or refuses it.
    pub fn try_acquire(&self, now: Instant) -> Result<Permit, Rejection> {
        self.0.with_machine(|machine| {
            let ticket = machine.acquire(now)?;
            // The permit is made before the listener is called: if the listener panics, dropping the permit frees its
            // probe.
            Ok(Permit::new(Arc::clone(&self.0), ticket, now))
        })
    }

    /// Returns the state after the last call. An open breaker stays open, and a ramp continues, until the first call of
    /// `try_acquire` after its end.
    pub fn state(&self) -> State {
        self.0.lock().state()
    }

    /// Returns the latest change of state, if there was one. A caller without a listener can detect a change by
    /// comparing its generation with that of the last known change.
    pub fn last_transition(&self) -> Option<Transition> {
        self.0.lock().last_transition()
    }

    /// Returns the state and the counts, for people and metrics.
    pub fn snapshot(&self, now: Instant) -> BreakerSnapshot {
        self.0.lock().snapshot(now)
    }

    /// Refuses all calls until `force_close` or `reset`. Does nothing if the breaker is already forced open.
    pub fn force_open(&self, now: Instant) {
        self.0.with_machine(|machine| machine.force_open(now));
    }

    /// Admits all calls until `force_open` or `reset`, and still counts them. Does nothing if the breaker is already
    /// forced closed.
    pub fn force_close(&self, now: Instant) {
        self.0.with_machine(|machine| machine.force_close(now));
    }

    /// Closes the breaker without a ramp, and resets it to its initial state. This also ends a forced state.
    pub fn reset(&self, now: Instant) {
        self.0.with_machine(|machine| machine.reset(now));
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Locks the state machine. No caller's code runs under the lock, and none of the machine's steps can panic, so the
    /// data behind a poisoned lock is still valid.
    fn lock(&self) -> MutexGuard<'_, StateMachine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Performs a step under the lock, then calls the listener outside of the lock.
    fn with_machine<T>(&self, step: impl FnOnce(&mut StateMachine) -> T) -> T {
        let (result, must_notify) = {
            let mut machine = self.lock();
            let result = step(&mut machine);
            (result, machine.transitions().start_draining())
        };
        if must_notify {
            self.notify();
        }
        result
    }

    #[cold]
    fn notify(&self) {
        let next = || self.lock().transitions().next();
        while let Some(transition) = next() {
            let notified = catch_unwind(AssertUnwindSafe(|| self.notify_of(&transition)));
            if let Err(panic) = notified {
                // If draining did not end here, no thread would ever call the listener again.
                self.lock().transitions().stop_draining();
                resume_unwind(panic);
            }
        }
    }

    fn notify_of(&self, transition: &Transition) {
        tracing::info!(from = %transition.from, to = %transition.to, cause = %transition.cause, "circuit breaker");
        if let Some(listener) = &self.listener {
            listener(transition);
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
