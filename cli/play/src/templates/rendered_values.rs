//! Final values of templates: everything in them is rendered, and nothing is undefined.

use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Object, ObjectRepr, ValueKind};

use super::TemplateError;
use super::maps::{Map, plain_map_of};
use super::undefined::{Undefined, evaluate};

/// The value of `omit`: an entry or a member with this value is left out.
#[derive(Debug)]
pub(super) struct Omit;

impl Object for Omit {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

/// Whether a value is that of `omit`.
pub(crate) fn is_omitted(value: &Value) -> bool {
    value.downcast_object_ref::<Omit>().is_some()
}

/// Renders everything in a value that is not rendered yet, and leaves out what is omitted. It is an error if something
/// in it is undefined.
pub(super) fn finished(value: &Value) -> Result<Value, TemplateError> {
    match value.kind() {
        ValueKind::Map | ValueKind::Seq | ValueKind::Iterable | ValueKind::Plain => {
            let deep = || deep(value).map_err(|error| error.to_string());
            evaluate(deep).map(|(value, _)| value)
        }
        ValueKind::Undefined => Err(TemplateError::Undefined("a value".to_owned())),
        _ => Ok(value.clone()),
    }
}

fn deep(value: &Value) -> Result<Value, TemplateError> {
    match value.kind() {
        ValueKind::Undefined => Err(TemplateError::Undefined("a value".to_owned())),
        ValueKind::Map => {
            if value
                .downcast_object_ref::<Map>()
                .is_some_and(|map| map.is_plain)
            {
                return Ok(value.clone());
            }
            let mut pairs = Vec::with_capacity(value.len().unwrap_or_default());
            for key in iterated(value)? {
                let of_key = deep(&value.get_item(&key).map_err(|error| wrong(&error))?)?;
                if !is_omitted(&of_key) {
                    pairs.push((key, of_key));
                }
            }
            Ok(plain_map_of(pairs))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let mut members = Vec::with_capacity(value.len().unwrap_or_default());
            for member in iterated(value)? {
                let member = deep(&member)?;
                if !is_omitted(&member) {
                    members.push(member);
                }
            }
            Ok(Value::from(members))
        }
        // An undefined value makes the evaluation fail at its end.
        ValueKind::Plain if value.downcast_object_ref::<Undefined>().is_some() => Ok(value.clone()),
        _ => Ok(value.clone()),
    }
}

fn iterated(value: &Value) -> Result<minijinja::value::ValueIter, TemplateError> {
    value.try_iter().map_err(|error| wrong(&error))
}

fn wrong(error: &minijinja::Error) -> TemplateError {
    TemplateError::Wrong(super::errors::one_line(error))
}
