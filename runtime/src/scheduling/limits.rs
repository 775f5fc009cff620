//! Limits that jobs share by name.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::rate::Rate;
use crate::Error;

/// A rate, and how many may start at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    /// How many starts there may be in a period.
    pub rate: Rate,
    /// How many starts may come together. With 1, starts are evenly spaced.
    pub burst: NonZeroU32,
}

impl Quota {
    /// Makes a quota; a burst of zero is refused.
    pub fn new(rate: Rate, burst: u32) -> Result<Self, Error> {
        let burst = NonZeroU32::new(burst).ok_or(Error::InvalidLimit {
            reason: "a burst of 0 would never let anything start",
        })?;
        Ok(Self { rate, burst })
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} with burst {}", self.rate, self.burst)
    }
}

/// A limit under a name, which any number of jobs may name.
///
/// ```
/// use ratchet_runtime::Limit;
///
/// let limit: Limit = serde_json::from_str(r#"{"max": 4}"#)?;
/// assert_eq!(limit, Limit::max(4).unwrap());
/// let limit: Limit = serde_json::from_str(r#"{"rate": "10/s", "burst": 2}"#)?;
/// assert_eq!(limit.to_string(), "10/s with burst 2");
/// assert!(serde_json::from_str::<Limit>(r#"{"max": 0}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "WrittenLimit", into = "WrittenLimit")]
pub enum Limit {
    /// At most this many attempts hold a unit at once.
    Max(NonZeroU32),
    /// At most this many attempts start in a period, retries included.
    Rate(Quota),
}

impl Limit {
    /// The name of the limit on how often the jobs of a whole run start. Nobody has to name it in terms by hand, so
    /// waiting for it is charged to [`Blocker::Rate`](super::Blocker::Rate), not to a named limit.
    pub const RATE_OF_STARTS: &str = "rate of starts";

    /// Makes a limit of this many units at once; zero is refused.
    pub fn max(max: u32) -> Result<Self, Error> {
        let max = NonZeroU32::new(max).ok_or(Error::InvalidLimit {
            reason: "a max of 0 would never let anything start",
        })?;
        Ok(Self::Max(max))
    }

    /// Makes a limit of this rate, with `burst` starts together; a burst of zero is refused.
    pub fn rate(rate: Rate, burst: u32) -> Result<Self, Error> {
        Quota::new(rate, burst).map(Self::Rate)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max(max) => write!(out, "max {max}"),
            Self::Rate(quota) => quota.fmt(out),
        }
    }
}

/// A limit as it is written, not validated yet.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLimit {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<Rate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
}

impl TryFrom<WrittenLimit> for Limit {
    type Error = Error;

    fn try_from(written: WrittenLimit) -> Result<Self, Error> {
        let reason = match (written.max, written.rate, written.burst) {
            (Some(max), None, None) => return Self::max(max),
            (None, Some(rate), burst) => return Self::rate(rate, burst.unwrap_or(1)),
            (Some(_), None, Some(_)) => "a burst belongs to a rate, not to a max",
            (Some(_), Some(_), _) => {
                "a limit has a max or a rate; for both, declare two limits and name both"
            }
            (None, None, _) => "a limit needs a max, like {max: 4}, or a rate, like {rate: 10/s}",
        };
        Err(Error::InvalidLimit { reason })
    }
}

impl From<Limit> for WrittenLimit {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Max(max) => Self {
                max: Some(max.get()),
                rate: None,
                burst: None,
            },
            Limit::Rate(quota) => Self {
                max: None,
                rate: Some(quota.rate),
                burst: Some(quota.burst.get()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        for (json, reason) in [
            (r#"{"max":0}"#, "never let anything start"),
            (r#"{"max":-1}"#, "-1"),
            (r#"{"rate":"0/s"}"#, "never let anything start"),
            (r#"{"rate":"1/s","burst":0}"#, "never let anything start"),
            (r#"{"max":1,"burst":2}"#, "belongs to a rate"),
            (r#"{"max":1,"rate":"1/s"}"#, "name both"),
            ("{}", "needs a max"),
            (r#"{"maximum":1}"#, "unknown field `maximum`"),
        ] {
            let error = serde_json::from_str::<Limit>(json).unwrap_err().to_string();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }

    #[test]
    fn survives_a_round_trip() {
        for json in [r#"{"max":4}"#, r#"{"rate":"100/m","burst":3}"#] {
            let limit: Limit = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&limit).unwrap(), json);
        }
    }
}
