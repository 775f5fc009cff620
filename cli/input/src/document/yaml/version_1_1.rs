//! The parts of YAML that Ansible reads beyond YAML 1.2: the words and numbers of YAML 1.1, merge keys, and tags.

use std::borrow::Cow;

use super::Reading;
use crate::diagnostic::{Diagnostic, Span};
use crate::document::node::{Entry, Node, Value};

/// Returns the value of a word without quotes.
pub(super) fn plain(text: Cow<'_, str>, span: Span) -> Reading<Value<'_>> {
    Ok(match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" | "-.inf" | ".nan" | ".NaN" | ".NAN" => {
            let found = Diagnostic::error(span, "a number that JSON does not have");
            return Err(found
                .help(format!("write \"{text}\" in quotes if it is text"))
                .into());
        }
        word => match integer(word).or_else(|| float(word)) {
            Some(number) => Value::Number(number.into()),
            None => Value::Text(text),
        },
    })
}

/// Reads an integer: decimal, binary (`0b`), octal (`0`), hexadecimal (`0x`), or sexagesimal, with colons.
fn integer(word: &str) -> Option<String> {
    let (sign, digits) = sign(word);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let plain = digits.replace('_', "");
    let read = |digits: &str, radix| i128::from_str_radix(digits, radix).ok();
    let number = if let Some(sixties) = sixties(&plain) {
        // The first part may not begin with 0, or 08:30 would be a number.
        if plain.starts_with('0') || plain.contains('.') {
            return None;
        }
        i128::from(sixties)
    } else if let Some(digits) = plain.strip_prefix("0b") {
        read(digits, 2)?
    } else if let Some(digits) = plain.strip_prefix("0x") {
        read(digits, 16)?
    } else if plain.len() > 1 && plain.starts_with('0') {
        read(&plain, 8)?
    } else {
        read(&plain, 10)?
    };
    Some(format!("{}{number}", if number == 0 { "" } else { sign }))
}

/// Reads a number with a decimal point. An exponent has a sign, as in `1.5e+3`.
fn float(word: &str) -> Option<String> {
    let (sign, digits) = sign(word);
    let plain = digits.replace('_', "");
    let (whole, rest) = plain.split_once('.')?;
    if let Some(seconds) = sixties(whole) {
        let is_number = rest.bytes().all(|digit| digit.is_ascii_digit());
        let fraction = if rest.is_empty() { "0" } else { rest };
        return is_number.then(|| format!("{sign}{seconds}.{fraction}"));
    }
    let (fraction, exponent) = match rest.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, Some(exponent)),
        None => (rest, None),
    };
    let are_digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    let has_digits =
        !whole.is_empty() || (!fraction.is_empty() && sign.is_empty() && word == digits);
    let is_power = exponent.is_none_or(|power| {
        let digits = power.strip_prefix(['+', '-']);
        digits.is_some_and(|digits| !digits.is_empty() && are_digits(digits))
    });
    if !has_digits || !is_power || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = if fraction.is_empty() { "0" } else { fraction };
    let power = exponent
        .map(|power| format!("e{power}"))
        .unwrap_or_default();
    Some(format!("{sign}{whole}.{fraction}{power}"))
}

/// Splits a number into the sign as JSON writes it, and the rest.
fn sign(word: &str) -> (&'static str, &str) {
    match word.as_bytes().first() {
        Some(b'-') => ("-", &word[1..]),
        Some(b'+') => ("", &word[1..]),
        _ => ("", word),
    }
}

/// Reads a sexagesimal number, as in `1:30` for ninety.
fn sixties(word: &str) -> Option<i64> {
    let (first, rest) = word.split_once(':')?;
    let mut number: i64 = first.parse().ok()?;
    for part in rest.split(':') {
        let part: i64 = Some(part)
            .filter(|part| matches!(part.len(), 1 | 2))?
            .parse()
            .ok()?;
        if !(0..60).contains(&part) {
            return None;
        }
        number = number.checked_mul(60)?.checked_add(part)?;
    }
    Some(number)
}

/// Replaces the key `<<` by the entries of the merged maps. Keys of the map itself take precedence, and then those of
/// the map that is merged first.
pub(super) fn merge(entries: &mut Vec<Entry<'_>>) -> Reading<()> {
    let Some(at) = entries.iter().position(|entry| entry.name == "<<") else {
        return Ok(());
    };
    let merged = entries.remove(at);
    let maps = match merged.node.value {
        Value::List(members) => members,
        _ => vec![merged.node],
    };
    for map in maps {
        let span = map.span;
        let Value::Map(more) = map.value else {
            return Err(
                Diagnostic::error(span, "a merge key needs a map, or a list of maps").into(),
            );
        };
        for entry in more {
            if !entries.iter().any(|known| known.name == entry.name) {
                entries.push(entry);
            }
        }
    }
    Ok(())
}

/// Returns a value with one of Ansible's tags, as Ansible writes it to JSON: an encrypted text, or a text that is never
/// a template.
pub(super) fn tagged<'a>(tag: &str, text: Cow<'a, str>, span: Span) -> Option<Value<'a>> {
    let name = match tag {
        "vault" => "__ansible_vault",
        "unsafe" => "__ansible_unsafe",
        _ => return None,
    };
    Some(Value::Map(vec![Entry {
        name: name.into(),
        place: span,
        node: Node::new(Value::Text(text), span),
    }]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(word: &str) -> String {
        match plain(word.into(), Span::default()) {
            Ok(Value::Null) => "null".to_owned(),
            Ok(Value::Bool(value)) => value.to_string(),
            Ok(Value::Number(number)) => number.into_owned(),
            Ok(Value::Text(text)) => format!("'{text}'"),
            Ok(other) => format!("{other:?}"),
            Err(problem) => problem.message,
        }
    }

    #[test]
    fn words_are_what_yaml_1_1_takes_them_for() {
        for (word, expected) in [
            ("yes", "true"),
            ("Off", "false"),
            ("y", "'y'"),
            ("~", "null"),
            ("12", "12"),
            ("-12", "-12"),
            ("+1_000", "1000"),
            ("0644", "420"),
            ("0899", "'0899'"),
            ("0", "0"),
            ("-0", "0"),
            ("0x1F", "31"),
            ("0b101", "5"),
            ("0o17", "'0o17'"),
            ("1:30", "90"),
            ("22:22", "1342"),
            ("08:30", "'08:30'"),
            ("1:60", "'1:60'"),
            ("1:30.5", "90.5"),
            ("1.5", "1.5"),
            ("1.", "1.0"),
            (".5", "0.5"),
            ("1.5e+3", "1.5e+3"),
            ("1e3", "'1e3'"),
            ("1.5e3", "'1.5e3'"),
            ("1.2.3", "'1.2.3'"),
            (".", "'.'"),
            ("-", "'-'"),
            ("2020-01-02", "'2020-01-02'"),
            ("_1", "'_1'"),
            (".inf", "a number that JSON does not have"),
        ] {
            assert_eq!(shown(word), expected, "{word}");
        }
    }
}
