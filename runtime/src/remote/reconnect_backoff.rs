//! The pauses before a host is tried again.
//!
//! A server that refuses too many logins at once refuses many hosts at the same moment. With equal pauses all of them
//! would come back at the same moment, too, so the pauses are random.

use std::time::Duration;

use ratchet_resilience::Rng;

/// The highest length of the first pause; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The highest length of any pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The pauses between the attempts to reach a host. They grow, and each is a random part, between half and all, of its
/// length.
#[derive(Debug)]
pub(super) struct ReconnectBackoff {
    rng: Rng,
    longest: Duration,
}

impl ReconnectBackoff {
    /// Makes the pauses for a host that was not tried yet.
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            rng,
            longest: FIRST_PAUSE,
        }
    }

    /// Starts with short pauses again, because the host was reached.
    pub(super) fn begin_again(&mut self) {
        self.longest = FIRST_PAUSE;
    }

    /// Returns the next pause.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.rng.between(self.longest / 2, self.longest);
        self.longest = (self.longest * 2).min(LONGEST_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_again_for_a_host_that_was_reached() {
        for seed in 0..100 {
            let mut pauses = ReconnectBackoff::new(Rng::seeded(seed));
            let mut longest = FIRST_PAUSE;
            for _ in 0..12 {
                let pause = pauses.next();
                assert!(longest / 2 <= pause && pause <= longest, "{pause:?}");
                longest = (longest * 2).min(LONGEST_PAUSE);
            }
            pauses.begin_again();
            assert!(pauses.next() <= FIRST_PAUSE);
        }
    }

    #[test]
    fn hosts_that_fail_in_the_same_moment_are_not_tried_again_in_the_same_moment() {
        let first = |seed| ReconnectBackoff::new(Rng::seeded(seed)).next();
        let mut firsts: Vec<Duration> = (0..100).map(first).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 100);
    }
}
