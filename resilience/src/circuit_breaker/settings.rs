use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::state::Machine;
use super::{CircuitBreaker, Listener, Shared, Transition};
use crate::check::{check_duration, check_range, refuse};
use crate::{Error, Rng};

/// Which calls a closed breaker looks back on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Window {
    /// The last so many calls, however long ago.
    Calls(u32),
    /// The calls of the last so long. It slides by tenths: the tenth that runs and the nine before it.
    Time(Duration),
}

/// What was found sound.
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
    /// How long to stay open after so many earlier openings, before jitter.
    pub(super) fn open_time(&self, earlier: u32) -> Duration {
        let grown = self.open_for.as_secs_f64() * self.open_growth.powf(f64::from(earlier));
        Duration::try_from_secs_f64(grown).map_or(self.open_max, |time| time.min(self.open_max))
    }
}

/// Sets up a [`CircuitBreaker`].
///
/// ```
/// use ratchet_resilience::circuit_breaker::{CircuitBreaker, Window};
/// use std::time::Duration;
///
/// let breaker = CircuitBreaker::builder()
///     .window(Window::Time(Duration::from_secs(30)))
///     .failure_rate(0.4)
///     .slow_calls(Duration::from_secs(2), 0.8)
///     .on_transition(|change| eprintln!("{} -> {}: {}", change.from, change.to, change.cause))
///     .build()?;
///
/// let refused = CircuitBreaker::builder().failure_rate(1.5).build().unwrap_err();
/// assert_eq!(refused.to_string(), "failure_rate is 1.5, but must be above 0 and at most 1");
/// # Ok::<(), ratchet_resilience::Error>(())
/// ```
#[must_use = "nothing is checked or made before `build`"]
pub struct CircuitBreakerBuilder {
    settings: Settings,
    minimum_calls: u32,
    rng: Rng,
    listener: Option<Listener>,
}

impl Default for CircuitBreakerBuilder {
    fn default() -> Self {
        Self {
            settings: Settings {
                window: Window::Calls(100),
                minimum_calls: 0,
                failure_rate: Some(0.5),
                consecutive_failures: Some(10),
                slow: None,
                probes: 3,
                probe_lease: Duration::from_secs(30),
                open_for: Duration::from_secs(5),
                open_growth: 2.0,
                open_max: Duration::from_mins(5),
                open_jitter: 0.1,
                ramp: None,
            },
            minimum_calls: 20,
            rng: Rng::new(),
            listener: None,
        }
    }
}

impl fmt::Debug for CircuitBreakerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("CircuitBreakerBuilder");
        debug
            .field("settings", &self.settings)
            .field("minimum_calls", &self.minimum_calls)
            .finish_non_exhaustive()
    }
}

impl CircuitBreakerBuilder {
    /// Which calls are looked back on; the last 100 unless set. 1 to 100,000 calls, or 10 ms and more.
    pub fn window(mut self, window: Window) -> Self {
        self.settings.window = window;
        self
    }

    /// Opens when this share of the calls in the window failed; 0.5 unless set, `None` for never.
    pub fn failure_rate(mut self, rate: impl Into<Option<f64>>) -> Self {
        self.settings.failure_rate = rate.into();
        self
    }

    /// How many calls the window must hold before a share of them means anything; 20 unless set.
    pub fn minimum_calls(mut self, calls: u32) -> Self {
        self.minimum_calls = calls;
        self
    }

    /// Opens when so many calls in a row failed, however few there are; 10 unless set, `None` for never.
    pub fn consecutive_failures(mut self, failures: impl Into<Option<u32>>) -> Self {
        self.settings.consecutive_failures = failures.into();
        self
    }

    /// Opens when `rate` of the calls in the window took `threshold` or longer; never unless set. A probe that is
    /// slow then counts as failed.
    pub fn slow_calls(mut self, threshold: Duration, rate: f64) -> Self {
        self.settings.slow = Some(SlowRule { threshold, rate });
        self
    }

    /// How many probes have to succeed, and how many may be out at once, while it is half-open; 3 unless set.
    pub fn probes(mut self, probes: u32) -> Self {
        self.settings.probes = probes;
        self
    }

    /// How long a probe may take before its place goes to another and its result counts for nothing; 30 s unless set.
    pub fn probe_lease(mut self, lease: Duration) -> Self {
        self.settings.probe_lease = lease;
        self
    }

    /// How long it stays open the first time; 5 s unless set.
    pub fn open_for(mut self, time: Duration) -> Self {
        self.settings.open_for = time;
        self
    }

    /// By what the open time is multiplied each time it opens again without having closed; 2 unless set.
    pub fn open_growth(mut self, growth: f64) -> Self {
        self.settings.open_growth = growth;
        self
    }

    /// The longest open time; 5 min unless set.
    pub fn open_max(mut self, time: Duration) -> Self {
        self.settings.open_max = time;
        self
    }

    /// What share of the open time is left to chance, by which it is shortened; 0.1 unless set.
    pub fn open_jitter(mut self, share: f64) -> Self {
        self.settings.open_jitter = share;
        self
    }

    /// Admits only a part of the calls when the probes have succeeded: `share` of them at first, evenly more from then
    /// on, all after `time`. Not unless set.
    ///
    /// A few probes show that the other side answers, not that it bears the full load: caches are cold, queues are
    /// long, and what has just recovered goes down again if everybody returns at once. Failures count as always, and
    /// open it for longer than the last time. The share is counted, not drawn: of a hundred calls at a share of 0.1
    /// exactly ten are admitted.
    ///
    /// ```
    /// # use ratchet_resilience::circuit_breaker::{CallOutcome, CircuitBreaker, State};
    /// # use std::time::{Duration, Instant};
    /// let breaker = CircuitBreaker::builder()
    ///     .consecutive_failures(1)
    ///     .probes(1)
    ///     .ramp(Duration::from_secs(30), 0.1)
    ///     .build()?;
    /// let now = Instant::now();
    /// breaker.try_acquire(now)?.record(CallOutcome::Failure, now);
    /// let State::Open { until: back } = breaker.state() else { unreachable!() };
    /// breaker.try_acquire(back)?.record(CallOutcome::Success, back);
    ///
    /// let end = back + Duration::from_secs(30);
    /// assert_eq!(breaker.state(), State::Ramping { until: end });
    /// let admitted = |now| (0..100).filter(|_| breaker.try_acquire(now).is_ok()).count();
    /// assert_eq!(admitted(back), 10);
    /// assert_eq!(admitted(back + Duration::from_secs(15)), 55);
    /// assert_eq!(admitted(end), 100);
    /// assert_eq!(breaker.state(), State::Closed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ramp(mut self, time: Duration, share: f64) -> Self {
        self.settings.ramp = Some(RampRule { time, share });
        self
    }

    /// Draws jitter from this generator.
    pub fn rng(mut self, rng: Rng) -> Self {
        self.rng = rng;
        self
    }

    /// Calls this on each change of state: one at a time, in order, by the thread that caused it and before its call
    /// returns. What changes meanwhile, through another thread or the listener itself, is told after it by the same
    /// thread. A panic in the listener is the caller's; the breaker is none the worse for it.
    pub fn on_transition(mut self, listener: impl Fn(&Transition) + Send + Sync + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// The breaker, or the setting that makes no sense.
    pub fn build(mut self) -> Result<CircuitBreaker, Error> {
        self.check_rules()?;
        self.check_times()?;
        self.settings.minimum_calls = u64::from(self.minimum_calls);
        let machine = Mutex::new(Machine::new(self.settings, self.rng));
        Ok(CircuitBreaker(Arc::new(Shared {
            machine,
            listener: self.listener,
        })))
    }

    fn check_rules(&self) -> Result<(), Error> {
        let settings = &self.settings;
        check_range("minimum_calls", self.minimum_calls, 1.., "at least 1")?;
        match settings.window {
            Window::Calls(calls) => {
                check_range("window", calls, 1..=100_000, "between 1 and 100000 calls")?;
                // Never reached, so no rate would ever open it.
                if self.minimum_calls > calls {
                    return Err(refuse(
                        "minimum_calls",
                        self.minimum_calls,
                        format!("at most the window ({calls})"),
                    ));
                }
            }
            Window::Time(span) => check_duration("window", span, Duration::from_millis(10))?,
        }
        if let Some(rate) = settings.failure_rate {
            check_rate("failure_rate", rate)?;
        }
        if let Some(limit) = settings.consecutive_failures {
            check_range("consecutive_failures", limit, 1.., "at least 1")?;
        }
        if let Some(rule) = settings.slow {
            check_duration(
                "slow_calls threshold",
                rule.threshold,
                Duration::from_nanos(1),
            )?;
            check_rate("slow_calls rate", rule.rate)?;
        }
        if settings.failure_rate.is_none()
            && settings.consecutive_failures.is_none()
            && settings.slow.is_none()
        {
            return Err(refuse(
                "failure_rate",
                "none",
                "set, or consecutive_failures or slow_calls: nothing opens it",
            ));
        }
        check_range("probes", settings.probes, 1..=1_000, "between 1 and 1000")
    }

    fn check_times(&self) -> Result<(), Error> {
        let settings = &self.settings;
        let shortest = Duration::from_millis(1);
        check_duration("probe_lease", settings.probe_lease, shortest)?;
        check_duration("open_for", settings.open_for, shortest)?;
        check_duration("open_max", settings.open_max, shortest)?;
        if let Some(rule) = settings.ramp {
            check_duration("ramp time", rule.time, shortest)?;
            let part = f64::MIN_POSITIVE..1.0;
            check_range("ramp share", rule.share, part, "above 0 and below 1")?;
        }
        if settings.open_max < settings.open_for {
            let allowed = format!("at least open_for ({:?})", settings.open_for);
            return Err(refuse(
                "open_max",
                format_args!("{:?}", settings.open_max),
                allowed,
            ));
        }
        check_range(
            "open_growth",
            settings.open_growth,
            1.0..=f64::MAX,
            "a finite number of at least 1",
        )?;
        check_range(
            "open_jitter",
            settings.open_jitter,
            0.0..=1.0,
            "between 0 and 1",
        )
    }
}

fn check_rate(field: &'static str, rate: f64) -> Result<(), Error> {
    check_range(
        field,
        rate,
        f64::MIN_POSITIVE..=1.0,
        "above 0 and at most 1",
    )
}
