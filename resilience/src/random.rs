use std::time::Duration;

/// A random generator, from which retries and breakers draw their jitter.
///
/// It is passed to all code that makes random decisions. A test that seeds it gets the same decisions each time.
///
/// ```
/// use ratchet_resilience::Rng;
/// use std::time::Duration;
///
/// let delay = |mut rng: Rng| rng.between(Duration::ZERO, Duration::from_secs(1));
/// assert_eq!(delay(Rng::seeded(7)), delay(Rng::seeded(7)));
/// ```
///
/// Do not use it for secrets: its past numbers reveal the next ones.
#[derive(Debug, Clone)]
pub struct Rng(fastrand::Rng);

impl Rng {
    /// Makes a generator with a new seed each time.
    #[expect(
        clippy::new_without_default,
        reason = "two defaults would differ, which `Default` does not suggest"
    )]
    pub fn new() -> Self {
        Self(fastrand::Rng::new())
    }

    /// Makes a generator that gives the same numbers for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Draws a duration evenly from `low ..= high`, or returns `low` if `high` is shorter. The result is at most 584
    /// years above `low`.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let spread = u64::try_from(high.saturating_sub(low).as_nanos()).unwrap_or(u64::MAX);
        low.saturating_add(Duration::from_nanos(self.0.u64(0..=spread)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_duration_lies_within_its_bounds_at_the_extremes() {
        let mut rng = Rng::seeded(1);
        for (low, high) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::ZERO, Duration::MAX),
            (Duration::from_nanos(1), Duration::from_nanos(2)),
            (Duration::MAX, Duration::MAX),
        ] {
            for _ in 0..1_000 {
                let drawn = rng.between(low, high);
                assert!(
                    low <= drawn && drawn <= high,
                    "{drawn:?} is not within {low:?}..={high:?}"
                );
            }
        }
        assert_eq!(
            rng.between(Duration::from_secs(2), Duration::from_secs(1)),
            Duration::from_secs(2)
        );
    }

    #[test]
    fn generators_without_a_seed_differ() {
        let draw = || Rng::new().between(Duration::ZERO, Duration::from_secs(1_000_000));
        assert_ne!(draw(), draw());
    }
}
