//! Renders templates and evaluates conditions.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use indexmap::IndexMap;
use minijinja::value::{Kwargs, Rest};
use minijinja::{Environment, Error, Expression, Output, State, UndefinedBehavior, Value};

use super::errors::{attribute, item, one_line};
use super::function_arguments::FunctionArguments;
use super::maps::map_of;
use super::names::NamedFunctions;
use super::rendered_values::Omit;
use super::source::{self, DELIMITERS, Escapes};
use super::undefined::{self, TemplateError, Undefined};
use super::values::printed;
use super::{filters, jinja_tests, methods, mutable};
use crate::data::is_template;

/// The engine, with all filters and tests. It caches what it has compiled, by the text of the template. The cache is
/// bounded, because these texts come from the user's files.
static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = with_filters();
    if let Ok(syntax) = minijinja::syntax::SyntaxConfig::builder()
        .trim_blocks(true)
        .build()
    {
        engine.set_syntax(syntax);
    }
    engine.set_loader(|text| {
        Ok(Some(source::prepared(
            text,
            &DELIMITERS,
            Escapes::Kept,
            "\n",
        )))
    });
    engine
});

/// An engine that knows all filters and tests, and no templates.
static BASE: LazyLock<NamedFunctions> = LazyLock::new(|| {
    let mut engine = Environment::empty();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_formatter(format);
    engine.set_unknown_method_callback(methods::call);
    engine.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    engine.add_function("range", minijinja::functions::range);
    engine.add_function("dict", |placed: Rest<Value>, named: Kwargs| {
        let mut entries = match placed.first() {
            Some(value) => mutable::entries(value)?,
            None => IndexMap::new(),
        };
        for name in named.args() {
            entries.insert(Value::from(name), named.get(name)?);
        }
        Ok::<_, Error>(map_of(entries))
    });
    engine.add_function(source::MUTABLE, mutable::of);
    engine.add_function("namespace", minijinja::functions::namespace);
    engine.add_function("cycler", |items: Rest<Value>| {
        minijinja_contrib::globals::cycler(items.0)
    });
    engine.add_function("joiner", minijinja_contrib::globals::joiner);
    engine.add_function("undef", |placed: Rest<Value>, named: Kwargs| {
        let given = FunctionArguments::new("undef", &["hint"], &placed, &named)?;
        let hint = given.text("hint");
        Ok::<_, Error>(undefined::undefined(
            hint.unwrap_or_else(|| "undef()".to_owned()),
        ))
    });
    engine.add_function("now", |placed: Rest<Value>, named: Kwargs| {
        let given = FunctionArguments::new("now", &["utc", "fmt"], &placed, &named)?;
        filters::now(
            given.flag("utc") == Some(true),
            given.text("fmt").as_deref(),
        )
    });
    engine.add_function(source::ITEM, |value: &Value, key: &Value| item(value, key));
    engine.add_function(source::ATTRIBUTE, |value: &Value, name: &str| {
        attribute(value, name)
    });
    engine.add_function(source::MINUS, |left: &Value, right: &Value| {
        filters::minus(left, right)
    });
    engine.add_function(
        source::COMPARE,
        |operator: &str, left: &Value, right: &Value| filters::is_in_order(operator, left, right),
    );
    engine.add_function(source::IS_DATE, |value: &Value| filters::is_date(value));
    engine.add_function(source::FORMAT, |format: &Value, values: &Value| {
        filters::percent_format(format, values)
    });
    let mut register = NamedFunctions::new(engine);
    filters::add(&mut register);
    jinja_tests::add(&mut register);
    register
});

/// Returns an engine that knows all filters and tests, and no templates.
pub(super) fn with_filters() -> Environment<'static> {
    BASE.engine.clone()
}

/// Returns the names of all filters and of all tests.
pub(super) fn names() -> (&'static Vec<&'static str>, &'static Vec<&'static str>) {
    (&BASE.filters, &BASE.tests)
}

/// The expressions that were compiled. Their number is bounded by that of the expressions in the user's files.
type Compiled = HashMap<(String, Escapes), Arc<Expression<'static, 'static>>>;

/// The compiled expressions.
static EXPRESSIONS: LazyLock<Mutex<Compiled>> = LazyLock::new(Mutex::default);

/// The marker that replaces a value other than text in the output, followed by the number of the value. It is random,
/// so a template cannot contain it by accident or on purpose.
static MARK: LazyLock<String> = LazyLock::new(|| {
    let seed = RandomState::new();
    format!("\u{1}{:016x}{:016x}:", seed.hash_one(1), seed.hash_one(2))
});

thread_local! {
    /// Whether values other than text are replaced by markers in the output, instead of being printed.
    static MARKS: std::cell::Cell<bool> = const { std::cell::Cell::new(true) };
}

fn format(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let written = if value.is_undefined() {
        // Only an inline `if` without `else` comes here, which writes nothing. The engine refuses other undefined values before.
        Ok(())
    } else if value.downcast_object_ref::<Undefined>().is_some() {
        // Writes nothing: the evaluation fails at its end because of the undefined value.
        Ok(())
    } else if let Some(text) = value
        .as_str()
        .filter(|text| !(text.is_empty() && MARKS.get()))
    {
        out.write_str(text)
    } else if value.downcast_object_ref::<Omit>().is_some() && !MARKS.get() {
        Ok(())
    } else if MARKS.get() {
        let number = undefined::store_value(value.clone());
        out.write_str(&format!("{}{number}\u{2}", *MARK))
    } else {
        out.write_str(&printed(value))
    };
    written.map_err(Error::from)
}

/// Renders a template in a context. The value of a single expression keeps its type; any other template gives a text.
pub(super) fn render(text: &str, context: impl FnOnce() -> Value) -> Result<Value, TemplateError> {
    if !is_template(text) {
        return Ok(Value::from(text));
    }
    if let Some(expression) = source::lone_expression(text) {
        return evaluate(expression, Escapes::Kept, context);
    }
    render_with(&ENGINE, text, text, "\n", context)
}

/// Renders the template that an engine has under this name. `text` is its source, and `newline` ends its lines.
pub(super) fn render_with(
    engine: &Environment<'_>,
    name: &str,
    text: &str,
    newline: &str,
    context: impl FnOnce() -> Value,
) -> Result<Value, TemplateError> {
    let (output, values) = undefined::evaluate(|| {
        let template = engine
            .get_template(name)
            .map_err(|error| one_line(&error))?;
        let before = MARKS.replace(!source::captures(text));
        let rendered = template.render(context());
        MARKS.set(before);
        rendered.map_err(|error| one_line(&error))
    })?;
    Ok(with_newlines(
        without_marks(&output, &values),
        text,
        newline,
    ))
}

/// Restores the newlines at the end of a template that are missing from its output. Python's Jinja removes one of them,
/// and Ansible adds it again.
fn with_newlines(value: Value, template: &str, newline: &str) -> Value {
    let ending = |text: &str| text.len() - text.trim_end_matches('\n').len();
    match value.as_str() {
        Some(text) if ending(template) > ending(text) => {
            let missing = newline.repeat(ending(template) - ending(text));
            Value::from(format!("{text}{missing}"))
        }
        _ => value,
    }
}

/// Evaluates an expression in a context.
pub(super) fn evaluate(
    expression: &str,
    escapes: Escapes,
    context: impl FnOnce() -> Value,
) -> Result<Value, TemplateError> {
    let evaluation = || {
        let compiled = compiled(expression, escapes).map_err(|error| one_line(&error))?;
        // The output of a macro is a text, so values in it are printed without markers.
        let before = MARKS.replace(false);
        let value = compiled.eval(context());
        MARKS.set(before);
        let value = value.map_err(|error| one_line(&error))?;
        if value.is_undefined() {
            return Err(format!("`{expression}` is undefined"));
        }
        Ok(value)
    };
    undefined::evaluate(evaluation).map(|(value, _)| value)
}

fn compiled(
    expression: &str,
    escapes: Escapes,
) -> Result<Arc<Expression<'static, 'static>>, Error> {
    let key = (expression.to_owned(), escapes);
    // No code panics while it holds the lock, so the data behind a poisoned lock is intact.
    let known = EXPRESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(&key) {
        return Ok(Arc::clone(known));
    }
    drop(known);
    let prepared = source::prepared_expression(expression, escapes);
    let made = Arc::new(ENGINE.compile_expression_owned(prepared)?);
    let mut known = EXPRESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
    known.insert(key, Arc::clone(&made));
    Ok(made)
}

/// Replaces the markers in an output by their values. Returns null if nothing was written but null.
fn without_marks(output: &str, values: &[Value]) -> Value {
    let mut text = String::with_capacity(output.len());
    let mut is_null = true;
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
            is_null &= value.is_none();
            text.push_str(&printed(value));
        }
    }
    text.push_str(rest);
    if is_null && text.is_empty() {
        return Value::from(());
    }
    Value::from(text)
}

/// Checks the syntax of a template.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let checked = ENGINE.get_template(text).map(|_| ());
    checked.map_err(|error| one_line(&error))
}

/// Checks the syntax of an expression.
pub(crate) fn check_condition(text: &str) -> Result<(), String> {
    let checked = compiled(text, Escapes::Python).map(|_| ());
    checked.map_err(|error| one_line(&error))
}
