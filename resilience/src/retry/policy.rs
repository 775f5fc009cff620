use std::time::Duration;

use super::delay::DelaySchedule;
use super::{Delay, GiveUpReason, Jitter, RetryHistory, RetryPolicy, Retryable};
use crate::validate::{check_duration, check_range, invalid_setting};
use crate::{ResilienceError, Rng};

/// Retries errors of some or all classes, with growing delays, up to a number of attempts and a time limit.
///
/// By default it makes three attempts, with full jitter on an exponential delay that doubles from 100 ms up to 30 s.
///
/// ```
/// use ratchet_resilience::retry::{BackoffPolicy, Delay};
/// use std::time::Duration;
///
/// let policy = BackoffPolicy::builder()
///     .max_attempts(5)
///     .max_delay(Duration::from_secs(10))
///     .time_limit(Duration::from_secs(60))
///     .classes(["timeout", "throttled"])
///     .class_delay("throttled", Delay::Fixed(Duration::from_secs(5)))
///     .build()?;
///
/// let refused = BackoffPolicy::builder().max_attempts(0).build().unwrap_err();
/// assert_eq!(refused.to_string(), "max_attempts is 0, but must be at least 1");
/// # Ok::<(), ratchet_resilience::ResilienceError>(())
/// ```
#[derive(Debug, Clone)]
pub struct BackoffPolicy {
    /// The maximum number of attempts, including the first.
    max_attempts: u32,
    max_delay: Duration,
    /// How long after the start of the first attempt another one may start.
    time_limit: Option<Duration>,
    jitter: Jitter,
    delay: Delay,
    schedule: DelaySchedule,
    /// The classes that are retried; empty for all classes.
    classes: Box<[String]>,
    /// The delays of classes with a delay of their own.
    class_schedules: Box<[(String, DelaySchedule)]>,
}

/// The settings of an exponential policy as plain data, which [`build`](Self::build) checks.
///
/// ```
/// use ratchet_resilience::retry::ExponentialBackoff;
///
/// let policy = ExponentialBackoff { max_attempts: 5, ..ExponentialBackoff::default() }.build()?;
/// # Ok::<(), ratchet_resilience::ResilienceError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExponentialBackoff {
    /// The maximum number of attempts, including the first.
    pub max_attempts: u32,
    /// The delay after the first failure.
    pub initial_delay: Duration,
    /// The longest delay, even if the error asks for a longer one.
    pub max_delay: Duration,
    /// The factor between one delay and the next.
    pub multiplier: f64,
}

impl Default for ExponentialBackoff {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(30),
            multiplier: 2.0,
        }
    }
}

impl ExponentialBackoff {
    /// Makes the policy with full jitter, or names the setting that is out of range.
    pub fn build(self) -> Result<BackoffPolicy, ResilienceError> {
        self.into_builder().build()
    }

    fn into_builder(self) -> BackoffPolicyBuilder {
        let delay = Delay::Exponential {
            initial: self.initial_delay,
            multiplier: self.multiplier,
        };
        BackoffPolicyBuilder {
            max_attempts: self.max_attempts,
            max_delay: self.max_delay,
            delay,
            jitter: None,
            time_limit: None,
            classes: None,
            class_delays: Vec::new(),
        }
    }
}

impl Default for BackoffPolicy {
    /// Makes the policy with the default settings.
    #[expect(
        clippy::expect_used,
        reason = "the default settings lie within their ranges, which a test checks"
    )]
    fn default() -> Self {
        let settings = Self::builder();
        settings.build().expect("the defaults are in range")
    }
}

impl BackoffPolicy {
    /// Starts with the default settings.
    pub fn builder() -> BackoffPolicyBuilder {
        ExponentialBackoff::default().into_builder()
    }

    /// Returns the greatest number of attempts, with the first one.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// Returns how the delay grows, for classes without a delay of their own.
    pub fn delay(&self) -> Delay {
        self.delay
    }

    /// Returns the longest delay.
    pub fn max_delay(&self) -> Duration {
        self.max_delay
    }

    /// Returns how much of a delay is random.
    pub fn jitter(&self) -> Jitter {
        self.jitter
    }

    /// Returns the classes that are retried; none for all of them.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    fn schedule(&self, class: &str) -> &DelaySchedule {
        let own = self
            .class_schedules
            .iter()
            .find(|(named, _)| named == class);
        own.map_or(&self.schedule, |(_, schedule)| schedule)
    }
}

impl RetryPolicy for BackoffPolicy {
    fn should_retry(
        &self,
        history: &RetryHistory,
        error: &dyn Retryable,
    ) -> Result<(), GiveUpReason> {
        if !self.classes.is_empty() && !self.classes.iter().any(|class| class == error.class()) {
            return Err(GiveUpReason::Class);
        }
        if history.failures() >= self.max_attempts {
            return Err(GiveUpReason::Attempts {
                max: self.max_attempts,
            });
        }
        Ok(())
    }

    /// Returns the delay of the error's class, or a longer one if the error asks for it, but never more than the cap.
    fn retry_delay(
        &self,
        history: &RetryHistory,
        error: &dyn Retryable,
        rng: &mut Rng,
    ) -> Duration {
        let schedule = self.schedule(error.class());
        let own = schedule.delay(
            history.failures(),
            history.previous_delay(),
            self.jitter,
            rng,
        );
        error
            .retry_after()
            .map_or(own, |asked| asked.max(own).min(self.max_delay))
    }

    fn time_limit(&self) -> Option<Duration> {
        self.time_limit
    }
}

/// Builds a [`BackoffPolicy`], and checks its settings.
#[derive(Debug, Clone)]
#[must_use = "nothing is checked or made before `build`"]
pub struct BackoffPolicyBuilder {
    max_attempts: u32,
    max_delay: Duration,
    delay: Delay,
    jitter: Option<Jitter>,
    time_limit: Option<Duration>,
    classes: Option<Vec<String>>,
    class_delays: Vec<(String, Delay)>,
}

impl BackoffPolicyBuilder {
    /// Sets the maximum number of attempts, including the first; 1 means no retry.
    pub fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    /// Sets how the delay grows.
    pub fn delay(mut self, delay: Delay) -> Self {
        self.delay = delay;
        self
    }

    /// Sets the longest delay, even if the error asks for a longer one.
    pub fn max_delay(mut self, max_delay: Duration) -> Self {
        self.max_delay = max_delay;
        self
    }

    /// Sets how much of the delay is random.
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = Some(jitter);
        self
    }

    /// Sets how long after the first start of a call its last attempt may start.
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = Some(time_limit);
        self
    }

    /// Retries errors of these classes only. By default all classes are retried.
    pub fn classes<C: Into<String>>(mut self, classes: impl IntoIterator<Item = C>) -> Self {
        self.classes = Some(classes.into_iter().map(Into::into).collect());
        self
    }

    /// Sets a separate delay for a class of errors, under the same cap and jitter.
    pub fn class_delay(mut self, class: impl Into<String>, delay: Delay) -> Self {
        self.class_delays.push((class.into(), delay));
        self
    }

    /// Makes the policy, or names the setting that is out of range.
    pub fn build(self) -> Result<BackoffPolicy, ResilienceError> {
        check_range("max_attempts", self.max_attempts, 1.., "at least 1")?;
        check_duration("max_delay", self.max_delay, Duration::ZERO)?;
        if let Some(limit) = self.time_limit {
            check_duration("time_limit", limit, Duration::from_nanos(1))?;
        }
        self.check_classes()?;
        self.check_jitter()?;
        let schedule = self.delay.schedule(self.max_delay)?;
        let mut class_schedules = Vec::with_capacity(self.class_delays.len());
        for (class, delay) in self.class_delays {
            class_schedules.push((class, delay.schedule(self.max_delay)?));
        }
        Ok(BackoffPolicy {
            max_attempts: self.max_attempts,
            max_delay: self.max_delay,
            time_limit: self.time_limit,
            jitter: self.jitter.unwrap_or_default(),
            delay: self.delay,
            schedule,
            classes: self.classes.unwrap_or_default().into(),
            class_schedules: class_schedules.into(),
        })
    }

    fn check_classes(&self) -> Result<(), ResilienceError> {
        if self.classes.as_ref().is_some_and(Vec::is_empty) {
            return Err(invalid_setting(
                "classes",
                "empty",
                "one class at least; max_attempts 1 retries nothing",
            ));
        }
        for (index, (class, _)) in self.class_delays.iter().enumerate() {
            if self
                .classes
                .as_ref()
                .is_some_and(|classes| !classes.contains(class))
            {
                return Err(invalid_setting(
                    "class_delay",
                    format_args!("for {class:?}"),
                    "for one of classes",
                ));
            }
            if self.class_delays[..index]
                .iter()
                .any(|(earlier, _)| earlier == class)
            {
                return Err(invalid_setting(
                    "class_delay",
                    format_args!("given twice for {class:?}"),
                    "given once a class",
                ));
            }
        }
        Ok(())
    }

    /// Refuses a jitter that no delay would use, since whoever set it expects an effect.
    fn check_jitter(&self) -> Result<(), ResilienceError> {
        let mut delays = self
            .class_delays
            .iter()
            .map(|(_, delay)| delay)
            .chain([&self.delay]);
        match self.jitter {
            Some(jitter) if delays.all(|delay| matches!(delay, Delay::Decorrelated { .. })) => {
                let allowed = "left out with a decorrelated delay, which is random by itself";
                Err(invalid_setting(
                    "jitter",
                    format_args!("{jitter:?}"),
                    allowed,
                ))
            }
            _ => Ok(()),
        }
    }
}
