//! The limits that a file declares, and the names of limits in terms.

use ratchet_runtime::Limit;

use super::spec::LimitSpec;
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::Named;

/// Returns the limits that a file declares, by name.
pub(super) fn declared(
    declared: Vec<Named<LimitSpec>>,
    problems: &mut Problems,
) -> Vec<(String, Limit)> {
    let limits = declared.into_iter();
    limits
        .map(|named| (named.name.clone(), limit(named, problems)))
        .collect()
}

/// Returns the limit of a section. A refused limit still counts as declared, so that the jobs that name it are not
/// refused as well.
fn limit(named: Named<LimitSpec>, problems: &mut Problems) -> Limit {
    let name = &named.name;
    let refuse = |message: String, help: &str| Diagnostic::error(named.place, message).help(help);
    let made = named.value.and_then(|spec| match (&spec.max, &spec.rate) {
        (max, rate) if max.is_present() && rate.is_present() => {
            problems.push(refuse(
                format!("limit `{name}` has both a max and a rate"),
                "write two limits; a job can name both",
            ));
            None
        }
        (max, rate) if !max.is_present() && !rate.is_present() => {
            // An unknown key was reported, and was probably meant to be one of these.
            if !spec.place.has_unknown {
                problems.push(refuse(
                    format!("limit `{name}` has neither a max nor a rate"),
                    "write {max: 4} or {rate: 10/s}",
                ));
            }
            None
        }
        (max, _) if max.is_present() => {
            if let Some(burst) = spec.burst.key() {
                problems.push(
                    Diagnostic::error(burst, "`burst` has an effect only with `rate`")
                        .help("leave it out"),
                );
            }
            Some(Limit::max(max.get()?.0))
        }
        (_, rate) => {
            let burst = spec.burst.get().map_or(1, |burst| burst.0);
            Some(Limit::rate(*rate.get()?, burst))
        }
    });
    let made = made.and_then(|made| {
        let refused = |error: ratchet_runtime::Error| {
            problems.push(Diagnostic::error(named.place, error.to_string()));
        };
        made.map_err(refused).ok()
    });
    made.unwrap_or_else(stand_in_limit)
}

/// Makes a limit in place of one that was refused, so that the check can go on and find more errors.
#[expect(clippy::expect_used, reason = "1 is allowed as the max of a limit")]
fn stand_in_limit() -> Limit {
    Limit::max(1).expect("1 is at least 1")
}

/// Reports a limit that is not declared.
pub(super) fn check(known: &[(String, Limit)], limit: &str, place: Span, problems: &mut Problems) {
    if known.iter().any(|(name, _)| name == limit) {
        return;
    }
    let names = known.iter().map(|(name, _)| name.as_str());
    let error = Diagnostic::error(place, format!("unknown limit `{limit}`"));
    let error = error.help("declare it, as in `limits: {db: {max: 4}}`");
    problems.push(error.did_you_mean(limit, names, "known limits"));
}
