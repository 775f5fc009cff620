//! Conditions, as in `when` and similar keywords.

use std::fmt;

use crate::data::{Data, Value};

/// A condition: a truth value, or an expression without braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Fixed(bool),
    Expression(String),
}

impl Condition {
    /// Converts a value to a condition, if it is one.
    pub(crate) fn of(data: &Data) -> Option<Self> {
        match &data.value {
            Value::Bool(value) => Some(Self::Fixed(*value)),
            // An empty condition holds.
            Value::Null => Some(Self::Fixed(true)),
            Value::Text(text) | Value::Unsafe(text) if text.trim().is_empty() => {
                Some(Self::Fixed(true))
            }
            Value::Text(text) | Value::Unsafe(text) => Some(Self::Expression(text.clone())),
            Value::Number(number) => Some(Self::Expression(number.to_string())),
            Value::Long(number) => Some(Self::Expression(number.to_string())),
            Value::Vault(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Converts a value to its conditions: a single one, or the members of a list.
    pub(crate) fn all(data: &Data) -> Vec<Self> {
        match &data.value {
            Value::List(members) => members.iter().filter_map(Self::of).collect(),
            _ => Self::of(data).into_iter().collect(),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(true) => out.write_str("True"),
            Self::Fixed(false) => out.write_str("False"),
            Self::Expression(text) => out.write_str(text.trim()),
        }
    }
}
