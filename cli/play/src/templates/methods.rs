//! The methods of Python's strings and lists that the engine does not have.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

use super::function_arguments::{members, wrong};
use super::mutable;
use super::values::text_of;

/// Calls a method of a value.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let found = match value.kind() {
        ValueKind::String => of_text(value.as_str().unwrap_or_default(), method, arguments)?,
        ValueKind::Seq => of_list(value, method, arguments)?,
        ValueKind::Map if method == "copy" => Some(value.clone()),
        _ => None,
    };
    if let Some(found) = found {
        return Ok(found);
    }
    if mutable::METHODS.contains(&method) && matches!(value.kind(), ValueKind::Seq | ValueKind::Map)
    {
        let said = format!(
            "`{method}` would change a variable in its place; only lists and maps that a template writes itself can be changed: \
             use `+`, `combine` or `set`"
        );
        return Err(Error::new(ErrorKind::UnknownMethod, said));
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
}

#[expect(clippy::too_many_lines, reason = "each method takes a few lines")]
fn of_text(text: &str, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    let argument = |at: usize| arguments.get(at).map(text_of);
    let needed = || argument(0).ok_or_else(|| wrong(format!("`{method}` needs an argument")));
    let width = || -> Result<usize, Error> {
        let width = arguments.first().and_then(Value::as_i64);
        let width = width.ok_or_else(|| wrong(format!("`{method}` takes a whole number")))?;
        let length = text.chars().count();
        Ok(usize::try_from(width)
            .unwrap_or_default()
            .saturating_sub(length))
    };
    let fill = || argument(1).unwrap_or_else(|| " ".to_owned());
    Ok(Some(match method {
        "index" => {
            let part = needed()?;
            let at = text
                .find(&part)
                .ok_or_else(|| wrong(format!("`{text}` has no `{part}`")))?;
            Value::from(text[..at].chars().count())
        }
        "partition" => {
            let by = needed()?;
            match text.split_once(&by) {
                Some((before, behind)) => {
                    Value::from(vec![before.to_owned(), by.clone(), behind.to_owned()])
                }
                None => Value::from(vec![text.to_owned(), String::new(), String::new()]),
            }
        }
        "rpartition" => {
            let by = needed()?;
            match text.rsplit_once(&by) {
                Some((before, behind)) => {
                    Value::from(vec![before.to_owned(), by.clone(), behind.to_owned()])
                }
                None => Value::from(vec![String::new(), String::new(), text.to_owned()]),
            }
        }
        "rsplit" => {
            let most = arguments
                .get(1)
                .and_then(Value::as_i64)
                .and_then(|most| usize::try_from(most).ok());
            let separator = arguments
                .first()
                .filter(|separator| !separator.is_none())
                .map(text_of);
            let mut parts: Vec<&str> = match (&separator, most) {
                (Some(separator), Some(most)) => {
                    text.rsplitn(most + 1, separator.as_str()).collect()
                }
                (Some(separator), None) => text.rsplit(separator.as_str()).collect(),
                (None, None) => text.split_whitespace().rev().collect(),
                (None, Some(most)) => from_the_end(text, most),
            };
            parts.reverse();
            parts.into_iter().map(Value::from).collect()
        }
        "zfill" => {
            let (sign, digits) = match text.strip_prefix(['-', '+']) {
                Some(digits) => text.split_at(text.len() - digits.len()),
                None => ("", text),
            };
            Value::from(format!("{sign}{}{digits}", "0".repeat(width()?)))
        }
        "ljust" => Value::from(format!("{text}{}", fill().repeat(width()?))),
        "rjust" => Value::from(format!("{}{text}", fill().repeat(width()?))),
        "center" => {
            let blank = width()?;
            let total = blank + text.chars().count();
            let left = blank / 2 + (blank & total & 1);
            Value::from(format!(
                "{}{text}{}",
                fill().repeat(left),
                fill().repeat(blank - left)
            ))
        }
        "swapcase" => Value::from(
            text.chars()
                .flat_map(|character| -> Vec<char> {
                    if character.is_uppercase() {
                        character.to_lowercase().collect()
                    } else {
                        character.to_uppercase().collect()
                    }
                })
                .collect::<String>(),
        ),
        "casefold" => Value::from(text.to_lowercase()),
        "removeprefix" => Value::from(text.strip_prefix(needed()?.as_str()).unwrap_or(text)),
        "removesuffix" => Value::from(text.strip_suffix(needed()?.as_str()).unwrap_or(text)),
        "isidentifier" => {
            let is_name = !text.is_empty()
                && !text.starts_with(|first: char| first.is_numeric())
                && text
                    .chars()
                    .all(|character| character.is_alphanumeric() || character == '_');
            Value::from(is_name)
        }
        "isdecimal" => {
            Value::from(!text.is_empty() && text.chars().all(|digit| digit.is_ascii_digit()))
        }
        "expandtabs" => Value::from(text.replace('\t', &" ".repeat(8))),
        _ => return Ok(None),
    }))
}

/// Splits off words from the end, at most `most`, and keeps the rest in one piece.
fn from_the_end(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end();
    while !rest.is_empty() {
        let gap = rest.rfind(char::is_whitespace);
        if let Some(at) = gap.filter(|_| parts.len() < most) {
            parts.push(rest[at..].trim_start());
            rest = rest[..at].trim_end();
        } else {
            parts.push(rest);
            rest = "";
        }
    }
    parts
}

fn of_list(value: &Value, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    match (method, arguments.first()) {
        ("index", Some(wanted)) => {
            let at = members(value)?.iter().position(|member| member == wanted);
            at.map(|at| Some(Value::from(at)))
                .ok_or_else(|| wrong("the list has no such member"))
        }
        ("copy", None) => Ok(Some(value.clone())),
        _ => Ok(None),
    }
}
