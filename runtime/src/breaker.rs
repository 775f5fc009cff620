//! The settings and the reports of circuit breakers.

use std::time::Duration;

use ratchet_ipc::HostName;
use ratchet_resilience::Rng;
use ratchet_resilience::circuit_breaker::{CircuitBreaker, CircuitBreakerBuilder, Window};
use serde::{Deserialize, Serialize};

/// The share of the attempts that a breaker admits first after an outage, if it has a ramp.
const FIRST_SHARE: f64 = 0.1;

/// The longest time that a probe may take. The executor always hears how an attempt ended, so it never gives up a probe.
const PROBE_LEASE: Duration = Duration::from_hours(365 * 24);

/// The longest open time, if the first one is not longer.
const LONGEST_OPEN: Duration = Duration::from_mins(5);

/// The rules by which a breaker stops the attempts of a kind of worker, and lets them go on.
///
/// A breaker opens as soon as one of the rules that are set says so: `failure_rate`, `consecutive` or `slow`. While it is
/// open, jobs wait. After that a few probes decide whether it closes.
///
/// ```
/// use std::time::Duration;
/// use ratchet_runtime::{BreakerConfig, Executor};
///
/// let breaker = BreakerConfig {
///     failure_rate: None,
///     consecutive: Some(5),
///     open: Duration::from_secs(10),
///     ..BreakerConfig::default()
/// };
/// let executor = Executor::builder().breaker(breaker).build()?;
/// # Ok::<(), ratchet_runtime::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerConfig {
    /// The breaker opens when this share of the attempts in the window failed: above 0, at most 1.
    pub failure_rate: Option<f64>,
    /// How many attempts the window must hold before a share of them can open the breaker.
    pub minimum: u32,
    /// The attempts that count for `failure_rate` and `slow`.
    pub window: BreakerWindow,
    /// The breaker opens when this many attempts in a row failed.
    pub consecutive: Option<u32>,
    /// The breaker opens when many attempts are slow. A probe that is slow fails.
    pub slow: Option<SlowAttempts>,
    /// How long the breaker stays open the first time. Each time that it opens again before it closed, it stays open
    /// twice as long, up to five minutes.
    pub open: Duration,
    /// How many attempts are let through when the open time is over. All of them must succeed.
    pub probes: u32,
    /// How long the breaker takes to admit all attempts again after the probes succeeded: a tenth of them at first.
    pub ramp: Option<Duration>,
    /// Whether a job that is refused fails with [`Class::Breaker`](crate::Class::Breaker) instead of waiting.
    pub reject: bool,
}

/// The attempts that a breaker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerWindow {
    /// The breaker counts this many attempts, the latest ones.
    Attempts(u32),
    /// The breaker counts the attempts that ended within this time.
    Time(Duration),
}

/// The rule by which slow attempts open a breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowAttempts {
    /// An attempt that takes this long or longer is slow.
    pub after: Duration,
    /// The breaker opens when this share of the attempts in the window was slow: above 0, at most 1.
    pub rate: f64,
}

impl Default for BreakerConfig {
    /// Opens after 10 failures in a row, or when half of the last 100 attempts failed and there were 20; stays open for
    /// 5 s, and lets 3 probes through.
    fn default() -> Self {
        Self {
            failure_rate: Some(0.5),
            minimum: 20,
            window: BreakerWindow::Attempts(100),
            consecutive: Some(10),
            slow: None,
            open: Duration::from_secs(5),
            probes: 3,
            ramp: None,
            reject: false,
        }
    }
}

impl BreakerConfig {
    /// Checks the settings. The error says what is wrong with them.
    pub fn check(&self) -> Result<(), String> {
        match self.builder().build() {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Makes the breaker, with a source of randomness for its ramp.
    pub(crate) fn build(
        &self,
        rng: Rng,
    ) -> Result<CircuitBreaker, ratchet_resilience::ResilienceError> {
        self.builder().rng(rng).build()
    }

    fn builder(&self) -> CircuitBreakerBuilder {
        let mut builder = CircuitBreaker::builder()
            .failure_rate(self.failure_rate)
            .minimum_calls(self.minimum)
            .window(match self.window {
                BreakerWindow::Attempts(attempts) => Window::Calls(attempts),
                BreakerWindow::Time(time) => Window::Time(time),
            })
            .consecutive_failures(self.consecutive)
            .open_for(self.open)
            .open_max(self.open.max(LONGEST_OPEN))
            .probes(self.probes)
            .probe_lease(PROBE_LEASE);
        if let Some(slow) = self.slow {
            builder = builder.slow_calls(slow.after, slow.rate);
        }
        if let Some(ramp) = self.ramp {
            builder = builder.ramp(ramp, FIRST_SHARE);
        }
        builder
    }
}

/// The state of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Attempts start.
    Closed,
    /// No attempt starts.
    Open,
    /// A few attempts start, to find out whether the breaker can close.
    HalfOpen,
    /// A growing share of the attempts starts.
    Ramping,
}

impl BreakerState {
    /// All states, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Open, Self::HalfOpen, Self::Ramping];

    /// Returns the name of the state in events and summaries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Ramping => "ramping",
        }
    }
}

/// A report of what a breaker did in a run so far: when and why it was open, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BreakerReport {
    /// The kind of worker whose attempts the breaker stops.
    pub name: String,
    /// The host, if the breaker stops only the attempts on one host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// The present state of the breaker.
    pub state: BreakerState,
    /// The rule that opened the breaker last, and the failure of the last attempt, as text for people.
    pub reason: String,
    /// How many times the breaker has opened. One outage may open it several times.
    pub opened: u64,
    /// How many milliseconds the breaker was open or half-open, in all.
    pub open_ms: u64,
    /// When the breaker opened first, in milliseconds since the Unix epoch.
    pub first_opened_at_ms: u64,
}
