//! On what terms: the keys that jobs, workers and defaults have in common.

use std::borrow::Cow;
use std::time::Duration;

use ratchet_resilience::retry::Jitter;
use ratchet_runtime::{Class, ParallelizationHint, Priority};

use crate::document::{
    Count, Either, Factor, PositiveDuration, PositiveNumber, Spanned, Words, section, words,
};

section! {
    /// What jobs, workers and defaults can all say.
    pub(crate) struct TermsSpec("defaults") {
        /// How parallel it may be.
        hint: Either<HintWord, HintSpec>,
        /// The named limits it counts against.
        limits: Vec<Spanned<String>>,
        /// How many slots it fills; 1 by default.
        slots: Count<1>,
        /// How urgent it is; `normal` by default.
        priority: Priority,
        /// How long it may take: one figure, after which it is asked to stop and a second later killed, or several.
        timeout: Either<PositiveDuration, TimeoutSpec>,
        /// How often it is tried again after its first attempt, or that and how.
        retry: Either<Count<0>, RetrySpec>,
        /// Whether its result may be used again.
        cache: Either<bool, CacheSpec>,
    }
}

section! {
    /// A hint that has figures.
    pub(crate) struct HintSpec("a hint") {
        /// At most so many starts a second.
        rate_limited (required): RateSpec,
    }
}

section! {
    /// The figures of a rate.
    pub(crate) struct RateSpec("rate_limited") {
        /// Starts a second; fractions are fine.
        requests_per_second (required): PositiveNumber,
        /// Starts that may come together after a pause; 1 by default.
        burst: Count<1>,
        /// Jobs with one key share one bucket; the task's name by default.
        key: String,
    }
}

section! {
    /// The clocks of an attempt.
    pub(crate) struct TimeoutSpec("timeout") {
        /// How long it may wait for its first start.
        queue: PositiveDuration,
        /// When to ask it to stop.
        soft: PositiveDuration,
        /// When to kill it.
        hard: PositiveDuration,
        /// How long it may go without telling of progress.
        idle: PositiveDuration,
    }
}

section! {
    /// How often and how to try again.
    pub(crate) struct RetrySpec("retry") {
        /// How often, after the first attempt.
        max: Count<0>,
        /// How the wait grows; `exponential` by default.
        backoff: Backoff,
        /// The first wait; 100ms by default.
        base: Duration,
        /// The longest wait; 30s by default.
        cap: PositiveDuration,
        /// With `exponential`: what each wait multiplies the one before by; 2 by default.
        factor: Factor,
        /// With `linear`: what each wait adds to the one before; `base` by default.
        step: PositiveDuration,
        /// How much of the wait is left to chance; `full` by default.
        jitter: Jitter,
        /// The classes of failures that are tried again; all that may go better, by default.
        on: Vec<Spanned<RetryableClass>>,
        /// How long after the first attempt the last one may start.
        within: PositiveDuration,
    }
}

section! {
    /// What a cached result depends on besides its input.
    pub(crate) struct CacheSpec("cache") {
        /// Files it reads besides its input.
        inputs: Vec<Spanned<String>>,
        /// Names of variables that it depends on.
        env: Vec<Spanned<String>>,
        /// For how long; for ever by default.
        ttl: PositiveDuration,
    }
}

/// How the wait before another attempt grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Backoff {
    Exponential,
    Fixed,
    Linear,
    Fibonacci,
    Decorrelated,
}

/// A hint that is said by its name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum HintWord {
    Plain(ParallelizationHint),
    /// It needs figures besides.
    RateLimited,
}

/// A class of failures that another attempt may cure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryableClass(pub(crate) Class);

words! {
    Backoff {
        Exponential = "exponential",
        Fixed = "fixed",
        Linear = "linear",
        Fibonacci = "fibonacci",
        Decorrelated = "decorrelated",
    };
    Jitter { Full = "full", Equal = "equal", None = "none" };
    HintWord;
    RetryableClass;
    Priority;
}

impl Words for HintWord {
    fn words() -> Vec<(Cow<'static, str>, Self)> {
        let mut words: Vec<_> = ParallelizationHint::PLAIN
            .into_iter()
            .map(|hint| (hint.name().into(), Self::Plain(hint)))
            .collect();
        let rate_limited = ParallelizationHint::rate_limited(1.0).name();
        words.insert(2, (rate_limited.into(), Self::RateLimited));
        words
    }
}

impl Words for RetryableClass {
    fn words() -> Vec<(Cow<'static, str>, Self)> {
        let classes = Class::ALL.into_iter().filter(|class| class.is_retryable());
        classes
            .map(|class| (class.as_str().into(), Self(class)))
            .collect()
    }
}

impl Words for Priority {
    fn words() -> Vec<(Cow<'static, str>, Self)> {
        let word = |priority: Self| (priority.as_str().into(), priority);
        Self::ALL.map(word).into()
    }
}

/// The hints that are said by a name alone, which is all that settings have room for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlainHint(pub(crate) ParallelizationHint);

impl Words for PlainHint {
    fn words() -> Vec<(Cow<'static, str>, Self)> {
        ParallelizationHint::PLAIN
            .into_iter()
            .map(|hint| (hint.name().into(), Self(hint)))
            .collect()
    }
}

words! { PlainHint; }
