use std::time::{Duration, Instant};

/// `now + delay`, or the latest instant this system can name: `Instant + Duration` would panic.
pub(crate) fn later(now: Instant, mut delay: Duration) -> Instant {
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
    fn later_never_overflows_and_never_goes_back() {
        let now = tokio::time::Instant::now().into_std();
        assert_eq!(
            later(now, Duration::from_secs(1)) - now,
            Duration::from_secs(1)
        );
        assert!(later(now, Duration::MAX) > later(now, Duration::from_secs(1)));
    }
}
