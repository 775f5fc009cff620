//! Wishes as keys: what is wished for alike becomes one set of terms.

use std::hash::{Hash, Hasher};
use std::mem::discriminant;

use ratchet_runtime::{CacheTerms, ParallelizationHint, Timeouts};

use super::{Retry, Wishes};

/// Its figures are read from texts that have no NaN.
impl Eq for Wishes {}

impl Hash for Wishes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            hint,
            limits,
            slots,
            priority,
            timeouts,
            retry,
            cache,
        } = self;
        (limits, slots, priority).hash(state);
        hint.as_ref().map(discriminant).hash(state);
        if let Some(ParallelizationHint::RateLimited {
            requests_per_second,
            burst,
            key,
        }) = hint
        {
            (bits(*requests_per_second), burst, key).hash(state);
        }
        let spans = |timeouts: &Timeouts| {
            let Timeouts {
                queue,
                soft,
                hard,
                idle,
            } = *timeouts;
            (queue, soft, hard, idle)
        };
        timeouts.as_ref().map(spans).hash(state);
        let Retry {
            max,
            backoff,
            base,
            cap,
            factor,
            step,
            jitter,
            on,
            within,
        } = retry;
        (max, backoff, base, cap, factor.map(bits)).hash(state);
        (step, jitter.as_ref().map(discriminant), on, within).hash(state);
        cache.as_ref().map(discriminant).hash(state);
        if let Some(CacheTerms::On { inputs, env, ttl }) = cache {
            (inputs, env, ttl).hash(state);
        }
    }
}

/// Of equal figures the same: there are two zeros.
fn bits(figure: f64) -> u64 {
    (figure + 0.0).to_bits()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn equal_wishes_are_one_and_others_are_not() {
        let factor = |factor| Wishes {
            retry: Retry {
                factor: Some(factor),
                ..Retry::default()
            },
            ..Wishes::default()
        };
        let hint = |key: &str| Wishes {
            hint: Some(ParallelizationHint::RateLimited {
                requests_per_second: 0.1,
                burst: 1,
                key: Some(key.to_owned()),
            }),
            ..Wishes::default()
        };
        let timeouts = |soft, hard| Wishes {
            timeouts: Some(Timeouts {
                soft,
                hard,
                ..Timeouts::default()
            }),
            ..Wishes::default()
        };
        let second = Some(Duration::from_secs(1));
        let different = [
            Wishes::default(),
            factor(1.5),
            factor(0.0),
            hint("a"),
            hint("b"),
            timeouts(second, None),
            timeouts(None, second),
        ];
        let mut seen: HashSet<Wishes> = HashSet::new();
        for wishes in &different {
            assert!(seen.insert(wishes.clone()), "{wishes:?}");
        }
        for wishes in different.into_iter().chain([factor(-0.0)]) {
            assert!(seen.contains(&wishes), "{wishes:?}");
        }
    }
}
