use std::fmt;
use std::time::Instant;

/// The state of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The breaker admits and counts all calls.
    Closed,
    /// The breaker refuses all calls.
    Open {
        /// When the breaker will admit probes.
        until: Instant,
    },
    /// The breaker admits a few probes.
    HalfOpen,
    /// The breaker admits and counts a growing share of the calls, after its probes succeeded.
    Ramping {
        /// When the breaker will admit all calls.
        until: Instant,
    },
    /// The breaker refuses all calls until an operator ends this state.
    ForcedOpen,
    /// The breaker admits all calls until an operator ends this state.
    ForcedClosed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half-open",
            Self::Ramping { .. } => "ramping up",
            Self::ForcedOpen => "forced open",
            Self::ForcedClosed => "forced closed",
        })
    }
}

/// A change of a breaker's state, as it is reported to the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The number of the change, counted from 1.
    pub generation: u64,
    /// When the state changed.
    pub at: Instant,
    /// The state that was left.
    pub from: State,
    /// The state that was entered.
    pub to: State,
    /// Why the state changed.
    pub cause: TransitionCause,
}

/// The cause of a change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransitionCause {
    /// Too many of the calls in the window failed.
    FailureRate,
    /// Too many calls failed in a row.
    ConsecutiveFailures,
    /// Too many of the calls in the window were slow.
    SlowRate,
    /// The open time was over when a call was made.
    OpenTimeOver,
    /// A probe failed, or was slow.
    ProbeFailed,
    /// All probes succeeded.
    ProbesSucceeded,
    /// The ramp was over when a call was made.
    RampOver,
    /// An operator forced the breaker open or closed.
    Forced,
    /// An operator reset the breaker.
    Reset,
}

impl fmt::Display for TransitionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FailureRate => "too many calls failed",
            Self::ConsecutiveFailures => "too many calls failed in a row",
            Self::SlowRate => "too many calls were slow",
            Self::OpenTimeOver => "the open time is over",
            Self::ProbeFailed => "a probe failed",
            Self::ProbesSucceeded => "all probes succeeded",
            Self::RampOver => "the ramp is over",
            Self::Forced => "forced",
            Self::Reset => "reset",
        })
    }
}

/// The state and the counts of a breaker at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerSnapshot {
    /// The state that the last call left.
    pub state: State,
    /// How many times the state has changed.
    pub generation: u64,
    /// How many calls are in the window, without probes.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How many of them were slow, failed or not.
    pub slow_calls: u64,
    /// How many calls failed since the last success.
    pub consecutive_failures: u32,
    /// How many probes are in progress within their lease.
    pub probes_under_way: usize,
}
