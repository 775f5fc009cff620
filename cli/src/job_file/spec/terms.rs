//! The keys for the terms of jobs, which jobs, workers and defaults have in common.

use std::borrow::Cow;
use std::time::Duration;

use ratchet_resilience::retry::Jitter;
use ratchet_runtime::{Class, ParallelizationHint, Priority};

use super::resource::Amount;
use crate::document::{
    ByteSize, Count, Either, Factor, Named, PositiveDuration, PositiveNumber, Share, Spanned,
    Words, section, words,
};

section! {
    /// The terms that jobs, workers and defaults can set.
    pub(crate) struct TermsSpec("terms") {
        /// How parallel the job may be.
        hint: Either<HintWord, HintSpec>,
        /// The named limits that the job counts against.
        limits: Vec<Spanned<String>>,
        /// How many slots the job takes; 1 by default.
        slots: Count<1>,
        /// How much of which resources the job has for itself while it runs, as in `{gpu: 1, memory: 4GiB}`.
        resources: Vec<Named<Amount>>,
        /// Where commands and workers run: `local`, a host or a group of `hosts`, a list of those for whichever has the
        /// most room, or `host` for the host that each job names; `local` by default.
        on: Either<String, Vec<Spanned<String>>>,
        /// Which of the waiting jobs start first; `normal` by default. A run looks at 4096 unfinished jobs at once, in
        /// the order of the file, so a job further behind waits, whatever its priority.
        priority: Priority,
        /// How long an attempt may take: one duration, after which it is asked to stop and a second later killed, or
        /// several.
        timeout: Either<PositiveDuration, TimeoutSpec>,
        /// After how long a warning tells that the job is slow, once for each job; it goes on.
        slow: PositiveDuration,
        /// How much memory the program of `run` may have, together with all that it has started, before it is killed (one size,
        /// or `hard`), and before it is asked to end (`soft`).
        memory: Either<ByteSize, CommandMemorySpec>,
        /// How many attempts may follow a failed first one, or that and when they start.
        retry: Either<Count<0>, RetrySpec>,
        /// Whether an earlier result may be used again.
        cache: Either<bool, CacheSpec>,
    }
}

section! {
    /// A hint with parameters.
    pub(crate) struct HintSpec("a hint") {
        /// At most so many attempts start in a second.
        rate_limited (required): RateSpec,
    }
}

section! {
    /// The parameters of a rate.
    pub(crate) struct RateSpec("rate_limited") {
        /// How many attempts may start in a second; fractions are allowed.
        requests_per_second (required): PositiveNumber,
        /// How many attempts may start together after a pause; 1 by default.
        burst: Count<1>,
        /// Jobs with the same key share the rate; the name of the task by default.
        key: String,
    }
}

section! {
    /// The timeouts of an attempt.
    pub(crate) struct TimeoutSpec("timeout") {
        /// How long the job may wait for its first start, from when all that it needs has succeeded. It counts alike
        /// whether the job waits for a worker to say its hello, for a host, for the cache or for a slot.
        queue: PositiveDuration,
        /// When the attempt is asked to stop.
        soft: PositiveDuration,
        /// When the attempt is killed.
        hard: PositiveDuration,
        /// How long the attempt may run without reporting progress.
        idle: PositiveDuration,
    }
}

section! {
    /// The memory that the program of a job may have.
    pub(crate) struct CommandMemorySpec("memory of a job") {
        /// The program is asked to end if it has more.
        soft: ByteSize,
        /// The program is killed with all that it has started if it has more.
        hard: ByteSize,
    }
}

section! {
    /// How often and when a failed job is tried again.
    pub(crate) struct RetrySpec("retry") {
        /// How many attempts may follow a failed first one.
        max: Count<0>,
        /// How the delays grow; `exponential` by default.
        backoff: Backoff,
        /// The first delay; 100ms by default.
        base: Duration,
        /// The longest delay; 30s by default.
        cap: PositiveDuration,
        /// With `exponential`: the factor from each delay to the next; 2 by default.
        factor: Factor,
        /// With `linear`: the difference from each delay to the next; `base` by default.
        step: PositiveDuration,
        /// How much of a delay is random; `full` by default.
        jitter: Jitter,
        /// The classes of failures that are tried again; by default all that another attempt may cure.
        on: Vec<Spanned<RetryableClass>>,
        /// How long after the first attempt the last one may start.
        within: PositiveDuration,
        /// By which factor the job takes more of the resource `memory`, and may use more by its limit `memory`, after each attempt
        /// that was killed for its memory; 1 by default.
        memory: Factor,
    }
}

section! {
    /// How often and when jobs are tried again that do not say so, and how many retries the whole run may make.
    pub(crate) struct DefaultRetrySpec("retry of `defaults`") {
        /// How many attempts of the run may be retries, as a share of first attempts, as in 20%, and ten in any case.
        budget: Share,
        ..policy: RetrySpec,
    }
}

section! {
    /// What a cached result depends on besides the input of the job.
    pub(crate) struct CacheSpec("cache") {
        /// Files that the job reads.
        inputs: Vec<Spanned<String>>,
        /// Names of variables that the job depends on.
        env: Vec<Spanned<String>>,
        /// How long a result may be used; for ever by default.
        ttl: PositiveDuration,
    }
}

/// How the delays before further attempts grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Backoff {
    /// Each delay is a multiple of the one before.
    Exponential,
    /// All delays are the same.
    Fixed,
    /// Each delay is longer than the one before by the same time.
    Linear,
    /// Each delay is the sum of the two before.
    Fibonacci,
    /// Each delay is drawn at random between the first delay and a multiple of the one before.
    Decorrelated,
}

/// A hint that is written as a name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum HintWord {
    /// A hint without parameters.
    Plain(ParallelizationHint),
    /// The hint that needs parameters. Its name alone is refused.
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
    HintWord;
    RetryableClass;
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

    fn why_not(word: &str) -> Option<String> {
        let mut classes = Class::ALL.into_iter();
        classes
            .any(|class| class.as_str() == word)
            .then(|| format!("a failure of class `{word}` is never tried again"))
    }
}

/// A hint without parameters. A setting can hold no other.
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
