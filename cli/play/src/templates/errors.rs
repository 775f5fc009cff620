//! Errors of the template engine, and look-ups that know what is missing.

use std::borrow::Cow;

use minijinja::{Error, ErrorKind, Value};

use super::undefined::undefined;
use super::values::repr;

/// Looks up an item. One that is nowhere may still be asked for, as an attribute may.
pub(super) fn item(value: &Value, key: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "undefined value"));
    }
    let found = value.get_item(key)?;
    Ok(if found.is_undefined() {
        undefined(format!("..[{}]", repr(key)))
    } else {
        found
    })
}

/// An error of the engine, in one line.
pub(super) fn one_line(error: &Error) -> String {
    let mut said = error
        .detail()
        .map_or_else(|| Cow::from(error.kind().to_string()), Cow::from)
        .into_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        said = format!("{said}: {inner}");
        cause = inner.source();
    }
    said
}
