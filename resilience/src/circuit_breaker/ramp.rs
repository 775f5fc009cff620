use std::time::{Duration, Instant};

use super::settings::RampRule;
use crate::clock::later;

/// All calls, in the unit that shares are counted in. A power of ten, so that a tenth is a tenth.
const ALL: u64 = 1_000_000_000;

/// The way from the first calls after an outage back to all of them.
///
/// Every call that asks adds its share to what is due, and whoever makes it a whole call is admitted. That is exact
/// at any moment, with no chance in it.
#[derive(Debug)]
pub(super) struct Ramp {
    start: Instant,
    time: Duration,
    first_share: u64,
    due: u64,
}

impl Ramp {
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
            // The first one to ask is admitted, however small the share.
            due: ALL - first_share,
        }
    }

    pub(super) fn end(&self) -> Instant {
        later(self.start, self.time)
    }

    /// Admits the call, or says when it should ask again. To be asked before the end only.
    ///
    /// The more is missing to a whole call, the later: so those who were refused spread over what is left of the
    /// ramp, and do not come back together at its end.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Instant> {
        self.due += self.share(now);
        if self.due >= ALL {
            self.due -= ALL;
            return Ok(());
        }
        let left = self.end().saturating_duration_since(now);
        let wait = part(left, ALL - self.due, u128::from(ALL));
        Err(later(now, Duration::from_nanos(wait.max(1))))
    }

    /// Grows evenly from the first share to all.
    fn share(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start);
        self.first_share + part(elapsed, ALL - self.first_share, self.time.as_nanos())
    }
}

/// `time`, in nanoseconds, times `factor` over `of`.
fn part(time: Duration, factor: u64, of: u128) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(factor) / of).unwrap_or(u64::MAX)
}
