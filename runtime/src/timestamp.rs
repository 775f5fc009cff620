//! Moments by the wall clock, as results and journals have them.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The last millisecond that has a text: that of the year 9999.
const LAST: u64 = 253_402_300_799_999;

/// The number of seconds in a day.
const DAY: u64 = 24 * 60 * 60;

/// How long the text of a timestamp is.
const LENGTH: usize = 24;

/// A moment by the wall clock, to the millisecond.
///
/// Its text is in UTC, in the form of RFC 3339 that sorts in the order of time. It is for people and for comparison
/// with other logs. A wall clock can be set, so the difference of two timestamps is not a duration.
///
/// ```
/// use ratchet_runtime::Timestamp;
///
/// let at = Timestamp::from_millis(1_790_000_000_123);
/// assert_eq!(at.to_string(), "2026-09-21T14:13:20.123Z");
/// assert_eq!("2026-09-21T14:13:20.123Z".parse(), Ok(at));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// The error for a text that is not a timestamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a timestamp is a text such as `2026-09-21T14:13:20.123Z`")]
pub struct InvalidTimestamp;

impl Timestamp {
    /// Returns the moment this many milliseconds after the Unix epoch. Moments after the year 9999 become its end.
    pub fn from_millis(millis: u64) -> Self {
        Self(millis.min(LAST))
    }

    /// Returns the moment of a system time. A time before 1970 becomes the Unix epoch.
    pub fn from_system(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        Self::since_epoch(since.unwrap_or_default())
    }

    /// Returns the moment this long after the Unix epoch.
    pub(crate) fn since_epoch(time: Duration) -> Self {
        Self::from_millis(u64::try_from(time.as_millis()).unwrap_or(LAST))
    }

    /// Returns the milliseconds since the Unix epoch.
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the moment that is this much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(LAST);
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// Returns the moment that is this much earlier, or the Unix epoch.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(LAST);
        Self(self.0.saturating_sub(millis))
    }

    /// Returns the text, which has only ASCII characters.
    ///
    /// A result line has two timestamps, and most fall into the same second as the one before. So each thread keeps the
    /// last text.
    pub(crate) fn to_text(self) -> [u8; LENGTH] {
        thread_local! {
            static LAST_TEXT: Cell<(u64, [u8; LENGTH])> = const { Cell::new((0, *b"1970-01-01T00:00:00.000Z")) };
        }
        let (second, millis) = (self.0 / 1000, self.0 % 1000);
        let (last, mut text) = LAST_TEXT.get();
        if last != second {
            text = text_of_second(second);
            LAST_TEXT.set((second, text));
        }
        text[20] = digit(millis / 100);
        text[21] = digit(millis / 10);
        text[22] = digit(millis);
        text
    }
}

/// Formats the beginning of a second since 1970.
fn text_of_second(second: u64) -> [u8; LENGTH] {
    let (year, month, day) = date(second / DAY);
    let second = second % DAY;
    let mut text = *b"0000-00-00T00:00:00.000Z";
    for (at, number) in [
        (0, year / 100),
        (2, year % 100),
        (5, month),
        (8, day),
        (11, second / 3600),
        (14, second / 60 % 60),
        (17, second % 60),
    ] {
        text[at] = digit(number / 10);
        text[at + 1] = digit(number);
    }
    text
}

/// Returns the last decimal digit of a number, in ASCII.
fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

/// Returns the year, month and day of a day since 1970. Years begin in March in this computation, so that a leap day is
/// the last day of a year.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + later, month, date)
}

/// Returns how many days lie between 1970 and the first of January of a year.
fn days_before(year: u64) -> Option<u64> {
    let years = year.checked_sub(1)?;
    (years * 365 + years / 4 - years / 100 + years / 400).checked_sub(719_162)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_text()))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
        let read = || {
            let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
            let (hour, minute) = (number(11, 13)?, number(14, 16)?);
            let (second, millis) = (number(17, 19)?, number(20, 23)?);
            // The day is searched among the days of its year, so that there is only one calendar here.
            let first = days_before(year)?;
            let days = (first..first + 366).find(|days| date(*days) == (year, month, day))?;
            let seconds = days * DAY + (hour * 60 + minute) * 60 + second;
            Some(Self::from_millis(seconds * 1000 + millis))
        };
        // A text that is out of range or in another form parses to a moment with another text.
        read()
            .filter(|read| read.to_text() == text.as_bytes())
            .ok_or(InvalidTimestamp)
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        Self::UNIX_EPOCH + Duration::from_millis(timestamp.0)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_798_761_599, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (u64::MAX / 1000, "9999-12-31T23:59:59.999Z"),
        ] {
            let time = Timestamp::from_millis(seconds * 1000);
            assert_eq!(time.to_string(), expected);
            assert_eq!(expected.parse(), Ok(time));
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2026-02-29T00:00:00.000Z",
            "2026-13-01T00:00:00.000Z",
            "2026-01-01T24:00:00.000Z",
            "2026-01-01T00:00:60.000Z",
            "2026-01-01T00:00:00Z",
            "2026-01-01 00:00:00.000Z",
            "+026-01-01T00:00:00.000Z",
            "1969-12-31T23:59:59.999Z",
            "0000-01-01T00:00:00.000Z",
            "2026-01-01T00:00:00.000é",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_is_read_back_and_sorts_as_its_text(one in 0..=LAST, other in 0..=LAST) {
            let (one, other) = (Timestamp::from_millis(one), Timestamp::from_millis(other));
            prop_assert_eq!(one.to_string().parse(), Ok(one));
            prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
        }
    }
}
