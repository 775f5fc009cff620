//! The terms that a part of a file, the flags or the settings set for jobs.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::mem::discriminant;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ratchet_resilience::retry::{BackoffPolicy, Delay, Jitter};
use ratchet_runtime::process::MemoryLimits;
use ratchet_runtime::{CacheTerms, ParallelizationHint, Priority, ResourceNeed, Terms, Timeouts};
use serde_json::Value as Json;

use super::hosts::{HostRegistry, words_of};
use super::paths::within;
use super::resources::{self, WrittenNeed};
use super::spec::{
    Backoff, CacheSpec, CommandMemorySpec, HintSpec, HintWord, RetrySpec, TermsSpec, TimeoutSpec,
};
use crate::diagnostic::{Diagnostic, Problems, Source, Span};
use crate::document::{Count, Either, Field, FromNode, Node, Schemas, Spanned, yaml_node};
use crate::value::{self, ValueError};

/// The terms that a job, an override, a worker, the flags, the defaults or the settings set. A term that is `None` is
/// taken from the next of these.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PartialTerms {
    /// How parallel the job may be.
    pub(crate) hint: Option<ParallelizationHint>,
    /// The names of the limits that the job counts against.
    pub(crate) limits: Option<Vec<String>>,
    /// How many slots an attempt holds.
    pub(crate) slots: Option<u32>,
    /// What an attempt takes of resources.
    pub(crate) resources: Option<Vec<WrittenNeed>>,
    /// Which of the waiting jobs start first.
    pub(crate) priority: Option<Priority>,
    /// How long an attempt may take.
    pub(crate) timeouts: Option<Timeouts>,
    /// After how long a warning reports the job as slow.
    pub(crate) slow: Option<Duration>,
    /// The group of the job, if the group is given up when one of its jobs fails.
    pub(crate) fail_fast: Option<Arc<str>>,
    /// How much memory a command may have.
    pub(crate) memory: Option<MemoryLimits>,
    /// The parts of the retry policy that are set.
    pub(crate) retry: PartialRetry,
    /// Whether results are cached, and what they depend on.
    pub(crate) cache: Option<CacheTerms>,
    /// The words of `on`: hosts and groups, `local`, or `host`.
    pub(crate) on: Option<Vec<String>>,
}

/// The parts of a retry policy that are set.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PartialRetry {
    /// How many attempts may follow the first one.
    pub(crate) max: Option<u32>,
    /// How the delays grow from attempt to attempt.
    pub(crate) backoff: Option<Backoff>,
    /// The first delay.
    pub(crate) base: Option<Duration>,
    /// The longest delay.
    pub(crate) cap: Option<Duration>,
    /// The factor between two delays, for exponential growth.
    pub(crate) factor: Option<f64>,
    /// The difference between two delays, for linear growth.
    pub(crate) step: Option<Duration>,
    /// How the delays are randomized.
    pub(crate) jitter: Option<Jitter>,
    /// The classes of failures that are tried again.
    pub(crate) on: Option<Vec<String>>,
    /// How long after the start of the first attempt the last one may start.
    pub(crate) within: Option<Duration>,
    /// The factor by which the need of memory grows after each attempt that was killed for its memory.
    pub(crate) memory: Option<f64>,
}

impl PartialTerms {
    /// Reads the terms of a section, and refuses contradictions.
    pub(super) fn from_spec(
        spec: TermsSpec,
        folder: Option<&Path>,
        problems: &mut Problems,
    ) -> Self {
        let place = spec.hint.span();
        let on = spec.on.is_present().then(|| values(words_of(&spec.on)));
        let timeouts = |timeout: Either<crate::document::PositiveDuration, _>| match timeout {
            Either::First(limit) => Timeouts::after(limit.0),
            Either::Second(clocks) => timeouts(clocks, problems),
        };
        let timeouts = spec.timeout.into_value().map(timeouts);
        let memory = spec.memory.into_value();
        let memory = memory.map(|memory| self::memory(memory, problems));
        Self {
            hint: spec
                .hint
                .into_value()
                .and_then(|hint| self::hint(hint, place, problems)),
            limits: spec.limits.into_value().map(values),
            slots: spec.slots.into_value().map(|slots| slots.0),
            resources: spec.resources.into_value().map(resources::needs),
            priority: spec.priority.into_value(),
            timeouts,
            slow: spec.slow.into_value().map(|slow| slow.0),
            fail_fast: None,
            memory,
            retry: spec
                .retry
                .into_value()
                .map(PartialRetry::from)
                .unwrap_or_default(),
            cache: spec
                .cache
                .into_value()
                .map(|cache| self::cache(cache, folder)),
            on,
        }
    }

    /// Takes each term that is not set here from `other`.
    pub(crate) fn or(self, other: &Self) -> Self {
        Self {
            hint: self.hint.or_else(|| other.hint.clone()),
            limits: self.limits.or_else(|| other.limits.clone()),
            slots: self.slots.or(other.slots),
            resources: self.resources.or_else(|| other.resources.clone()),
            priority: self.priority.or(other.priority),
            timeouts: self.timeouts.or(other.timeouts),
            slow: self.slow.or(other.slow),
            fail_fast: self.fail_fast.or_else(|| other.fail_fast.clone()),
            memory: self.memory.or(other.memory),
            retry: self.retry.or(&other.retry),
            cache: self.cache.or_else(|| other.cache.clone()),
            on: self.on.or_else(|| other.on.clone()),
        }
    }

    /// Makes the terms of a job, after all parts were joined. `hosts` are the hosts that `on` can name.
    pub(crate) fn settle(self, hosts: &HostRegistry) -> Result<Terms, ValueError> {
        let standard = Terms::default();
        let needs = self.resources.iter().flatten();
        let resources: Vec<ResourceNeed> = needs.map(WrittenNeed::to_need).collect();
        Ok(Terms {
            hint: self.hint,
            limits: self.limits.unwrap_or(standard.limits),
            slots: self.slots.unwrap_or(standard.slots),
            resources,
            memory_growth: self.retry.memory.unwrap_or(standard.memory_growth),
            priority: self.priority.unwrap_or(standard.priority),
            timeouts: self.timeouts.unwrap_or(standard.timeouts),
            slow: self.slow,
            fail_fast: self.fail_fast,
            memory: self.memory.unwrap_or(standard.memory),
            retry: self.retry.settle()?.map(Arc::new),
            cache: self.cache,
            on: self.on.map_or(standard.on, |words| hosts.placement(&words)),
            granted: None,
        })
    }
}

impl From<Either<Count<0>, RetrySpec>> for PartialRetry {
    fn from(said: Either<Count<0>, RetrySpec>) -> Self {
        let spec = match said {
            Either::First(max) => {
                return Self {
                    max: Some(max.0),
                    ..Self::default()
                };
            }
            Either::Second(spec) => spec,
        };
        let classes = |classes: Vec<Spanned<super::spec::RetryableClass>>| {
            let classes = classes.into_iter();
            classes
                .map(|class| class.value.0.as_str().to_owned())
                .collect()
        };
        Self {
            max: spec.max.into_value().map(|max| max.0),
            backoff: spec.backoff.into_value(),
            base: spec.base.into_value(),
            cap: spec.cap.into_value().map(|cap| cap.0),
            factor: spec.factor.into_value().map(|factor| factor.0),
            step: spec.step.into_value().map(|step| step.0),
            jitter: spec.jitter.into_value(),
            on: spec.on.into_value().map(classes),
            within: spec.within.into_value().map(|within| within.0),
            memory: spec.memory.into_value().map(|factor| factor.0),
        }
    }
}

impl PartialRetry {
    fn or(self, other: &Self) -> Self {
        Self {
            max: self.max.or(other.max),
            backoff: self.backoff.or(other.backoff),
            base: self.base.or(other.base),
            cap: self.cap.or(other.cap),
            factor: self.factor.or(other.factor),
            step: self.step.or(other.step),
            jitter: self.jitter.or(other.jitter),
            on: self.on.or_else(|| other.on.clone()),
            within: self.within.or(other.within),
            memory: self.memory.or(other.memory),
        }
    }

    /// Makes the retry policy. It is nothing for a single attempt.
    fn settle(self) -> Result<Option<BackoffPolicy>, ValueError> {
        let Some(max) = self.max else {
            if self == Self::default() {
                return Ok(None);
            }
            return Err(
                ValueError::new("`retry` has no `max`, so nothing is tried again")
                    .hint("add `max`, as in {max: 3}"),
            );
        };
        if max == 0 {
            return Ok(None);
        }
        let backoff = self.backoff.unwrap_or(Backoff::Exponential);
        self.refuse_idle_figures(backoff)?;
        let base = self.base.unwrap_or(BASE);
        // A first delay that is longer than the default of the longest one was written on purpose, so it holds.
        let cap = self.cap.unwrap_or(CAP.max(base));
        if base > cap {
            let (base, cap) = (value::show_duration(base), value::show_duration(cap));
            return Err(ValueError::new(format!(
                "the first wait ({base}) is longer than the longest ({cap})"
            ))
            .hint("raise `cap` or lower `base`"));
        }
        if base.is_zero() && backoff != Backoff::Fixed {
            return Err(ValueError::new("a first wait of 0s never grows")
                .hint("write `backoff: fixed` to try again at once"));
        }
        let mut policy = BackoffPolicy::builder()
            .max_attempts(max.saturating_add(1))
            .max_delay(cap)
            .delay(match backoff {
                Backoff::Exponential => Delay::Exponential {
                    initial: base,
                    multiplier: self.factor.unwrap_or(2.0),
                },
                Backoff::Fixed => Delay::Fixed(base),
                Backoff::Linear => Delay::Linear {
                    initial: base,
                    increment: self.step.unwrap_or(base),
                },
                Backoff::Fibonacci => Delay::Fibonacci { initial: base },
                Backoff::Decorrelated => Delay::Decorrelated { initial: base },
            });
        if let Some(jitter) = self.jitter {
            policy = policy.jitter(jitter);
        }
        if let Some(classes) = self.on {
            policy = policy.classes(classes);
        }
        if let Some(within) = self.within {
            policy = policy.time_limit(within);
        }
        let policy = policy
            .build()
            .map_err(|error| ValueError::new(error.to_string()))?;
        Ok(Some(policy))
    }

    /// Refuses parameters that have no effect together with the chosen backoff.
    fn refuse_idle_figures(&self, backoff: Backoff) -> Result<(), ValueError> {
        let idle = match backoff {
            _ if self.on.as_ref().is_some_and(Vec::is_empty) => {
                return Err(
                    ValueError::new("`on` is empty, so nothing is ever tried again")
                        .hint("write `max: 0` to retry nothing, or name classes"),
                );
            }
            Backoff::Decorrelated if self.jitter.is_some() => {
                return Err(ValueError::new(
                    "`jitter` has no effect on a decorrelated wait, which is random already",
                )
                .hint("leave `jitter` out"));
            }
            Backoff::Exponential => self.step.map(|_| ("step", "linear")),
            Backoff::Linear => self.factor.map(|_| ("factor", "exponential")),
            _ => self
                .step
                .map(|_| ("step", "linear"))
                .or(self.factor.map(|_| ("factor", "exponential"))),
        };
        match idle {
            None => Ok(()),
            Some((key, backoff)) => Err(ValueError::new(format!("`{key}` has no effect here"))
                .hint(format!("it belongs to `backoff: {backoff}`"))),
        }
    }
}

/// The default of the first delay.
const BASE: Duration = Duration::from_millis(100);

/// The default of the longest delay.
const CAP: Duration = Duration::from_secs(30);

/// Parses the value of `--hint` if it has parameters. It is written as in a file.
pub(crate) fn typed_hint(text: &str) -> Result<ParallelizationHint, String> {
    let mut problems = Vec::new();
    let source = Source::new("--hint", text.to_owned());
    let hint = yaml_node(&source, &mut problems).and_then(|node| {
        let place = Some(node.span);
        hint(
            FromNode::from_node(node, &mut problems)?,
            place,
            &mut problems,
        )
    });
    match (hint, problems.into_iter().next()) {
        (Some(hint), None) => Ok(hint),
        (_, Some(problem)) => {
            let help = problem.help.map(|help| format!("; {help}"));
            Err(problem.message + help.as_deref().unwrap_or_default())
        }
        (None, None) => Err("it has no values".to_owned()),
    }
}

/// A hint with or without figures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AnyHint(pub(crate) ParallelizationHint);

impl FromNode for AnyHint {
    fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self> {
        let span = node.span;
        let said = Either::from_node(node, problems)?;
        hint(said, Some(span), problems).map(Self)
    }

    fn accepts(node: &Node<'_>) -> bool {
        Either::<HintWord, HintSpec>::accepts(node)
    }

    fn expected() -> Cow<'static, str> {
        Either::<HintWord, HintSpec>::expected()
    }

    fn schema(schemas: &mut Schemas) -> Json {
        Either::<HintWord, HintSpec>::schema(schemas)
    }
}

fn hint(
    said: Either<HintWord, HintSpec>,
    place: Option<Span>,
    problems: &mut Problems,
) -> Option<ParallelizationHint> {
    match said {
        Either::First(HintWord::Plain(hint)) => Some(hint),
        Either::First(HintWord::RateLimited) => {
            problems.push(
                Diagnostic::error(place.unwrap_or_default(), "`rate_limited` needs a rate")
                    .help("write {rate_limited: {requests_per_second: 5}}"),
            );
            None
        }
        Either::Second(spec) => {
            let rate = spec.rate_limited.into_value()?;
            Some(ParallelizationHint::RateLimited {
                requests_per_second: rate.requests_per_second.into_value()?.0,
                burst: rate.burst.into_value().map_or(1, |burst| burst.0),
                key: rate.key.into_value(),
            })
        }
    }
}

fn timeouts(spec: TimeoutSpec, problems: &mut Problems) -> Timeouts {
    let place = spec.soft.span();
    let clock =
        |clock: Field<crate::document::PositiveDuration>| clock.into_value().map(|clock| clock.0);
    let timeouts = Timeouts {
        queue: clock(spec.queue),
        soft: clock(spec.soft),
        hard: clock(spec.hard),
        idle: clock(spec.idle),
    };
    if let (Some(soft), Some(hard), Some(place)) = (timeouts.soft, timeouts.hard, place)
        && soft > hard
    {
        problems.push(
            Diagnostic::error(place, "a job would be killed before it is asked to stop")
                .help("`soft` has to be shorter than `hard`"),
        );
    }
    timeouts
}

fn memory(
    said: Either<crate::document::ByteSize, CommandMemorySpec>,
    problems: &mut Problems,
) -> MemoryLimits {
    let spec = match said {
        Either::First(hard) => {
            return MemoryLimits {
                soft: None,
                hard: Some(hard.0),
            };
        }
        Either::Second(spec) => spec,
    };
    let place = spec.soft.span();
    let limits = MemoryLimits {
        soft: spec.soft.into_value().map(|soft| soft.0),
        hard: spec.hard.into_value().map(|hard| hard.0),
    };
    if let (Some(soft), Some(hard), Some(place)) = (limits.soft, limits.hard, place)
        && soft > hard
    {
        problems.push(
            Diagnostic::error(place, "a job would be killed before it is asked to end")
                .help("`soft` has to be smaller than `hard`"),
        );
    }
    limits
}

fn cache(said: Either<bool, CacheSpec>, folder: Option<&Path>) -> CacheTerms {
    let spec = match said {
        Either::First(false) => return CacheTerms::Off,
        Either::First(true) => CacheSpec::default(),
        Either::Second(spec) => spec,
    };
    let inputs = spec.inputs.into_value().map(values).unwrap_or_default();
    let inputs = inputs.into_iter().map(|input| within(folder, input));
    CacheTerms::On {
        inputs: inputs.collect(),
        env: spec.env.into_value().map(values).unwrap_or_default(),
        ttl: spec.ttl.into_value().map(|ttl| ttl.0),
    }
}

fn values<T>(list: Vec<Spanned<T>>) -> Vec<T> {
    list.into_iter().map(|member| member.value).collect()
}

/// Equality is reflexive although terms contain floats, because none of the parsed numbers can be NaN.
impl Eq for PartialTerms {}

/// Terms are hashed because they are keys of a map, through which equal ones are shared.
impl Hash for PartialTerms {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            hint,
            limits,
            slots,
            resources,
            priority,
            timeouts,
            slow,
            fail_fast,
            memory,
            retry,
            cache,
            on,
        } = self;
        (limits, slots, resources, priority, on, memory).hash(state);
        (slow, fail_fast).hash(state);
        hint.as_ref().map(discriminant).hash(state);
        if let Some(ParallelizationHint::RateLimited {
            requests_per_second,
            burst,
            key,
        }) = hint
        {
            (bits(*requests_per_second), burst, key).hash(state);
        }
        let clocks = |timeouts: &Timeouts| {
            let Timeouts {
                queue,
                soft,
                hard,
                idle,
            } = *timeouts;
            (queue, soft, hard, idle)
        };
        timeouts.as_ref().map(clocks).hash(state);
        let PartialRetry {
            max,
            backoff,
            base,
            cap,
            factor,
            step,
            jitter,
            on,
            within,
            memory,
        } = retry;
        (max, backoff, base, cap, factor.map(bits), memory.map(bits)).hash(state);
        (step, jitter.as_ref().map(discriminant), on, within).hash(state);
        cache.as_ref().map(discriminant).hash(state);
        if let Some(CacheTerms::On { inputs, env, ttl }) = cache {
            (inputs, env, ttl).hash(state);
        }
    }
}

/// Returns the bits of a number. Adding 0 makes them the same for both zeros, which are equal.
fn bits(figure: f64) -> u64 {
    (figure + 0.0).to_bits()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn equal_terms_have_one_hash_and_different_ones_are_not_equal() {
        let factor = |factor| PartialTerms {
            retry: PartialRetry {
                factor: Some(factor),
                ..PartialRetry::default()
            },
            ..PartialTerms::default()
        };
        let hint = |key: &str| PartialTerms {
            hint: Some(ParallelizationHint::RateLimited {
                requests_per_second: 0.1,
                burst: 1,
                key: Some(key.to_owned()),
            }),
            ..PartialTerms::default()
        };
        let timeouts = |soft, hard| PartialTerms {
            timeouts: Some(Timeouts {
                soft,
                hard,
                ..Timeouts::default()
            }),
            ..PartialTerms::default()
        };
        let second = Some(Duration::from_secs(1));
        let different = [
            PartialTerms::default(),
            factor(1.5),
            factor(0.0),
            hint("a"),
            hint("b"),
            timeouts(second, None),
            timeouts(None, second),
        ];
        let mut seen: HashSet<PartialTerms> = HashSet::new();
        for terms in &different {
            assert!(seen.insert(terms.clone()), "{terms:?}");
        }
        for terms in different.into_iter().chain([factor(-0.0)]) {
            assert!(seen.contains(&terms), "{terms:?}");
        }
    }
}
