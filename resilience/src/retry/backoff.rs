//! The only place that knows the `backoff` crate.
//!
//! Each of its steps reads a clock and rolls dice, even where neither can change the result. So the delays are drawn
//! from it once, when a policy is built, and looked up from then on.

use std::time::Duration;

use ::backoff::ExponentialBackoff;
use ::backoff::backoff::Backoff;

/// Delays remembered at most. A multiplier of 1.04 or more covers a nanosecond to a year with these.
const REMEMBERED: usize = 1_024;

/// Delays that grow by a factor until they reach the cap, and stay there.
#[derive(Debug, Clone)]
pub(super) struct Exponential {
    delays: Box<[Duration]>,
    multiplier: f64,
    cap: Duration,
}

impl Exponential {
    /// Wants `0 < initial <= cap` and a finite `multiplier >= 1`.
    pub(super) fn new(initial: Duration, multiplier: f64, cap: Duration) -> Self {
        let mut source = ExponentialBackoff {
            current_interval: initial,
            initial_interval: initial,
            randomization_factor: 0.0,
            multiplier,
            max_interval: cap,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        let mut delays: Vec<Duration> = Vec::new();
        while let Some(delay) = source.next_backoff() {
            let delay = delay.min(cap);
            let grows = delays.last().is_none_or(|last| delay > *last);
            if !grows || delays.len() == REMEMBERED {
                break;
            }
            delays.push(delay);
        }
        Self {
            delays: delays.into(),
            multiplier,
            cap,
        }
    }

    /// The delay before retry number `index`, counted from zero.
    pub(super) fn delay(&self, index: u32) -> Duration {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if let Some(delay) = self.delays.get(index) {
            return *delay;
        }
        let Some(last) = self.delays.last() else {
            return self.cap;
        };
        if self.delays.len() < REMEMBERED {
            return *last;
        }
        // So slow a growth that the table ends before the cap: go on from its last entry.
        let beyond = u32::try_from(index - self.delays.len() + 1).unwrap_or(u32::MAX);
        let grown = last.as_secs_f64() * self.multiplier.powf(f64::from(beyond));
        Duration::try_from_secs_f64(grown).map_or(self.cap, |delay| delay.min(self.cap))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn starts_at_the_initial_delay_and_doubles_to_the_cap() {
        let delays = Exponential::new(Duration::from_millis(100), 2.0, Duration::from_secs(1));
        let millis: Vec<_> = (0..6)
            .map(|index| delays.delay(index).as_millis())
            .collect();
        assert_eq!(millis, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(delays.delay(u32::MAX), Duration::from_secs(1));
    }

    #[test]
    fn a_multiplier_of_one_stays() {
        let delays = Exponential::new(Duration::from_millis(5), 1.0, DAY);
        assert_eq!(delays.delay(0), Duration::from_millis(5));
        assert_eq!(delays.delay(u32::MAX), Duration::from_millis(5));
    }

    #[test]
    fn rounding_does_not_exceed_the_cap() {
        // As a float this is a whole year.
        let cap = Duration::new(365 * 24 * 60 * 60 - 1, 999_999_999);
        let delays = Exponential::new(Duration::from_secs(1), 10.0, cap);
        assert_eq!(delays.delay(u32::MAX), cap);
    }

    #[test]
    fn slow_growth_goes_on_past_the_table() {
        let delays = Exponential::new(Duration::from_secs(1), 1.001, DAY);
        for index in [1_022, 1_023, 1_024, 5_000] {
            let exact = 1.001_f64.powi(i32::try_from(index).unwrap());
            let ratio = delays.delay(index).as_secs_f64() / exact;
            assert!(
                (ratio - 1.0).abs() < 1e-6,
                "retry {index} is off by {ratio}"
            );
        }
        assert_eq!(delays.delay(u32::MAX), DAY);
    }

    proptest! {
        #[test]
        fn never_shrinks_and_never_exceeds_the_cap(
            initial in 1_u64..10_000_000_000,
            extra in 0_u64..10_000_000_000_000,
            multiplier in 1.0_f64..50.0,
            index in any::<u32>(),
        ) {
            let initial = Duration::from_nanos(initial);
            let cap = initial + Duration::from_nanos(extra);
            let delays = Exponential::new(initial, multiplier, cap);
            prop_assert_eq!(delays.delay(0), initial);
            prop_assert!(delays.delay(index) <= cap);
            prop_assert!(delays.delay(index) <= delays.delay(index.saturating_add(1)));
        }

        #[test]
        fn equals_the_closed_form(millis in 1_u64..100_000, multiplier in 1.1_f64..10.0, index in 0_u32..40) {
            let delays = Exponential::new(Duration::from_millis(millis), multiplier, DAY);
            let exact = (Duration::from_millis(millis).as_secs_f64() * multiplier.powf(f64::from(index)))
                .min(DAY.as_secs_f64());
            // A nanosecond is cut off at every step.
            prop_assert!((delays.delay(index).as_secs_f64() - exact).abs() <= 1e-6 * exact + 1e-6);
        }
    }
}
