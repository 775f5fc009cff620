//! When waiting jobs get the tokens of rates.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use super::WaitCause;
use super::input::WaitingEntry;
use crate::scheduling::{KeyState, Limit, Quota};

/// Adds the time in which the jobs before it in line take their tokens to the wait of each job for a token. The more
/// urgent job comes first, and then the one that was submitted first.
pub(super) fn add_tokens_of_others(waiting: &mut [WaitingEntry], rates: &HashMap<&str, KeyState>) {
    /// What gives the tokens: a limit or the key of a rate.
    #[derive(PartialEq, Eq, Hash)]
    enum Giver {
        Limit(String),
        Key(String),
    }
    let mut in_line = Vec::new();
    for WaitingEntry {
        position,
        job,
        cause,
        ..
    } in waiting
    {
        match cause {
            WaitCause::Limit {
                name,
                limit: Limit::Rate(quota),
                next: Some(next),
                ..
            } => in_line.push((
                (Reverse(job.terms.priority), *position),
                Giver::Limit(name.clone()),
                *quota,
                next,
            )),
            WaitCause::Rate { key, next } => {
                if let Some(state) = rates.get(key.as_str()) {
                    let place = (Reverse(job.terms.priority), *position);
                    in_line.push((place, Giver::Key(key.clone()), state.quota, next));
                }
            }
            _ => {}
        }
    }
    in_line.sort_unstable_by_key(|(place, ..)| *place);
    let mut taken: HashMap<Giver, u32> = HashMap::new();
    for (_, giver, quota, next) in in_line {
        let before = taken.entry(giver).or_default();
        *next = next.saturating_add(time_of_tokens(f64::from(*before), quota));
        *before += 1;
    }
}

/// Returns the time until a bucket with this part of a token has a whole one.
pub(super) fn next_token(tokens: f64, quota: Quota) -> Duration {
    time_of_tokens((1.0 - tokens).max(0.0), quota)
}

/// Returns the time in which this many tokens come.
fn time_of_tokens(tokens: f64, quota: Quota) -> Duration {
    let seconds = tokens / quota.rate.as_per_second();
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
