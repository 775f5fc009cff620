//! The tree that all formats become.

use crate::diagnostic::Span;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// As JSON writes it, with all its digits.
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; a key that stands twice is here twice.
    Map(Vec<Entry>),
}

/// A key and what it says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) place: Span,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn new(value: Value, span: Span) -> Self {
        Self { value, span }
    }

    /// What a key says, where this is a map that has it.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.entry(name).map(|entry| &entry.node)
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.name == name)
    }

    /// The entries of a map; none where this is something else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The members of a list; none where this is something else.
    pub(crate) fn members(&self) -> &[Self] {
        match &self.value {
            Value::List(members) => members,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Text, or a number as it is written.
    pub(crate) fn text_or_number(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Number(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn number(&self) -> Option<&str> {
        match &self.value {
            Value::Number(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing (null)",
            Value::Bool(true) => "`true`",
            Value::Bool(false) => "`false`",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// How many values it is made of.
    pub(crate) fn weight(&self) -> usize {
        1 + match &self.value {
            Value::List(members) => members.iter().map(Self::weight).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.weight()).sum(),
            _ => 0,
        }
    }

    /// How many bytes its texts and keys are.
    pub(crate) fn text_bytes(&self) -> usize {
        let entry = |entry: &Entry| entry.name.len() + entry.node.text_bytes();
        match &self.value {
            Value::Null | Value::Bool(_) => 0,
            Value::Number(text) | Value::Text(text) => text.len(),
            Value::List(members) => members.iter().map(Self::text_bytes).sum(),
            Value::Map(entries) => entries.iter().map(entry).sum(),
        }
    }

    /// Writes it as compact JSON.
    pub(crate) fn write_json(&self, out: &mut String) {
        match &self.value {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Number(text) => out.push_str(text),
            Value::Text(text) => write_text(text, out),
            Value::List(members) => {
                out.push('[');
                for (index, member) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    member.write_json(out);
                }
                out.push(']');
            }
            Value::Map(entries) => {
                out.push('{');
                for (index, entry) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_text(&entry.name, out);
                    out.push(':');
                    entry.node.write_json(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    // Of a text, serde_json makes JSON whatever is in it.
    out.push_str(&serde_json::Value::from(text).to_string());
}
