//! Rates: how often jobs may start.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Largest first, so that a period is shown in the largest unit that measures it.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("ns", 1),
];

/// The largest count, and the longest period in nanoseconds (31 years).
/// Their product with any time in a u64 fits a u128, so that no arithmetic on a rate overflows.
const MOST: u64 = 1_000_000_000_000_000_000;

/// A number of starts in a period, written as `10/s`, `2.5/s`, `100/m`, `5/h` or `1/15m`.
///
/// It is kept as a whole number of starts in a whole number of nanoseconds, never as a fraction, so that 3 per second
/// stays exactly 3 per second.
///
/// ```
/// use ratchet_runtime::Rate;
///
/// let rate: Rate = "100/m".parse()?;
/// assert_eq!(rate.to_string(), "100/m");
/// assert_eq!(rate, Rate::new(100, std::time::Duration::from_secs(60))?);
/// assert!("0/s".parse::<Rate>().is_err());
/// assert!(Rate::per_second(f64::INFINITY).is_err());
/// # Ok::<(), ratchet_runtime::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// How many starts there may be in the period.
    count: NonZeroU64,
    /// The length of the period in nanoseconds.
    nanos: NonZeroU64,
}

impl Rate {
    /// Makes a rate of `count` starts per `period`.
    pub fn new(count: u64, period: Duration) -> Result<Self, Error> {
        let refuse = |reason| Error::InvalidRate {
            rate: format!("{count} every {period:?}"),
            reason,
        };
        let nanos = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        if count > MOST || nanos > MOST {
            return Err(refuse("is out of range"));
        }
        let count =
            NonZeroU64::new(count).ok_or_else(|| refuse("would never let anything start"))?;
        let nanos = NonZeroU64::new(nanos).ok_or_else(|| refuse("is infinite"))?;
        Ok(Self { count, nanos })
    }

    /// Makes a rate of this many starts per second. Fractions are fine; zero, negative and infinite numbers are
    /// refused.
    ///
    /// A rate that is not a decimal fraction is rounded down to the next whole number of nanoseconds between two
    /// starts.
    pub fn per_second(starts: f64) -> Result<Self, Error> {
        let refuse = |reason| Error::InvalidRate {
            rate: format!("{starts}/s"),
            reason,
        };
        if starts.is_nan() {
            return Err(refuse("is not a number"));
        }
        if starts == 0.0 {
            return Err(refuse("would never let anything start"));
        }
        if starts < 0.0 {
            return Err(refuse("is negative"));
        }
        if starts.is_infinite() {
            return Err(refuse("is infinite"));
        }
        if !(1e-9..=1e9).contains(&starts) {
            return Err(refuse(
                "is out of range: from one in a thousand million seconds to a thousand million a second",
            ));
        }
        // The rate 2.5 is exactly 25 in ten seconds.
        for (scale, seconds) in [(1.0, 1), (10.0, 10), (100.0, 100), (1000.0, 1000)] {
            let scaled = starts * scale;
            if scaled.fract() == 0.0 {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a whole number between 1 and 1e12"
                )]
                return Self::new(scaled as u64, Duration::from_secs(seconds));
            }
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and 1e18 by the range above"
        )]
        Self::new(1, Duration::from_nanos((1e9 / starts).ceil() as u64))
    }

    /// Returns the starts per second, for display; the scheduler never uses this number.
    #[expect(clippy::cast_precision_loss, reason = "a figure to show")]
    pub fn as_per_second(&self) -> f64 {
        self.count() as f64 * 1e9 / self.nanos() as f64
    }

    /// Returns the number of starts in a period.
    pub fn count(self) -> u64 {
        self.count.get()
    }

    /// Returns the period in nanoseconds.
    pub fn nanos(self) -> u64 {
        self.nanos.get()
    }
}

impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |reason| Error::InvalidRate {
            rate: text.to_owned(),
            reason,
        };
        let shape = "is not a rate; write it like 10/s, 2.5/s, 100/m or 1/15m";
        let (count, period) = text.split_once('/').ok_or_else(|| refuse(shape))?;
        let (count, period) = (count.trim(), period.trim());
        if count.starts_with('-') {
            return Err(refuse("is negative"));
        }
        let (whole, fraction) = count.split_once('.').unwrap_or((count, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 6 {
            return Err(refuse(shape));
        }
        let unit_at = period.find(|letter: char| !letter.is_ascii_digit());
        let (times, unit) = period.split_at(unit_at.unwrap_or(period.len()));
        let (_, nanos) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| refuse("has an unknown unit; they are ns, ms, s, m, h and d"))?;
        let too_far = || refuse("is out of range");
        let times: u64 = match times {
            "" => 1,
            times => times.parse().map_err(|_| too_far())?,
        };
        // 2.5 per second are 25 in ten seconds: exact, where a float would not be.
        let scale = (0..fraction.len()).fold(1u64, |scale, _| scale * 10);
        let count = format!("{whole}{fraction}")
            .parse()
            .map_err(|_| too_far())?;
        let nanos = nanos
            .checked_mul(times)
            .and_then(|nanos| nanos.checked_mul(scale))
            .ok_or_else(too_far)?;
        Self::new(count, Duration::from_nanos(nanos)).map_err(|error| match error {
            Error::InvalidRate { reason, .. } => refuse(reason),
            other => other,
        })
    }
}

impl TryFrom<String> for Rate {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl fmt::Display for Rate {
    /// Writes the rate in a form that parses back to the same rate.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, nanos) = (self.count(), self.nanos());
        for (name, unit) in UNITS {
            if nanos == unit {
                return write!(out, "{count}/{name}");
            }
            if nanos.is_multiple_of(unit) {
                return write!(out, "{count}/{}{name}", nanos / unit);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        for (text, count, nanos) in [
            ("10/s", 10, 1_000_000_000),
            ("2.5/s", 25, 10_000_000_000),
            (" 100 / m", 100, 60_000_000_000),
            ("5/h", 5, 3_600_000_000_000),
            ("1/15m", 1, 900_000_000_000),
            ("3/250ms", 3, 250_000_000),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.count(), rate.nanos()), (count, nanos), "{text}");
        }
        let rate = Rate::per_second(2.5).unwrap();
        assert_eq!((rate.count(), rate.nanos()), (25, 10_000_000_000));
        let third = Rate::per_second(1.0 / 3.0).unwrap();
        assert!(third.nanos() >= 3_000_000_000 && third.nanos() <= 3_000_000_001);
    }

    #[test]
    fn impossible_rates_are_refused_with_the_reason() {
        for (text, reason) in [
            ("0/s", "never let anything start"),
            ("0.0/s", "never let anything start"),
            ("-1/s", "negative"),
            ("1/0s", "infinite"),
            ("inf/s", "not a rate"),
            ("10", "not a rate"),
            ("/s", "not a rate"),
            ("1e3/s", "not a rate"),
            ("10/w", "unknown unit"),
            ("99999999999999999999/s", "out of range"),
            ("1/999999999999d", "out of range"),
        ] {
            let error = text.parse::<Rate>().unwrap_err().to_string();
            assert!(
                error.contains(reason) && error.contains(text),
                "{text}: {error}"
            );
        }
        for (rate, reason) in [
            (0.0, "never let anything start"),
            (-0.0, "never let anything start"),
            (-2.0, "negative"),
            (f64::INFINITY, "infinite"),
            (f64::NEG_INFINITY, "negative"),
            (f64::NAN, "not a number"),
            (1e300, "out of range"),
            (1e-300, "out of range"),
        ] {
            let error = Rate::per_second(rate).unwrap_err().to_string();
            assert!(error.contains(reason), "{rate}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_back(count in 1..=MOST, nanos in 1..=MOST) {
            let rate = Rate::new(count, Duration::from_nanos(nanos)).unwrap();
            prop_assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
        }

        #[test]
        fn a_float_is_never_exceeded(starts in 1e-9f64..=1e9) {
            let rate = Rate::per_second(starts).unwrap();
            prop_assert!(rate.as_per_second() <= starts * (1.0 + 1e-15));
            // At most a nanosecond slower between two starts.
            prop_assert!(1.0 / rate.as_per_second() - 1.0 / starts <= 1.1e-9);
        }
    }
}
