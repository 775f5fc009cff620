//! Formats values as Python prints them.

use std::fmt::Write as _;

use minijinja::Value;
use minijinja::value::ValueKind;

use super::undefined::{TemplateError, fail};

/// Formats a value like Python's `str`.
pub(crate) fn text_of(value: &Value) -> String {
    match value.kind() {
        ValueKind::None => String::new(),
        ValueKind::Undefined => {
            fail(TemplateError::Undefined("a value".to_owned()));
            String::new()
        }
        ValueKind::String => value.as_str().unwrap_or_default().to_owned(),
        _ => {
            let mut out = String::new();
            write_repr(value, &mut out);
            out
        }
    }
}

/// Formats a value as the output of a template: like Python's `str`, but with lists for tuples.
pub(super) fn printed(value: &Value) -> String {
    match value.kind() {
        ValueKind::Map | ValueKind::Seq | ValueKind::Iterable => {
            let mut out = String::new();
            write_as(value, Tuples::AsLists, &mut out);
            out
        }
        _ => text_of(value),
    }
}

/// Formats a value like Python's `repr`.
pub(super) fn repr(value: &Value) -> String {
    let mut out = String::new();
    write_repr(value, &mut out);
    out
}

/// Writes a value like Python's `repr`.
pub(super) fn write_repr(value: &Value, out: &mut String) {
    write_as(value, Tuples::Kept, out);
}

/// How tuples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tuples {
    Kept,
    AsLists,
}

fn write_as(value: &Value, tuples: Tuples, out: &mut String) {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => write_number(value, out),
        ValueKind::String => write_quoted(value.as_str().unwrap_or_default(), out),
        ValueKind::Map => {
            out.push('{');
            for (at, key) in value.try_iter().into_iter().flatten().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                write_as(&key, Tuples::Kept, out);
                out.push_str(": ");
                write_as(&value.get_item(&key).unwrap_or_default(), tuples, out);
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let is_tuple = value.is_tuple() && tuples == Tuples::Kept;
            let (open, close) = if is_tuple { ('(', ')') } else { ('[', ']') };
            out.push(open);
            let mut count = 0;
            for member in value.try_iter().into_iter().flatten() {
                if count > 0 {
                    out.push_str(", ");
                }
                write_as(&member, tuples, out);
                count += 1;
            }
            if is_tuple && count == 1 {
                out.push(',');
            }
            out.push(close);
        }
        // Writing to a string cannot fail.
        _ => {
            let _ = write!(out, "{value}");
        }
    }
}

fn write_number(value: &Value, out: &mut String) {
    let _ = if value.is_integer() {
        write!(out, "{value}")
    } else {
        write!(
            out,
            "{}",
            float_text(f64::try_from(value.clone()).unwrap_or(f64::NAN))
        )
    };
}

/// Formats a float as in Python: with a point or an exponent, and with an exponent from 1e16 on and below 1e-4.
pub(super) fn float_text(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{number:e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        let power: i32 = power.parse().unwrap_or_default();
        let sign = if power < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", power.abs());
    }
    let text = number.to_string();
    if text.contains('.') {
        text
    } else {
        format!("{text}.0")
    }
}

fn write_quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            character if character == quote => {
                out.push('\\');
                out.push(character);
            }
            character if character.is_control() => {
                let code = character as u32;
                let _ = if code < 0x100 {
                    write!(out, "\\x{code:02x}")
                } else {
                    write!(out, "\\u{code:04x}")
                };
            }
            character => out.push(character),
        }
    }
    out.push(quote);
}
