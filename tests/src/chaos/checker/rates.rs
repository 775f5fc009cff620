//! Checks that no window of time has more starts than `burst + rate x length`.

use std::collections::BTreeMap;

use super::super::plan::{Claim, Named, Quota};
use super::attempts::Attempt;
use super::grants::Grant;
use super::profile::Profile;
use super::{Evidence, Report, Rule};

/// The number of the rate of a key in profiles. Rates of keys never change, so no note has this number.
const KEY: u32 = u32::MAX;

/// The earliest and the latest time at which an attempt can have taken its token.
#[derive(Debug, Clone, Copy)]
struct Start {
    from: u64,
    to: u64,
}

/// Checks the limit with a rate and the rate of each key, life by life.
pub(super) fn check(evidence: &Evidence, attempts: &[Attempt], report: &mut Report) {
    // The starts are grouped by life and key. `None` is the named limit `api`.
    let mut buckets: BTreeMap<(u32, Option<u32>), Vec<Start>> = BTreeMap::new();
    let mut blurs = Vec::new();
    for attempt in attempts {
        let key = match attempt.spec.claim {
            Claim::Key(key) => Some(key),
            _ if attempt.spec.limits.contains(&Named::Api) => None,
            _ => continue,
        };
        let start = Start {
            // While a worker loads, a token counts from the time at which the worker has loaded, not from the grant.
            from: attempt.not_before().max(attempt.ready),
            to: attempt.start,
        };
        let loads = |grant: Grant| grant.from < attempt.ready;
        report.figures.loading += usize::from(attempt.granted.is_some_and(loads));
        blurs.push(start.to.saturating_sub(start.from));
        buckets.entry((attempt.life, key)).or_default().push(start);
    }
    for ((life, key), starts) in buckets {
        let declared = key.map_or(Some(&evidence.declared.api), |key| {
            evidence.declared.keys.get(key as usize)
        });
        let Some(Quota { per_second, burst }) = declared else {
            report.add(Rule::Notes, format!("there is no key {key:?}"));
            continue;
        };
        let limit = key.map_or(Named::Api as u32, |_| KEY);
        let profile = Profile::of(&evidence.host_notes, life, limit, *per_second);
        let name = key.map_or("api".to_owned(), |key| format!("key {key}"));
        check_one(
            &format!("{name} in life {life}"),
            &starts,
            &profile,
            *burst,
            report,
        );
    }
    blurs.sort_unstable();
    let at = |percent: usize| blurs.get(blurs.len() * percent / 100).copied();
    report.figures.rated = blurs.len();
    report.figures.blur = (at(50).unwrap_or_default(), at(90).unwrap_or_default());
}

/// Checks the starts of one bucket. Only windows that begin where a start may have been granted, and end where one must
/// have been, can be the fullest.
fn check_one(name: &str, starts: &[Start], profile: &Profile, burst: u32, report: &mut Report) {
    let earned = |at: u64| profile.sum(at);
    let mut by_end: Vec<(Start, u128)> = starts.iter().map(|it| (*it, earned(it.to))).collect();
    by_end.sort_unstable_by_key(|(start, _)| start.to);
    for first in starts {
        let before = earned(first.from);
        let mut held: u128 = 0;
        let skipped = by_end.partition_point(|(start, _)| start.to < first.from);
        let within = by_end.iter().skip(skipped);
        for (last, earned) in within.filter(|(start, _)| start.from >= first.from) {
            held += 1;
            let allowed = u128::from(burst) * 1_000_000_000 + earned.saturating_sub(before);
            let full = held * 1_000_000_000 * 100 / allowed.max(1);
            report.figures.fullest = report
                .figures
                .fullest
                .max(u64::try_from(full).unwrap_or(u64::MAX));
            if held * 1_000_000_000 > allowed {
                let length = (last.to - first.from) / 1000;
                report.add(
                    Rule::Rate,
                    format!("{name}: {held} starts in {length} us from {}", first.from),
                );
                // Further starts in this window would only report the same violation again.
                break;
            }
        }
    }
}
