//! Values as they are written in playbooks, before any template in them is rendered.

use std::sync::Arc;

use ratchet_input::diagnostic::{Problems, Span};
use ratchet_input::document::{self, Node};
use serde_json::Number;

use crate::files::{FileId, Place};

/// A value and its place in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Data {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// A value of a playbook.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    /// A whole number of more than 64 bits.
    Long(i128),
    /// Text, which may be a template.
    Text(String),
    /// Text with the tag `!unsafe`, which is never a template, whatever it looks like.
    Unsafe(String),
    /// Text that is encrypted.
    Vault(Arc<str>),
    List(Vec<Data>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// The key, if it is a number, a truth value or null and not text.
    pub(crate) typed_key: Option<Box<Value>>,
    pub(crate) place: Place,
    pub(crate) data: Data,
}

impl Entry {
    /// Makes an entry whose key is text.
    pub(crate) fn new(name: impl Into<String>, place: Place, data: Data) -> Self {
        Self {
            name: name.into(),
            typed_key: None,
            place,
            data,
        }
    }
}

impl Data {
    /// Converts a node of a document into a value.
    pub(crate) fn read(node: Node<'_>, file: FileId, problems: &mut Problems) -> Self {
        let place = Place {
            file,
            span: node.span,
        };
        let value = match node.value {
            document::Value::Null | document::Value::HalfText => Value::Null,
            document::Value::Bool(value) => Value::Bool(value),
            document::Value::Number(text) => number(text.into_owned()),
            document::Value::Text(text) => Value::Text(text.into_owned()),
            document::Value::Variable(text) => Value::Text(text.to_owned()),
            document::Value::List(_) | document::Value::UnreadList => {
                let members = node.into_list().unwrap_or_default();
                let members = members.into_iter();
                Value::List(
                    members
                        .map(|node| Self::read(node, file, problems))
                        .collect(),
                )
            }
            document::Value::Map(_) | document::Value::UnreadMap => {
                let entries = node.into_map(problems).unwrap_or_default();
                let mut read = Vec::with_capacity(entries.len());
                for entry in entries {
                    let tag = entry.node.span == entry.place;
                    match (entry.name.as_ref(), entry.node.text()) {
                        ("__ansible_unsafe", Some(text)) if tag => {
                            let value = Value::Unsafe(text.to_owned());
                            return Self { value, place };
                        }
                        ("__ansible_vault", Some(text)) if tag => {
                            let value = Value::Vault(text.into());
                            return Self { value, place };
                        }
                        _ => {
                            let typed_key = match document::ansible_key(&entry) {
                                document::Value::Null => Some(Value::Null),
                                document::Value::Bool(value) => Some(Value::Bool(value)),
                                document::Value::Number(text) => Some(number(text.into_owned())),
                                _ => None,
                            };
                            let place = Place {
                                file,
                                span: entry.place,
                            };
                            read.push(Entry {
                                name: entry.name.into_owned(),
                                typed_key: typed_key.map(Box::new),
                                place,
                                data: Self::read(entry.node, file, problems),
                            });
                        }
                    }
                }
                Value::Map(read)
            }
        };
        Self { value, place }
    }

    /// Returns the value of a blank file.
    pub(crate) fn null(file: FileId) -> Self {
        let span = Span::default();
        Self {
            value: Value::Null,
            place: Place { file, span },
        }
    }

    /// Makes a text at a place.
    pub(crate) fn of_text(text: impl Into<String>, place: Place) -> Self {
        Self {
            value: Value::Text(text.into()),
            place,
        }
    }

    /// Returns the text, if the value is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Unsafe(text) => Some(text),
            _ => None,
        }
    }

    /// Returns a text, or a number or truth value as text.
    pub(crate) fn word(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) | Value::Unsafe(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Long(number) => Some(number.to_string()),
            Value::Bool(true) => Some("True".to_owned()),
            Value::Bool(false) => Some("False".to_owned()),
            _ => None,
        }
    }

    /// Returns the texts of a list, or a single text as a list of one.
    pub(crate) fn words(&self) -> Vec<String> {
        match &self.value {
            Value::List(members) => members.iter().filter_map(Self::word).collect(),
            _ => self.word().into_iter().collect(),
        }
    }

    /// Converts the value to JSON, with templates left unrendered.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) => number.clone().into(),
            // JSON would round it.
            Value::Long(number) => number.to_string().into(),
            Value::Text(text) | Value::Unsafe(text) => text.as_str().into(),
            Value::Vault(text) => (&**text).into(),
            Value::List(members) => members.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                let entries = entries.iter();
                entries
                    .map(|entry| (entry.name.clone(), entry.data.to_json()))
                    .collect()
            }
        }
    }

    /// Whether the value is text that has to be rendered before it is used.
    pub(crate) fn is_template(&self) -> bool {
        matches!(&self.value, Value::Text(text) if is_template(text))
    }

    /// Returns the kind of the value, as messages name it.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing (null)",
            Value::Bool(true) => "`true`",
            Value::Bool(false) => "`false`",
            Value::Number(_) | Value::Long(_) => "a number",
            Value::Text(_) | Value::Unsafe(_) => "text",
            Value::Vault(_) => "an encrypted value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Converts a number of a document. The digits of one of more than 128 bits stay a text.
fn number(text: String) -> Value {
    let is_whole = !text.contains(['.', 'e', 'E']);
    match serde_json::from_str::<Number>(&text) {
        Ok(number) if number.is_f64() && is_whole => match text.parse() {
            Ok(long) => Value::Long(long),
            Err(_) => Value::Text(text),
        },
        Ok(number) => Value::Number(number),
        Err(_) => Value::Text(text),
    }
}

/// Whether a text has parts that are rendered.
pub(crate) fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}
