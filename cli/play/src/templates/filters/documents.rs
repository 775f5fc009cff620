//! Filters for JSON and for queries on documents.

use std::fmt::Write as _;

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::super::function_arguments::{FunctionArguments, kind, wrong};
use super::super::maps::{from_json, from_json_text, key_text, to_json};
use super::super::names::NamedFunctions;
use super::super::values::{float_text, text_of};

/// Adds the filters.
pub(super) fn add(engine: &mut NamedFunctions) {
    const OPTIONS: &[&str] = &["indent", "sort_keys", "ensure_ascii", "separators"];
    engine.plain("to_json", OPTIONS, |value, given| {
        let form = JsonStyle::of(given, None, false)?;
        form.text(value).map(Value::from)
    });
    engine.plain("to_nice_json", OPTIONS, |value, given| {
        let mut form = JsonStyle::of(given, Some("    ".to_owned()), true)?;
        form.separators = (",".to_owned(), ": ".to_owned());
        form.text(value).map(Value::from)
    });
    engine.plain("tojson", &["indent"], |value, given| {
        let text = JsonStyle::of(given, None, true)?.text(value)?;
        // Characters that have a meaning in HTML.
        let escaped = text
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
            .replace('\'', "\\u0027");
        Ok(Value::from(escaped))
    });
    engine.plain("from_json", &[], |value, _| {
        let text = value
            .as_str()
            .ok_or_else(|| wrong(format!("`from_json` takes a text, not {}", kind(value))))?;
        from_json_text(text).map_err(|error| wrong(format!("this is not JSON: {error}")))
    });
    for name in ["json_query", "community.general.json_query"] {
        engine.plain(name, &["expr"], |value, given| {
            query(value, &text_of(given.needed("expr")?))
        });
    }
}

fn query(value: &Value, expression: &str) -> Result<Value, Error> {
    let refused =
        |error: jmespath::JmespathError| wrong(format!("`{expression}` cannot be used: {error}"));
    let compiled = jmespath::compile(expression).map_err(refused)?;
    let found = compiled.search(to_json(value)).map_err(refused)?;
    let found = serde_json::to_value(&*found);
    found
        .map(from_json)
        .map_err(|error| wrong(format!("the result of `{expression}` is not JSON: {error}")))
}

/// Formats a value as JSON, as Python writes it.
#[cfg(test)]
pub(in crate::templates) fn json(
    value: &Value,
    indent: Option<usize>,
    sorted: bool,
) -> Result<String, Error> {
    let form = JsonStyle {
        indent: indent.map(|indent| " ".repeat(indent)),
        sorted,
        ascii: true,
        separators: (
            if indent.is_some() { "," } else { ", " }.to_owned(),
            ": ".to_owned(),
        ),
    };
    form.text(value)
}

/// The format of JSON.
struct JsonStyle {
    indent: Option<String>,
    sorted: bool,
    ascii: bool,
    separators: (String, String),
}

impl JsonStyle {
    fn of(given: &FunctionArguments, indent: Option<String>, sorted: bool) -> Result<Self, Error> {
        let indent = match given.value("indent") {
            None => indent,
            Some(indent) if indent.is_none() => None,
            Some(indent) if indent.as_str().is_some() => Some(text_of(indent)),
            Some(_) => Some(" ".repeat(given.count("indent")?.unwrap_or(0))),
        };
        let separators = match given.value("separators") {
            Some(pair) if !pair.is_none() => (
                text_of(&pair.get_item_by_index(0)?),
                text_of(&pair.get_item_by_index(1)?),
            ),
            _ => (
                if indent.is_some() { "," } else { ", " }.to_owned(),
                ": ".to_owned(),
            ),
        };
        Ok(Self {
            indent,
            sorted: given.flag("sort_keys").unwrap_or(sorted),
            ascii: given.flag("ensure_ascii") != Some(false),
            separators,
        })
    }

    fn text(&self, value: &Value) -> Result<String, Error> {
        let mut out = String::new();
        self.write(value, 0, &mut out)?;
        Ok(out)
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        }
    }

    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
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
            ValueKind::String => self.write_text(value.as_str().unwrap_or_default(), out),
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort_by_cached_key(key_text);
                }
                out.push('{');
                for (at, key) in keys.iter().enumerate() {
                    out.push_str(if at > 0 { &self.separators.0 } else { "" });
                    self.line(depth + 1, out);
                    self.write_text(&key_text(key), out);
                    out.push_str(&self.separators.1);
                    self.write(&value.get_item(key)?, depth + 1, out)?;
                }
                if !keys.is_empty() {
                    self.line(depth, out);
                }
                out.push('}');
            }
            ValueKind::Seq | ValueKind::Iterable => {
                out.push('[');
                let mut count = 0;
                for member in value.try_iter()? {
                    out.push_str(if count > 0 { &self.separators.0 } else { "" });
                    self.line(depth + 1, out);
                    self.write(&member, depth + 1, out)?;
                    count += 1;
                }
                if count > 0 {
                    self.line(depth, out);
                }
                out.push(']');
            }
            ValueKind::Plain => self.write_text(&value.to_string(), out),
            _ => return Err(wrong(format!("{} cannot be JSON", kind(value)))),
        }
        Ok(())
    }

    fn write_text(&self, text: &str, out: &mut String) {
        let written = serde_json::Value::from(text).to_string();
        // Python writes only ASCII: each half of a surrogate pair is escaped on its own.
        for character in written.chars() {
            if character.is_ascii() && character != '\u{7f}' || !self.ascii {
                out.push(character);
            } else {
                for half in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "\\u{half:04x}");
                }
            }
        }
    }
}
