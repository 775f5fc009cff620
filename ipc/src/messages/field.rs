//! Fields that are read one by one, so that a wrong one is named in the words of the protocol.

use std::fmt::Display;

use serde::Deserialize;
use serde_json::value::RawValue;

/// How much of a wrong value is shown.
const SHOWN: usize = 40;

/// Reads a field that may be absent; if it is not as `expected`, the error says so.
pub(super) fn read<'a, T: Deserialize<'a>>(
    value: Option<&'a RawValue>,
    name: impl Display,
    expected: &str,
) -> Result<Option<T>, String> {
    let Some(value) = value.map(RawValue::get) else {
        return Ok(None);
    };
    let read = serde_json::from_str(value).map(Some);
    read.map_err(|_| format!("{name} is {}, and has to be {expected}", shown(value)))
}

/// The beginning of a value.
pub(super) fn shown(value: &str) -> String {
    let mut shown: String = value.chars().take(SHOWN).collect();
    if shown.len() < value.len() {
        shown.push_str("..");
    }
    shown
}
