//! A bucket of tokens, kept as one number.
//!
//! This is the generic cell rate algorithm (GCRA): instead of tokens that drip in and are
//! counted, the bucket remembers the moment at which it would be full again. Taking a token
//! moves that moment on by one interval, and a token is there as long as the moment lies no more
//! than `burst - 1` intervals ahead. There is nothing to refill, nothing to poll, and an idle
//! bucket costs nothing.
//!
//! Time is counted in units of `1 / count` nanoseconds, in which one interval is a whole number. So there is no
//! rounding at all: a rate of 3 per second does not become 3.000000003, however long the run. A change of the rate
//! rounds once, by less than a nanosecond, towards waiting.
//!
//! That is why this is not the `governor` crate: it rounds the interval down to whole nanoseconds, so 7 per second
//! become a little more than 7 and 700,000,000 become 1,000,000,000, and its rate is fixed when it is made.
//!
//! **Never too many.** Let `n` tokens be taken in a window of length `L`, the first at `s`, the
//! last at `e <= s + L`. After the first, the moment is at least `s + interval`, each later one
//! adds an interval, so before the last it is at least `s + (n - 1) x interval`. That the last
//! was granted says that this is at most `e + (burst - 1) x interval`. Hence
//! `n <= burst + (e - s) / interval <= burst + rate x L`.

use std::time::{Duration, Instant};

use super::limits::Quota;

/// The bucket on the scheduler's own clock: nanoseconds since its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// The number of tokens that come in a period, and the number that the bucket holds.
    quota: Quota,
    /// When the bucket is full again, in units of 1 / count nanoseconds.
    full: u128,
    /// Whether no token may be taken, because it is not known when the work began for which the last one was taken.
    is_frozen: bool,
}

impl Bucket {
    /// Makes a full bucket, from which a whole burst can be taken at once.
    pub(super) fn new(quota: Quota) -> Self {
        Self {
            quota,
            full: 0,
            is_frozen: false,
        }
    }

    /// Returns the quota as it is set now.
    pub(super) fn quota(&self) -> Quota {
        self.quota
    }

    /// Returns how many tokens come in one period. Time is counted in units of 1 / this number of nanoseconds.
    fn count(&self) -> u128 {
        self.quota.rate.count().into()
    }

    /// Returns the time between two tokens, in units of 1 / count nanoseconds: the number of nanoseconds in the period.
    fn interval(&self) -> u128 {
        self.quota.rate.nanos().into()
    }

    /// Returns how many tokens a full bucket holds.
    fn burst(&self) -> u128 {
        self.quota.burst.get().into()
    }

    /// Returns how far the bucket is from full, in units of 1 / count nanoseconds.
    fn debt(&self, now: u64) -> u128 {
        self.full.saturating_sub(u128::from(now) * self.count())
    }

    /// Keeps all tokens back, or no longer.
    pub(super) fn set_frozen(&mut self, is_frozen: bool) {
        self.is_frozen = is_frozen;
    }

    /// Whether at least this many tokens can be taken.
    pub(super) fn holds(&self, tokens: u32, now: u64) -> bool {
        if self.is_frozen {
            return false;
        }
        match self.burst().checked_sub(tokens.into()) {
            Some(rest) => self.debt(now) <= rest * self.interval(),
            None => false,
        }
    }

    /// Takes one token, which the caller knows to be there.
    pub(super) fn take(&mut self, now: u64) {
        debug_assert!(
            self.holds(1, now),
            "a token is taken only when there is one"
        );
        let now = u128::from(now) * self.count();
        self.full = self.full.max(now) + self.interval();
    }

    /// Counts a token that was taken earlier as taken now, because the work that it was taken for began only now. No
    /// other token may have been taken in between.
    pub(super) fn take_later(&mut self, now: u64) {
        let now = u128::from(now) * self.count();
        self.full = self.full.max(now + self.interval());
    }

    /// Returns the first moment at which there are this many tokens; `None` if the bucket is too small for them, or keeps
    /// them back.
    pub(super) fn ready_at(&self, tokens: u32) -> Option<u64> {
        if self.is_frozen {
            return None;
        }
        let rest = self.burst().checked_sub(tokens.into())? * self.interval();
        let moment = self.full.saturating_sub(rest).div_ceil(self.count());
        Some(u64::try_from(moment).unwrap_or(u64::MAX))
    }

    /// Returns the moment at which all tokens are there.
    pub(super) fn when_full(&self) -> u64 {
        let moment = self.full.div_ceil(self.count());
        u64::try_from(moment).unwrap_or(u64::MAX)
    }

    /// Replaces the quota. The bucket lacks as many tokens as it did under the old one.
    pub(super) fn change(&mut self, quota: Quota, now: u64) {
        let (debt, interval) = (self.debt(now), self.interval());
        self.quota = quota;
        // Split, because debt x interval could be more than a u128 holds.
        let (whole, part) = (debt / interval, debt % interval);
        let debt = whole * self.interval() + (part * self.interval()).div_ceil(interval);
        self.full = u128::from(now) * self.count() + debt;
    }

    /// Returns how many tokens can be taken, with fractions.
    #[expect(clippy::cast_precision_loss, reason = "a figure to show")]
    pub(super) fn tokens(&self, now: u64) -> f64 {
        if self.is_frozen {
            return 0.0;
        }
        let missing = self.debt(now) as f64 / self.interval() as f64;
        (f64::from(self.quota.burst.get()) - missing).max(0.0)
    }
}

/// A rate limit that is used without a scheduler.
///
/// It starts full, with `burst` tokens, and never allows more than `burst + rate x length` tokens in any window of any
/// length. It does not wait: it returns the moment until which the caller has to wait.
///
/// ```
/// use ratchet_runtime::{Quota, TokenBucket};
/// use std::time::{Duration, Instant};
///
/// # #[expect(clippy::disallowed_methods, reason = "an example outside tokio")]
/// let start = Instant::now();
/// let mut bucket = TokenBucket::new(Quota::new("5/s".parse()?, 1)?, start);
/// assert_eq!(bucket.try_take(start), Ok(()));
/// assert_eq!(bucket.try_take(start), Err(start + Duration::from_millis(200)));
/// assert_eq!(bucket.try_take(start + Duration::from_millis(200)), Ok(()));
/// # Ok::<(), ratchet_runtime::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// The bucket, in nanoseconds since the epoch.
    bucket: Bucket,
    /// The moment from which nanoseconds count.
    epoch: Instant,
}

impl TokenBucket {
    /// Makes a full bucket. Times before `now` are taken as `now`.
    pub fn new(quota: Quota, now: Instant) -> Self {
        Self {
            bucket: Bucket::new(quota),
            epoch: now,
        }
    }

    /// Takes a token. If there is none, the error is the moment at which there will be one.
    pub fn try_take(&mut self, now: Instant) -> Result<(), Instant> {
        let nanos = since(self.epoch, now);
        if self.bucket.holds(1, nanos) {
            self.bucket.take(nanos);
            return Ok(());
        }
        let Some(when) = self.bucket.ready_at(1) else {
            unreachable!("a burst is at least 1, so every bucket holds a token");
        };
        Err(self.epoch + Duration::from_nanos(when))
    }

    /// Returns the number of tokens at `now`, as a figure to show.
    pub fn tokens(&self, now: Instant) -> f64 {
        self.bucket.tokens(since(self.epoch, now))
    }

    /// Returns its rate and burst.
    pub fn quota(&self) -> Quota {
        self.bucket.quota()
    }

    /// Replaces the rate and the burst. Tokens that were taken stay taken.
    pub fn set_quota(&mut self, quota: Quota, now: Instant) {
        self.bucket.change(quota, since(self.epoch, now));
    }
}

/// Returns the nanoseconds from one moment to another; five hundred years fit.
pub(super) fn since(epoch: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "a test's figures are small")]
mod tests {
    use super::*;
    use crate::Rate;
    use proptest::prelude::*;

    fn quota(count: u64, nanos: u64, burst: u32) -> Quota {
        Quota::new(
            Rate::new(count, Duration::from_nanos(nanos)).unwrap(),
            burst,
        )
        .unwrap()
    }

    #[test]
    fn test_token_bucket_refill() {
        let start = tokio::time::Instant::now().into_std();
        let at = |ms| start + Duration::from_millis(ms);
        let mut bucket = TokenBucket::new(quota(10, 1_000_000_000, 3), start);
        for _ in 0..3 {
            assert_eq!(bucket.try_take(start), Ok(()));
        }
        assert_eq!(bucket.try_take(start), Err(at(100)));
        assert!(bucket.tokens(start).abs() < 1e-9);
        assert!((bucket.tokens(at(150)) - 1.5).abs() < 1e-9);
        assert!((bucket.tokens(at(10_000)) - 3.0).abs() < 1e-9);
        assert_eq!(bucket.try_take(at(100)), Ok(()));
        assert_eq!(bucket.try_take(at(199)), Err(at(200)));
    }

    #[test]
    fn a_token_that_is_used_late_counts_from_its_use() {
        let mut bucket = Bucket::new(quota(2, 1_000_000_000, 1));
        bucket.take(0);
        assert_eq!(bucket.ready_at(1), Some(500_000_000));
        bucket.take_later(4_000_000_000);
        assert_eq!(bucket.ready_at(1), Some(4_500_000_000));

        // Tokens that were taken before it stay taken.
        let mut bucket = Bucket::new(quota(2, 1_000_000_000, 3));
        (0..3).for_each(|_| bucket.take(0));
        bucket.take_later(100_000_000);
        assert_eq!(bucket.ready_at(1), Some(500_000_000));
        assert_eq!(bucket.when_full(), 1_500_000_000);
    }

    #[test]
    fn a_changed_rate_keeps_what_was_taken() {
        let start = tokio::time::Instant::now().into_std();
        let at = |ms| start + Duration::from_millis(ms);
        let mut bucket = TokenBucket::new(quota(1, 1_000_000_000, 2), start);
        assert_eq!(bucket.try_take(start), Ok(()));
        assert_eq!(bucket.try_take(start), Ok(()));
        // Half a token has come back, the other half comes at 10 per second.
        bucket.set_quota(quota(10, 1_000_000_000, 2), at(500));
        assert_eq!(bucket.try_take(at(500)), Err(at(550)));
        assert_eq!(bucket.try_take(at(550)), Ok(()));
    }

    /// Seven tokens in 3,000 nanoseconds have an interval that is not a whole number of nanoseconds. A bucket that
    /// rounds its interval drifts here, in one direction or the other.
    #[test]
    fn a_rate_between_two_nanoseconds_neither_drifts_nor_exceeds() {
        let mut bucket = Bucket::new(quota(7, 3_000, 2));
        let mut now = 0;
        for _ in 0..1_000_000u32 {
            now = bucket.ready_at(1).unwrap();
            bucket.take(now);
        }
        // Two start together, the others 3000/7 ns apart.
        assert_eq!(now, (999_998u64 * 3_000).div_ceil(7));
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_burst_plus_rate_times_length(
            count in 1u64..1_000, nanos in 1u64..100_000, burst in 1u32..6,
            steps in prop::collection::vec(0u64..2_000, 1..150),
        ) {
            let mut bucket = Bucket::new(quota(count, nanos, burst));
            let mut now = 0;
            let mut taken: Vec<u64> = Vec::new();
            for step in steps {
                now += step;
                let there = bucket.holds(1, now);
                // The answer and the announced moment agree to the nanosecond.
                prop_assert_eq!(there, bucket.ready_at(1).unwrap() <= now);
                if there {
                    bucket.take(now);
                    taken.push(now);
                } else {
                    // Not one nanosecond too early, and not one too late.
                    let when = bucket.ready_at(1).unwrap();
                    prop_assert!(!bucket.holds(1, when - 1) && bucket.holds(1, when));
                }
            }
            for (first, start) in taken.iter().enumerate() {
                for (last, end) in taken.iter().enumerate().skip(first) {
                    let starts = (last - first + 1) as u128;
                    let length = u128::from(end - start);
                    // starts <= burst + count * length / nanos, without a division.
                    prop_assert!(
                        starts * u128::from(nanos)
                            <= u128::from(burst) * u128::from(nanos) + u128::from(count) * length
                    );
                }
            }
        }

        /// Tokens that were taken stay taken, so a new rate or burst opens no window for more than both of them allow
        /// together, each for as long as it was in effect.
        #[test]
        fn no_window_holds_more_when_rate_and_burst_change_inside_it(
            first in (1u64..50, 1u64..5_000, 1u32..6),
            steps in prop::collection::vec(
                (0u64..2_000, prop::option::weighted(0.2, (1u64..50, 1u64..5_000, 1u32..6))), 1..120,
            ),
        ) {
            let (mut count, mut nanos, mut burst) = first;
            let mut bucket = Bucket::new(quota(count, nanos, burst));
            let (mut now, mut earned) = (0, 0.0);
            // When each token was taken, as tokens earned since the start, and under which burst.
            let mut taken: Vec<(f64, u32)> = Vec::new();
            for (step, change) in steps {
                now += step;
                earned += step as f64 * count as f64 / nanos as f64;
                while bucket.holds(1, now) {
                    bucket.take(now);
                    taken.push((earned, burst));
                }
                if let Some(next) = change {
                    (count, nanos, burst) = next;
                    bucket.change(quota(count, nanos, burst), now);
                }
            }
            for (first, (start, _)) in taken.iter().enumerate() {
                for (last, (end, burst)) in taken.iter().enumerate().skip(first) {
                    let starts = (last - first + 1) as f64;
                    prop_assert!(starts <= f64::from(*burst) + end - start + 1e-6);
                }
            }
        }
    }
}
