//! Checks the form of the templates and conditions that stand in a file.

use ratchet_input::diagnostic::{Diagnostic, Problems};

use crate::data::{self, Data, Value};
use crate::templates;

/// The keywords whose values are expressions without braces.
const CONDITIONS: [&str; 4] = ["when", "until", "changed_when", "failed_when"];

/// Adds what is wrong with templates in a value, which stands under a key.
pub(super) fn check(data: &Data, key: Option<&str>, problems: &mut Problems) {
    match &data.value {
        Value::Text(text) => {
            let checked = if data::is_template(text) {
                templates::check(text)
            } else if key.is_some_and(|key| CONDITIONS.contains(&key)) {
                templates::check_condition(text)
            } else {
                return;
            };
            if let Err(reason) = checked {
                let message = format!("this template cannot be read: {reason}");
                problems.push(Diagnostic::error(data.place.span, message));
            }
        }
        Value::List(members) => {
            for member in members {
                check(member, key, problems);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                check(&entry.data, Some(&entry.name), problems);
            }
        }
        _ => {}
    }
}
