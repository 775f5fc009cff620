use std::time::Duration;

use super::backoff::Exponential;
use crate::check::{check_duration, check_range, refuse};
use crate::{Error, Rng};

/// How the wait between attempts grows, before jitter and up to the policy's `max_delay`.
///
/// The first wait is always the initial one.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Delay {
    /// The same wait every time: `d d d d`.
    Fixed(Duration),
    /// A step more every time: `i, i+s, i+2s`.
    Linear {
        /// The first wait.
        initial: Duration,
        /// What each wait adds to the one before.
        increment: Duration,
    },
    /// A factor more every time: `i, im, im²`.
    Exponential {
        /// The first wait.
        initial: Duration,
        /// What each wait multiplies the one before by; at least 1.
        multiplier: f64,
    },
    /// The sum of the last two: `i i 2i 3i 5i 8i`.
    Fibonacci {
        /// The first and the second wait.
        initial: Duration,
    },
    /// Anywhere between the initial wait and three times the last one; random by itself, so jitter does not apply.
    Decorrelated {
        /// The first wait, and the shortest.
        initial: Duration,
    },
}

/// How much of a wait is left to chance, so that those who failed together do not return together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// All of the wait: from nothing to the full delay. The best at thinning out a crowd.
    #[default]
    Full,
    /// Half of the wait: from half the delay to the full delay.
    Equal,
    /// None of it.
    None,
}

impl Delay {
    pub(super) fn initial(&self) -> Duration {
        match *self {
            Self::Fixed(initial)
            | Self::Linear { initial, .. }
            | Self::Exponential { initial, .. }
            | Self::Fibonacci { initial }
            | Self::Decorrelated { initial } => initial,
        }
    }

    /// Settles the delay under the cap, or says what is wrong with it.
    pub(super) fn schedule(self, cap: Duration) -> Result<Schedule, Error> {
        let initial = self.initial();
        // Only a fixed delay of zero means something: at once. The others would never grow from it.
        let shortest = match self {
            Self::Fixed(_) => Duration::ZERO,
            _ => Duration::from_nanos(1),
        };
        check_duration("initial_delay", initial, shortest)?;
        if initial > cap {
            return Err(refuse(
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
        Ok(Schedule {
            initial,
            cap,
            growth,
        })
    }
}

/// A delay that was found sound: any retry number gives a wait between zero and the cap.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    initial: Duration,
    cap: Duration,
    growth: Growth,
}

#[derive(Debug, Clone)]
enum Growth {
    Linear { increment: Duration },
    Exponential(Exponential),
    Fibonacci,
    Decorrelated,
}

impl Schedule {
    /// The wait after the failed attempt number `failures` (from 1), given the wait before that attempt.
    pub(super) fn wait(
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

    /// Reaches any cap within a hundred steps, so the loop is short for any index.
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
                    .wait(failures, None, Jitter::None, &mut rng)
                    .as_secs()
            })
            .collect()
    }

    #[test]
    fn each_kind_grows_as_it_says() {
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
        fn no_wait_exceeds_the_cap_at_any_attempt(
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
            let wait = schedule.wait(failures, previous, jitter, &mut rng);
            prop_assert!(wait <= cap, "{wait:?} is above {cap:?}");
            let full = schedule.wait(failures, previous, Jitter::None, &mut rng);
            match (delay, jitter) {
                (Delay::Decorrelated { initial }, _) => prop_assert!(wait >= initial),
                (_, Jitter::None) => prop_assert_eq!(wait, full),
                (_, Jitter::Equal) => prop_assert!(full / 2 <= wait && wait <= full),
                (_, Jitter::Full) => prop_assert!(wait <= full),
            }
        }

        #[test]
        fn the_first_wait_is_the_initial_delay(delay in delays(), seed in any::<u64>()) {
            let schedule = delay.schedule(Duration::from_mins(1)).unwrap();
            prop_assert_eq!(schedule.wait(1, None, Jitter::None, &mut Rng::seeded(seed)), delay.initial());
        }
    }

    #[test]
    fn jitter_has_the_mean_it_promises() {
        let mean = |delay: Delay, jitter, previous| {
            let schedule = delay.schedule(Duration::from_secs(100)).unwrap();
            let mut rng = Rng::seeded(11);
            let draws = 20_000;
            let sum: Duration = (0..draws)
                .map(|_| schedule.wait(2, previous, jitter, &mut rng))
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
