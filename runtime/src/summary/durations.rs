//! A histogram of durations: percentiles of millions of values in a few kilobytes.
//!
//! Exact percentiles of ten million durations would need all of them in memory. So only the number of durations in each
//! bucket is kept. Buckets are wider for longer durations, with 64 buckets for each doubling, so a percentile is off by
//! less than 0.8 %. The least, the greatest and the average are exact. The buckets for all durations from a nanosecond
//! on take 30 KiB at the most, and only those up to the longest duration are allocated.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::milliseconds;

/// The base-2 logarithm of the number of buckets for each doubling.
const BITS: u32 = 6;
/// The number of buckets for each doubling.
const BUCKETS: u64 = 1 << BITS;

/// A histogram of durations, from which averages and percentiles can be read.
///
/// ```
/// use std::time::Duration;
/// use ratchet_runtime::summary::Durations;
///
/// let mut durations = Durations::default();
/// for millis in 1..=100 {
///     durations.add(Duration::from_millis(millis));
/// }
/// let p95 = durations.percentile(95.0).unwrap();
/// assert!(p95.abs_diff(Duration::from_millis(95)) < Duration::from_micros(760));
/// assert_eq!(durations.average(), Some(Duration::from_micros(50_500)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Durations {
    /// How many durations fell into each bucket, up to the last bucket in use.
    buckets: Vec<u64>,
    count: u64,
    /// The sum of all durations, in nanoseconds.
    sum: u128,
    /// The shortest duration, in nanoseconds.
    min: u64,
    /// The longest duration, in nanoseconds.
    max: u64,
}

impl Durations {
    /// Adds a duration.
    pub fn add(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = bucket(nanos);
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.min = if self.count == 0 {
            nanos
        } else {
            self.min.min(nanos)
        };
        self.max = self.max.max(nanos);
        self.count += 1;
        self.sum += u128::from(nanos);
    }

    /// Returns the number of durations that were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the exact average, or `None` if no duration was added.
    pub fn average(&self) -> Option<Duration> {
        let average = self.sum.checked_div(self.count.into())?;
        Some(Duration::from_nanos(
            u64::try_from(average).unwrap_or(u64::MAX),
        ))
    }

    /// Returns the shortest duration.
    pub fn min(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.min))
    }

    /// Returns the longest duration.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.max))
    }

    /// Returns the duration that this many percent of all durations do not exceed, off by less than 0.8 %.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let rank = rank(percent, self.count)?;
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        let middle = middle(found).clamp(self.min, self.max);
        Some(Duration::from_nanos(middle))
    }

    /// Returns the least, the greatest, the average and the usual percentiles, or `None` if no duration was added.
    pub fn stats(&self) -> Option<DurationStats> {
        Some(DurationStats {
            min: self.min()?,
            average: self.average()?,
            p50: self.percentile(50.0)?,
            p95: self.percentile(95.0)?,
            p99: self.percentile(99.0)?,
            max: self.max()?,
        })
    }
}

/// The least, the greatest, the average and the usual percentiles of durations. Serialised, they are milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurationStats {
    /// The shortest duration.
    #[serde(with = "milliseconds")]
    pub min: Duration,
    /// The average duration.
    #[serde(rename = "avg", with = "milliseconds")]
    pub average: Duration,
    /// The median: half of the durations do not exceed it.
    #[serde(with = "milliseconds")]
    pub p50: Duration,
    /// The duration that 95 % of all durations do not exceed.
    #[serde(with = "milliseconds")]
    pub p95: Duration,
    /// The duration that 99 % of all durations do not exceed.
    #[serde(with = "milliseconds")]
    pub p99: Duration,
    /// The longest duration.
    #[serde(with = "milliseconds")]
    pub max: Duration,
}

/// Returns the rank of a percentile among `count` sorted values, by the nearest-rank method, from 1 for the least value
/// on. It is `None` if there are no values; a percentage that is not a number counts as 100.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and a count"
)]
pub(super) fn rank(percent: f64, count: u64) -> Option<u64> {
    let share = if percent.is_nan() {
        1.0
    } else {
        percent.clamp(0.0, 100.0) / 100.0
    };
    (count > 0).then(|| ((share * count as f64).ceil() as u64).clamp(1, count))
}

/// Returns the number of the bucket of a value. Values below `BUCKETS` have a bucket each, and each doubling after that
/// has `BUCKETS` buckets.
fn bucket(value: u64) -> usize {
    let Some(shift) = value.checked_ilog2().and_then(|log| log.checked_sub(BITS)) else {
        #[expect(clippy::expect_used, reason = "it has fewer bits than `BITS`")]
        return usize::try_from(value).expect("a value below `BUCKETS` is a usize");
    };
    let place = (u64::from(shift) << BITS) + (value >> shift);
    #[expect(
        clippy::expect_used,
        reason = "each of at most 64 doublings has `BUCKETS` of them"
    )]
    usize::try_from(place).expect("there are a few thousand buckets")
}

/// Returns the value in the middle of a bucket.
fn middle(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * BUCKETS {
        return bucket;
    }
    let shift = bucket / BUCKETS - 1;
    let first = (bucket % BUCKETS + BUCKETS) << shift;
    first + (1 << shift >> 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_histogram_has_no_percentiles() {
        let none = Durations::default();
        assert_eq!(none.stats(), None);
        assert_eq!(none.percentile(50.0), None);
    }

    #[test]
    fn greater_values_never_skip_a_bucket() {
        let mut last = 0;
        for value in 0..100_000 {
            let bucket = bucket(value);
            assert!(bucket == last || bucket == last + 1, "{value}");
            last = bucket;
        }
        assert!(bucket(u64::MAX) * size_of::<u64>() < 31 * 1024);
        assert!(middle(bucket(u64::MAX)) > u64::MAX / 128 * 127);
    }

    proptest! {
        #[test]
        fn percentiles_are_within_the_documented_error(
            mut nanos in prop::collection::vec(prop_oneof![0..1000_u64, any::<u64>(), 1_000_000..9_000_000_u64], 1..200),
            percent in 0.0..=100.0_f64,
        ) {
            let mut durations = Durations::default();
            for nanos in &nanos {
                durations.add(Duration::from_nanos(*nanos));
            }
            nanos.sort_unstable();
            let count = nanos.len() as u64;
            let rank = usize::try_from(rank(percent, count).unwrap()).unwrap();
            let exact = nanos[rank - 1];
            let told = durations.percentile(percent).unwrap().as_nanos();
            let told = u64::try_from(told).unwrap();
            prop_assert!(told.abs_diff(exact) <= exact / 126, "{told} instead of {exact}");
            prop_assert_eq!(durations.min().unwrap().as_nanos(), u128::from(nanos[0]));
            prop_assert_eq!(durations.max().unwrap().as_nanos(), u128::from(nanos[nanos.len() - 1]));
            let sum: u128 = nanos.iter().map(|nanos| u128::from(*nanos)).sum();
            prop_assert_eq!(durations.average().unwrap().as_nanos(), sum / u128::from(count));
            prop_assert_eq!(durations.count(), count);
        }
    }
}
