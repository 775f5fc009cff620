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
//! probes; if they all succeed it closes, and if one fails it opens again, for longer.
//!
//! ```text
//!            a rule trips                 its time is over
//!  Closed ───────────────────▶ Open ─────────────────────▶ HalfOpen
//!    ▲                          ▲                           │    │
//!    │                          └── a probe failed ─────────┘    │
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

mod permit;
mod probes;
mod settings;
mod state;
mod transition;
mod window;

use std::fmt;
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
        let (admission, transition) = self.0.lock().acquire(now);
        // Before anybody is told: if the listener panics, dropping the permit frees its probe.
        let admission = admission.map(|ticket| Permit::new(Arc::clone(&self.0), ticket, now));
        self.0.announce(transition);
        admission
    }

    /// The state as of the last call. An open breaker whose time is over stays open until somebody asks to call.
    pub fn state(&self) -> State {
        self.0.lock().state()
    }

    /// State and counts, for people and metrics.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        self.0.lock().snapshot(now)
    }

    /// Refuses all calls until further notice.
    pub fn force_open(&self, now: Instant) {
        let transition = self.0.lock().force_open(now);
        self.0.announce(Some(transition));
    }

    /// Admits all calls until further notice, whatever becomes of them. They are still counted.
    pub fn force_close(&self, now: Instant) {
        let transition = self.0.lock().force_close(now);
        self.0.announce(Some(transition));
    }

    /// Closes the breaker as if it were new; the way out of the forced states.
    pub fn reset(&self, now: Instant) {
        let transition = self.0.lock().reset(now);
        self.0.announce(Some(transition));
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

    /// After the lock is released, so that a listener may use the breaker.
    fn announce(&self, transition: Option<Transition>) {
        let Some(transition) = transition else { return };
        tracing::info!(from = %transition.from, to = %transition.to, cause = %transition.cause, "circuit breaker");
        if let Some(listener) = &self.listener {
            listener(&transition);
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
