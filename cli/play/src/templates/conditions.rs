//! Conditions: expressions that are true or false.

use minijinja::Value;
use minijinja::value::ValueKind;

use super::engine::evaluate;
use super::rendered_values::finished;
use super::source::{Escapes, lone_expression};
use super::undefined::TemplateError;
use super::values::{repr, text_of};
use super::variables::{Variables, render};
use crate::data::is_template;

/// How many conditions may refer to each other in a chain.
const DEEPEST: usize = 20;

/// Evaluates a condition, such as that of `when`: an expression without braces.
///
/// If the condition is a template in braces, its value decides: true, false, or another condition if the value is a
/// text from the user's files. Any other value is an error, as in Ansible.
pub(crate) fn condition(text: &str, variables: &Variables) -> Result<bool, TemplateError> {
    let mut text = text.trim().to_owned();
    for _ in 0..DEEPEST {
        if text.is_empty() {
            return Err(wrong("the condition is empty".to_owned()));
        }
        if !(is_template(&text) && text.starts_with('{')) {
            let value = evaluate(&text, Escapes::Python, || variables.root())?;
            return truth(&text, &value);
        }
        let value = render(&text, variables)?;
        if value.kind() != ValueKind::String {
            return truth(&text, &value);
        }
        match written(&text, variables) {
            Some(condition) if condition.trim() != text => condition.trim().clone_into(&mut text),
            _ => {
                let said = format!(
                    "the condition `{text}` is the text {}, but a text is a condition only if a file assigns it to a variable; \
                     write the condition itself, without braces",
                    repr(&value)
                );
                return Err(wrong(said));
            }
        }
    }
    Err(wrong("the condition refers to itself".to_owned()))
}

/// Evaluates an expression without braces, and renders everything in its value.
pub(crate) fn expression(text: &str, variables: &Variables) -> Result<Value, TemplateError> {
    finished(&evaluate(text, Escapes::Python, || variables.root())?)
}

/// Whether the value of a keyword such as `become` is true. The value may also be a text such as `yes`.
pub(crate) fn is_truthy(value: &Value) -> bool {
    match value.as_str() {
        Some(text) => matches!(
            text.trim().to_ascii_lowercase().as_str(),
            "yes" | "on" | "true" | "1" | "y" | "t"
        ),
        None => value.is_true(),
    }
}

/// Returns the text that a file assigns to the variable of which a template consists.
fn written(text: &str, variables: &Variables) -> Option<String> {
    let name = lone_expression(text)?;
    let is_name = name
        .chars()
        .all(|character| character.is_alphanumeric() || character == '_');
    is_name.then(|| variables.written(name)).flatten()
}

fn truth(text: &str, value: &Value) -> Result<bool, TemplateError> {
    if value.kind() == ValueKind::Bool {
        return Ok(value.is_true());
    }
    let kind = match value.kind() {
        ValueKind::None => "nothing (null)".to_owned(),
        ValueKind::String => format!("the text {}", repr(value)),
        ValueKind::Number => format!("the number {}", text_of(value)),
        ValueKind::Map => "a map".to_owned(),
        ValueKind::Seq | ValueKind::Iterable => "a list".to_owned(),
        _ => "neither".to_owned(),
    };
    let help = match value.kind() {
        ValueKind::Map | ValueKind::Seq | ValueKind::Iterable => "`| length > 0`",
        ValueKind::None => "`is not none`",
        _ => "`| bool` or `is truthy`",
    };
    Err(wrong(format!(
        "the condition `{text}` has to be true or false, but it is {kind}; add {help}"
    )))
}

fn wrong(said: String) -> TemplateError {
    TemplateError::Wrong(said)
}
