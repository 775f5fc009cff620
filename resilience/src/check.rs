//! What every builder checks its settings with.

use std::fmt::Display;
#[cfg(any(feature = "retry", feature = "circuit-breaker"))]
use std::ops::RangeBounds;
use std::time::Duration;

use crate::Error;

/// The longest duration any setting takes: beyond it a clock could overflow, and nobody waits for it.
const LONGEST: Duration = Duration::from_hours(365 * 24);

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
