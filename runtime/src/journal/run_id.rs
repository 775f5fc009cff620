//! The ids of runs.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::JournalError;

/// The digits of Crockford's base 32, which leaves out letters that look like digits.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The time from which ids count: 2025-01-01, as the time since the Unix epoch.
const EPOCH: Duration = Duration::from_hours(20_089 * 24);

/// How many ids there are for each second; the last digit counts the fractions of a second.
const A_SECOND: u64 = 32;

/// The least number of digits. Seven digits last until 2058; longer ids are read and sorted correctly as well.
const WIDTH: usize = 7;

/// The id of a run, as in `1ksdg00`. Later runs have greater ids.
///
/// An id counts thirty-seconds of a second since the beginning of 2025. If the clock was set back since the last run,
/// the id is that of the last run plus one. Users may type ids in capitals, with `o` for `0` and `i` or `l` for `1`.
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
    /// Makes the id of a run that begins now.
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

    /// Returns the next id, for a run that begins at the same moment as another one, or after the clock was set back;
    /// `None` after the greatest id.
    pub(super) fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    /// Converts user input to the digits of ids. It fails if there is any other character.
    pub(super) fn normalize(text: &str) -> Result<String, JournalError> {
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
        let spelled = Self::normalize(text)?;
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
    fn a_clock_before_2025_gives_the_least_id() {
        assert_eq!(RunId::at(SystemTime::UNIX_EPOCH).to_string(), "0000000");
    }

    #[test]
    fn texts_that_are_no_run_ids_are_refused() {
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
        fn ids_of_later_runs_sort_after_earlier_ones(value in 0..(1_u64 << 35) - 1, more in 1..1000_u64) {
            let later = (value + more).min((1 << 35) - 1);
            prop_assert!(RunId(value).to_string() <= RunId(later).to_string());
        }
    }
}
