//! Filters for the types of values.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the engine passes arguments by value"
)]

use minijinja::Value;
use minijinja::value::{Kwargs, Rest, ValueKind};

use super::super::function_arguments::{FunctionArguments, kind, wrong};
use super::super::names::NamedFunctions;
use super::super::undefined::is_undefined;
use super::super::values::text_of;

/// Adds the filters.
pub(super) fn add(engine: &mut NamedFunctions) {
    for name in ["default", "d"] {
        engine.filter(name, default);
    }
    engine.filter("mandatory", mandatory);
    engine.filter("type_debug", |value: &Value| type_debug(value));
    engine.filter("ternary", ternary);
    engine.plain("bool", &[], |value, _| Ok(boolean(value)));
    engine.plain("int", &["default", "base"], |value, given| {
        let base = given
            .whole("base")?
            .and_then(|base| u32::try_from(base).ok());
        Ok(int(value, given.value("default").cloned(), base))
    });
    engine.plain("float", &["default"], |value, given| {
        Ok(float(value, given.value("default").cloned()))
    });
    engine.plain("string", &[], |value, _| {
        Ok(Value::from(if value.is_none() {
            "None".to_owned()
        } else {
            text_of(value)
        }))
    });
}

fn default(value: Value, placed: Rest<Value>, named: Kwargs) -> Result<Value, minijinja::Error> {
    let given = FunctionArguments::new("default", &["default_value", "boolean"], &placed, &named)?;
    let other = || {
        given
            .value("default_value")
            .cloned()
            .unwrap_or_else(|| Value::from(""))
    };
    if is_undefined(&value) {
        return Ok(other());
    }
    match given.value("boolean") {
        Some(boolean) if boolean.kind() != ValueKind::Bool => Err(wrong(format!(
            "`boolean` has to be true or false, not {}",
            kind(boolean)
        ))),
        Some(boolean) if boolean.is_true() && !value.is_true() => Ok(other()),
        _ => Ok(value),
    }
}

fn mandatory(value: Value, placed: Rest<Value>, named: Kwargs) -> Result<Value, minijinja::Error> {
    let given = FunctionArguments::new("mandatory", &["msg"], &placed, &named)?;
    if is_undefined(&value) {
        let message = given.text("msg");
        let message = message.unwrap_or_else(|| "a mandatory variable is not defined".to_owned());
        return Err(wrong(message));
    }
    Ok(value)
}

/// Converts a value to a truth value: certain words and numbers mean true, all others false.
fn boolean(value: &Value) -> Value {
    if value.kind() == ValueKind::Bool {
        return value.clone();
    }
    let text = text_of(value).to_lowercase();
    let is_word =
        value.kind() == ValueKind::String && matches!(text.as_str(), "yes" | "on" | "1" | "true");
    let is_one = value.kind() == ValueKind::Number
        && f64::try_from(value.clone()).is_ok_and(|number| (number - 1.0).abs() < f64::EPSILON);
    Value::from(is_word || is_one)
}

fn int(value: &Value, default: Option<Value>, base: Option<u32>) -> Value {
    let default = || default.clone().unwrap_or_else(|| Value::from(0));
    match value.kind() {
        ValueKind::Bool => Value::from(i64::from(value.is_true())),
        ValueKind::Number if value.is_integer() => value.clone(),
        ValueKind::Number => {
            whole(f64::try_from(value.clone()).unwrap_or(f64::NAN)).unwrap_or_else(default)
        }
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default().trim().replace('_', "");
            let base = base.filter(|base| (2..=36).contains(base)).unwrap_or(10);
            let digits = match base {
                2 => text.trim_start_matches("0b"),
                8 => text.trim_start_matches("0o"),
                16 => text.trim_start_matches("0x"),
                _ => &text,
            };
            i64::from_str_radix(digits, base)
                .map(Value::from)
                .ok()
                .or_else(|| whole(text.parse().ok()?))
                .unwrap_or_else(default)
        }
        _ => default(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the number is within the range of the integer"
)]
fn whole(number: f64) -> Option<Value> {
    (number.abs() < 9.0e18).then(|| Value::from(number.trunc() as i64))
}

fn float(value: &Value, default: Option<Value>) -> Value {
    let number = match value.kind() {
        ValueKind::String => value.as_str().unwrap_or_default().trim().parse().ok(),
        ValueKind::Bool => Some(if value.is_true() { 1.0 } else { 0.0 }),
        _ => f64::try_from(value.clone()).ok(),
    };
    number.map_or_else(|| default.unwrap_or_else(|| Value::from(0.0)), Value::from)
}

fn type_debug(value: &Value) -> &'static str {
    if is_undefined(value) {
        return "UndefinedMarker";
    }
    match value.kind() {
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        ValueKind::Map => "dict",
        ValueKind::Seq if value.is_tuple() => "tuple",
        ValueKind::Iterable => "generator",
        _ => "list",
    }
}

fn ternary(value: &Value, placed: Rest<Value>, named: Kwargs) -> Result<Value, minijinja::Error> {
    let given = FunctionArguments::new(
        "ternary",
        &["true_val", "false_val", "none_val"],
        &placed,
        &named,
    )?;
    let (yes, no) = (given.needed("true_val")?, given.needed("false_val")?);
    let none = given.value("none_val").filter(|none| !none.is_none());
    Ok(match none {
        Some(none) if value.is_none() => none,
        _ if value.is_true() => yes,
        _ => no,
    }
    .clone())
}
