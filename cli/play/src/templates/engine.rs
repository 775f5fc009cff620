//! Renders templates and evaluates conditions.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::LazyLock;

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};

use super::undefined::{self, TemplateError, Undefined};
use super::values::text_of;
use super::{filters, lists, questions, source};
use crate::data::is_template;

/// The engine, with all filters and tests.
static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_formatter(format);
    engine.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    engine.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    engine.remove_global("debug");
    filters::add(&mut engine);
    lists::add(&mut engine);
    questions::add(&mut engine);
    engine
});

/// What stands in the output for a value that is no text, before and after its number. Nobody can write it, since nobody
/// knows it.
static MARK: LazyLock<String> = LazyLock::new(|| {
    let seed = RandomState::new();
    format!("\u{1}{:016x}{:016x}:", seed.hash_one(1), seed.hash_one(2))
});

thread_local! {
    /// Whether values that are no text get a mark in the output, or are printed.
    static MARKS: std::cell::Cell<bool> = const { std::cell::Cell::new(true) };
}

fn format(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let written = if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "undefined value"));
    } else if value.downcast_object_ref::<Undefined>().is_some() {
        // The evaluation fails at its end.
        Ok(())
    } else if value.kind() == ValueKind::String {
        out.write_str(value.as_str().unwrap_or_default())
    } else if MARKS.get() {
        let number = undefined::keep(value.clone());
        out.write_str(&format!("{}{number}\u{2}", *MARK))
    } else {
        out.write_str(&text_of(value))
    };
    written.map_err(Error::from)
}

/// Renders a template in a context. The value of a lone expression keeps its type, and any other template is a text.
pub(super) fn render(text: &str, context: impl FnOnce() -> Value) -> Result<Value, TemplateError> {
    if !is_template(text) {
        return Ok(Value::from(text));
    }
    let prepared = source::prepared(text);
    let (output, values) = undefined::evaluate(|| {
        let template = ENGINE.template_from_str(&prepared);
        let template = template.map_err(|error| told(&error))?;
        let before = MARKS.replace(!source::captures(text));
        let rendered = template.render(context());
        MARKS.set(before);
        rendered.map_err(|error| told(&error))
    })?;
    Ok(unmarked(&output, &values))
}

/// Puts values in the places of their marks.
fn unmarked(output: &str, values: &[Value]) -> Value {
    let mut text = String::with_capacity(output.len());
    let mut rest = output;
    while let Some((before, marked)) = rest.split_once(MARK.as_str()) {
        text.push_str(before);
        let (number, behind) = marked.split_once('\u{2}').unwrap_or((marked, ""));
        let value = number.parse().ok().and_then(|at: usize| values.get(at));
        rest = behind;
        if let Some(value) = value {
            if text.is_empty() && rest.is_empty() {
                return value.clone();
            }
            text.push_str(&text_of(value));
        }
    }
    text.push_str(rest);
    Value::from(text)
}

/// Says what is wrong with the form of a template, if something is.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let prepared = source::prepared(text);
    let checked = ENGINE.template_from_str(&prepared).map(|_| ());
    checked.map_err(|error| told(&error))
}

/// Says what is wrong with the form of an expression, if something is.
pub(crate) fn check_condition(text: &str) -> Result<(), String> {
    let prepared = source::prepared_expression(text);
    let checked = ENGINE.compile_expression(&prepared).map(|_| ());
    checked.map_err(|error| told(&error))
}

/// An error of the engine, in one line.
fn told(error: &Error) -> String {
    let mut said = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        said = format!("{said}: {inner}");
        cause = inner.source();
    }
    said
}
