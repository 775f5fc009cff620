//! Stops calling what is broken, finds out when it works again.
//!
//! Without it every caller of a dead service waits for its own timeout: slots fill with calls that cannot succeed,
//! and the service, once it is back, is met by all of them at once. Breakers made in a hurry have faults of their
//! own: a window that never forgets, a half-open state that lets everybody in, results of calls from before the
//! outage that decide what happens after it, a cancelled probe that counts as a success, a lost one that blocks the
//! way back for ever.
//!
//! A [`CircuitBreaker`] is closed at first and watches a sliding [`Window`] of calls. Too many failures, failures in
//! a row, or slow calls open it, and calls are refused at once. After a while it is half-open and admits a few
//! probes; if they all succeed it closes, and if one fails it opens again, for longer. With a
//! [`ramp`](CircuitBreakerBuilder::ramp) it closes by degrees, since what has just recovered may not bear all calls
//! at once.
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
//! assert_eq!(breaker.try_acquire(now).unwrap_err().until(), Some(until));
//!
//! let probe = breaker.try_acquire(until)?;
//! assert!(breaker.try_acquire(until).is_err(), "one probe is enough");
//! probe.record(CallOutcome::Success, until);
//! assert_eq!(breaker.state(), State::Closed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It is synchronous, takes the time as an argument and does no I/O, so it fits a loop as well as a thread or a task.
//! A closed breaker allocates nothing.
//!
//! Do not put one in front of what cannot be overloaded or has no alternative to being called, and do not share one
//! between things that fail independently. Put it inside the retry, not around it: see
//! `RetryExecutor::through`.

mod announcements;
mod permit;
mod probes;
mod ramp;
mod settings;
mod state;
mod transition;
mod window;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub use permit::{CallOutcome, Permit, Rejection};
pub use settings::{CircuitBreakerBuilder, Window};
pub use transition::{Cause, Snapshot, State, Transition};

use state::Machine;

/// A circuit breaker; clones are the same breaker.
///
/// See the [module](self) for what it does.
#[derive(Clone)]
pub struct CircuitBreaker(Arc<Shared>);

type Listener = Box<dyn Fn(&Transition) + Send + Sync>;

struct Shared {
    machine: Mutex<Machine>,
    listener: Option<Listener>,
}

impl CircuitBreaker {
    /// Starts from the defaults, which each method of the builder names.
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::default()
    }

    /// Admits a call, or refuses it. Time is taken to start now for the call's slowness.
    pub fn try_acquire(&self, now: Instant) -> Result<Permit, Rejection> {
        self.0.step(|machine| {
            let ticket = machine.acquire(now)?;
            // Made before the listener is called: if that panics, dropping the permit frees its probe.
            Ok(Permit::new(Arc::clone(&self.0), ticket, now))
        })
    }

    /// The state as of the last call. An open breaker whose time is over stays open until somebody asks to call, and a
    /// ramp goes on.
    pub fn state(&self) -> State {
        self.0.lock().state()
    }

    /// State and counts, for people and metrics.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        self.0.lock().snapshot(now)
    }

    /// Refuses all calls until further notice. Changes nothing if it does so already.
    pub fn force_open(&self, now: Instant) {
        self.0.step(|machine| machine.force_open(now));
    }

    /// Admits all calls until further notice, whatever becomes of them. They are still counted. Changes nothing if it
    /// does so already.
    pub fn force_close(&self, now: Instant) {
        self.0.step(|machine| machine.force_close(now));
    }

    /// Closes the breaker as if it were new, without a ramp; the way out of the forced states.
    pub fn reset(&self, now: Instant) {
        self.0.step(|machine| machine.reset(now));
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
    /// No code of a caller runs while it is locked, and every state in between is a sound one.
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a step under the lock, then tells what it changed.
    fn step<T>(&self, step: impl FnOnce(&mut Machine) -> T) -> T {
        let (result, must_tell) = {
            let mut machine = self.lock();
            let result = step(&mut machine);
            (result, machine.announcements().begin())
        };
        if must_tell {
            self.tell();
        }
        result
    }

    #[cold]
    fn tell(&self) {
        let next = || self.lock().announcements().next();
        while let Some(transition) = next() {
            let told = catch_unwind(AssertUnwindSafe(|| self.tell_one(&transition)));
            if let Err(panic) = told {
                self.lock().announcements().abandon();
                resume_unwind(panic);
            }
        }
    }

    fn tell_one(&self, transition: &Transition) {
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
