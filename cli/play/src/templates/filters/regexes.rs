//! Filters for regular expressions in the syntax of Python.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the engine passes arguments by value"
)]

use minijinja::value::{Kwargs, Rest};
use minijinja::{Error, Value};

use super::super::function_arguments::{FunctionArguments, wrong};
use super::super::names::NamedFunctions;
use super::super::regex::{compiled, escaped, expand, failed};
use super::super::values::text_of;

/// Adds the filters.
pub(super) fn add(engine: &mut NamedFunctions) {
    engine.plain(
        "regex_replace",
        &[
            "pattern",
            "replacement",
            "ignorecase",
            "multiline",
            "count",
            "mandatory_count",
        ],
        |value, given| replace(&text_of(value), given).map(Value::from),
    );
    engine.filter("regex_search", search);
    engine.plain(
        "regex_findall",
        &["regex", "multiline", "ignorecase"],
        |value, given| {
            let regex = expression(given, "regex")?;
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
        },
    );
    engine.plain("regex_escape", &["re_type"], |value, given| {
        match given.text("re_type").as_deref().unwrap_or("python") {
            "python" => Ok(Value::from(escaped(&text_of(value)))),
            "posix_basic" => {
                let mut out = String::new();
                for character in text_of(value).chars() {
                    out.extend("].[^$*\\".contains(character).then_some('\\'));
                    out.push(character);
                }
                Ok(Value::from(out))
            }
            other => Err(wrong(format!(
                "unknown type of expression `{other}`; use python or posix_basic"
            ))),
        }
    });
}

fn expression(given: &FunctionArguments, name: &str) -> Result<fancy_regex::Regex, Error> {
    let pattern = given.text(name).unwrap_or_default();
    compiled(
        &pattern,
        given.flag("ignorecase") == Some(true),
        given.flag("multiline") == Some(true),
    )
}

fn replace(text: &str, given: &FunctionArguments) -> Result<String, Error> {
    let replacement = given.text("replacement").unwrap_or_default();
    let regex = expression(given, "pattern")?;
    let mut count = 0;
    let replaced = regex.try_replacen(
        text,
        given.count("count")?.unwrap_or(0),
        |found: &fancy_regex::Captures<'_>| {
            count += 1;
            expand(&replacement, found)
        },
    );
    let replaced = replaced.map_err(failed)?.into_owned();
    let expected = given
        .count("mandatory_count")?
        .filter(|expected| *expected > 0);
    match expected {
        Some(expected) if expected != count => Err(wrong(format!(
            "the pattern matches {count} times, but has to match {expected} times"
        ))),
        _ => Ok(replaced),
    }
}

fn search(
    value: &Value,
    pattern: &str,
    groups: Rest<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let given = FunctionArguments::new(
        "regex_search",
        &["ignorecase", "multiline"],
        &Rest(Vec::new()),
        &options,
    )?;
    let regex = compiled(
        pattern,
        given.flag("ignorecase") == Some(true),
        given.flag("multiline") == Some(true),
    )?;
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
