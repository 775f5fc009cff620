//! Checks the syntax of the templates and conditions in a file.

use ratchet_input::diagnostic::{Diagnostic, Problems, Span};

use crate::data::{self, Data, Value};
use crate::templates::{self, Unknown};

/// The keywords whose values are expressions without braces.
const CONDITIONS: [&str; 4] = ["when", "until", "changed_when", "failed_when"];

/// Adds the problems of the templates in a value, which is below a key.
pub(super) fn check(data: &Data, key: Option<&str>, problems: &mut Problems) {
    match &data.value {
        Value::Text(text) => {
            let (checked, unknown) = if data::is_template(text) {
                (templates::check(text), templates::unknown(text))
            } else if key.is_some_and(|key| CONDITIONS.contains(&key)) {
                let unknown = templates::unknown_in_expression(text);
                (templates::check_condition(text), unknown)
            } else {
                return;
            };
            if let Err(reason) = checked {
                let message = format!("this template cannot be read: {reason}");
                problems.push(Diagnostic::error(data.place.span, message));
            }
            for missing in unknown {
                problems.push(refusal(&missing, data.place.span));
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

/// Returns the diagnostic for a filter, test or lookup that does not exist.
pub(super) fn refusal(missing: &Unknown, span: Span) -> Diagnostic {
    let Unknown { what, name, help } = missing;
    match help {
        Some(help) => {
            Diagnostic::error(span, format!("the {what} `{name}` is not supported")).help(*help)
        }
        None => Diagnostic::error(span, format!("unknown {what} `{name}`")).did_you_mean(
            name,
            missing.known(),
            &format!("{what}s"),
        ),
    }
}
