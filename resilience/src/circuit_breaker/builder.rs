use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::machine::StateMachine;
use super::settings::{RampRule, Settings, SlowRule, Window};
use super::{CircuitBreaker, Listener, Shared, Transition};
use crate::validate::{check_duration, check_range, invalid_setting};
use crate::{ResilienceError, Rng};

/// Builds a [`CircuitBreaker`], and checks its settings.
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
/// # Ok::<(), ratchet_resilience::ResilienceError>(())
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
                open_max: Duration::from_secs(300),
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
    /// Sets which past calls count: the last 100 by default. A window has 1 to 100,000 calls, or lasts at least 10 ms.
    pub fn window(mut self, window: Window) -> Self {
        self.settings.window = window;
        self
    }

    /// Opens the breaker when this share of the calls in the window failed: 0.5 by default, `None` for never.
    pub fn failure_rate(mut self, rate: impl Into<Option<f64>>) -> Self {
        self.settings.failure_rate = rate.into();
        self
    }

    /// Sets how many calls the window must hold before a rate can open the breaker: 20 by default.
    pub fn minimum_calls(mut self, calls: u32) -> Self {
        self.minimum_calls = calls;
        self
    }

    /// Opens the breaker when this many calls in a row failed: 10 by default, `None` for never.
    pub fn consecutive_failures(mut self, failures: impl Into<Option<u32>>) -> Self {
        self.settings.consecutive_failures = failures.into();
        self
    }

    /// Opens the breaker when the share `rate` of the calls in the window took `threshold` or longer: never by default.
    /// A probe that takes that long counts as failed.
    pub fn slow_calls(mut self, threshold: Duration, rate: f64) -> Self {
        self.settings.slow = Some(SlowRule { threshold, rate });
        self
    }

    /// Sets how many probes a half-open breaker admits at once, all of which have to succeed: 3 by default.
    pub fn probes(mut self, probes: u32) -> Self {
        self.settings.probes = probes;
        self
    }

    /// Sets how long a probe may take: 30 s by default. After that another call may take its slot, and its result is
    /// ignored.
    pub fn probe_lease(mut self, lease: Duration) -> Self {
        self.settings.probe_lease = lease;
        self
    }

    /// Sets how long the breaker stays open the first time: 5 s by default.
    pub fn open_for(mut self, time: Duration) -> Self {
        self.settings.open_for = time;
        self
    }

    /// Sets the factor by which the open time grows each time the breaker opens again without having closed: 2 by
    /// default.
    pub fn open_growth(mut self, growth: f64) -> Self {
        self.settings.open_growth = growth;
        self
    }

    /// Sets the longest open time: 5 min by default.
    pub fn open_max(mut self, time: Duration) -> Self {
        self.settings.open_max = time;
        self
    }

    /// Shortens each open time by a random part of it, up to this share: 0.1 by default.
    pub fn open_jitter(mut self, share: f64) -> Self {
        self.settings.open_jitter = share;
        self
    }

    /// Admits only a part of the calls after the probes have succeeded: the given share at first, then evenly more, and
    /// all calls after `time`. By default there is no ramp.
    ///
    /// A few probes show that a service answers, not that it withstands the full load. Its caches are cold, queues are
    /// long, and it fails again if all callers return at once. Failures during the ramp count as usual, and open the
    /// breaker for longer than the last time. The share is counted rather than drawn: of a hundred calls at a share of
    /// 0.1, exactly ten are admitted.
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

    /// Draws the jitter from this generator.
    pub fn rng(mut self, rng: Rng) -> Self {
        self.rng = rng;
        self
    }

    /// Calls the listener on each change of state, one at a time and in order.
    ///
    /// The thread that caused the change calls it before its own call returns. If another thread or the listener itself
    /// changes the state during that time, the first thread also reports that change. A panic in the listener
    /// propagates to that thread, and does not harm the breaker.
    pub fn on_transition(mut self, listener: impl Fn(&Transition) + Send + Sync + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Makes the breaker, or names the setting that is out of range.
    pub fn build(mut self) -> Result<CircuitBreaker, ResilienceError> {
        self.check_rules()?;
        self.check_times()?;
        self.settings.minimum_calls = u64::from(self.minimum_calls);
        let machine = Mutex::new(StateMachine::new(self.settings, self.rng));
        Ok(CircuitBreaker(Arc::new(Shared {
            machine,
            listener: self.listener,
        })))
    }

    fn check_rules(&self) -> Result<(), ResilienceError> {
        let settings = &self.settings;
        check_range("minimum_calls", self.minimum_calls, 1.., "at least 1")?;
        match settings.window {
            Window::Calls(calls) => {
                check_range("window", calls, 1..=100_000, "between 1 and 100000 calls")?;
                // The window would never contain that many calls, so no rate would ever open the breaker.
                if self.minimum_calls > calls {
                    return Err(invalid_setting(
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
            return Err(invalid_setting(
                "failure_rate",
                "none",
                "set if neither consecutive_failures nor slow_calls is: nothing else opens the breaker",
            ));
        }
        check_range("probes", settings.probes, 1..=1_000, "between 1 and 1000")
    }

    fn check_times(&self) -> Result<(), ResilienceError> {
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
            return Err(invalid_setting(
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

fn check_rate(field: &'static str, rate: f64) -> Result<(), ResilienceError> {
    check_range(
        field,
        rate,
        f64::MIN_POSITIVE..=1.0,
        "above 0 and at most 1",
    )
}
