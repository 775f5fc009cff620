//! The figures that a manager reports about itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::scheduling::scheduler::{LimitState, Scheduler};

/// What is held, what is left and how many wait, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ParallelizationStats {
    /// The hosts that a request wants exclusively: true while one holds the lock of the host.
    pub host_locks: BTreeMap<String, bool>,
    /// Whether no job holds the global lock.
    pub global_available: bool,
    /// The rate keys in use, refilled to the moment of the call.
    pub rate_limiter_states: BTreeMap<String, RateLimiterState>,
    /// The state of each named limit.
    pub limits: BTreeMap<String, LimitState>,
    /// How many requests, or jobs, wait.
    pub waiters: usize,
    /// How many requests hold a guard, or how many jobs run.
    pub running: usize,
}

/// The bucket of one rate key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimiterState {
    /// How many tokens are there now.
    pub tokens: f64,
    /// Tokens of a full bucket: the burst.
    pub capacity: f64,
    /// How many tokens come per second.
    pub refill_rate: f64,
}

impl ParallelizationStats {
    /// Reads the figures from a scheduler as of `now`.
    pub(crate) fn of(scheduler: &Scheduler, now: Instant) -> Self {
        let hosts = scheduler.hosts();
        let keys = scheduler.keys(now).map(|(name, key)| {
            let state = RateLimiterState {
                tokens: key.tokens,
                capacity: f64::from(key.quota.burst.get()),
                refill_rate: key.quota.rate.as_per_second(),
            };
            (name.to_owned(), state)
        });
        let limits = scheduler.limits(now);
        let load = scheduler.load();
        Self {
            host_locks: hosts.map(|(name, held)| (name.to_owned(), held)).collect(),
            global_available: scheduler.global_available(),
            rate_limiter_states: keys.collect(),
            limits: limits
                .map(|(name, state)| (name.to_owned(), state))
                .collect(),
            waiters: load.waiting,
            running: load.running,
        }
    }
}

/// A histogram of how long requests waited, in buckets that double: below 1 us, 2 us, 4 us and so on.
///
/// ```
/// use ratchet_runtime::WaitTimes;
/// use std::time::Duration;
///
/// let mut waits = WaitTimes::default();
/// for _ in 0..99 {
///     waits.record(Duration::from_micros(3));
/// }
/// waits.record(Duration::from_secs(1));
/// assert_eq!(waits.count(), 100);
/// assert_eq!(waits.quantile(0.5), Duration::from_micros(4));
/// assert_eq!(waits.longest(), Duration::from_secs(1));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitTimes {
    /// How many waits fell into each bucket.
    counts: [u64; 32],
    longest: Duration,
}

impl WaitTimes {
    /// Counts one wait.
    pub fn record(&mut self, wait: Duration) {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        self.counts[bucket.min(31)] += 1;
        self.longest = self.longest.max(wait);
    }

    /// Returns how many waits were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the longest wait, exactly.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// Returns a time that this share of the waits did not exceed: the upper end of a bucket, so at most twice the
    /// exact quantile.
    pub fn quantile(&self, share: f64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a share of a count")]
        let wanted = self.count() as f64 * share.clamp(0.0, 1.0);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            #[expect(clippy::cast_precision_loss, reason = "a share of a count")]
            if seen > 0 && seen as f64 >= wanted {
                let upper = Duration::from_micros(1 << bucket);
                return if bucket == 31 {
                    self.longest
                } else {
                    upper.min(self.longest.max(Duration::from_micros(1)))
                };
            }
        }
        Duration::ZERO
    }

    /// Iterates over the buckets: the upper end of each, and how many waits are in it.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let upper = |bucket: u32| Duration::from_micros(1 << bucket);
        (0..).map(upper).zip(self.counts)
    }
}
