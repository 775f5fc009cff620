//! Reads the fields of a message one by one, so that errors name the field as the protocol does.

use std::fmt::Display;

use serde::Deserialize;
use serde_json::value::RawValue;

/// How many characters of a wrong value an error shows.
const MAX_SHOWN: usize = 40;

/// Reads a field that may be absent. The error describes what was expected.
pub(super) fn read_field<'a, T: Deserialize<'a>>(
    value: Option<&'a RawValue>,
    name: impl Display,
    expected: &str,
) -> Result<Option<T>, String> {
    let Some(value) = value.map(RawValue::get) else {
        return Ok(None);
    };
    let read = serde_json::from_str(value).map(Some);
    read.map_err(|_| format!("{name} is {}, and has to be {expected}", excerpt(value)))
}

/// Returns the beginning of a value, for an error message.
pub(super) fn excerpt(value: &str) -> String {
    let mut excerpt: String = value.chars().take(MAX_SHOWN).collect();
    if excerpt.len() < value.len() {
        excerpt.push_str("..");
    }
    excerpt
}
