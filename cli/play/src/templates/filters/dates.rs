//! Filters for dates.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use minijinja::value::{Object, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value};

use super::super::function_arguments::{kind, wrong};
use super::super::names::NamedFunctions;
use super::super::undefined::undefined;
use super::super::values::text_of;

/// Adds the filters.
pub(super) fn add(engine: &mut NamedFunctions) {
    engine.plain("strftime", &["second", "utc"], |value, given| {
        let is_utc = given.flag("utc") == Some(true);
        let at = match given.value("second").filter(|second| !second.is_none()) {
            None => Timestamp::now(),
            Some(second) => moment(second)?,
        };
        written(&text_of(value), &zoned(at, is_utc)).map(Value::from)
    });
    engine.plain("to_datetime", &["format"], |value, given| {
        let format = given
            .text("format")
            .unwrap_or_else(|| "%Y-%m-%d %H:%M:%S".to_owned());
        let text = text_of(value);
        let refused = |error: jiff::Error| {
            wrong(format!(
                "`{text}` is not a date of the form `{format}`: {error}"
            ))
        };
        let parsed = strtime::parse(&format, &text).map_err(refused)?;
        let date = parsed.to_date();
        // Fields that the format omits have the values of 1900-01-01, as in Python.
        let date = date.unwrap_or_else(|_| jiff::civil::date(1900, 1, 1));
        let time = parsed.to_time().unwrap_or_default();
        Ok(Value::from_object(Date(date.to_datetime(time))))
    });
}

/// Returns the current time, for the function `now`.
pub(in crate::templates) fn now(is_utc: bool, format: Option<&str>) -> Result<Value, Error> {
    let now = zoned(Timestamp::now(), is_utc);
    match format {
        Some(format) => written(format, &now).map(Value::from),
        None => Ok(Value::from_object(Date(now.datetime()))),
    }
}

/// Whether a value is a date.
pub(in crate::templates) fn is_date(value: &Value) -> bool {
    value.downcast_object_ref::<Date>().is_some()
}

/// Returns a time as a date here.
pub(in crate::templates) fn date_of(time: SystemTime) -> Value {
    Value::from_object(Date(local(time).datetime()))
}

/// Writes a time in the format of Python's `strftime`.
pub(in crate::templates) fn strftime(format: &str, time: SystemTime) -> Result<String, Error> {
    written(format, &local(time))
}

fn local(time: SystemTime) -> ZonedDateTime {
    // Times beyond the year 9999 are those of damaged files.
    let at = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    zoned(at, false)
}

fn zoned(at: Timestamp, is_utc: bool) -> ZonedDateTime {
    at.to_zoned_datetime(if is_utc {
        TimeZone::UTC
    } else {
        TimeZone::system()
    })
}

fn moment(second: &Value) -> Result<Timestamp, Error> {
    let number = match second.as_str() {
        Some(text) => text.trim().parse().ok(),
        None => super::super::function_arguments::number(second).ok(),
    };
    let number: f64 = number
        .ok_or_else(|| wrong(format!("`second` has to be a number, not {}", kind(second))))?;
    let beyond = |_| wrong(format!("no date is {number} seconds after 1970"));
    let length = jiff::SignedDuration::try_from_secs_f64(number.floor()).map_err(beyond)?;
    Timestamp::from_duration(length).map_err(beyond)
}

fn written(format: &str, at: &ZonedDateTime) -> Result<String, Error> {
    let refused = |error| wrong(format!("`{format}` is not a format of dates: {error}"));
    // In a UTC time, Python's `strftime` prints the zone as `GMT`.
    if at.time_zone() == &TimeZone::UTC {
        let mut named = String::new();
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            match (character, characters.as_str().chars().next()) {
                ('%', Some('Z')) => {
                    characters.next();
                    named.push_str("GMT");
                }
                ('%', Some(other)) => {
                    characters.next();
                    named.extend(['%', other]);
                }
                (character, _) => named.push(character),
            }
        }
        return strtime::format(&named, at).map_err(refused);
    }
    strtime::format(format, at).map_err(refused)
}

/// A date with its time, which prints as in Python.
#[derive(Debug)]
pub(super) struct Date(pub(super) DateTime);

impl Object for Date {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        Some(match name {
            "year" => Value::from(self.0.year()),
            "month" => Value::from(self.0.month()),
            "day" => Value::from(self.0.day()),
            "hour" => Value::from(self.0.hour()),
            "minute" => Value::from(self.0.minute()),
            "second" => Value::from(self.0.second()),
            "microsecond" => Value::from(self.0.subsec_nanosecond() / 1000),
            _ => undefined(format!("..{name}")),
        })
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        arguments: &[Value],
    ) -> Result<Value, Error> {
        let zoned = || {
            self.0
                .to_zoned_datetime(TimeZone::system())
                .map_err(|error| wrong(error.to_string()))
        };
        match method {
            "strftime" => {
                let format = arguments.first().map(text_of).unwrap_or_default();
                written(&format, &zoned()?).map(Value::from)
            }
            "isoformat" => Ok(Value::from(self.to_string().replace(' ', "T"))),
            "timestamp" => {
                let at = zoned()?.timestamp();
                Ok(Value::from(at.as_duration().as_secs_f64()))
            }
            "date" => Ok(Value::from(self.0.date().to_string())),
            "time" => Ok(Value::from(self.0.time().to_string())),
            "weekday" => Ok(Value::from(self.0.weekday().to_monday_zero_offset())),
            "isoweekday" => Ok(Value::from(self.0.weekday().to_monday_one_offset())),
            _ => Err(Error::new(
                ErrorKind::UnknownMethod,
                format!("a date has no method `{method}`"),
            )),
        }
    }

    fn custom_cmp(
        self: &Arc<Self>,
        other: &minijinja::value::DynObject,
    ) -> Option<std::cmp::Ordering> {
        other
            .downcast_ref::<Self>()
            .map(|other| self.0.cmp(&other.0))
    }

    fn render(self: &Arc<Self>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl fmt::Display for Date {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0.strftime("%Y-%m-%d %H:%M:%S"))?;
        match self.0.subsec_nanosecond() / 1000 {
            0 => Ok(()),
            micro => write!(out, ".{micro:06}"),
        }
    }
}
