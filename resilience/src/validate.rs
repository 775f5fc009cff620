//! The checks that all builders share.

use std::fmt::Display;
#[cfg(any(feature = "retry", feature = "circuit-breaker"))]
use std::ops::RangeBounds;
use std::time::Duration;

use crate::ResilienceError;

/// The longest duration that a setting accepts. A longer one could overflow a clock, and nobody waits that long.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Makes the error of a refused setting.
pub(crate) fn invalid_setting(
    field: &'static str,
    value: impl Display,
    allowed: impl Into<String>,
) -> ResilienceError {
    ResilienceError::Setting {
        field,
        value: value.to_string(),
        allowed: allowed.into(),
    }
}

/// Accepts durations from `shortest` to 365 days.
pub(crate) fn check_duration(
    field: &'static str,
    value: Duration,
    shortest: Duration,
) -> Result<(), ResilienceError> {
    if (shortest..=LONGEST).contains(&value) {
        return Ok(());
    }
    Err(invalid_setting(
        field,
        format_args!("{value:?}"),
        format!("between {shortest:?} and 365 days"),
    ))
}

/// Accepts values in `range`. NaN is in no range, so it is refused.
#[cfg(any(feature = "retry", feature = "circuit-breaker"))]
pub(crate) fn check_range<T: PartialOrd + Display>(
    field: &'static str,
    value: T,
    range: impl RangeBounds<T>,
    allowed: &str,
) -> Result<(), ResilienceError> {
    if range.contains(&value) {
        Ok(())
    } else {
        Err(invalid_setting(field, value, allowed))
    }
}
