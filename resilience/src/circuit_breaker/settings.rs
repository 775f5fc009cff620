use std::time::Duration;

/// The past calls that a closed breaker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Window {
    /// The last calls, this many of them, however long ago they were.
    Calls(u32),
    /// The calls within this time. The window slides in tenths: the current tenth and the nine before it.
    Time(Duration),
}

/// The checked settings of a breaker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// The calls that decide whether the breaker opens.
    pub(super) window: Window,
    /// The number of calls in the window below which rates are ignored.
    pub(super) minimum_calls: u64,
    /// The share of failures at which the breaker opens.
    pub(super) failure_rate: Option<f64>,
    /// The number of failures in a row at which the breaker opens.
    pub(super) consecutive_failures: Option<u32>,
    /// The rule for slow calls, if they can open the breaker.
    pub(super) slow: Option<SlowRule>,
    /// How many probes run at once, all of which have to succeed.
    pub(super) probes: u32,
    /// How long a probe holds its slot before another one may take it.
    pub(super) probe_lease: Duration,
    /// How long the first opening lasts.
    pub(super) open_for: Duration,
    /// The factor by which each further opening in a row lasts longer.
    pub(super) open_growth: f64,
    /// The longest open time.
    pub(super) open_max: Duration,
    /// The share by which an open time may be shortened at random, so that breakers do not all probe at once.
    pub(super) open_jitter: f64,
    /// How the load grows after an opening; `None` to admit all calls at once.
    pub(super) ramp: Option<RampRule>,
}

/// The rule by which slow calls open the breaker.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlowRule {
    /// A call that takes at least this long is slow.
    pub(super) threshold: Duration,
    /// The share of slow calls at which the breaker opens.
    pub(super) rate: f64,
}

/// The rule by which the load grows after an opening.
#[derive(Debug, Clone, Copy)]
pub(super) struct RampRule {
    /// How long it takes until all calls are admitted.
    pub(super) time: Duration,
    /// The share of calls that is admitted at first.
    pub(super) share: f64,
}

impl Settings {
    /// Returns the open time before jitter, after `earlier` openings in a row.
    pub(super) fn open_time(&self, earlier: u32) -> Duration {
        let grown = self.open_for.as_secs_f64() * self.open_growth.powf(f64::from(earlier));
        Duration::try_from_secs_f64(grown).map_or(self.open_max, |time| time.min(self.open_max))
    }
}
