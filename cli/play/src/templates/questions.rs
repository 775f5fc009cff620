//! The tests of Ansible and of Python's Jinja: what may stand behind `is`.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the engine hands arguments over by value"
)]

use std::cmp::Ordering;
use std::path::Path;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, Value};

use super::filters::wrong;
use super::undefined::is_undefined;
use super::values::text_of;

/// Adds the tests to an engine.
pub(super) fn add(engine: &mut Environment<'static>) {
    engine.add_test("defined", |value: &Value| !is_undefined(value));
    engine.add_test("undefined", |value: &Value| is_undefined(value));
    engine.add_test("truthy", |value: &Value, options: Kwargs| {
        truth(value, options)
    });
    engine.add_test("falsy", |value: &Value, options: Kwargs| {
        truth(value, options).map(|is_true| !is_true)
    });
    engine.add_test("string", |value: &Value| value.kind() == ValueKind::String);
    engine.add_test("mapping", |value: &Value| value.kind() == ValueKind::Map);
    engine.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::String | ValueKind::Map
        )
    });
    engine.add_test("iterable", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Iterable
        )
    });
    engine.add_test("number", |value: &Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
    });
    engine.add_test("contains", |list: &Value, member: &Value| {
        holds(list, member)
    });
    engine.add_test("in", |member: &Value, list: &Value| holds(list, member));
    engine.add_test("subset", |one: &Value, other: &Value| all_in(one, other));
    engine.add_test("issubset", |one: &Value, other: &Value| all_in(one, other));
    engine.add_test("superset", |one: &Value, other: &Value| all_in(other, one));
    engine.add_test("issuperset", |one: &Value, other: &Value| {
        all_in(other, one)
    });
    engine.add_test("all", |list: &Value| {
        Ok::<_, Error>(list.try_iter()?.all(|member| member.is_true()))
    });
    engine.add_test("any", |list: &Value| {
        Ok::<_, Error>(list.try_iter()?.any(|member| member.is_true()))
    });
    engine.add_test("match", |value: &Value, pattern: &str, options: Kwargs| {
        matches(value, &format!(r"\A(?:{pattern})"), options)
    });
    engine.add_test("search", |value: &Value, pattern: &str, options: Kwargs| {
        matches(value, pattern, options)
    });
    engine.add_test("regex", |value: &Value, pattern: &str, options: Kwargs| {
        matches(value, pattern, options)
    });
    for name in ["version", "version_compare"] {
        engine.add_test(name, version);
    }
    engine.add_test("abs", |path: &Value| text_of(path).starts_with('/'));
    engine.add_test("exists", |path: &Value| Path::new(&text_of(path)).exists());
    engine.add_test("file", |path: &Value| Path::new(&text_of(path)).is_file());
    engine.add_test("directory", |path: &Value| {
        Path::new(&text_of(path)).is_dir()
    });
    engine.add_test("link", |path: &Value| {
        Path::new(&text_of(path)).is_symlink()
    });
    // The results of tasks.
    for name in ["failed", "failure"] {
        engine.add_test(name, |result: &Value| flag(result, "failed"));
    }
    for name in ["succeeded", "success", "successful"] {
        engine.add_test(name, |result: &Value| {
            flag(result, "failed").map(|failed| !failed)
        });
    }
    for name in ["changed", "change"] {
        engine.add_test(name, |result: &Value| flag(result, "changed"));
    }
    for name in ["skipped", "skip"] {
        engine.add_test(name, |result: &Value| flag(result, "skipped"));
    }
    engine.add_test("unreachable", |result: &Value| flag(result, "unreachable"));
    engine.add_test("reachable", |result: &Value| {
        flag(result, "unreachable").map(|gone| !gone)
    });
}

fn truth(value: &Value, options: Kwargs) -> Result<bool, Error> {
    let converts: Option<bool> = options.get("convert_bool")?;
    options.assert_all_used()?;
    if converts == Some(true)
        && let Some(text) = value.as_str()
    {
        match text.to_lowercase().as_str() {
            "y" | "yes" | "on" | "1" | "true" | "t" => return Ok(true),
            "n" | "no" | "off" | "0" | "false" | "f" => return Ok(false),
            _ => {}
        }
    }
    Ok(value.is_true())
}

fn holds(list: &Value, member: &Value) -> Result<bool, Error> {
    match list.kind() {
        ValueKind::String => Ok(list.as_str().unwrap_or_default().contains(&text_of(member))),
        _ => Ok(list.try_iter()?.any(|known| known == *member)),
    }
}

fn all_in(one: &Value, other: &Value) -> Result<bool, Error> {
    let other: Vec<Value> = other.try_iter()?.collect();
    Ok(one.try_iter()?.all(|member| other.contains(&member)))
}

fn matches(value: &Value, pattern: &str, options: Kwargs) -> Result<bool, Error> {
    let ignores_case: Option<bool> = options.get("ignorecase")?;
    let has_lines: Option<bool> = options.get("multiline")?;
    options.assert_all_used()?;
    let flags = match (ignores_case == Some(true), has_lines == Some(true)) {
        (false, false) => "",
        (true, false) => "(?i)",
        (false, true) => "(?m)",
        (true, true) => "(?im)",
    };
    let regex = fancy_regex::Regex::new(&format!("{flags}{pattern}"))
        .map_err(|error| wrong(format!("`{pattern}` is no regular expression: {error}")))?;
    let found = regex.is_match(&text_of(value));
    found.map_err(|error| wrong(format!("the regular expression failed: {error}")))
}

fn flag(result: &Value, name: &str) -> Result<bool, Error> {
    if result.kind() != ValueKind::Map {
        return Err(wrong(format!(
            "this is no result of a task, but {}",
            result.kind()
        )));
    }
    let value = result.get_attr(name)?;
    Ok(!is_undefined(&value) && value.is_true())
}

fn version(
    value: &Value,
    other: &Value,
    operator: Option<&str>,
    options: Kwargs,
) -> Result<bool, Error> {
    // These name stricter readings, under which versions that they accept are ordered alike.
    let _: Option<bool> = options.get("strict")?;
    let _: Option<String> = options.get("version_type")?;
    options.assert_all_used()?;
    let order = parts(&text_of(value)).partial_cmp(&parts(&text_of(other)));
    let order = order.unwrap_or(Ordering::Equal);
    Ok(match operator.unwrap_or("==") {
        "==" | "=" | "eq" => order.is_eq(),
        "!=" | "<>" | "ne" => order.is_ne(),
        "<" | "lt" => order.is_lt(),
        "<=" | "le" => order.is_le(),
        ">" | "gt" => order.is_gt(),
        ">=" | "ge" => order.is_ge(),
        other => {
            return Err(wrong(format!(
                "`{other}` compares no versions: ==, !=, <, <=, > or >="
            )));
        }
    })
}

/// A part of a version: numbers are ordered as numbers, words as texts.
#[derive(Debug, PartialEq, PartialOrd)]
enum Part {
    Word(String),
    Number(u64),
}

fn parts(version: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = version;
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let is_word = first.is_ascii_alphabetic();
        let end = rest
            .find(|character: char| {
                if is_digit {
                    !character.is_ascii_digit()
                } else {
                    !character.is_ascii_alphabetic()
                }
            })
            .unwrap_or(rest.len());
        if is_digit {
            parts.push(Part::Number(rest[..end].parse().unwrap_or(u64::MAX)));
        } else if is_word {
            parts.push(Part::Word(rest[..end].to_owned()));
        }
        rest = &rest[end.max(first.len_utf8())..];
    }
    parts
}
