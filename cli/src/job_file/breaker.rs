//! Makes breakers from the section of a file or from a flag.

use ratchet_runtime::{BreakerConfig, BreakerWindow, SlowAttempts};

use super::spec::{BreakerSpec, SlowSpec};
use crate::diagnostic::{Diagnostic, Problems, Source, Span};
use crate::document::{Count, Either, Field, FromNode, yaml_node};

/// The share of slow attempts at which a breaker opens, if only the time of `slow` is written.
const SLOW_RATE: f64 = 0.5;

/// The breaker of a section, a flag or the defaults. The outer option is `None` if none of them mentions a breaker. The
/// inner one is `None` if they ask for no breaker.
pub(crate) type BreakerSetting = Option<Option<BreakerConfig>>;

/// Makes the breaker of a section, and reports rules that cannot work.
pub(super) fn from_spec(
    said: Field<Either<bool, BreakerSpec>>,
    problems: &mut Problems,
) -> BreakerSetting {
    let place = said.span();
    match said.into_value()? {
        Either::First(false) => Some(None),
        Either::First(true) => Some(Some(BreakerConfig::default())),
        Either::Second(spec) => Some(config(spec, place.unwrap_or_default(), problems)),
    }
}

fn config(spec: BreakerSpec, place: Span, problems: &mut Problems) -> Option<BreakerConfig> {
    let has_rate = spec.failure_rate.is_present() || spec.slow.is_present();
    let has_rule = has_rate || spec.consecutive.is_present();
    if has_rule && !has_rate {
        let keys = [
            ("minimum", spec.minimum.key()),
            ("window", spec.window.key()),
        ];
        for (key, place) in keys {
            problems.extend(place.map(|place| no_effect(key, place)));
        }
    }
    let usual = BreakerConfig::default();
    let share = |field: Field<crate::document::Share>| field.into_value().map(|share| share.0);
    let time =
        |field: Field<crate::document::PositiveDuration>| field.into_value().map(|time| time.0);
    let count = |field: Field<Count<1>>| field.into_value().map(|count| count.0);
    let slow = spec.slow.into_value().and_then(|slow| match slow {
        Either::First(after) => Some(SlowAttempts {
            after: after.0,
            rate: SLOW_RATE,
        }),
        Either::Second(SlowSpec { after, rate, .. }) => Some(SlowAttempts {
            after: time(after)?,
            rate: share(rate).unwrap_or(SLOW_RATE),
        }),
    });
    let (minimum, minimum_place) = (count_of(&spec.minimum), spec.minimum.span());
    let window = spec.window.into_value().map(|window| match window {
        Either::First(attempts) => BreakerWindow::Attempts(attempts.0),
        Either::Second(span) => BreakerWindow::Time(span.0),
    });
    let (window, minimum) = completed(window, minimum, &usual);
    if let (BreakerWindow::Attempts(attempts), Some(place)) = (window, minimum_place)
        && attempts < minimum
    {
        let message = format!(
            "a window of {attempts} attempts never holds the minimum of {minimum}, so no rate would ever be computed"
        );
        problems.push(Diagnostic::error(place, message).help("lower `minimum` or widen `window`"));
        return None;
    }
    let (failure_rate, consecutive) = (share(spec.failure_rate), count(spec.consecutive));
    let config = BreakerConfig {
        // If any rule is written, only the written ones hold. Otherwise the default rules hold.
        failure_rate: if has_rule {
            failure_rate
        } else {
            usual.failure_rate
        },
        consecutive: if has_rule {
            consecutive
        } else {
            usual.consecutive
        },
        slow,
        minimum,
        window,
        open: time(spec.open).unwrap_or(usual.open),
        probes: count(spec.probes).unwrap_or(usual.probes),
        ramp: time(spec.ramp),
        reject: spec.reject.into_value().unwrap_or(usual.reject),
    };
    // If a rule was refused, `config` lacks it. It was reported already, so no second error follows from its absence.
    let is_whole = !has_rule
        || config.failure_rate.is_some()
        || config.consecutive.is_some()
        || config.slow.is_some();
    if let (true, Err(error)) = (is_whole, config.check()) {
        problems.push(Diagnostic::error(place, error));
        return None;
    }
    is_whole.then_some(config)
}

/// Returns the error of a key that only the rules `failure_rate` and `slow` use.
fn no_effect(key: &str, place: Span) -> Diagnostic {
    let error = Diagnostic::error(place, format!("`{key}` has no effect here"));
    error.help("it belongs to `failure_rate` or `slow`")
}

/// Returns the window and the minimum of a breaker. If only one of the two is written, it holds as it is, and the default
/// of the other is adjusted to it.
fn completed(
    window: Option<BreakerWindow>,
    minimum: Option<u32>,
    usual: &BreakerConfig,
) -> (BreakerWindow, u32) {
    match (window, minimum) {
        (None, None) => (usual.window, usual.minimum),
        (None, Some(minimum)) => {
            let room = match usual.window {
                BreakerWindow::Attempts(attempts) => attempts.max(minimum),
                BreakerWindow::Time(_) => minimum,
            };
            (BreakerWindow::Attempts(room), minimum)
        }
        (Some(window), None) => {
            let most = match window {
                BreakerWindow::Attempts(attempts) => attempts,
                BreakerWindow::Time(_) => usual.minimum,
            };
            (window, usual.minimum.min(most))
        }
        (Some(window), Some(minimum)) => (window, minimum),
    }
}

fn count_of(field: &Field<Count<1>>) -> Option<u32> {
    field.get().map(|count| count.0)
}

/// Parses the value of `--breaker`, which is written as in a file.
pub(crate) fn typed_breaker(text: &str) -> Result<BreakerConfig, String> {
    let mut problems = Vec::new();
    let source = Source::new("--breaker", text.to_owned());
    let config = yaml_node(&source, &mut problems).and_then(|node| {
        let place = node.span;
        let spec = Either::<bool, BreakerSpec>::from_node(node, &mut problems)?;
        match spec {
            Either::First(true) => Some(BreakerConfig::default()),
            Either::First(false) => None,
            Either::Second(spec) => config(spec, place, &mut problems),
        }
    });
    match (config, problems.into_iter().next()) {
        (Some(config), None) => Ok(config),
        (_, Some(problem)) => {
            let help = problem.help.map(|help| format!("; {help}"));
            Err(problem.message + help.as_deref().unwrap_or_default())
        }
        (None, None) => Err("leave out --breaker to have no breaker".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_key_changes_what_it_names() {
        let usual = BreakerConfig::default();
        let by_rate = |rate| BreakerConfig {
            failure_rate: Some(rate),
            consecutive: None,
            ..usual
        };
        let slow = |rate| BreakerConfig {
            failure_rate: None,
            consecutive: None,
            slow: Some(SlowAttempts {
                after: SECOND * 2,
                rate,
            }),
            ..usual
        };
        for (text, expected) in [
            ("true", usual),
            ("{}", usual),
            ("{failure_rate: 40%}", by_rate(0.4)),
            (
                "{failure_rate: 40%, minimum: 200}",
                BreakerConfig {
                    minimum: 200,
                    window: BreakerWindow::Attempts(200),
                    ..by_rate(0.4)
                },
            ),
            (
                "{failure_rate: 40%, window: 8}",
                BreakerConfig {
                    minimum: 8,
                    window: BreakerWindow::Attempts(8),
                    ..by_rate(0.4)
                },
            ),
            (
                "{failure_rate: 40%, window: 30s, minimum: 5}",
                BreakerConfig {
                    minimum: 5,
                    window: BreakerWindow::Time(SECOND * 30),
                    ..by_rate(0.4)
                },
            ),
            (
                "{consecutive: 3, open: 7s, probes: 1, ramp: 30s, reject: true}",
                BreakerConfig {
                    failure_rate: None,
                    consecutive: Some(3),
                    open: SECOND * 7,
                    probes: 1,
                    ramp: Some(SECOND * 30),
                    reject: true,
                    ..usual
                },
            ),
            ("{slow: 2s}", slow(0.5)),
            ("{slow: {after: 2s, rate: 80%}}", slow(0.8)),
        ] {
            assert_eq!(typed_breaker(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        for (text, said) in [
            ("{consecutve: 3}", "did you mean `consecutive`?"),
            (
                "{failure_rate: 0.4}",
                "write a share with its sign, as in 20%",
            ),
            ("{failure_rate: 0%}", "this share cannot be 0%"),
            ("{failure_rate: 101%}", "not between 0% and 100%"),
            ("{consecutive: 0}", "at least 1"),
            (
                "{consecutive: 3, minimum: 5}",
                "`minimum` has no effect here; it belongs to",
            ),
            (
                "{consecutive: 3, window: 5}",
                "`window` has no effect here; it belongs to",
            ),
            (
                "{failure_rate: 50%, window: 5, minimum: 9}",
                "never holds the minimum of 9",
            ),
            (
                "{probes: 2000}",
                "probes is 2000, but must be between 1 and 1000",
            ),
            ("{open: 0s}", "this time cannot be 0"),
            ("{slow: {rate: 50%}}", "needs `after`"),
            ("false", "leave out --breaker to have no breaker"),
            ("3", "expected"),
        ] {
            let refused = typed_breaker(text).unwrap_err();
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }
}
