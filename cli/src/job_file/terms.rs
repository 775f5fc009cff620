//! On what terms jobs run, as far as each place says it.

mod identity;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ratchet_resilience::retry::{BackoffPolicy, Delay, Jitter};
use ratchet_runtime::{CacheTerms, ParallelizationHint, Priority, Terms, Timeouts};

use super::keys;
use crate::diagnostic::{Diagnostic, Source};
use crate::document::{Format, Node, check};
use crate::value::{self, Unreadable};

/// What a job, a worker's section, the defaults or the flags say; nothing is nothing said.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wishes {
    pub(crate) hint: Option<ParallelizationHint>,
    pub(crate) limits: Option<Vec<String>>,
    pub(crate) slots: Option<u32>,
    pub(crate) priority: Option<Priority>,
    pub(crate) timeouts: Option<Timeouts>,
    pub(crate) retry: Retry,
    pub(crate) cache: Option<CacheTerms>,
}

/// How often and how to try again, as far as it is said.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Retry {
    /// After the first attempt.
    pub(crate) max: Option<u32>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) base: Option<Duration>,
    pub(crate) cap: Option<Duration>,
    pub(crate) factor: Option<f64>,
    pub(crate) step: Option<Duration>,
    pub(crate) jitter: Option<Jitter>,
    pub(crate) on: Option<Vec<String>>,
    pub(crate) within: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Backoff {
    Exponential,
    Fixed,
    Linear,
    Fibonacci,
    Decorrelated,
}

impl Wishes {
    /// Reads what a section says; what is wrong was found before and is left out.
    pub(super) fn read(node: &Node, folder: Option<&Path>, problems: &mut Vec<Diagnostic>) -> Self {
        Self {
            hint: node.get("hint").and_then(|node| hint(node, problems)),
            limits: node.get("limits").map(texts),
            slots: node.get("slots").and_then(count),
            priority: node.get("priority").and_then(priority),
            timeouts: node
                .get("timeout")
                .and_then(|node| timeouts(node, problems)),
            retry: node.get("retry").map(Retry::read).unwrap_or_default(),
            cache: node.get("cache").map(|node| cache(node, folder)),
        }
    }

    /// This, and where it says nothing, that.
    pub(crate) fn or(self, other: &Self) -> Self {
        Self {
            hint: self.hint.or_else(|| other.hint.clone()),
            limits: self.limits.or_else(|| other.limits.clone()),
            slots: self.slots.or(other.slots),
            priority: self.priority.or(other.priority),
            timeouts: self.timeouts.or(other.timeouts),
            retry: self.retry.or(&other.retry),
            cache: self.cache.or_else(|| other.cache.clone()),
        }
    }

    /// The terms that come of it, once all have spoken.
    pub(crate) fn settle(self) -> Result<Terms, Unreadable> {
        let standard = Terms::default();
        Ok(Terms {
            hint: self.hint,
            limits: self.limits.unwrap_or(standard.limits),
            slots: self.slots.unwrap_or(standard.slots),
            priority: self.priority.unwrap_or(standard.priority),
            timeouts: self.timeouts.unwrap_or(standard.timeouts),
            retry: self.retry.settle()?.map(Arc::new),
            cache: self.cache,
        })
    }
}

impl Retry {
    fn read(node: &Node) -> Self {
        if node.number().is_some() {
            return Self {
                max: count(node),
                ..Self::default()
            };
        }
        let word = |key| node.get(key).and_then(Node::text);
        Self {
            max: node.get("max").and_then(count),
            backoff: word("backoff").and_then(|word| match word {
                "exponential" => Some(Backoff::Exponential),
                "fixed" => Some(Backoff::Fixed),
                "linear" => Some(Backoff::Linear),
                "fibonacci" => Some(Backoff::Fibonacci),
                "decorrelated" => Some(Backoff::Decorrelated),
                _ => None,
            }),
            base: node.get("base").and_then(duration),
            cap: node.get("cap").and_then(duration),
            factor: node
                .get("factor")
                .and_then(Node::number)
                .and_then(|text| text.parse().ok()),
            step: node.get("step").and_then(duration),
            jitter: word("jitter").and_then(|word| match word {
                "full" => Some(Jitter::Full),
                "equal" => Some(Jitter::Equal),
                "none" => Some(Jitter::None),
                _ => None,
            }),
            on: node.get("on").map(texts),
            within: node.get("within").and_then(duration),
        }
    }

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
        }
    }

    /// The policy; nothing is one attempt.
    fn settle(self) -> Result<Option<BackoffPolicy>, Unreadable> {
        let Some(max) = self.max else {
            if self == Self::default() {
                return Ok(None);
            }
            return Err(Unreadable::new("retry says how, but not how often")
                .hint("add `max`, as in {max: 3}"));
        };
        if max == 0 {
            return Ok(None);
        }
        let backoff = self.backoff.unwrap_or(Backoff::Exponential);
        self.refuse_idle_figures(backoff)?;
        let base = self.base.unwrap_or(BASE);
        // A first wait that is longer than the usual cap is meant as it is written.
        let cap = self.cap.unwrap_or(CAP.max(base));
        if base > cap {
            let (base, cap) = (value::show_duration(base), value::show_duration(cap));
            return Err(Unreadable::new(format!(
                "the first wait ({base}) is longer than the longest ({cap})"
            ))
            .hint("raise `cap` or lower `base`"));
        }
        if base.is_zero() && backoff != Backoff::Fixed {
            return Err(Unreadable::new("a wait of 0s never grows")
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
            .map_err(|error| Unreadable::new(error.to_string()))?;
        Ok(Some(policy))
    }

    /// A figure that would mean nothing is a misunderstanding.
    fn refuse_idle_figures(&self, backoff: Backoff) -> Result<(), Unreadable> {
        let idle = match backoff {
            _ if self.on.as_ref().is_some_and(Vec::is_empty) => {
                return Err(
                    Unreadable::new("`on` is empty, so nothing is ever tried again")
                        .hint("write `max: 0`, or name classes"),
                );
            }
            Backoff::Decorrelated if self.jitter.is_some() => {
                return Err(Unreadable::new("a decorrelated wait is random by itself")
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
            Some((key, backoff)) => Err(Unreadable::new(format!("`{key}` has no effect here"))
                .hint(format!("it belongs to `backoff: {backoff}`"))),
        }
    }
}

/// The first wait where none is said.
const BASE: Duration = Duration::from_millis(100);

/// The longest wait where none is said.
const CAP: Duration = Duration::from_secs(30);

/// A hint with its figures that was typed, as it would stand in a file.
pub(crate) fn typed_hint(text: &str) -> Result<ParallelizationHint, String> {
    let mut problems = Vec::new();
    let node = match Format::Yaml.read(&Source::new("--hint", text.to_owned())) {
        Ok(node) => node,
        Err(found) => {
            problems = found;
            None
        }
    };
    let hint = node.and_then(|node| {
        check(&node, &keys::HINT.shape, &mut problems);
        hint(&node, &mut problems)
    });
    match (hint, problems.into_iter().next()) {
        (Some(hint), None) => Ok(hint),
        (_, Some(problem)) => {
            let help = problem.help.map(|help| format!("; {help}"));
            Err(problem.message + help.as_deref().unwrap_or_default())
        }
        (None, None) => Err("there are no figures in it".to_owned()),
    }
}

fn hint(node: &Node, problems: &mut Vec<Diagnostic>) -> Option<ParallelizationHint> {
    if let Some(name) = node.text() {
        if name == "rate_limited" {
            problems.push(
                Diagnostic::error(node.span, "`rate_limited` needs its figures")
                    .help("write {rate_limited: {requests_per_second: 5}}"),
            );
        }
        return name.parse().ok();
    }
    let figures = node.get("rate_limited")?;
    Some(ParallelizationHint::RateLimited {
        requests_per_second: figures.get("requests_per_second")?.number()?.parse().ok()?,
        burst: figures.get("burst").map_or(Some(1), count)?,
        key: figures.get("key").and_then(Node::text).map(str::to_owned),
    })
}

fn priority(node: &Node) -> Option<Priority> {
    match node.text()? {
        "critical" => Some(Priority::Critical),
        "high" => Some(Priority::High),
        "normal" => Some(Priority::Normal),
        "low" => Some(Priority::Low),
        _ => None,
    }
}

fn timeouts(node: &Node, problems: &mut Vec<Diagnostic>) -> Option<Timeouts> {
    if let Some(limit) = duration(node) {
        return Some(Timeouts::after(limit));
    }
    if node.entries().is_empty() {
        return None;
    }
    let figure = |key| node.get(key).and_then(duration);
    let timeouts = Timeouts {
        queue: figure("queue"),
        soft: figure("soft"),
        hard: figure("hard"),
        idle: figure("idle"),
    };
    if let (Some(soft), Some(hard)) = (timeouts.soft, timeouts.hard)
        && soft > hard
    {
        let place = node.get("soft").map_or(node.span, |node| node.span);
        problems.push(
            Diagnostic::error(place, "it would be killed before it is asked to stop")
                .help("`soft` comes before `hard`"),
        );
    }
    Some(timeouts)
}

fn cache(node: &Node, folder: Option<&Path>) -> CacheTerms {
    let on = |inputs, env, ttl| CacheTerms::On { inputs, env, ttl };
    match node.bool() {
        Some(false) => return CacheTerms::Off,
        Some(true) => return on(Vec::new(), Vec::new(), None),
        None => {}
    }
    let inputs = node.get("inputs").map(texts).unwrap_or_default();
    on(
        inputs
            .into_iter()
            .map(|input| within(folder, input))
            .collect(),
        node.get("env").map(texts).unwrap_or_default(),
        node.get("ttl").and_then(duration),
    )
}

/// A path as a file means it.
pub(super) fn within(folder: Option<&Path>, path: impl Into<PathBuf>) -> PathBuf {
    let path = path.into();
    match folder {
        Some(folder) => folder.join(path),
        None => path,
    }
}

pub(super) fn duration(node: &Node) -> Option<Duration> {
    value::duration(node.text()?).ok()
}

pub(super) fn count(node: &Node) -> Option<u32> {
    value::count(node.number()?).ok()?.try_into().ok()
}

pub(super) fn texts(node: &Node) -> Vec<String> {
    let texts = node.members().iter().filter_map(Node::text);
    texts.map(str::to_owned).collect()
}
