use std::fmt;
use std::time::Instant;

/// Where a circuit breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Calls are admitted and watched.
    Closed,
    /// Calls are refused.
    Open {
        /// When probes will be admitted.
        until: Instant,
    },
    /// A few probes are admitted.
    HalfOpen,
    /// A growing share of the calls is admitted and watched, after the probes succeeded.
    Ramping {
        /// When all calls will be admitted.
        until: Instant,
    },
    /// Calls are refused until further notice.
    ForcedOpen,
    /// Calls are admitted until further notice.
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

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// Counts transitions from 1.
    pub generation: u64,
    /// When it happened.
    pub at: Instant,
    /// The state that ended.
    pub from: State,
    /// The state that began.
    pub to: State,
    /// Why.
    pub cause: Cause,
}

/// Why a circuit breaker changed its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Too large a share of the calls in the window failed.
    FailureRate,
    /// Too many calls failed in a row.
    ConsecutiveFailures,
    /// Too large a share of the calls in the window was slow.
    SlowRate,
    /// The open time was over and somebody asked to call.
    OpenTimeOver,
    /// A probe failed or was slow.
    ProbeFailed,
    /// All probes succeeded.
    ProbesSucceeded,
    /// The ramp was over and somebody asked to call.
    RampOver,
    /// It was forced open or closed.
    Forced,
    /// It was reset.
    Reset,
}

impl fmt::Display for Cause {
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

/// State and counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The state as of the last call.
    pub state: State,
    /// How many transitions there were.
    pub generation: u64,
    /// Calls in the window. Probes are not among them.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that were slow, failed or not.
    pub slow_calls: u64,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Probes that are out and may still decide something.
    pub probes_under_way: usize,
}
