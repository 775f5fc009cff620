//! Parallelization hints: how parallel a job may be.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::limits::Quota;
use super::rate::Rate;
use crate::Error;
use crate::scheduling::closest;

/// How parallel a job may be.
///
/// Every running job holds its slots. What a hint adds:
///
/// | hint | also holds | means |
/// |---|---|---|
/// | `fully_parallel` | nothing | no restriction |
/// | `host_exclusive` | its host | one such job per host; other hosts, and fully parallel jobs on the host, continue |
/// | `rate_limited` | takes a token at its start | starts, retries included, never exceed `burst + rate x length` in any window; waiters in order |
/// | `global_exclusive` | the global lock, its host | one at a time everywhere, and alone with host-exclusive work on its host |
/// | `alone` | everything | nothing else runs at all |
///
/// In files a hint is its name, or a map if it has figures:
///
/// ```
/// use ratchet_runtime::ParallelizationHint;
///
/// let hint: ParallelizationHint = serde_json::from_str(r#""host_exclusive""#)?;
/// assert_eq!(hint, ParallelizationHint::HostExclusive);
///
/// let hint: ParallelizationHint =
///     serde_json::from_str(r#"{"rate_limited": {"requests_per_second": 5, "key": "ec2"}}"#)?;
/// assert_eq!(
///     hint,
///     ParallelizationHint::RateLimited { requests_per_second: 5.0, burst: 1, key: Some("ec2".into()) },
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ParallelizationHint {
    /// The job holds a slot and nothing else.
    #[default]
    FullyParallel,
    /// One job with this hint runs on a host at a time.
    HostExclusive,
    /// Attempts start at this rate at most.
    RateLimited {
        /// Starts per second. Fractions are fine; zero, negative and infinite are refused.
        requests_per_second: f64,
        /// How many starts may come together after a pause.
        burst: u32,
        /// Jobs with one key share one bucket. Without one, the task's name is the key.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// One job with this hint runs at a time everywhere, and alone with host-exclusive work on its host.
    GlobalExclusive,
    /// No other job runs at all.
    Alone,
}

impl ParallelizationHint {
    /// Makes a rate-limited hint with burst 1 and the task's name as the key.
    pub fn rate_limited(requests_per_second: f64) -> Self {
        Self::RateLimited {
            requests_per_second,
            burst: 1,
            key: None,
        }
    }

    /// The hints that consist of a name alone.
    pub const PLAIN: [Self; 4] = [
        Self::FullyParallel,
        Self::HostExclusive,
        Self::GlobalExclusive,
        Self::Alone,
    ];

    /// Returns the name it has in files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::FullyParallel => "fully_parallel",
            Self::HostExclusive => "host_exclusive",
            Self::RateLimited { .. } => "rate_limited",
            Self::GlobalExclusive => "global_exclusive",
            Self::Alone => "alone",
        }
    }

    /// Returns the quota of a rate-limited hint, checked; `None` for the other hints.
    pub fn quota(&self) -> Result<Option<Quota>, Error> {
        match self {
            Self::RateLimited {
                requests_per_second,
                burst,
                ..
            } => Quota::new(Rate::per_second(*requests_per_second)?, *burst).map(Some),
            _ => Ok(None),
        }
    }
}

impl fmt::Display for ParallelizationHint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RateLimited {
                requests_per_second,
                burst,
                key,
            } => {
                write!(
                    out,
                    "rate_limited to {requests_per_second}/s with burst {burst}"
                )?;
                match key {
                    Some(key) => write!(out, " by key `{key}`"),
                    None => Ok(()),
                }
            }
            other => out.write_str(other.name()),
        }
    }
}

/// Returns the error for an unknown name, with the closest hint as a suggestion.
fn unknown(name: &str) -> Error {
    let names = ParallelizationHint::PLAIN
        .iter()
        .map(ParallelizationHint::name);
    Error::UnknownHint {
        name: name.to_owned(),
        suggestion: closest(name, names.chain(["rate_limited"])).map(str::to_owned),
    }
}

impl FromStr for ParallelizationHint {
    type Err = Error;

    /// Parses a hint that consists of a name alone, as on a command line.
    fn from_str(name: &str) -> Result<Self, Error> {
        if name == "rate_limited" {
            return Err(Error::InvalidLimit {
                reason: "rate_limited needs a rate, like {rate_limited: {requests_per_second: 5}}",
            });
        }
        Self::PLAIN
            .into_iter()
            .find(|hint| hint.name() == name)
            .ok_or_else(|| unknown(name))
    }
}

/// Written by hand, because a derived one makes no suggestions, and in formats that have tags of their own (YAML) would
/// expect a tag instead of a map.
impl<'de> Deserialize<'de> for ParallelizationHint {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(Written)
    }
}

/// Reads a hint as it is written: a name, or a map.
struct Written;

/// The figures of a rate limit as they are written, not validated yet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRate {
    requests_per_second: f64,
    #[serde(default = "one")]
    burst: u32,
    #[serde(default)]
    key: Option<String>,
}

fn one() -> u32 {
    1
}

impl<'de> Visitor<'de> for Written {
    type Value = ParallelizationHint;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a hint: its name, or a map like {rate_limited: {requests_per_second: 5}}")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        name.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some(name) = map.next_key::<String>()? else {
            return Err(de::Error::invalid_length(0, &self));
        };
        if name != "rate_limited" {
            return Err(de::Error::custom(match name.parse::<Self::Value>() {
                Ok(_) => format!("`{name}` takes no figures; write its name alone"),
                Err(_) => unknown(&name).to_string(),
            }));
        }
        let written: WrittenRate = map.next_value()?;
        if map.next_key::<de::IgnoredAny>()?.is_some() {
            return Err(de::Error::custom("a job has one hint"));
        }
        let hint = ParallelizationHint::RateLimited {
            requests_per_second: written.requests_per_second,
            burst: written.burst,
            key: written.key,
        };
        hint.quota().map_err(de::Error::custom)?;
        Ok(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_survives_a_round_trip() {
        for json in [
            r#""fully_parallel""#,
            r#""host_exclusive""#,
            r#""global_exclusive""#,
            r#""alone""#,
            r#"{"rate_limited":{"requests_per_second":2.5,"burst":3,"key":"ec2"}}"#,
        ] {
            let hint: ParallelizationHint = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&hint).unwrap(), json);
        }
    }

    #[test]
    fn what_is_unknown_or_impossible_is_refused() {
        for (json, reason) in [
            (
                r#""host_exclusiv""#,
                "unknown hint `host_exclusiv`, did you mean `host_exclusive`?",
            ),
            (
                r#"{"rate_limit":{}}"#,
                "unknown hint `rate_limit`, did you mean `rate_limited`?",
            ),
            (r#""rate_limited""#, "rate_limited needs a rate"),
            (r#"{"alone":{}}"#, "`alone` takes no figures"),
            (
                r#"{"rate_limited":{"requests_per_second":5},"alone":{}}"#,
                "one hint",
            ),
            ("{}", "a hint: its name, or a map"),
            ("7", "a hint: its name, or a map"),
            (
                r#"{"rate_limited":{"requests_per_second":0}}"#,
                "never let anything start",
            ),
            (r#"{"rate_limited":{"requests_per_second":-1}}"#, "negative"),
            (
                r#"{"rate_limited":{"requests_per_second":5,"burst":0}}"#,
                "burst of 0",
            ),
            (r#"{"rate_limited":{"rps":5}}"#, "unknown field `rps`"),
            (r#"{"rate_limited":{}}"#, "missing field"),
        ] {
            let error = serde_json::from_str::<ParallelizationHint>(json)
                .unwrap_err()
                .to_string();
            assert!(error.contains(reason), "{json}: {error}");
        }
        let error = "host_exclusiv"
            .parse::<ParallelizationHint>()
            .unwrap_err()
            .to_string();
        assert!(error.contains("did you mean `host_exclusive`"), "{error}");
        assert!("rate_limited".parse::<ParallelizationHint>().is_err());
    }
}
