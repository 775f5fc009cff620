//! The filters of Ansible and of Python's Jinja for single values: defaults, types, texts, paths and documents.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the engine hands arguments over by value"
)]

use std::fmt::Write as _;
use std::path::Path;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};
use ratchet_input::diagnostic::{Problems, Source};
use ratchet_input::document::{self, Node};

use super::maps::map_of;
use super::undefined::is_undefined;
use super::values::{float_text, text_of};

/// Adds the filters to an engine.
pub(super) fn add(engine: &mut Environment<'static>) {
    engine.add_filter("default", default);
    engine.add_filter("d", default);
    engine.add_filter("mandatory", mandatory);
    engine.add_filter("bool", boolean);
    engine.add_filter("int", int);
    engine.add_filter("float", float);
    engine.add_filter("round", round);
    engine.add_filter("string", |value: &Value| text_of(value));
    engine.add_filter("type_debug", type_debug);
    engine.add_filter("ternary", ternary);
    engine.add_filter("to_json", |value: &Value| json(value, None, false));
    engine.add_filter("to_nice_json", nice_json);
    engine.add_filter("from_json", from_json);
    engine.add_filter("from_yaml", from_yaml);
    engine.add_filter("regex_replace", regex_replace);
    engine.add_filter("regex_search", regex_search);
    engine.add_filter("regex_findall", regex_findall);
    engine.add_filter("regex_escape", |value: &Value| escaped(&text_of(value)));
    engine.add_filter("quote", |value: &Value| quoted(&text_of(value)));
    engine.add_filter("basename", |value: &Value| {
        basename(&text_of(value)).to_owned()
    });
    engine.add_filter("dirname", |value: &Value| {
        dirname(&text_of(value)).to_owned()
    });
    engine.add_filter("splitext", splitext);
    engine.add_filter("path_join", path_join);
    engine.add_filter("split", split);
    engine.add_filter("splitlines", splitlines);
    engine.add_filter("replace", replace);
    engine.add_filter("format", printf);
    engine.add_filter("upper", |value: &Value| text_of(value).to_uppercase());
    engine.add_filter("lower", |value: &Value| text_of(value).to_lowercase());
}

/// Puts values into a text as `%` does in Python.
pub(super) fn percent_format(format: &Value, values: &Value) -> Result<String, Error> {
    let values = if values.is_tuple() {
        values.try_iter()?.collect()
    } else {
        vec![values.clone()]
    };
    printf(format, Rest(values))
}

fn printf(format: &Value, values: Rest<Value>) -> Result<String, Error> {
    let shown = |value: &Value| match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Seq | ValueKind::Iterable => {
            Value::from(super::values::repr(value))
        }
        _ => value.clone(),
    };
    let values: Vec<Value> = values.iter().map(shown).collect();
    minijinja::formatting::format(
        minijinja::formatting::FormatStyle::Printf,
        &text_of(format),
        &values,
    )
}

/// An error of a filter that was used wrongly.
pub(super) fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn default(value: Value, other: Option<Value>, also_false: Option<bool>) -> Value {
    if is_undefined(&value) || also_false == Some(true) && !value.is_true() {
        return other.unwrap_or_else(|| Value::from(""));
    }
    value
}

fn mandatory(value: Value, message: Option<String>) -> Result<Value, Error> {
    if is_undefined(&value) {
        let message = message.unwrap_or_else(|| "a mandatory variable is not defined".to_owned());
        return Err(wrong(message));
    }
    Ok(value)
}

fn boolean(value: Value) -> Value {
    if value.kind() == ValueKind::Bool {
        return value;
    }
    let text = text_of(&value).to_lowercase();
    Value::from(matches!(text.as_str(), "yes" | "on" | "1" | "true" | "1.0"))
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

fn round(value: &Value, precision: Option<i32>, method: Option<&str>) -> Result<Value, Error> {
    let number = f64::try_from(value.clone()).map_err(|_| wrong("only a number can be rounded"))?;
    let scale = 10_f64.powi(precision.unwrap_or(0));
    let rounded = match method.unwrap_or("common") {
        // Python rounds a half to the even number.
        "common" => (number * scale).round_ties_even(),
        "ceil" => (number * scale).ceil(),
        "floor" => (number * scale).floor(),
        other => {
            return Err(wrong(format!(
                "`{other}` is no way to round: common, ceil or floor"
            )));
        }
    };
    Ok(Value::from(rounded / scale))
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

fn ternary(value: &Value, yes: Value, no: Value, none: Option<Value>) -> Value {
    match none {
        Some(none) if value.is_none() => none,
        _ if value.is_true() => yes,
        _ => no,
    }
}

/// A value as JSON, as Python writes it.
pub(super) fn json(value: &Value, indent: Option<usize>, sorted: bool) -> Result<String, Error> {
    let mut out = String::new();
    write_json(value, indent, sorted, 0, &mut out)?;
    Ok(out)
}

fn nice_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    json(value, Some(indent.unwrap_or(4)), sorted.unwrap_or(true))
}

fn write_json(
    value: &Value,
    indent: Option<usize>,
    sorted: bool,
    depth: usize,
    out: &mut String,
) -> Result<(), Error> {
    let line = |depth: usize, out: &mut String| {
        if let Some(indent) = indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent * depth));
        }
    };
    let comma = if indent.is_some() { "," } else { ", " };
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number if value.is_integer() => out.push_str(&value.to_string()),
        ValueKind::Number => {
            let number = f64::try_from(value.clone()).unwrap_or(f64::NAN);
            out.push_str(&match float_text(number).as_str() {
                "nan" => "NaN".to_owned(),
                "inf" => "Infinity".to_owned(),
                "-inf" => "-Infinity".to_owned(),
                text => text.to_owned(),
            });
        }
        ValueKind::String => write_json_text(value.as_str().unwrap_or_default(), out),
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if sorted {
                keys.sort_by_key(text_of);
            }
            out.push('{');
            for (at, key) in keys.iter().enumerate() {
                out.push_str(if at > 0 { comma } else { "" });
                line(depth + 1, out);
                let name = match key.kind() {
                    ValueKind::Bool => text_of(key).to_lowercase(),
                    _ => text_of(key),
                };
                write_json_text(&name, out);
                out.push_str(": ");
                write_json(&value.get_item(key)?, indent, sorted, depth + 1, out)?;
            }
            if !keys.is_empty() {
                line(depth, out);
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            let mut count = 0;
            for member in value.try_iter()? {
                out.push_str(if count > 0 { comma } else { "" });
                line(depth + 1, out);
                write_json(&member, indent, sorted, depth + 1, out)?;
                count += 1;
            }
            if count > 0 {
                line(depth, out);
            }
            out.push(']');
        }
        _ => return Err(wrong(format!("{} cannot be JSON", value.kind()))),
    }
    Ok(())
}

fn write_json_text(text: &str, out: &mut String) {
    let written = serde_json::Value::from(text).to_string();
    // Python writes ASCII alone, the halves of far characters each by themselves.
    for character in written.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            for half in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{half:04x}");
            }
        }
    }
}

fn from_json(value: &Value) -> Result<Value, Error> {
    let text = text_of(value);
    let mut problems = Vec::new();
    let node = document::json_node(&text, &mut problems);
    read(node, problems, "JSON")
}

fn from_yaml(value: &Value) -> Result<Value, Error> {
    let source = Source::new("", text_of(value));
    let mut problems = Vec::new();
    let node = document::ansible_node(&source, &mut problems);
    if node.is_none() && problems.is_empty() {
        return Ok(Value::from(()));
    }
    read(node, problems, "YAML")
}

fn read(node: Option<Node<'_>>, mut problems: Problems, format: &str) -> Result<Value, Error> {
    let value = node.map(|node| of_node(node, &mut problems));
    match (value, problems.into_iter().next()) {
        (Some(value), None) => Ok(value),
        (_, Some(problem)) => Err(wrong(format!("this is no {format}: {}", problem.message))),
        (None, None) => Err(wrong(format!("this is no {format}: there is nothing"))),
    }
}

fn of_node(node: Node<'_>, problems: &mut Problems) -> Value {
    match node.value {
        document::Value::Null | document::Value::HalfText => Value::from(()),
        document::Value::Bool(value) => Value::from(value),
        document::Value::Number(text) => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(whole), _) => Value::from(whole),
            (_, Ok(number)) => Value::from(number),
            _ => Value::from(text.as_ref()),
        },
        document::Value::Text(text) => Value::from(text.as_ref()),
        document::Value::Variable(text) => Value::from(text),
        document::Value::List(_) | document::Value::UnreadList => {
            let members = node.into_list().unwrap_or_default().into_iter();
            members.map(|member| of_node(member, problems)).collect()
        }
        document::Value::Map(_) | document::Value::UnreadMap => {
            let entries = node.into_map(problems).unwrap_or_default();
            let mut pairs = Vec::with_capacity(entries.len());
            for entry in entries {
                pairs.push((
                    Value::from(entry.name.as_ref()),
                    of_node(entry.node, problems),
                ));
            }
            map_of(pairs)
        }
    }
}

/// The options that the filters for regular expressions take.
fn expression(pattern: &str, options: &Kwargs) -> Result<fancy_regex::Regex, Error> {
    let ignores_case: Option<bool> = options.get("ignorecase")?;
    let has_lines: Option<bool> = options.get("multiline")?;
    options.assert_all_used()?;
    let mut flags = String::new();
    if ignores_case == Some(true) {
        flags.push_str("(?i)");
    }
    if has_lines == Some(true) {
        flags.push_str("(?m)");
    }
    fancy_regex::Regex::new(&format!("{flags}{pattern}"))
        .map_err(|error| wrong(format!("`{pattern}` is no regular expression: {error}")))
}

fn failed(error: fancy_regex::Error) -> Error {
    wrong(format!("the regular expression failed: {error}"))
}

fn regex_replace(
    value: &Value,
    pattern: &str,
    replacement: Option<&str>,
    options: Kwargs,
) -> Result<String, Error> {
    let named: Option<String> = options.get("replacement")?;
    let replacement = replacement.map(str::to_owned).or(named).unwrap_or_default();
    let count: Option<usize> = options.get("count")?;
    let regex = expression(pattern, &options)?;
    let text = text_of(value);
    let replaced = regex.try_replacen(
        &text,
        count.unwrap_or(0),
        |found: &fancy_regex::Captures<'_>| expand(&replacement, found),
    );
    Ok(replaced.map_err(failed)?.into_owned())
}

/// The text that replaces a match: `\1` and `\g<name>` are its groups.
fn expand(replacement: &str, found: &fancy_regex::Captures<'_>) -> String {
    let mut out = String::new();
    let mut rest = replacement;
    while let Some((before, behind)) = rest.split_once('\\') {
        out.push_str(before);
        let digits = behind
            .bytes()
            .take(2)
            .take_while(u8::is_ascii_digit)
            .count();
        if digits > 0 {
            let group = behind[..digits]
                .parse()
                .ok()
                .and_then(|at: usize| found.get(at));
            out.push_str(group.map_or("", |group| group.as_str()));
            rest = &behind[digits..];
        } else if let Some((name, after)) = behind
            .strip_prefix("g<")
            .and_then(|name| name.split_once('>'))
        {
            let group = match name.parse() {
                Ok(at) => found.get(at),
                Err(_) => found.name(name),
            };
            out.push_str(group.map_or("", |group| group.as_str()));
            rest = after;
        } else {
            let mut characters = behind.chars();
            match characters.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some('\\') | None => out.push('\\'),
                Some(other) => out.extend(['\\', other]),
            }
            rest = characters.as_str();
        }
    }
    out.push_str(rest);
    out
}

fn regex_search(
    value: &Value,
    pattern: &str,
    groups: Rest<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let regex = expression(pattern, &options)?;
    let text = text_of(value);
    let Some(found) = regex.captures(&text).map_err(failed)? else {
        return Ok(Value::from(()));
    };
    let whole = found.get(0).map_or("", |group| group.as_str());
    if groups.is_empty() {
        return Ok(Value::from(whole));
    }
    let mut texts = Vec::new();
    for group in groups.iter() {
        let name = text_of(group);
        let plain = name.strip_prefix('\\').map(|plain| {
            let named = plain.strip_prefix("g<");
            named
                .and_then(|named| named.strip_suffix('>'))
                .unwrap_or(plain)
        });
        let known = plain.filter(|plain| !plain.contains('\\'));
        let plain = known.ok_or_else(|| wrong(format!("`{name}` names no group")))?;
        let group = match plain.parse() {
            Ok(at) => found.get(at),
            Err(_) => found.name(plain),
        };
        texts.push(group.map_or(Value::from(()), |group| Value::from(group.as_str())));
    }
    Ok(Value::from(texts))
}

fn regex_findall(value: &Value, pattern: &str, options: Kwargs) -> Result<Value, Error> {
    let regex = expression(pattern, &options)?;
    let text = text_of(value);
    let mut all = Vec::new();
    for found in regex.captures_iter(&text) {
        let found = found.map_err(failed)?;
        let group = |at: usize| found.get(at).map_or("", |group| group.as_str()).to_owned();
        all.push(match found.len() {
            1 | 2 => Value::from(group(found.len() - 1)),
            groups => (1..groups).map(|at| Value::from(group(at))).collect(),
        });
    }
    Ok(Value::from(all))
}

/// A text in which no character means anything to a regular expression.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

/// A text as one word for a shell, as Python quotes it.
fn quoted(text: &str) -> String {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "_@%+=:,./-".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

fn basename(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn dirname(path: &str) -> &str {
    let Some((head, _)) = path.rsplit_once('/') else {
        return "";
    };
    match head.trim_end_matches('/') {
        "" => &path[..=head.len()],
        folder => folder,
    }
}

fn splitext(value: &Value) -> Vec<String> {
    let path = text_of(value);
    let name = basename(&path);
    let stem = name.trim_start_matches('.');
    let at = stem.rfind('.').map(|at| path.len() - stem.len() + at);
    let (root, end) = path.split_at(at.unwrap_or(path.len()));
    vec![root.to_owned(), end.to_owned()]
}

fn path_join(value: &Value) -> Result<String, Error> {
    let parts = match value.kind() {
        ValueKind::String => return Ok(text_of(value)),
        _ => value.try_iter()?,
    };
    let mut path = Path::new("").to_path_buf();
    for part in parts {
        path.push(text_of(&part));
    }
    Ok(path.display().to_string())
}

fn split(value: &Value, separator: Option<&str>, most: Option<usize>) -> Vec<String> {
    let text = text_of(value);
    match (separator, most) {
        (Some(separator), None) => text.split(separator).map(str::to_owned).collect(),
        (Some(separator), Some(most)) => {
            let parts = text.splitn(most + 1, separator);
            parts.map(str::to_owned).collect()
        }
        (None, _) => text.split_whitespace().map(str::to_owned).collect(),
    }
}

fn splitlines(value: &Value) -> Vec<String> {
    text_of(value).lines().map(str::to_owned).collect()
}

fn replace(value: &Value, from: &str, to: &Value, count: Option<usize>) -> String {
    let text = text_of(value);
    let to = text_of(to);
    match count {
        Some(count) => text.replacen(from, &to, count),
        None => text.replace(from, &to),
    }
}
