//! What runs are called.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::JournalError;

/// Crockford's base 32: no letter in it looks like a digit.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 2025-01-01, since when ids count.
const EPOCH: Duration = Duration::from_hours(20_089 * 24);

/// So many ids a second: the last digit.
const A_SECOND: u64 = 32;

/// Seven digits last until 2058; an id of more is still read, and sorted by its value.
const WIDTH: usize = 7;

/// The id of a run, as in `1ksdg00`: short, and later runs have greater ones.
///
/// It counts the thirty-seconds of a second since the beginning of 2025; where the clock was set back since the run
/// before, it is one more than the id of that. What is typed may be in capitals,
/// with `o` for `0` and `i` or `l` for `1`.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use ratchet_runtime::RunId;
///
/// let id = RunId::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000));
/// assert_eq!(id.to_string(), "1ksdg00");
/// assert_eq!("1KSDGOO".parse::<RunId>()?, id);
/// assert!(id < RunId::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_001)));
/// # Ok::<(), ratchet_runtime::JournalError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RunId(u64);

impl RunId {
    /// The id of a run that begins now.
    pub fn at(now: SystemTime) -> Self {
        let since = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .saturating_sub(EPOCH);
        let part = u64::from(since.subsec_nanos()) * A_SECOND / 1_000_000_000;
        Self(
            since
                .as_secs()
                .saturating_mul(A_SECOND)
                .saturating_add(part),
        )
    }

    /// The next one, for a run that begins in the same moment as another, or after the clock was set back; there is
    /// none after the greatest.
    pub(super) fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    /// Text as ids are written, if only digits of theirs are in it.
    pub(super) fn spell(text: &str) -> Result<String, JournalError> {
        let spelled: Option<String> = text
            .chars()
            .map(|letter| match letter.to_ascii_lowercase() {
                'o' => Some('0'),
                'i' | 'l' => Some('1'),
                other => u8::try_from(other)
                    .is_ok_and(|other| DIGITS.contains(&other))
                    .then_some(other),
            })
            .collect();
        spelled
            .filter(|spelled| !spelled.is_empty())
            .ok_or_else(|| JournalError::InvalidRun {
                wanted: text.to_owned(),
            })
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut digits = Vec::with_capacity(WIDTH);
        while rest > 0 || digits.len() < WIDTH {
            let digit = usize::try_from(rest & 31).unwrap_or_default();
            digits.push(char::from(DIGITS[digit]));
            rest >>= 5;
        }
        f.pad(&digits.iter().rev().collect::<String>())
    }
}

impl FromStr for RunId {
    type Err = JournalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || JournalError::InvalidRun {
            wanted: text.to_owned(),
        };
        let spelled = Self::spell(text)?;
        let value = spelled.bytes().try_fold(0_u64, |value, letter| {
            let digit = DIGITS.iter().position(|digit| *digit == letter)?;
            value.checked_mul(32)?.checked_add(digit as u64)
        });
        value
            .map(Self)
            .filter(|id| id.to_string() == spelled)
            .ok_or_else(invalid)
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for RunId {
    type Error = JournalError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clock_before_2025_is_not_an_error() {
        assert_eq!(RunId::at(SystemTime::UNIX_EPOCH).to_string(), "0000000");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "1v",
            "latest",
            "1v7k3m0-",
            "../../..",
            "é234567",
            "0000000000001",
            "zzzzzzzzzzzzzzzz",
        ] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_id_is_read_back_from_its_text(value: u64) {
            let id = RunId(value);
            prop_assert_eq!(id.to_string().parse::<RunId>().unwrap(), id);
        }

        #[test]
        fn later_ones_sort_later(value in 0..(1_u64 << 35) - 1, more in 1..1000_u64) {
            let later = (value + more).min((1 << 35) - 1);
            prop_assert!(RunId(value).to_string() <= RunId(later).to_string());
        }
    }
}
