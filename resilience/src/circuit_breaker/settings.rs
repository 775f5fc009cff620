use std::time::Duration;

/// Says which past calls a closed breaker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Window {
    /// It counts this many calls, however long ago they were.
    Calls(u32),
    /// It counts the calls of this time. The window slides by tenths: the current tenth and the nine before it.
    Time(Duration),
}

/// The checked settings of a breaker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) window: Window,
    pub(super) minimum_calls: u64,
    pub(super) failure_rate: Option<f64>,
    pub(super) consecutive_failures: Option<u32>,
    pub(super) slow: Option<SlowRule>,
    pub(super) probes: u32,
    pub(super) probe_lease: Duration,
    pub(super) open_for: Duration,
    pub(super) open_growth: f64,
    pub(super) open_max: Duration,
    pub(super) open_jitter: f64,
    pub(super) ramp: Option<RampRule>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct SlowRule {
    pub(super) threshold: Duration,
    pub(super) rate: f64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct RampRule {
    pub(super) time: Duration,
    pub(super) share: f64,
}

impl Settings {
    /// Returns the open time before jitter, after `earlier` openings in a row.
    pub(super) fn open_time(&self, earlier: u32) -> Duration {
        let grown = self.open_for.as_secs_f64() * self.open_growth.powf(f64::from(earlier));
        Duration::try_from_secs_f64(grown).map_or(self.open_max, |time| time.min(self.open_max))
    }
}
