//! The failure of an attempt that was stopped.

use crate::outcome::{Class, Failure};
use crate::stop_clock::StopReason;

// This is not defined next to the type because the stop clock, which programs use too, knows neither jobs nor failures.
impl StopReason {
    /// Returns the failure of an attempt that stops for this reason.
    pub(crate) fn failure(self) -> Failure {
        match self {
            Self::Time(limit) => Failure::new(Class::Timeout, format!("timed out after {limit:?}")),
            Self::Silence(limit) => Failure::new(
                Class::Timeout,
                format!("timed out: no progress for {limit:?}"),
            ),
            Self::Unwanted => Failure::new(Class::Cancelled, "cancelled while it ran"),
        }
    }
}
