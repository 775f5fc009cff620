//! Filters for the types of values.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the engine passes arguments by value"
)]

use minijinja::Value;
use minijinja::value::{Kwargs, Rest, ValueKind};

use super::super::function_arguments::{FunctionArguments, kind, wrong};
use super::super::names::NamedFunctions;
use super::super::undefined::{first_undefined, is_undefined};
use super::super::values::text_of;

/// Adds the filters.
pub(super) fn add(engine: &mut NamedFunctions) {
    for name in ["default", "d"] {
        engine.filter_of_any(name, default);
    }
    engine.filter_of_any("mandatory", mandatory);
    engine.filter_of_any("type_debug", |value: &Value| type_debug(value));
    engine.filter_of_any("ternary", ternary);
    engine.plain("bool", &[], |value, _| Ok(boolean(value)));
    engine.plain("int", &["default", "base"], |value, given| {
        let base = given.whole("base")?.unwrap_or(10);
        int(value, given.value("default").cloned(), base)
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
        _ => {
            given.ignore("default_value");
            Ok(value)
        }
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

fn int(value: &Value, default: Option<Value>, base: i64) -> Result<Value, minijinja::Error> {
    let default = || default.clone().unwrap_or_else(|| Value::from(0));
    match value.kind() {
        ValueKind::Bool => Ok(Value::from(i64::from(value.is_true()))),
        ValueKind::Number if value.is_integer() => Ok(value.clone()),
        ValueKind::Number => {
            let number = f64::try_from(value.clone()).unwrap_or(f64::NAN);
            Ok(whole(number)?.unwrap_or_else(default))
        }
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            if let Some(found) = int_of_text(text, base)? {
                return Ok(found);
            }
            let number = float_of_text(text).map(whole).transpose()?;
            Ok(number.flatten().unwrap_or_else(default))
        }
        _ => Ok(default()),
    }
}

/// Converts a text to a whole number as Python's `int` does. With the base 0 its prefix tells the base.
fn int_of_text(text: &str, base: i64) -> Result<Option<Value>, minijinja::Error> {
    let text = text.trim();
    let (is_negative, unsigned) = match text.strip_prefix(['-', '+']) {
        Some(unsigned) => (text.starts_with('-'), unsigned),
        None => (false, text),
    };
    let prefix = unsigned.get(..2).map(str::to_ascii_lowercase);
    let of_prefix = match prefix.as_deref() {
        Some("0b") => Some(2),
        Some("0o") => Some(8),
        Some("0x") => Some(16),
        _ => None,
    };
    let (base, digits) = match (base, of_prefix) {
        (0, Some(base)) => (base, &unsigned[2..]),
        (0, None) if unsigned.starts_with('0') && !unsigned.trim_matches(['0', '_']).is_empty() => {
            return Ok(None);
        }
        (0, None) => (10, unsigned),
        (base, Some(of_prefix)) if base == i64::from(of_prefix) => (of_prefix, &unsigned[2..]),
        (base, _) => match u32::try_from(base) {
            Ok(base @ 2..=36) => (base, unsigned),
            _ => return Ok(None),
        },
    };
    // A prefix may be followed by an underscore. Others stand between digits.
    let digits = match digits.strip_prefix('_') {
        Some(behind) if digits.len() < unsigned.len() => behind,
        _ => digits,
    };
    if digits.is_empty() || digits.split('_').any(str::is_empty) {
        return Ok(None);
    }
    let mut whole: i128 = 0;
    for digit in digits.chars().filter(|digit| *digit != '_') {
        let Some(digit) = digit.to_digit(base) else {
            return Ok(None);
        };
        let longer = whole.checked_mul(i128::from(base));
        let longer = longer.and_then(|longer| longer.checked_add(i128::from(digit)));
        whole = longer.ok_or_else(|| too_large(text))?;
    }
    let whole = if is_negative { -whole } else { whole };
    Ok(Some(
        i64::try_from(whole).map_or_else(|_| Value::from(whole), Value::from),
    ))
}

/// The error for a number that is beyond the numbers of the engine. Python has no such limit.
fn too_large(number: impl std::fmt::Display) -> minijinja::Error {
    wrong(format!("the number {number} has more than 128 bits"))
}

/// Returns the part of a number before its point, or `None` if it is infinite or no number.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the number is within the range of the integer"
)]
fn whole(number: f64) -> Result<Option<Value>, minijinja::Error> {
    if !number.is_finite() {
        return Ok(None);
    }
    if number.abs() < 9.0e18 {
        return Ok(Some(Value::from(number.trunc() as i64)));
    }
    if number.abs() < 1.7e38 {
        return Ok(Some(Value::from(number.trunc() as i128)));
    }
    Err(too_large(number))
}

fn float(value: &Value, default: Option<Value>) -> Value {
    let number = match value.kind() {
        ValueKind::String => float_of_text(value.as_str().unwrap_or_default()),
        ValueKind::Bool => Some(if value.is_true() { 1.0 } else { 0.0 }),
        _ => f64::try_from(value.clone()).ok(),
    };
    number.map_or_else(|| default.unwrap_or_else(|| Value::from(0.0)), Value::from)
}

/// Converts a text to a number as Python's `float` does. An underscore may stand between two digits.
pub(super) fn float_of_text(text: &str) -> Option<f64> {
    let text = text.trim();
    let is_digit = |at: Option<&u8>| at.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    let underscores = text.match_indices('_');
    for (at, _) in underscores {
        if !(is_digit(at.checked_sub(1).and_then(|before| bytes.get(before)))
            && is_digit(bytes.get(at + 1)))
        {
            return None;
        }
    }
    text.replace('_', "").parse().ok()
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

/// Chooses between values, of which those that are not chosen may be undefined.
fn ternary(value: &Value, placed: Rest<Value>, named: Kwargs) -> Result<Value, minijinja::Error> {
    if let Some(undefined) = first_undefined(std::slice::from_ref(value)) {
        return Ok(undefined.clone());
    }
    let given = FunctionArguments::new(
        "ternary",
        &["true_val", "false_val", "none_val"],
        &placed,
        &named,
    )?;
    for name in ["true_val", "false_val"] {
        given.needed(name)?;
    }
    let none = given.value("none_val").filter(|none| !none.is_none());
    let chosen = match none {
        Some(_) if value.is_none() => "none_val",
        _ if value.is_true() => "true_val",
        _ => "false_val",
    };
    for name in ["true_val", "false_val", "none_val"] {
        if name != chosen {
            given.ignore(name);
        }
    }
    given.needed(chosen).cloned()
}
