use std::time::{Duration, Instant};

use super::settings::RampRule;
use crate::time::saturating_add;

/// The share of all calls. Shares are integers, so that counting is exact; with a power of ten, a tenth is exact, too.
const ALL: u64 = 1_000_000_000;

/// Admits a growing share of the calls after an outage, until it admits all of them.
///
/// Each call adds the current share to `due`, and is admitted if `due` reaches a whole call. So the share is exact at
/// any moment, and nothing is random.
#[derive(Debug)]
pub(super) struct Ramp {
    /// When the ramp began.
    start: Instant,
    /// How long it takes until all calls are admitted.
    time: Duration,
    /// The share at the start, in parts of `ALL`.
    first_share: u64,
    /// The shares that were added and not used up, in parts of `ALL`.
    due: u64,
}

impl Ramp {
    /// Starts a ramp at the first share of its rule.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a billion fits into both, and the share lies between 0 and 1"
    )]
    pub(super) fn new(rule: RampRule, now: Instant) -> Self {
        let first_share = (rule.share * ALL as f64).round() as u64;
        Self {
            start: now,
            time: rule.time,
            first_share,
            // The first call is admitted, however small the share is.
            due: ALL - first_share,
        }
    }

    /// Returns when the share reaches 1.
    pub(super) fn end(&self) -> Instant {
        saturating_add(self.start, self.time)
    }

    /// Admits the call, or returns when it should ask again. The caller asks only before the end of the ramp.
    ///
    /// The more is missing for a whole call, the later that time is. So refused calls spread over the rest of the ramp,
    /// and do not return together at its end.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Instant> {
        self.due += self.share(now);
        if self.due >= ALL {
            self.due -= ALL;
            return Ok(());
        }
        let left = self.end().saturating_duration_since(now);
        let wait = fraction(left, ALL - self.due, u128::from(ALL));
        Err(saturating_add(now, Duration::from_nanos(wait.max(1))))
    }

    /// Returns the share of the calls that is admitted now. It grows evenly from the first share to 1.
    fn share(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start);
        self.first_share + fraction(elapsed, ALL - self.first_share, self.time.as_nanos())
    }
}

/// Returns the fraction `numerator / denominator` of a time, in nanoseconds.
fn fraction(time: Duration, numerator: u64, denominator: u128) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(numerator) / denominator).unwrap_or(u64::MAX)
}
