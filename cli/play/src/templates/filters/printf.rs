//! Formats values into texts like `%` and `format` in Python.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, Value};

use super::super::function_arguments::{kind, wrong};
use super::super::values::{float_text, repr, text_of};

/// Formats values into a text like `%`.
pub(in crate::templates) fn percent_format(format: &Value, values: &Value) -> Result<Value, Error> {
    let placed = if values.is_tuple() {
        values.try_iter()?.collect()
    } else {
        vec![values.clone()]
    };
    formatted(&text_of(format), placed, values).map(Value::from)
}

/// Formats values into a text like the filter `format`.
pub(super) fn printf(format: &Value, placed: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let has_names = named.args().next().is_some();
    if has_names && !placed.is_empty() {
        return Err(wrong(
            "`format` takes values by position or by name, not both",
        ));
    }
    formatted(&text_of(format), placed.0, &Value::from(named)).map(Value::from)
}

/// The format of one value.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of Python's")]
struct Spec {
    is_left: bool,
    has_sign: bool,
    has_blank: bool,
    is_alternate: bool,
    is_zero: bool,
    width: usize,
    precision: Option<usize>,
}

fn formatted(format: &str, placed: Vec<Value>, named: &Value) -> Result<String, Error> {
    let mut out = String::new();
    let mut characters = format.chars().peekable();
    let total = placed.len();
    let mut placed = placed.into_iter();
    let mut used = 0;
    let mut has_names = false;
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut name = None;
        if characters.next_if_eq(&'(').is_some() {
            name = Some(
                characters
                    .by_ref()
                    .take_while(|character| *character != ')')
                    .collect::<String>(),
            );
            has_names = true;
        }
        let mut spec = Spec::default();
        while let Some(flag) = characters.next_if(|flag| "-+ #0".contains(*flag)) {
            match flag {
                '-' => spec.is_left = true,
                '+' => spec.has_sign = true,
                ' ' => spec.has_blank = true,
                '#' => spec.is_alternate = true,
                _ => spec.is_zero = true,
            }
        }
        let mut next = || {
            used += 1;
            placed.next().ok_or_else(|| {
                wrong(format!(
                    "`{format}` has more placeholders than there are values"
                ))
            })
        };
        let mut digits = String::new();
        if characters.next_if_eq(&'*').is_some() {
            let width = next()?
                .as_i64()
                .ok_or_else(|| wrong("a width has to be a whole number"))?;
            spec.is_left |= width < 0;
            spec.width = usize::try_from(width.abs()).unwrap_or_default();
        }
        while let Some(digit) = characters.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if !digits.is_empty() {
            spec.width = digits.parse().map_err(|_| wrong("a width is too large"))?;
        }
        if characters.next_if_eq(&'.').is_some() {
            let mut digits = "0".to_owned();
            while let Some(digit) = characters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            spec.precision = Some(
                digits
                    .parse()
                    .map_err(|_| wrong("a precision is too large"))?,
            );
        }
        while characters.next_if(|size| "hlL".contains(*size)).is_some() {}
        let kind = characters
            .next()
            .ok_or_else(|| wrong(format!("`{format}` ends within a placeholder")))?;
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match name {
            Some(name) => {
                let found = named.get_item(&Value::from(name.as_str()))?;
                if found.is_undefined() {
                    return Err(wrong(format!("there is no value `{name}`")));
                }
                found
            }
            None => next()?,
        };
        write_value(&value, kind, &spec, &mut out)?;
    }
    if used < total && !(has_names || named.kind() == ValueKind::Map) {
        return Err(wrong(format!(
            "`{format}` has fewer placeholders than there are values"
        )));
    }
    Ok(out)
}

#[expect(
    clippy::too_many_lines,
    reason = "each kind of placeholder takes a few lines"
)]
fn write_value(value: &Value, how: char, spec: &Spec, out: &mut String) -> Result<(), Error> {
    let number = || -> Result<f64, Error> {
        match value.kind() {
            ValueKind::Number | ValueKind::Bool => super::super::function_arguments::number(value),
            _ => Err(wrong(format!(
                "`%{how}` takes a number, not {}",
                kind(value)
            ))),
        }
    };
    let precision = spec.precision.unwrap_or(6);
    let (sign, digits) = match how {
        's' | 'r' | 'a' => {
            let text = match (how, value.kind()) {
                ('s', ValueKind::String) => text_of(value),
                _ => repr(value),
            };
            let shown = match spec.precision {
                Some(precision) => text.chars().take(precision).collect(),
                None => text,
            };
            pad("", &shown, spec, false, out);
            return Ok(());
        }
        'c' => {
            let shown = match (value.as_str(), value.as_i64()) {
                (Some(text), _) if text.chars().count() == 1 => text.to_owned(),
                (_, Some(code)) => {
                    let code = u32::try_from(code).ok().and_then(char::from_u32);
                    code.ok_or_else(|| wrong("`%c` takes the code of a character"))?
                        .to_string()
                }
                _ => return Err(wrong("`%c` takes one character")),
            };
            pad("", &shown, spec, false, out);
            return Ok(());
        }
        'd' | 'i' | 'u' => {
            let whole = if value.is_integer() {
                i128::try_from(value.clone()).map_err(|_| wrong("a number is too large"))?
            } else {
                truncated(number()?)?
            };
            (whole < 0, whole.unsigned_abs().to_string())
        }
        'x' | 'X' | 'o' => {
            let whole = match value.kind() {
                ValueKind::Bool => i128::from(value.is_true()),
                _ => i128::try_from(value.clone()).map_err(|_| {
                    wrong(format!(
                        "`%{how}` takes a whole number, not {}",
                        kind(value)
                    ))
                })?,
            };
            let size = whole.unsigned_abs();
            let digits = match (how, spec.is_alternate) {
                ('x', false) => format!("{size:x}"),
                ('x', true) => format!("{size:#x}"),
                ('X', false) => format!("{size:X}"),
                ('X', true) => format!("0X{size:X}"),
                (_, false) => format!("{size:o}"),
                (_, true) => format!("{size:#o}"),
            };
            (whole < 0, digits)
        }
        'f' | 'F' => {
            let number = number()?;
            (
                number.is_sign_negative(),
                format!("{:.precision$}", number.abs()),
            )
        }
        'e' | 'E' => {
            let number = number()?;
            let text = exponent(number.abs(), precision);
            (
                number.is_sign_negative(),
                if how == 'E' {
                    text.to_uppercase()
                } else {
                    text
                },
            )
        }
        'g' | 'G' => {
            let number = number()?;
            let text = general(number.abs(), precision.max(1));
            (
                number.is_sign_negative(),
                if how == 'G' {
                    text.to_uppercase()
                } else {
                    text
                },
            )
        }
        other => return Err(wrong(format!("unknown conversion `%{other}`"))),
    };
    let sign = match (sign, spec.has_sign, spec.has_blank) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    let mut digits = digits;
    if let ('d' | 'i' | 'u' | 'x' | 'X' | 'o', Some(precision)) = (how, spec.precision) {
        digits = format!(
            "{}{digits}",
            "0".repeat(precision.saturating_sub(digits.len()))
        );
    }
    pad(sign, &digits, spec, true, out);
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the number is within the range of the integer"
)]
fn truncated(number: f64) -> Result<i128, Error> {
    if number.is_finite() && number.abs() < 1.7e38 {
        return Ok(number.trunc() as i128);
    }
    Err(wrong("a number has no whole part that can be written"))
}

fn pad(sign: &str, shown: &str, spec: &Spec, is_number: bool, out: &mut String) {
    let blank = spec
        .width
        .saturating_sub(shown.chars().count() + sign.len());
    // Writing to a string cannot fail.
    let _ = if spec.is_left {
        write!(out, "{sign}{shown}{}", " ".repeat(blank))
    } else if spec.is_zero && is_number {
        write!(out, "{sign}{}{shown}", "0".repeat(blank))
    } else {
        write!(out, "{}{sign}{shown}", " ".repeat(blank))
    };
}

fn exponent(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = power.parse().unwrap_or_default();
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.abs())
}

/// Returns the shorter of the two forms, without zeros at its end.
fn general(number: f64, precision: usize) -> String {
    if number == 0.0 || !number.is_finite() {
        return float_text(number).trim_end_matches(".0").to_owned();
    }
    let written = exponent(number, precision - 1);
    let power: i32 = written
        .split_once('e')
        .and_then(|(_, power)| power.parse().ok())
        .unwrap_or_default();
    let without_zeros = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if power < -4 || i64::from(power) >= i64::try_from(precision).unwrap_or(i64::MAX) {
        let (digits, power) = written.split_once('e').unwrap_or((&written, "+00"));
        return format!("{}e{power}", without_zeros(digits));
    }
    let digits = i64::try_from(precision).unwrap_or_default() - 1 - i64::from(power);
    let digits = usize::try_from(digits).unwrap_or_default();
    without_zeros(&format!("{number:.digits$}"))
}
