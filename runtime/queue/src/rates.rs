//! Rates in whole numbers that a double can hold, because that is all the scripts of a server have.
//!
//! The interval between two tokens is `whole + rest / den` microseconds, with `den = 1000 x count`. In these units all
//! arithmetic of a bucket is exact, as long as no number exceeds 2^53. So both engines grant the same tokens at the same
//! microsecond.

use ratchet_runtime::Quota;

use crate::error::Error;

/// The numbers above which a double is no longer exact.
const EXACT: u128 = 1 << 53;

/// The interval of a rate, in numbers that a script can count with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    /// The whole microseconds between two tokens.
    pub(crate) whole: u64,
    /// The rest, in units of 1 / `den` microseconds.
    pub(crate) rest: u64,
    /// How many units of the rest are a microsecond.
    pub(crate) den: u64,
}

/// Returns the interval of a rate.
pub(crate) fn interval(quota: Quota) -> Option<Interval> {
    let den = quota.rate.count().checked_mul(1000)?;
    Some(Interval {
        whole: quota.rate.nanos() / den,
        rest: quota.rate.nanos() % den,
        den,
    })
}

/// Refuses a rate with which a script could not count exactly.
pub(crate) fn check(quota: Quota) -> Result<(), Error> {
    let refuse = |reason| {
        Err(Error::InvalidRate {
            rate: quota.to_string(),
            reason,
        })
    };
    let Some(Interval { whole, rest, den }) = interval(quota) else {
        return refuse("is too fine for a queue; write fewer starts in a shorter period");
    };
    let burst = u128::from(quota.burst.get()) + 1;
    // A bucket is never further from full than a burst, and moments fill 51 bits of a double.
    if u128::from(whole) * burst > EXACT / 4 {
        return refuse("is too slow for a queue: a whole burst of it takes 70 years to come back");
    }
    if u128::from(rest) * burst + u128::from(den) > EXACT {
        return refuse("is too fine for a queue; write fewer starts in a shorter period");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_split_without_a_loss() {
        let quota = |rate: &str, burst| Quota::new(rate.parse().unwrap(), burst).unwrap();
        let of = |rate| interval(quota(rate, 1)).unwrap();
        assert_eq!((of("10/s").whole, of("10/s").rest), (100_000, 0));
        // A third of a second: 333,333 and a third microseconds.
        let third = of("3/s");
        assert_eq!((third.whole, third.rest * 3), (333_333, third.den));
        assert!(check(quota("1000000/s", 1000)).is_ok());
        assert!(check(quota("1/365d", 100)).is_err());
        assert!(check(quota("999999999999999999/s", 1)).is_err());
    }
}
