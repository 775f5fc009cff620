//! The arguments of filters, tests and lookups, which can be given by position or by name.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use super::undefined::is_undefined;
use super::values::{repr, text_of};

/// Makes the error of a filter, test or lookup that was used wrongly.
pub(super) fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// The arguments of a filter, a test or a lookup, by the names of its parameters.
#[derive(Debug)]
pub(super) struct FunctionArguments {
    names: &'static [&'static str],
    values: Vec<Option<Value>>,
}

impl FunctionArguments {
    /// Assigns the arguments to these parameters. An argument without a parameter is an error.
    pub(super) fn new(
        what: &str,
        names: &'static [&'static str],
        placed: &Rest<Value>,
        options: &Kwargs,
    ) -> Result<Self, Error> {
        if placed.len() > names.len() {
            let most = names.len();
            return Err(wrong(format!(
                "`{what}` takes at most {most} arguments, not {}",
                placed.len()
            )));
        }
        let mut values: Vec<Option<Value>> = placed.iter().cloned().map(Some).collect();
        values.resize(names.len(), None);
        for name in options.args() {
            let Some(at) = names.iter().position(|known| *known == name) else {
                return Err(wrong(format!("`{what}` has no argument `{name}`")));
            };
            if values[at].is_some() {
                return Err(wrong(format!("`{what}` gets the argument `{name}` twice")));
            }
            values[at] = Some(options.get(name)?);
        }
        Ok(Self { names, values })
    }

    /// Returns an argument, if it was given.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        let at = self.names.iter().position(|known| *known == name)?;
        self.values[at].as_ref()
    }

    /// Notes that an argument has no effect, so that it may be undefined.
    pub(super) fn ignore(&self, name: &str) {
        if let Some(value) = self.value(name) {
            let _ = is_undefined(value);
        }
    }

    /// Returns an argument that is required.
    pub(super) fn needed(&self, name: &str) -> Result<&Value, Error> {
        self.value(name)
            .ok_or_else(|| wrong(format!("the argument `{name}` is missing")))
    }

    /// Returns an argument as text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let value = self.value(name).filter(|value| !value.is_none());
        value.map(text_of)
    }

    /// Whether an argument is true by Python's rules.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.value(name)
            .map(|value| !is_undefined(value) && value.is_true())
    }

    /// Returns an argument as an integer.
    pub(super) fn whole(&self, name: &str) -> Result<Option<i64>, Error> {
        match self.value(name) {
            None => Ok(None),
            Some(value) if value.is_none() => Ok(None),
            Some(value) if value.kind() == ValueKind::Bool => Ok(Some(i64::from(value.is_true()))),
            Some(value) => match value.as_i64() {
                Some(whole) => Ok(Some(whole)),
                None => Err(wrong(format!(
                    "`{name}` has to be a whole number, not {}",
                    repr(value)
                ))),
            },
        }
    }

    /// Returns an argument as a count, which cannot be negative.
    pub(super) fn count(&self, name: &str) -> Result<Option<usize>, Error> {
        let whole = self.whole(name)?;
        let count = whole.map(usize::try_from).transpose();
        count.map_err(|_| wrong(format!("`{name}` cannot be negative")))
    }
}

/// Returns the members of a list, or the keys of a map.
pub(super) fn members(value: &Value) -> Result<Vec<Value>, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => Ok(value.try_iter()?.collect()),
        _ => Err(wrong(format!("expected a list, found {}", kind(value)))),
    }
}

/// Returns the members of anything that Python can iterate over. Those of a text are its characters.
pub(super) fn iterated(value: &Value) -> Result<Vec<Value>, Error> {
    match value.as_str() {
        Some(text) => Ok(text
            .chars()
            .map(|character| Value::from(character.to_string()))
            .collect()),
        None => members(value),
    }
}

/// Converts a value to a number by Python's rules: true is one.
pub(super) fn number(value: &Value) -> Result<f64, Error> {
    match value.kind() {
        ValueKind::Bool => Ok(if value.is_true() { 1.0 } else { 0.0 }),
        ValueKind::Number => Ok(f64::try_from(value.clone())?),
        _ => Err(wrong(format!("expected a number, found {}", kind(value)))),
    }
}

/// Returns the type of a value, as messages name it.
pub(super) fn kind(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::None => "nothing (null)",
        ValueKind::Bool => "a truth value",
        ValueKind::Number => "a number",
        ValueKind::String => "a text",
        ValueKind::Map => "a map",
        ValueKind::Seq | ValueKind::Iterable => "a list",
        ValueKind::Undefined => "something undefined",
        _ => "something else",
    }
}

/// Returns the value at a path such as `a.b.0`, or at an index of a list.
pub(super) fn at_path(value: &Value, path: &Value) -> Result<Value, Error> {
    let Some(path) = path.as_str() else {
        return super::errors::item(value, path);
    };
    let mut value = value.clone();
    for step in path.split('.') {
        value = match step.parse::<usize>() {
            Ok(at) if value.kind() != ValueKind::Map => {
                super::errors::item(&value, &Value::from(at))?
            }
            _ => super::errors::item(&value, &Value::from(step))?,
        };
    }
    Ok(value)
}
