//! Errors of the template engine, and the lookup of items that may be undefined.

use std::borrow::Cow;

use minijinja::{Error, ErrorKind, Value};

use super::undefined::undefined;
use super::values::repr;

/// Looks up an item. If it does not exist, returns an undefined value, which a template may test as it may an
/// attribute.
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

/// Looks up an attribute from which others are read. If it does not exist, returns an undefined value, whatever it is
/// looked up in, so that a template may test what is read from it.
pub(super) fn attribute(value: &Value, name: &str) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "undefined value"));
    }
    let found = value.get_attr(name)?;
    Ok(if found.is_undefined() {
        undefined(format!("..{name}"))
    } else {
        found
    })
}

/// Formats an error of the engine in one line.
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
