//! The exponential delays. This is the only module that uses the `backoff` crate.

use std::time::Duration;

use ::backoff::ExponentialBackoff;
use ::backoff::backoff::Backoff;

/// Delays that grow by a factor until they reach the cap, and stay there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exponential {
    initial: Duration,
    multiplier: f64,
    cap: Duration,
}

impl Exponential {
    /// Makes delays. The caller guarantees `0 < initial <= cap` and a finite `multiplier >= 1`.
    pub(super) fn new(initial: Duration, multiplier: f64, cap: Duration) -> Self {
        Self {
            initial,
            multiplier,
            cap,
        }
    }

    /// Returns the delay before retry number `index`, counted from zero.
    ///
    /// A call stores only the number of its failures, which may come from a journal. So each decision repeats all
    /// steps, and stops as soon as a step no longer grows: with a multiplier of 2, after 58 steps at most.
    pub(super) fn delay(self, index: u32) -> Duration {
        let mut steps = ExponentialBackoff {
            current_interval: self.initial,
            initial_interval: self.initial,
            // The policy adds the jitter itself, from a seedable generator and below the cap.
            randomization_factor: 0.0,
            multiplier: self.multiplier,
            max_interval: self.cap,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        let mut delay = self.initial;
        for _ in 0..=index {
            // `backoff` calculates with floats, which may round above the cap. It returns `None` only after a
            // `max_elapsed_time`, which is not set.
            delay = steps
                .next_backoff()
                .map_or(self.cap, |next| next.min(self.cap));
            if steps.current_interval <= delay {
                break;
            }
        }
        delay
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn delays_start_at_the_initial_one_and_double_to_the_cap() {
        let delays = Exponential::new(Duration::from_millis(100), 2.0, Duration::from_secs(1));
        let millis: Vec<_> = (0..6)
            .map(|index| delays.delay(index).as_millis())
            .collect();
        assert_eq!(millis, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(delays.delay(u32::MAX), Duration::from_secs(1));
    }

    #[test]
    fn a_multiplier_of_one_gives_the_same_delay_each_time() {
        let delays = Exponential::new(Duration::from_millis(5), 1.0, DAY);
        assert_eq!(delays.delay(0), Duration::from_millis(5));
        assert_eq!(delays.delay(u32::MAX), Duration::from_millis(5));
    }

    #[test]
    fn rounding_does_not_exceed_the_cap() {
        // Converted to a float, this is a whole year.
        let cap = Duration::new(365 * 24 * 60 * 60 - 1, 999_999_999);
        let delays = Exponential::new(Duration::from_secs(1), 10.0, cap);
        assert_eq!(delays.delay(u32::MAX), cap);
    }

    #[test]
    fn slow_growth_goes_on_for_thousands_of_retries() {
        let delays = Exponential::new(Duration::from_secs(1), 1.001, DAY);
        for index in [1_023, 1_024, 5_000] {
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
        fn a_delay_never_shrinks_and_never_exceeds_the_cap(
            initial in 1_u64..10_000_000_000,
            extra in 0_u64..10_000_000_000_000,
            multiplier in 1.0_f64..50.0,
            index in prop_oneof![0_u32..100, any::<u32>()],
        ) {
            let initial = Duration::from_nanos(initial);
            let cap = initial + Duration::from_nanos(extra);
            let delays = Exponential::new(initial, multiplier, cap);
            prop_assert_eq!(delays.delay(0), initial);
            prop_assert!(delays.delay(index) <= cap);
            prop_assert!(delays.delay(index) <= delays.delay(index.saturating_add(1)));
        }

        #[test]
        fn a_delay_equals_the_closed_form(millis in 1_u64..100_000, multiplier in 1.1_f64..10.0, index in 0_u32..40) {
            let delays = Exponential::new(Duration::from_millis(millis), multiplier, DAY);
            let exact = (Duration::from_millis(millis).as_secs_f64() * multiplier.powf(f64::from(index)))
                .min(DAY.as_secs_f64());
            // `backoff` truncates a fraction of a nanosecond at every step.
            prop_assert!((delays.delay(index).as_secs_f64() - exact).abs() <= 1e-6 * exact + 1e-6);
        }
    }
}
