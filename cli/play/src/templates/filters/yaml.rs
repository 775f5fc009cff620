//! Filters for YAML. The output is exactly that of Python's library, down to the blanks.

mod text;
mod writer;

use minijinja::{Error, Value};
use ratchet_input::diagnostic::{Problems, Source};
use ratchet_input::document::{self, Node};

use super::super::function_arguments::{FunctionArguments, wrong};
use super::super::maps::{plain_map_of, whole_of_digits};
use super::super::names::NamedFunctions;
use writer::{Position, Writer};

/// Adds the filters.
pub(super) fn add(engine: &mut NamedFunctions) {
    const OPTIONS: &[&str] = &[
        "default_flow_style",
        "indent",
        "width",
        "sort_keys",
        "allow_unicode",
        "explicit_start",
        "explicit_end",
        "default_style",
    ];
    engine.plain("to_yaml", OPTIONS, |value, given| {
        written(value, given, None, 2)
    });
    engine.plain("to_nice_yaml", OPTIONS, |value, given| {
        written(value, given, Some(false), 4)
    });
    engine.plain("from_yaml", &[], |value, _| match value.as_str() {
        Some(text) => from_yaml(text),
        None => Ok(value.clone()),
    });
    engine.plain("from_yaml_all", &[], |value, _| match value.as_str() {
        Some(text) => documents(text).into_iter().map(from_yaml).collect(),
        None if value.is_none() => Ok(Value::from(Vec::<Value>::new())),
        None => Ok(value.clone()),
    });
}

/// Reads YAML.
pub(in crate::templates) fn from_yaml(text: &str) -> Result<Value, Error> {
    let source = Source::new("", text.to_owned());
    let mut problems = Vec::new();
    let node = document::ansible_node(&source, &mut problems);
    if node.is_none() && problems.is_empty() {
        return Ok(Value::from(()));
    }
    let value = node.map(|node| of_node(node, &mut problems));
    match (value, problems.into_iter().next()) {
        (Some(value), None) => Ok(value),
        (_, Some(problem)) => Err(wrong(format!("this is not YAML: {}", problem.message))),
        (None, None) => Err(wrong("this is not YAML: the text is empty")),
    }
}

/// Splits a text into its documents at the lines with `---`.
fn documents(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let is_mark = line.trim_end() == "---" || line.starts_with("--- ");
        if is_mark && at > start && !text[start..at].trim().is_empty() {
            found.push(&text[start..at]);
        }
        if is_mark {
            start = at;
        }
        at += line.len();
    }
    if !text[start..].trim().is_empty() {
        found.push(&text[start..]);
    }
    found
}

fn of_node(node: Node<'_>, problems: &mut Problems) -> Value {
    match node.value {
        document::Value::List(_) | document::Value::UnreadList => {
            let members = node.into_list().unwrap_or_default().into_iter();
            members.map(|member| of_node(member, problems)).collect()
        }
        document::Value::Map(_) | document::Value::UnreadMap => {
            let entries = node.into_map(problems).unwrap_or_default();
            let mut pairs = Vec::with_capacity(entries.len());
            for entry in entries {
                let key = scalar(document::ansible_key(&entry));
                pairs.push((key, of_node(entry.node, problems)));
            }
            plain_map_of(pairs)
        }
        value => scalar(value),
    }
}

/// Converts a value that is no list and no map.
fn scalar(value: document::Value<'_>) -> Value {
    match value {
        document::Value::Null | document::Value::HalfText => Value::from(()),
        document::Value::Bool(value) => Value::from(value),
        document::Value::Number(text) => match (whole_of_digits(&text), text.parse::<f64>()) {
            (Some(whole), _) => whole,
            (None, Ok(number)) if text.contains(['.', 'e', 'E']) => Value::from(number),
            // The digits of a number of more than 128 bits stay a text.
            _ => Value::from(text.as_ref()),
        },
        document::Value::Text(text) => Value::from(text.as_ref()),
        document::Value::Variable(text) => Value::from(text),
        document::Value::List(_)
        | document::Value::UnreadList
        | document::Value::Map(_)
        | document::Value::UnreadMap => Value::UNDEFINED,
    }
}

fn written(
    value: &Value,
    given: &FunctionArguments,
    flow: Option<bool>,
    indent: usize,
) -> Result<Value, Error> {
    let flow = match given.value("default_flow_style") {
        None => flow,
        Some(flow) if flow.is_none() => None,
        Some(flow) => Some(flow.is_true()),
    };
    let style = given.text("default_style");
    let style = match style.as_deref() {
        None | Some("") => None,
        Some("'") => Some('\''),
        Some("\"") => Some('"'),
        Some(other) => return Err(wrong(format!("`default_style` is a quote, not `{other}`"))),
    };
    let indent = given.count("indent")?.unwrap_or(indent);
    let indent = if (2..10).contains(&indent) { indent } else { 2 };
    let width = given.count("width")?.unwrap_or(80);
    let mut writer = Writer {
        out: String::new(),
        flow,
        indent,
        width: if width > indent * 2 { width } else { 80 },
        sorted: given.flag("sort_keys") != Some(false),
        unicode: given.flag("allow_unicode") != Some(false),
        style,
        column: 0,
        is_blank: true,
    };
    if given.flag("explicit_start") == Some(true) {
        writer.write("---");
        writer.is_blank = false;
    }
    let position = Position {
        indent: None,
        in_flow: false,
        is_key: false,
        in_map: false,
    };
    writer.node(value, position)?;
    writer.write("\n");
    if given.flag("explicit_end") == Some(true) {
        writer.write("...\n");
    }
    Ok(Value::from(writer.out))
}
