//! Arithmetic on instants that cannot panic.

use std::time::{Duration, Instant};

/// Reads the clock of tokio, which tests can pause. It needs no runtime.
#[cfg(any(feature = "retry", feature = "circuit-breaker"))]
pub(crate) fn clock_now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Adds a delay to an instant. If the system cannot represent the sum, the delay is halved until it can.
///
/// `Instant + Duration` would panic in that case.
pub(crate) fn saturating_add(now: Instant, mut delay: Duration) -> Instant {
    loop {
        match now.checked_add(delay) {
            Some(then) => return then,
            None => delay /= 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_never_overflows_and_never_lies_before_the_instant() {
        let now = tokio::time::Instant::now().into_std();
        assert_eq!(
            saturating_add(now, Duration::from_secs(1)) - now,
            Duration::from_secs(1)
        );
        assert!(saturating_add(now, Duration::MAX) > saturating_add(now, Duration::from_secs(1)));
    }
}
