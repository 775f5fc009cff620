use std::fmt::Display;
#[cfg(any(feature = "retry", feature = "circuit-breaker"))]
use std::ops::RangeBounds;
use std::time::Duration;

/// Why something of this crate could not be set up.
///
/// What fails while it runs is never one of these: a retry that gives up, a refused call and a hook that failed
/// are results of their own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A builder refused a setting, before anything ran.
    #[error("{field} is {value}, but must be {allowed}")]
    Setting {
        /// The builder's method, or the field, that was given the value.
        field: &'static str,
        /// What it was given.
        value: String,
        /// What it takes.
        allowed: String,
    },
}

/// The longest duration any setting takes: beyond it a clock could overflow, and nobody waits for it.
pub(crate) const LONGEST: Duration = Duration::from_hours(365 * 24);

pub(crate) fn refuse(
    field: &'static str,
    value: impl Display,
    allowed: impl Into<String>,
) -> Error {
    Error::Setting {
        field,
        value: value.to_string(),
        allowed: allowed.into(),
    }
}

/// Accepts `shortest ..= 365 days`.
pub(crate) fn check_duration(
    field: &'static str,
    value: Duration,
    shortest: Duration,
) -> Result<(), Error> {
    if (shortest..=LONGEST).contains(&value) {
        return Ok(());
    }
    Err(refuse(
        field,
        format_args!("{value:?}"),
        format!("between {shortest:?} and 365 days"),
    ))
}

/// Accepts what lies in `range`; NaN lies in none.
#[cfg(any(feature = "retry", feature = "circuit-breaker"))]
pub(crate) fn check_range<T: PartialOrd + Display>(
    field: &'static str,
    value: T,
    range: impl RangeBounds<T>,
    allowed: &str,
) -> Result<(), Error> {
    if range.contains(&value) {
        Ok(())
    } else {
        Err(refuse(field, value, allowed))
    }
}
