use std::time::Duration;

use super::backoff::Exponential;
use crate::validate::{check_duration, check_range, invalid_setting};
use crate::{ResilienceError, Rng};

/// How the delay before another attempt grows, up to the policy's `max_delay`.
///
/// The first delay is always the initial one. Jitter is applied to the result.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Delay {
    /// The delay stays the same: `d d d d`.
    Fixed(Duration),
    /// The delay grows by a step: `i, i+s, i+2s`.
    Linear {
        /// The first delay.
        initial: Duration,
        /// The step by which each delay is longer than the one before.
        increment: Duration,
    },
    /// The delay grows by a factor: `i, im, im²`.
    Exponential {
        /// The first delay.
        initial: Duration,
        /// The factor between one delay and the next; at least 1.
        multiplier: f64,
    },
    /// The delay is the sum of the last two: `i i 2i 3i 5i 8i`.
    Fibonacci {
        /// The first and the second delay.
        initial: Duration,
    },
    /// The delay is drawn between the initial one and three times the last one. Jitter does not apply to it.
    Decorrelated {
        /// The first and the shortest delay.
        initial: Duration,
    },
}

/// How much of a delay is random, so that calls that failed together are not retried together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// All of it: the delay is drawn between zero and its full length. This spreads calls the most.
    #[default]
    Full,
    /// Half of it: the delay is drawn between half and all of its length.
    Equal,
    /// The delay has its full length.
    None,
}

impl Delay {
    /// Returns the delay after the first failure.
    pub(super) fn initial(&self) -> Duration {
        match *self {
            Self::Fixed(initial)
            | Self::Linear { initial, .. }
            | Self::Exponential { initial, .. }
            | Self::Fibonacci { initial }
            | Self::Decorrelated { initial } => initial,
        }
    }

    /// Checks the delay against the cap, or names the setting that is out of range.
    pub(super) fn schedule(self, cap: Duration) -> Result<DelaySchedule, ResilienceError> {
        let initial = self.initial();
        // A fixed delay of zero means an immediate retry. The other kinds would never grow from zero.
        let shortest = match self {
            Self::Fixed(_) => Duration::ZERO,
            _ => Duration::from_nanos(1),
        };
        check_duration("initial_delay", initial, shortest)?;
        if initial > cap {
            return Err(invalid_setting(
                "max_delay",
                format_args!("{cap:?}"),
                format!("at least initial_delay ({initial:?})"),
            ));
        }
        let growth = match self {
            Self::Fixed(_) => Growth::Linear {
                increment: Duration::ZERO,
            },
            Self::Linear { increment, .. } => {
                check_duration("increment", increment, Duration::ZERO)?;
                Growth::Linear { increment }
            }
            Self::Exponential { multiplier, .. } => {
                check_range(
                    "multiplier",
                    multiplier,
                    1.0..=f64::MAX,
                    "a finite number of at least 1",
                )?;
                Growth::Exponential(Exponential::new(initial, multiplier, cap))
            }
            Self::Fibonacci { .. } => Growth::Fibonacci,
            Self::Decorrelated { .. } => Growth::Decorrelated,
        };
        Ok(DelaySchedule {
            initial,
            cap,
            growth,
        })
    }
}

/// A checked delay, which returns a delay between zero and the cap for any number of failures.
#[derive(Debug, Clone)]
pub(super) struct DelaySchedule {
    initial: Duration,
    cap: Duration,
    /// How the delay grows from failure to failure.
    growth: Growth,
}

/// How a delay follows from the one before it.
#[derive(Debug, Clone)]
enum Growth {
    /// Each delay is longer than the one before it by the same time.
    Linear { increment: Duration },
    /// Each delay is a multiple of the one before it.
    Exponential(Exponential),
    /// Each delay is the sum of the two before it.
    Fibonacci,
    /// Each delay is drawn at random between the first one and three times the one before it.
    Decorrelated,
}

impl DelaySchedule {
    /// Returns the delay after `failures` failed attempts, given the delay before the last of them.
    pub(super) fn delay(
        &self,
        failures: u32,
        previous: Option<Duration>,
        jitter: Jitter,
        rng: &mut Rng,
    ) -> Duration {
        let index = failures.saturating_sub(1);
        let full = match &self.growth {
            Growth::Linear { increment } => {
                self.initial.saturating_add(increment.saturating_mul(index))
            }
            Growth::Exponential(exponential) => exponential.delay(index),
            Growth::Fibonacci => self.fibonacci(index),
            Growth::Decorrelated => {
                let high = previous
                    .map_or(self.initial, |previous| previous.saturating_mul(3))
                    .min(self.cap);
                return rng.between(self.initial, high);
            }
        }
        .min(self.cap);
        match jitter {
            Jitter::None => full,
            Jitter::Equal => rng.between(full / 2, full),
            Jitter::Full => rng.between(Duration::ZERO, full),
        }
    }

    /// Returns the Fibonacci delay. It reaches any cap within a hundred steps, so the loop is short for any index.
    fn fibonacci(&self, index: u32) -> Duration {
        let (mut current, mut next) = (self.initial, self.initial);
        for _ in 0..index {
            if current >= self.cap {
                break;
            }
            (current, next) = (next, current.saturating_add(next));
        }
        current
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Rng;

    const SECOND: Duration = Duration::from_secs(1);

    fn seconds(delay: Delay, cap: u64) -> Vec<u64> {
        let schedule = delay.schedule(Duration::from_secs(cap)).unwrap();
        let mut rng = Rng::seeded(1);
        (1..=7)
            .map(|failures| {
                schedule
                    .delay(failures, None, Jitter::None, &mut rng)
                    .as_secs()
            })
            .collect()
    }

    #[test]
    fn each_delay_grows_as_its_doc_says() {
        assert_eq!(seconds(Delay::Fixed(SECOND), 9), [1; 7]);
        assert_eq!(
            seconds(
                Delay::Linear {
                    initial: SECOND,
                    increment: 2 * SECOND
                },
                9
            ),
            [1, 3, 5, 7, 9, 9, 9]
        );
        assert_eq!(
            seconds(
                Delay::Exponential {
                    initial: SECOND,
                    multiplier: 2.0
                },
                20
            ),
            [1, 2, 4, 8, 16, 20, 20]
        );
        assert_eq!(
            seconds(Delay::Fibonacci { initial: SECOND }, 9),
            [1, 1, 2, 3, 5, 8, 9]
        );
    }

    fn delays() -> impl Strategy<Value = Delay> {
        let initial = (1_u64..=30_000_000_000).prop_map(Duration::from_nanos);
        prop_oneof![
            initial.clone().prop_map(Delay::Fixed),
            (initial.clone(), 0_u64..=u64::from(u32::MAX)).prop_map(|(initial, increment)| {
                Delay::Linear {
                    initial,
                    increment: Duration::from_nanos(increment),
                }
            }),
            (initial.clone(), 1.0_f64..1e9).prop_map(|(initial, multiplier)| Delay::Exponential {
                initial,
                multiplier
            }),
            initial
                .clone()
                .prop_map(|initial| Delay::Fibonacci { initial }),
            initial.prop_map(|initial| Delay::Decorrelated { initial }),
        ]
    }

    fn jitters() -> impl Strategy<Value = Jitter> {
        prop_oneof![Just(Jitter::None), Just(Jitter::Equal), Just(Jitter::Full)]
    }

    proptest! {
        #[test]
        fn no_delay_exceeds_the_cap_at_any_attempt(
            delay in delays(),
            jitter in jitters(),
            above in 0_u64..30_000_000_000,
            failures in prop_oneof![0_u32..200, any::<u32>(), Just(u32::MAX)],
            previous in proptest::option::of(any::<u64>().prop_map(Duration::from_nanos)),
            seed in any::<u64>(),
        ) {
            let cap = delay.initial() + Duration::from_nanos(above);
            let schedule = delay.schedule(cap).unwrap();
            let mut rng = Rng::seeded(seed);
            let wait = schedule.delay(failures, previous, jitter, &mut rng);
            prop_assert!(wait <= cap, "{wait:?} is above {cap:?}");
            let full = schedule.delay(failures, previous, Jitter::None, &mut rng);
            match (delay, jitter) {
                (Delay::Decorrelated { initial }, _) => prop_assert!(wait >= initial),
                (_, Jitter::None) => prop_assert_eq!(wait, full),
                (_, Jitter::Equal) => prop_assert!(full / 2 <= wait && wait <= full),
                (_, Jitter::Full) => prop_assert!(wait <= full),
            }
        }

        #[test]
        fn the_first_delay_is_the_initial_one(delay in delays(), seed in any::<u64>()) {
            let schedule = delay.schedule(Duration::from_secs(60)).unwrap();
            prop_assert_eq!(schedule.delay(1, None, Jitter::None, &mut Rng::seeded(seed)), delay.initial());
        }
    }

    #[test]
    fn jitter_has_the_mean_it_promises() {
        let mean = |delay: Delay, jitter, previous| {
            let schedule = delay.schedule(Duration::from_secs(100)).unwrap();
            let mut rng = Rng::seeded(11);
            let draws = 20_000;
            let sum: Duration = (0..draws)
                .map(|_| schedule.delay(2, previous, jitter, &mut rng))
                .sum();
            sum.as_secs_f64() / f64::from(draws)
        };
        let fixed = Delay::Fixed(Duration::from_secs(8));
        let near = |got: f64, want: f64| {
            assert!((got / want - 1.0).abs() < 0.02, "mean {got}, wanted {want}");
        };
        near(mean(fixed, Jitter::None, None), 8.0);
        near(mean(fixed, Jitter::Equal, None), 6.0);
        near(mean(fixed, Jitter::Full, None), 4.0);
        // Between 1 s and 3 x 5 s.
        let decorrelated = Delay::Decorrelated { initial: SECOND };
        near(
            mean(decorrelated, Jitter::Full, Some(Duration::from_secs(5))),
            8.0,
        );
    }
}
