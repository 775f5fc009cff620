//! The time between two dates, as Python's `timedelta`.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use minijinja::value::{DynObject, Object, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value};

use super::super::function_arguments::{kind, number, wrong};
use super::super::undefined::undefined;
use super::dates::Date;

/// The number of microseconds of a day.
const DAY: i128 = 86_400_000_000;

/// Subtracts a date from a date, a time from a date, or a number from a number.
pub(in crate::templates) fn minus(left: &Value, right: &Value) -> Result<Value, Error> {
    let dates = (
        left.downcast_object_ref::<Date>(),
        right.downcast_object_ref::<Date>(),
    );
    match dates {
        (Some(left), Some(right)) => {
            // Dates have no zone, so days of all lengths are equal.
            let utc = |date: &Date| date.0.to_zoned_datetime(TimeZone::UTC);
            let beyond = |error: jiff::Error| wrong(error.to_string());
            let (left, right) = (utc(left).map_err(beyond)?, utc(right).map_err(beyond)?);
            let between = left.duration_since(&right);
            Ok(Value::from_object(Difference(between.as_micros())))
        }
        (Some(left), None) => {
            let Some(difference) = right.downcast_object_ref::<Difference>() else {
                return Err(unsupported("a date", right));
            };
            let micros = i64::try_from(difference.0);
            let micros = micros.map_err(|_| wrong("the time between the dates is too long"))?;
            let date = left.0.checked_sub(SignedDuration::from_micros(micros));
            let date = date.map_err(|error| wrong(error.to_string()))?;
            Ok(Value::from_object(Date(date)))
        }
        _ => numbers(left, right),
    }
}

fn numbers(left: &Value, right: &Value) -> Result<Value, Error> {
    if let (Some(left), Some(right)) = (left.as_i64(), right.as_i64())
        && let Some(difference) = left.checked_sub(right)
    {
        return Ok(Value::from(difference));
    }
    match (number(left), number(right)) {
        (Ok(left), Ok(right)) => Ok(Value::from(left - right)),
        _ => Err(unsupported(kind(left), right)),
    }
}

fn unsupported(left: &str, right: &Value) -> Error {
    wrong(format!("{} cannot be subtracted from {left}", kind(right)))
}

/// The time between two dates, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Difference(i128);

impl Difference {
    /// Returns the whole days, of which there are fewer than none if the time is negative, as in Python.
    fn days(self) -> i128 {
        self.0.div_euclid(DAY)
    }

    /// Returns the microseconds beyond the whole days.
    fn rest(self) -> i128 {
        self.0.rem_euclid(DAY)
    }
}

/// Converts a number that is within the range of dates.
fn value_of(number: i128) -> Value {
    i64::try_from(number).map_or_else(|_| Value::from(number), Value::from)
}

impl Object for Difference {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        Some(match name {
            "days" => value_of(self.days()),
            "seconds" => value_of(self.rest() / 1_000_000),
            "microseconds" => value_of(self.rest() % 1_000_000),
            _ => undefined(format!("..{name}")),
        })
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        _: &[Value],
    ) -> Result<Value, Error> {
        if method != "total_seconds" {
            return Err(Error::new(
                ErrorKind::UnknownMethod,
                format!("the time between two dates has no method `{method}`"),
            ));
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "Python's method returns a float, too"
        )]
        let seconds = self.0 as f64 / 1_000_000.0;
        Ok(Value::from(seconds))
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        other
            .downcast_ref::<Self>()
            .map(|other| Self::cmp(self, other))
    }

    fn render(self: &Arc<Self>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.days() {
            0 => {}
            days @ (1 | -1) => write!(out, "{days} day, ")?,
            days => write!(out, "{days} days, ")?,
        }
        let seconds = self.rest() / 1_000_000;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        write!(out, "{hours}:{minutes:02}:{:02}", seconds % 60)?;
        match self.rest() % 1_000_000 {
            0 => Ok(()),
            micro => write!(out, ".{micro:06}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Variables, render, text_of};

    fn rendered(expression: &str) -> String {
        let value = render(&format!("{{{{ {expression} }}}}"), &Variables::default());
        value.map_or_else(|error| error.to_string(), |value| text_of(&value))
    }

    #[test]
    fn dates_are_subtracted_as_in_python() {
        let late = "('2024-03-02 10:00:05' | to_datetime)";
        let early = "('2024-02-28 12:00:00' | to_datetime)";
        for (expression, expected) in [
            (format!("{late} - {early}"), "2 days, 22:00:05"),
            (format!("({late} - {early}).days"), "2"),
            (format!("({late} - {early}).seconds"), "79205"),
            (
                format!("({late} - {early}).total_seconds() | int"),
                "252005",
            ),
            (format!("({early} - {late}).days"), "-3"),
            (format!("({late} - {early}) > ({early} - {late})"), "True"),
            (
                format!("{late} - ({late} - {early})"),
                "2024-02-28 12:00:00",
            ),
            (format!("({late} - {late}) | string"), "0:00:00"),
            (format!("({late}.year) - 24"), "2000"),
        ] {
            assert_eq!(rendered(&expression), expected, "{expression}");
        }
        for (expression, expected) in [
            (
                "'2024-01-03' | to_datetime('%Y-%m-%d') - '2024-01-01' | to_datetime('%Y-%m-%d')",
                "2 days, 0:00:00",
            ),
            ("end - begin", "2 days, 22:00:05"),
            ("(end - begin).days", "2"),
            ("number - 2 - 1", "4"),
            ("-number - 1", "-8"),
            ("2 * number - 1", "13"),
            ("number - 2 * 3", "1"),
            ("number - missing | default(3)", "4"),
        ] {
            let dates = format!(
                "{{% set end = {late} %}}{{% set begin = {early} %}}{{% set number = 7 %}}"
            );
            let value = render(
                &format!("{dates}{{{{ {expression} }}}}"),
                &Variables::default(),
            );
            let text = value.map_or_else(|error| error.to_string(), |value| text_of(&value));
            assert_eq!(text, expected, "{expression}");
        }
        let refused = rendered(&format!("{late} - 'x'"));
        assert!(
            refused.contains("cannot be subtracted from a date"),
            "{refused}"
        );
    }
}
